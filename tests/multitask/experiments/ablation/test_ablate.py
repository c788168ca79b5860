"""ablate: scores, differences and costs of a table, refused input; with real processes that are killed."""

import json
import os
import re
import shutil
import signal
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from minbert import BertConfig, BertModel, InputError
from multitask import RunConfig, load_run, train
from multitask.cli.main import run as run_command
from multitask.experiments.ablation.ablate import ablate, executor_job, make_cells, make_jobs
from multitask.experiments.ablation.compute_cell import LOGS, RESULTS, RUNS, CellJob, failure
from multitask.experiments.ablation.statistics import interval
from multitask.experiments.executor.engine import Engine
from multitask.runtime.locks import take_lock
from multitask.tasks.splits import load_split


def test_scores_and_costs_are_those_of_plain_runs(finished, tables, tmp_path):
    """Each cell is what `train` gives with that seed, its score that of the best checkpoint on dev."""
    row = finished[1]["rows"][1]
    values = tables.read("two.toml").rows[1].config.to_dict() | {"out": str(tmp_path / "run")}
    run = train(RunConfig.from_dict(values | {"train": values["train"] | {"seed": 2}}))
    evaluation, cell = run.evaluate(), row["cells"][1]
    expected = {f"{t}.{name}": v for t, scores in evaluation.scores.items() for name, v in scores.items()}
    expected |= evaluation.overall
    assert cell["scores"] == pytest.approx({name: expected[name] for name in finished[1]["columns"]})
    values = [cell["scores"]["overall_2024"] for cell in row["cells"]]
    mean, sd = pytest.approx(np.mean(values)), pytest.approx(np.std(values, ddof=1))
    assert row["scores"]["overall_2024"] == {"mean": mean, "sd": sd, "n": 2}
    assert row["costs"]["trained_parameters"] == run.scores["costs"]["trained_parameters"]
    assert row["costs"]["epochs"] == 3 and row["costs"]["peak_memory"] > 1e8
    assert row["costs"]["tokens_per_second"] > 0 and row["costs"]["seconds_per_epoch"] > 0


def test_differences_rest_on_the_dev_examples(finished):
    """The interval of SST's difference, from predictions that were made anew, by plain resampling."""
    correct = {}
    for name in ("slow", "fast"):
        for seed in (1, 2):
            run = load_run(next((finished[0] / RUNS).glob(f"{name}-seed-{seed}-*")))
            examples, _ = load_split(run.task("sst"), Path(run.config.data), "dev")
            guesses = run.predict_rows("sst", examples.rows)
            right = [guess == row.label for guess, row in zip(guesses, examples.rows, strict=True)]
            correct[name, seed] = np.array(right, float)
    gains = np.mean([correct["fast", seed] - correct["slow", seed] for seed in (1, 2)], axis=0)
    drawn = np.random.default_rng(3).integers(len(gains), size=(20_000, len(gains)))
    low, high = interval(gains[drawn].mean(axis=1))
    found = finished[1]["rows"][1]["differences"]["sst.accuracy"]
    assert found["mean"] == pytest.approx(gains.mean(), abs=1e-12)
    step = 1 / len(gains)  # an interval's end is one of few values, a half apart at the most
    assert (found["low"], found["high"]) == pytest.approx((low, high), abs=step)


def test_a_failed_cell_is_recorded_and_the_folder_is_complete(finished):
    out, summary = finished
    failed = summary["rows"][2]
    assert [cell["state"] for cell in failed["cells"]] == ["failed"] * 2 and not failed["scores"]
    assert "lower --optim.lr" in failed["cells"][0]["error"]
    assert "Traceback" in next((out / LOGS).glob("broken-*")).read_text()
    assert summary["rows"][0]["differences"] == {}, "the baseline differs from nothing"
    assert {path.name for path in out.iterdir()} >= {
        *("table.json", "table.md", "table.csv", "table.tex"),
        *(RESULTS, LOGS, RUNS),
    }
    assert json.loads((out / "table.json").read_text()) == summary


def test_finished_and_failed_cells_are_not_computed_again(finished, tables):
    out, summary = finished
    before = tables.starts(out)
    assert tables.cells(ablate(tables.read("broken.toml"), out), 1, 2) == tables.cells(summary, 1, 2)
    fewer = ablate(tables.read("two.toml", "--seeds", "2"), out)  # a table of fewer rows and seeds
    assert tables.starts(out) == before and len(fewer["rows"]) == 2
    assert {cell["state"] for row in fewer["rows"] for cell in row["cells"]} == {"finished"}
    assert fewer["rows"][1]["differences"]["sst.accuracy"]["significant"] is None, "one seed"


class NothingToCompute:
    """An executor of one job at a time, which ends at once with `error`, or after recording a failure."""

    threads = 1

    def __init__(self, error: str | None = None):
        self.error = error
        self.begun: list[str] = []
        self.ended: dict[str, str | None] = {}

    @contextmanager
    def executor(self):
        yield self

    def submit(self, job) -> bool:
        if self.ended:
            return False
        self.begun.append(job.key)
        if self.error is None:
            cell = CellJob(**job.argument)
            cell.record(failure(cell.row, cell.seed, "made up"))
        self.ended[job.key] = self.error
        return True

    def poll(self) -> dict[str, str | None]:
        ended, self.ended = self.ended, {}
        return ended


def use(monkeypatch, executor: NothingToCompute) -> list[str]:
    """Lets `ablate` use an executor; -> the keys that it will have begun."""
    monkeypatch.setattr(Engine, "executor", lambda self: executor.executor())
    return executor.begun


def test_failed_cells_are_computed_again_where_asked(finished, tables, tmp_path, monkeypatch):
    out = shutil.copytree(finished[0], tmp_path / "out")
    begun = use(monkeypatch, NothingToCompute())
    ablate(tables.read("broken.toml"), out, retry_failed=True)
    assert begun == [cell["key"] for cell in finished[1]["rows"][2]["cells"]]


def test_a_cell_that_another_command_has_is_waited_for(tables, tmp_path, monkeypatch):
    """It is computed here once the other one has given it back."""
    ablation, begun, seen = tables.read("two.toml", "--seeds", "1"), use(monkeypatch, NothingToCompute()), []
    held, free = make_cells(ablation)
    (tmp_path / RESULTS).mkdir()
    (tmp_path / RESULTS / f"{held.key}.place").write_text("there, process 1")
    lock = take_lock(tmp_path / RESULTS / f"{held.key}.lock")

    def watch(state) -> None:
        seen.append(dict(state.others))
        if free.key in state.records and held.key in state.others:
            lock.__exit__(None, None, None)

    ablate(ablation, tmp_path, watch=watch)
    assert begun == [free.key, held.key] and {held.key: "there, process 1"} in seen and seen[-1] == {}


def test_a_cell_whose_workers_die_fails(tables, tmp_path, monkeypatch):
    begun = use(monkeypatch, NothingToCompute("its process ended 3 times"))
    summary = ablate(tables.read("two.toml", "--seeds", "1"), tmp_path)
    cells = [cell for row in summary["rows"] for cell in row["cells"]]
    assert {(cell["state"], cell["error"]) for cell in cells} == {("failed", "its process ended 3 times")}
    assert len(begun) == len(cells)


@pytest.mark.parametrize("engine", ["processes", "ray"])
@pytest.mark.parametrize("threads", [None, 3])
@pytest.mark.parametrize(
    ("device", "gpu"), [("cpu", False), ("auto", True), ("cuda", True), ("cuda:1", False)]
)
def test_what_cells_ask_of_an_engine(tables, tmp_path, engine, threads, device, gpu):
    """Its share of the cores, unless the table says otherwise; a card for `auto` and `cuda`."""
    words = ["--seeds", "1", "--device", device, "--threads", str(threads).lower()]
    cells = make_cells(tables.read("two.toml", *words))
    for job in make_jobs(cells, tmp_path, Engine(engine), threads=7, keep_weights=False).values():
        asked = executor_job(job)
        assert (asked.gpu, asked.threads, asked.argument["config"]["threads"]) == (gpu, *[threads or 7] * 2)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--jobs", "0"], "--jobs is 0; it must be at least 1"),
        (["--engine", "rays"], "--engine is 'rays'; choose from processes, ray; did you mean 'ray'"),
        (["--engine", "ray", "--ray-address", "127.0.0.1:1"], "--ray-address 127.0.0.1:1 does not answer"),
        (["--data", "/nowhere"], "data folder /nowhere does not exist"),
        (["--weights", "/nowhere"], "there is no folder /nowhere"),
        (["--sst.train", "other.csv"], "row 'slow': sst has nothing to train on; there is no file"),
        (["--seeds", "a"], "--seeds is 'a'"),
        (["--optim.lr", "1"], "rows 'slow' and 'fast' are the same configuration"),
    ],
)
def test_wrong_input_is_one_line_and_starts_nothing(tables, tmp_path, words, message):
    out = tmp_path / "out"
    with pytest.raises(InputError, match=message):
        run_command(tables.command("--out", str(out), *words))
    assert not out.exists()


def test_without_a_folder_with_a_runs_folder_and_with_a_dry_run(tables, tmp_path, capsys):
    with pytest.raises(InputError, match="no folder for the table; give --out"):
        run_command(tables.command())
    run_command(tables.command("--dry-run"))
    assert capsys.readouterr().out == "slow: the base\nfast: optim.lr = 0.003\n"
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(InputError, match="is the folder of a run; give --out another one"):
        run_command(tables.command("--out", str(tmp_path)))
    assert [path.name for path in tmp_path.iterdir()] == ["config.json"]


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
    commands = {command.pid: command for command in (tables.start(out, "--seeds", "1") for _ in range(2))}
    tables.wait_for(lambda: list((out / RUNS).glob("*/last")))
    run = next((out / RUNS).glob("*/last")).parent.name
    worker = int(re.search(r"process (\d+) on .* computes", (out / LOGS / f"{run}.txt").read_text())[1])
    killed = commands.pop(state_of(worker)[1])
    killed.kill()
    killed.communicate()
    tables.wait_for(lambda: state_of(worker)[0] == "Z")
    (process,) = commands.values()
    tables.wait_for(lambda: "resumed after step" in tables.logs(out))
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=600)
    assert process.returncode == 130 and errors.endswith(
        "interrupted; the same command computes the cells that are left\n"
    )
    rows = json.loads((out / "table.json").read_text())["rows"]
    keys = [cell["key"] for row in rows for cell in row["cells"]]
    assert len(keys) == 2 and all(take_lock(out / RESULTS / f"{key}.lock") for key in keys)

    summary = ablate(tables.read("two.toml", "--seeds", "1"), out)
    assert tables.cells(summary, 1) == tables.cells(finished[1], 1)[:2]
    assert sorted(tables.starts(out).values()) in ([1, 2], [1, 3]), "no finished cell is computed again"
    kept = {"config.json", "environment.json", "metrics.jsonl", "scores.json"}
    assert all(
        {path.name for path in run.iterdir()} - {"README.md"} == kept for run in (out / RUNS).glob("[!.]*")
    )


def kill_workers(tables, out: Path, process) -> None:
    """Kills the worker of each run that has a checkpoint, once, until another worker resumes one of them."""
    killed: set[str] = set()

    def resumed() -> bool:
        assert process.poll() is None, process.communicate()
        for run in {path.parent.name for path in (out / RUNS).glob("*/last")} - killed:
            killed.add(run)
            log = (out / LOGS / f"{run}.txt").read_text()
            with suppress(ProcessLookupError):  # it has just ended
                os.kill(int(re.search(r"process (\d+) on .* computes", log)[1]), signal.SIGKILL)
        return "resumed after step" in tables.logs(out)

    tables.wait_for(resumed)


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["processes", "ray"])
def test_three_rows_on_an_engine_equal_those_of_one_process(tables, tmp_path, in_process, engine):
    """3 x 2 cells by two workers: a worker is killed, then the command, which is started again."""
    longer = ["--train.epochs", "6"]
    out, words = tmp_path / "out", [*longer, "--jobs", "2", "--engine", engine]
    process = tables.start(out, *words, name="three.toml")
    kill_workers(tables, out, process)
    tables.wait_for(lambda: list((out / RESULTS).glob("*.json")))
    process.kill()
    process.communicate()
    done = {path.name: path.stat().st_mtime_ns for path in (out / RESULTS).glob("*.json")}
    process = tables.start(out, *words, "--json", name="three.toml")
    output, errors = process.communicate(timeout=600)
    assert process.returncode == 0, errors
    summary = json.loads(output)  # and nothing else
    assert {name: (out / RESULTS / name).stat().st_mtime_ns for name in done} == done
    assert 1 <= len(done) < 6
    expected = ablate(tables.read("three.toml", *longer), tmp_path / "whole")
    assert tables.cells(summary, 1, 2) == tables.cells(expected, 1, 2)
    assert {cell["state"] for cell in tables.cells(summary, 1, 2)} == {"finished"}
    records = [
        [json.loads(path.read_text())["tasks"] for path in sorted((folder / RESULTS).glob("*.json"))]
        for folder in (out, tmp_path / "whole")
    ]
    assert records[0] == records[1], "bit for bit, each example's score"
    threads = {json.loads(path.read_text())["threads"] for path in out.glob("runs/*/environment.json")}
    assert threads == {1}


@pytest.mark.slow
def test_every_row_of_the_papers_table_is_computed(tables, tmp_path, tiny_folder, in_process):
    """All twelve rows on the bundled corpus."""
    weights = shutil.copytree(tiny_folder, tmp_path / "weights")
    BertModel(replace(BertConfig.from_folder(weights), num_hidden_layers=5)).save_pretrained(weights)
    words = f"--data sample --weights {weights} --limit 24 --threads 1 --out {tmp_path / 'out'}"
    assert run_command(["ablate", "paper", *words.split(), "--seeds", "1"]) == 0
    table = json.loads((tmp_path / "out" / "table.json").read_text())
    assert {cell["state"] for cell in tables.cells(table, 1)} == {"finished"} and len(table["rows"]) == 12
