"""ablate with real processes: killed, interrupted and continued, shared among processes."""

import json
import os
import re
import signal
import subprocess
from contextlib import suppress
from pathlib import Path

from multitask.experiments.ablation.ablate import CLAIMS, RUNS
from multitask.experiments.claims import FolderClaims

WAIT = 600  # seconds
ONE = ("--seeds", "1")


def began(tables, out: Path) -> int:
    """Waits until a cell is computed; -> its process's number."""
    tables.wait_for(lambda: sum(tables.starts(out).values()) > 0)
    return int(re.search(r"process (\d+) computes", tables.logs(out))[1])


def result_of(process: subprocess.Popen) -> dict:
    """The table that `multitask ablate --json` printed."""
    output, errors = process.communicate(timeout=WAIT)
    assert process.returncode == 0, errors
    return json.loads(output)


def is_running(process: int) -> bool:
    with suppress(ProcessLookupError):
        os.kill(process, 0)
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def test_killed_interrupted_and_continued_gives_the_same_table(tables, finished, tmp_path):
    """A command that is killed takes its process with it; Ctrl-C leaves a table, and no cell is held."""
    out = tmp_path / "out"
    process = tables.start(out, *ONE)
    worker = began(tables, out)
    tables.wait_for(lambda: list((out / RUNS).glob("*/last")))
    assert process.poll() is None, "it ended before it was killed"
    process.kill()
    process.communicate()
    tables.wait_for(lambda: not is_running(worker))

    process = tables.start(out, *ONE)
    tables.wait_for(lambda: "resumed after step" in tables.logs(out))
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=WAIT)
    assert process.returncode == 130 and errors.rstrip().endswith("interrupted")
    rows = json.loads((out / "table.json").read_text())["rows"]
    claims, keys = FolderClaims(out / CLAIMS), [cell["key"] for row in rows for cell in row["cells"]]
    assert len(keys) == 2 and not any(claims.is_claimed(key) for key in keys)

    summary = result_of(tables.start(out, *ONE, "--json"))
    assert tables.cells(summary, 1) == tables.cells(finished[1], 1)[:2]
    assert sum(tables.starts(out).values()) > 2, "a cell was taken up again"


def test_processes_share_a_folder_and_take_up_what_a_killed_one_had(tables, finished, tmp_path):
    out = tmp_path / "out"
    processes = [tables.start(out, *ONE, "--json") for _ in range(2)]
    os.kill(began(tables, out), signal.SIGKILL)
    for process in processes:
        assert tables.cells(result_of(process), 1) == tables.cells(finished[1], 1)[:2]
    assert sorted(tables.starts(out).values()) == [1, 2], "no cell is computed twice"
