"""docs/tutorial.md as it stands: its files are written, its commands run in a shell, in their order.

A file's name is in the first line of its block. A command that is to end with another status than 0 says so
in a comment: `# status 1`. MINBERT_TUTORIAL_TIMES=1 prints how long each command took.

Run: pytest -s tests/test_tutorial.py
"""

import os
import re
import subprocess
import sys
import time
from pathlib import Path

PAGE = Path(__file__).parents[1] / "docs" / "tutorial.md"
COMMAND_LIMIT = 1800  # seconds; turns a hang into a failure
BLOCK = re.compile(r"^```(sh|python|toml)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def run_command(command: str, folder: Path) -> subprocess.CompletedProcess:
    """Runs a line in bash, with the programs of this environment first on the path."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        ["bash", "-c", f"set -o pipefail; {command}"],
        cwd=folder,
        env=os.environ | {"PATH": path, "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        timeout=COMMAND_LIMIT,
    )


def test_the_tutorial(tmp_path):
    printed, times = {}, {}
    for language, block in BLOCK.findall(PAGE.read_text(encoding="utf-8")):
        if language != "sh":
            path = tmp_path / block.split("\n")[0].removeprefix("# ")
            path.parent.mkdir(exist_ok=True)
            path.write_text(block, encoding="utf-8")
            continue
        for line in block.replace("\\\n", " ").splitlines():
            command, _, status = line.partition("  # status ")
            began = time.monotonic()
            done = run_command(command, tmp_path)
            times[command] = time.monotonic() - began
            assert done.returncode == int(status or 0), f"{command}\n{done.stdout}\n{done.stderr}"
            printed[command] = done.stdout
    if os.environ.get("MINBERT_TUTORIAL_TIMES"):
        for command, seconds in (times | {"in all": sum(times.values())}).items():
            print(f"{seconds:6.1f} s  {command}")
    assert "Likely mistake: mask added after softmax" in printed["minbert check --model student/bert.py"]
    assert "mask ignored" in printed["minbert check --class class --out grades"]
    assert len(printed) >= 18
