"""No command asks for an address, but for downloads and the LLM client.

Run: pytest tests/multitask/cli/test_network.py
"""

import json
import os
import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]

# Python runs it at the start of each process, workers' too.
SITE = """
import os, socket, traceback

def refuse(name):
    def refused(*words, **more):
        if isinstance(words[0], socket.socket) and words[0].family == socket.AF_UNIX:
            return ways[name](*words, **more)
        with open(os.environ["ASKED"], "a") as file:
            file.write(f"{name} {words} {''.join(traceback.format_stack())}\\\\n")
        raise OSError("no network here")
    return refused

ways = {name: getattr(socket.socket, name) for name in ("connect", "connect_ex", "sendto", "bind")}
for name in ways:
    setattr(socket.socket, name, refuse(name))
for name in ("getaddrinfo", "gethostbyname", "gethostbyname_ex", "gethostbyaddr", "create_connection"):
    setattr(socket, name, refuse(name))
"""

COMMANDS = """
import json, sys
from minbert.cli.main import run as minbert
from multitask.cli.main import run as multitask
for program, *words in json.load(open(sys.argv[1])):
    print(program, *words, flush=True)
    try:
        {"minbert": minbert, "multitask": multitask}[program](words)
    except SystemExit as end:
        assert not end.code, end.code
"""


@pytest.fixture
def commands(tiny_folder, tiny_data, tmp_path):
    """A program that runs nearly every command, and its words."""
    run, table, space, texts = (tmp_path / name for name in ("run", "table.toml", "space.toml", "texts.txt"))
    steps = "[base.train]\nmax_steps = 1\n"
    table.write_text(f'{steps}[[rows]]\nname = "a"\n[[rows]]\nname = "b"\nset.optim.lr = 1e-4\n')
    space.write_text(f"{steps}[space.optim.lr]\nchoices = [1e-3, 1e-4]\n")
    texts.write_text("good\nbad\n")
    base = ["--weights", str(tiny_folder), "--data", str(tiny_data), "--device", "cpu"]
    words = [
        ["multitask", "train", *base, "--out", str(run), "--train.max-steps", "2"],
        ["multitask", "groups", *base],
        ["multitask", "evaluate", str(run), "--device", "cpu"],
        ["multitask", "predict", str(run), "--device", "cpu"],
        ["multitask", "resume", str(run)],
        ["multitask", "doctor", str(tiny_data)],
        ["multitask", "tasks"],
        ["multitask", "export", str(run), str(tmp_path / "hf"), "--format", "hf"],
        ["multitask", "ablate", str(table), *base, "--out", str(tmp_path / "table"), "--seeds", "1"],
        ["minbert", "similarity", "--weights", str(tiny_folder), "good", "bad"],
        ["minbert", "encode", "--weights", str(tiny_folder), str(texts), str(tmp_path / "texts.npy")],
        ["minbert", "inspect", str(tiny_folder)],
    ]
    if find_spec("optuna"):
        words.append(
            ["multitask", "search", str(space), *base, "--out", str(tmp_path / "search"), "--trials", "1"]
        )
    if find_spec("matplotlib"):
        words.append(["multitask", "report", str(run), "--device", "cpu"])
    if find_spec("onnxruntime"):
        words.append(["multitask", "export", str(run), str(tmp_path / "onnx"), "--format", "onnx"])
    (tmp_path / "words.json").write_text(json.dumps(words))
    (tmp_path / "commands.py").write_text(COMMANDS)
    return [sys.executable, str(tmp_path / "commands.py"), str(tmp_path / "words.json")]


def environment(*folders: Path, **more: str) -> dict[str, str]:
    """Nothing in it turns telemetry off."""
    kept = {key: value for key, value in os.environ.items() if key not in ("ORT_DISABLE_TELEMETRY", "CI")}
    return kept | {"PYTHONPATH": os.pathsep.join(map(str, (*folders, ROOT)))} | more


@pytest.mark.slow
def test_no_command_asks_for_an_address(commands, tmp_path):
    asked = tmp_path / "asked"
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(SITE)
    found = subprocess.run(
        commands, env=environment(tmp_path / "site", ASKED=str(asked)), capture_output=True, text=True
    )
    assert found.returncode == 0, found.stdout + found.stderr
    assert not asked.exists(), asked.read_text()
    probe = [sys.executable, "-c", "import socket; socket.create_connection(('127.0.0.1', 9))"]
    subprocess.run(probe, env=environment(tmp_path / "site", ASKED=str(asked)), capture_output=True)
    assert asked.exists()  # the test sees what it looks for


@pytest.mark.slow
def test_the_system_is_asked_for_no_address_either(commands, tmp_path):
    """By libraries that are not Python."""
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed; apt-get install strace")
    log = tmp_path / "calls"
    trace = [
        "strace",
        "-f",
        "--seccomp-bpf",
        "-qq",
        "-e",
        "trace=connect,sendto,sendmsg,bind",
        "-o",
        str(log),
    ]
    if subprocess.run([*trace, "true"], capture_output=True).returncode:
        pytest.skip("strace may not trace here")
    found = subprocess.run([*trace, *commands], env=environment(), capture_output=True, text=True)
    assert found.returncode == 0, found.stdout + found.stderr
    calls = [line for line in log.read_text().splitlines() if re.search("AF_INET|sin_addr|sin6_addr", line)]
    assert not calls, calls
