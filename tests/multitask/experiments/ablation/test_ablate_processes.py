"""ablate with real processes: killed and continued, shared among processes, interrupted, dying."""

import json
import os
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
from multitask.experiments.claims.claims import Claims, Holder, open_store

WAIT = 150  # seconds


def kill_in_the_middle(tables, out: Path, *words: str) -> None:
    """Starts ablate, and kills it when a cell that it began has its first checkpoint."""
    before = tables.starts(out)
    process = tables.start(out, *words)

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
    process = tables.start(out, "--json")
    output, errors = process.communicate(timeout=WAIT)
    assert process.returncode == 0, errors
    assert tables.repeatable(json.loads(output)) == tables.repeatable(finished[1], rows=2)
    assert sum(tables.starts(out).values()) > 4, "a cell was taken up again"
    logs = "".join(path.read_text() for path in (out / LOGS).iterdir())
    assert "resumed after step" in logs


def test_a_killed_scheduler_takes_its_processes_with_it(tables, tmp_path):
    out = tmp_path / "out"
    process = tables.start(out)
    tables.wait_for(lambda: sum(tables.starts(out).values()) > 0)
    (lease,) = (out / CLAIMS).glob("*.1.lease")
    worker = json.loads(lease.read_text())["process"]
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
    outputs = [process.communicate(timeout=WAIT) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    assert set(tables.starts(out).values()) == {1} and len(tables.starts(out)) == 4
    for output, _ in outputs:
        assert tables.repeatable(json.loads(output)) == tables.repeatable(finished[1], rows=2)


@pytest.mark.slow
def test_machines_share_a_database_and_each_has_a_folder_of_its_own(tables, tmp_path, finished):
    storage = f"sqlite:///{tmp_path / 'cells.db'}"
    folders = [tmp_path / "one", tmp_path / "other"]
    processes = [tables.start(out, "--storage", storage, "--json") for out in folders]
    outputs = [process.communicate(timeout=WAIT) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    computed = [path.name for out in folders for path in (out / RUNS).iterdir()]
    assert len(computed) == len(set(computed)) == 4
    for output, _ in outputs:
        assert tables.repeatable(json.loads(output)) == tables.repeatable(finished[1], rows=2)


def test_a_cell_that_another_machine_gave_up_is_done_here(tables, tmp_path):
    """The scheduler has watched the silent lease for long enough, the cell's own process has not."""
    ablation = tables.read("two.toml", "--tasks", "sst", "--limit", "8", "--seeds", "1")
    out = tmp_path / "out"
    store = open_store(out / CLAIMS)
    (silent, *_) = make_cells(ablation)
    store.add(silent.key, 1, Holder("elsewhere", "elsewhere", 1, "0"))
    seen = []
    summary = ablate(ablation, out, watch=lambda state: seen.append(dict(state.others)), expiry=3)
    assert [cell["state"] for row in summary["rows"] for cell in row["cells"]] == ["finished"] * 2
    assert {silent.key: "process 1 on elsewhere"} in seen
    assert store.newest(silent.key).number == 2


def test_a_process_that_dies_again_and_again_makes_its_cell_fail(tables, tmp_path, monkeypatch):
    ablation = tables.read("two.toml", "--seeds", "1")
    fatal = tmp_path / "sitecustomize.py"
    fatal.write_text(
        "import os, sys\nif 'cell_process' in ' '.join(sys.orig_argv): os.kill(os.getpid(), 11)\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    summary = ablate(ablation, tmp_path / "out", jobs=2)
    cells = [cell for row in summary["rows"] for cell in row["cells"]]
    assert {cell["state"] for cell in cells} == {"failed"}
    assert "ended 3 times, the last time with signal 11" in cells[0]["error"]


def test_a_cell_whose_process_is_killed_is_taken_up_again(tables, tmp_path):
    out = tmp_path / "out"
    process = tables.start(out, "--seeds", "1")
    tables.wait_for(lambda: sum(tables.starts(out).values()) > 0)
    lease = next((out / CLAIMS).glob("*.1.lease"))
    os.kill(json.loads(lease.read_text())["process"], signal.SIGKILL)
    output, errors = process.communicate(timeout=WAIT)
    assert process.returncode == 0, errors
    assert sorted(tables.starts(out).values()) == [1, 2]


def test_ctrl_c_waits_for_the_cells_and_leaves_a_table(tables, tmp_path):
    out = tmp_path / "out"
    process = tables.start(out)
    tables.wait_for(lambda: sum(tables.starts(out).values()) > 0 and list((out / RUNS).glob("*/config.json")))
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=WAIT)
    assert process.returncode == 130 and errors.rstrip().endswith("interrupted")
    assert (out / "table.json").is_file()
    store = Claims(open_store(out / CLAIMS))
    keys = [path.name.split(".")[0] for path in (out / CLAIMS).iterdir()]
    assert not any(store.holder(key) for key in keys), "nothing is held any more"


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
