"""ablate with real processes: killed and continued, shared among processes, interrupted, dying."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from minbert import BertConfig, BertModel
from multitask.experiments.ablation.ablate import CLAIMS, LOGS, RUNS, ablate, make_cells
from multitask.experiments.claims import FolderClaims

WAIT = 150  # seconds


def began(tables, out: Path) -> int:
    """Waits until a cell is computed; -> its process's number."""
    tables.wait_for(lambda: sum(tables.starts(out).values()) > 0)
    logs = "".join(path.read_text() for path in (out / LOGS).iterdir())
    return int(re.search(r"process (\d+) computes", logs)[1])


def result_of(process: subprocess.Popen) -> dict:
    """The table that `multitask ablate --json` printed."""
    output, errors = process.communicate(timeout=WAIT)
    assert process.returncode == 0, errors
    return json.loads(output)


def kill_in_the_middle(tables, out: Path) -> None:
    """Starts ablate, and kills it when a cell that it began has its first checkpoint."""
    before = tables.starts(out)
    process = tables.start(out)

    def has_checkpoint() -> bool:
        assert process.poll() is None, "it ended before it was killed"
        begun = [name for name, count in tables.starts(out).items() if count > before[name]]
        return any((out / RUNS / name / "last").is_dir() for name in begun)

    tables.wait_for(has_checkpoint)
    process.kill()
    process.communicate()


def test_killed_twice_and_continued_gives_the_same_table(tables, finished, tmp_path):
    out = tmp_path / "out"
    for _ in range(2):
        kill_in_the_middle(tables, out)
    summary = result_of(tables.start(out, "--json"))
    assert tables.repeatable(summary) == tables.repeatable(finished[1], rows=2)
    assert sum(tables.starts(out).values()) > 4, "a cell was taken up again"
    assert "resumed after step" in "".join(path.read_text() for path in (out / LOGS).iterdir())


def test_a_killed_scheduler_takes_its_processes_with_it(tables, tmp_path):
    out = tmp_path / "out"
    process = tables.start(out)
    worker = began(tables, out)
    process.kill()
    process.communicate()

    def ended() -> bool:
        with suppress(ProcessLookupError):
            os.kill(worker, 0)
            return Path(f"/proc/{worker}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
        return True

    tables.wait_for(ended)


def test_two_processes_on_one_folder_compute_no_cell_twice(tables, tmp_path, finished):
    out = tmp_path / "out"
    processes = [tables.start(out, "--json") for _ in range(2)]
    for process in processes:
        assert tables.repeatable(result_of(process)) == tables.repeatable(finished[1], rows=2)
    assert set(tables.starts(out).values()) == {1} and len(tables.starts(out)) == 4


def test_a_cell_that_another_process_has_is_waited_for(tables, tmp_path):
    """It is computed here once the other one has given it back."""
    ablation = tables.read("two.toml", "--tasks", "sst", "--limit", "8", "--seeds", "1")
    (held, free) = make_cells(ablation)
    claim, seen = FolderClaims(tmp_path / CLAIMS).claim(held.key), []

    def watch(state) -> None:
        seen.append(set(state.others))
        if free.key in state.records and held.key in state.others:
            claim.__exit__()

    summary = ablate(ablation, tmp_path, jobs=2, watch=watch)
    assert [cell["state"] for row in summary["rows"] for cell in row["cells"]] == ["finished"] * 2
    assert {held.key} in seen and seen[-1] == set()


def test_a_process_that_dies_again_and_again_makes_its_cell_fail(tables, tmp_path, monkeypatch):
    ablation = tables.read("two.toml", "--seeds", "1")
    (tmp_path / "sitecustomize.py").write_text(
        "import os, sys\nif 'cell_process' in ' '.join(sys.orig_argv): os.kill(os.getpid(), 11)\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    summary = ablate(ablation, tmp_path / "out", jobs=2)
    cells = [cell for row in summary["rows"] for cell in row["cells"]]
    assert {cell["state"] for cell in cells} == {"failed"}
    assert "ended 3 times, the last time with signal 11" in cells[0]["error"]


def test_a_cell_whose_process_is_killed_is_taken_up_again(tables, tmp_path):
    out = tmp_path / "out"
    process = tables.start(out, "--seeds", "1", "--json")
    os.kill(began(tables, out), signal.SIGKILL)
    result_of(process)
    assert sorted(tables.starts(out).values()) == [1, 2]


def test_ctrl_c_waits_for_the_cells_and_leaves_a_table(tables, tmp_path):
    out = tmp_path / "out"
    process = tables.start(out)
    began(tables, out)
    tables.wait_for(lambda: list((out / RUNS).glob("*/config.json")))
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=WAIT)
    assert process.returncode == 130 and errors.rstrip().endswith("interrupted")
    keys = [
        cell["key"] for row in json.loads((out / "table.json").read_text())["rows"] for cell in row["cells"]
    ]
    claims = FolderClaims(out / CLAIMS)
    assert len(keys) == 4 and not any(claims.is_claimed(key) for key in keys), "nothing is held any more"


@pytest.mark.slow
def test_the_papers_table_in_full_killed_twice(tables, tmp_path, tiny_folder):
    """All twelve rows on the bundled corpus, `--limit` 24: the second time it is killed twice on the way."""
    weights = shutil.copytree(tiny_folder, tmp_path / "weights")
    BertModel(replace(BertConfig.from_folder(weights), num_hidden_layers=5)).save_pretrained(weights)
    words = ["--data", "sample", "--weights", str(weights), "--limit", "24", "--seeds", "1,2", "--json"]
    command = [sys.executable, "-m", "multitask", "ablate", "paper", *words, "--threads", "1", "--jobs", "2"]
    whole = subprocess.run([*command, "--out", str(tmp_path / "a")], capture_output=True, text=True)
    assert whole.returncode == 0, whole.stderr
    for done in (4, 13):
        process = subprocess.Popen(
            [*command, "--out", str(tmp_path / "b")], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        tables.wait_for(lambda: len(list((tmp_path / "b" / CLAIMS).glob("[!.]*.json"))) >= done)  # noqa: B023
        process.kill()
        process.wait()
    continued = subprocess.run([*command, "--out", str(tmp_path / "b")], capture_output=True, text=True)
    assert continued.returncode == 0, continued.stderr
    assert tables.repeatable(json.loads(continued.stdout)) == tables.repeatable(json.loads(whole.stdout))
