"""ablate with real processes: shared among commands, killed, interrupted and continued."""

import json
import re
import signal
from pathlib import Path

from multitask.experiments.ablation.ablate import CLAIMS, LOGS, RUNS, ablate
from multitask.experiments.claims import FolderClaims

WAIT = 600  # seconds
ONE = ("--seeds", "1")


def state_of(process: int) -> tuple[str, int]:
    """A process's state, Z where it is gone, and its parent's number."""
    try:
        state, parent = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[:2]
    except (FileNotFoundError, ProcessLookupError):
        return "Z", 0
    return state, int(parent)


def test_shared_killed_interrupted_and_continued_gives_the_same_table(tables, finished, tmp_path, in_process):
    """Of two commands on one folder one is killed, and the other, which takes up its cell, interrupted."""
    out = tmp_path / "out"
    commands = {command.pid: command for command in (tables.start(out, *ONE) for _ in range(2))}
    tables.wait_for(lambda: list((out / RUNS).glob("*/last")))
    run = next((out / RUNS).glob("*/last")).parent.name
    worker = int(re.search(r"process (\d+) computes", (out / LOGS / f"{run}.txt").read_text())[1])
    killed = commands.pop(state_of(worker)[1])
    killed.kill()
    killed.communicate()
    tables.wait_for(lambda: state_of(worker)[0] == "Z")
    (process,) = commands.values()
    tables.wait_for(lambda: "resumed after step" in tables.logs(out))
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=WAIT)
    assert process.returncode == 130 and errors.rstrip().endswith("interrupted")
    rows = json.loads((out / "table.json").read_text())["rows"]
    claims, keys = FolderClaims(out / CLAIMS), [cell["key"] for row in rows for cell in row["cells"]]
    assert len(keys) == 2 and not any(claims.is_claimed(key) for key in keys)

    summary = ablate(tables.read("two.toml", *ONE), out)
    assert tables.cells(summary, 1) == tables.cells(finished[1], 1)[:2]
    assert sorted(tables.starts(out).values()) in ([1, 2], [1, 3]), "no finished cell is computed again"
    kept = {"config.json", "environment.json", "metrics.jsonl", "scores.json"}
    assert all(
        {path.name for path in run.iterdir()} - {"README.md"} == kept for run in (out / RUNS).iterdir()
    )
