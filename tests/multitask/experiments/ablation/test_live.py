"""What is shown while a table is computed: each cell's state, and a line for each that is done."""

from types import SimpleNamespace

import pytest

from multitask.experiments.ablation.ablate import State
from multitask.experiments.ablation.cells import Cell
from multitask.experiments.ablation.compute_cell import RUNS
from multitask.experiments.ablation.live import cell_text, live_table, score_line

SCORES = {"sst": 0.5, "paraphrase": 0.8, "sts": 0.6}
METRICS = {"sst": "accuracy", "paraphrase": "accuracy", "sts": "pearson"}


def record(*tasks):
    entries = {name: {"metric": METRICS[name], "value": SCORES[name]} for name in tasks}
    return {"state": "finished", "tasks": entries}


FAILED = {"state": "failed", "error": "InputError: the loss is nan", "tasks": {}}


@pytest.fixture
def cells():
    return [Cell(f"row {key}", 1, SimpleNamespace(), key * 8) for key in "abcdef"]


@pytest.fixture
def state(cells):
    a, b, c, d, e, _ = (cell.key for cell in cells)
    return State({a: record(*SCORES), b: FAILED}, {c: "here, process 3", e: ""}, {d: "there, process 4"})


def test_each_state_of_a_cell_has_a_text(cells, state, tmp_path):
    def texts():
        return [cell_text(cell, state, tmp_path) for cell in cells]

    places = ["begins on here, process 3", "begins on there, process 4"]
    assert texts() == ["0.7000", "failed", *places, "waits", "·"]
    run = tmp_path / RUNS / cells[2].folder_name
    run.mkdir(parents=True)
    line = '{"kind": "train", "step": 120}\n'
    (run / "metrics.jsonl").write_text(line + '{"kind": "tra', encoding="utf-8")
    assert texts()[2] == "step 120 on here, process 3", "the last whole line counts"


def test_scores_without_all_three_tasks_are_their_mean():
    assert score_line(record("sst", "paraphrase")) == "0.6500"
    assert score_line(record()) == "no score"


def test_without_a_screen_each_finished_cell_is_one_line(cells, state, tmp_path, capsys):
    earlier = State({cells[0].key: record(*SCORES)}, {}, {})
    with live_table(cells, tmp_path) as watch:
        for shown in (earlier, earlier, state, state):
            watch(shown)
    lines = [line for line in capsys.readouterr().err.splitlines() if line.strip()]
    assert lines == ["1 of 6 cells are done already", "row b, seed 1: failed: InputError: the loss is nan"]


def test_on_a_terminal_the_table_is_drawn(cells, state, tmp_path, monkeypatch):
    rich = pytest.importorskip("rich.console")
    from multitask.experiments.ablation.live import _screen

    console = rich.Console(width=80, record=True, file=open("/dev/null", "w"))
    console.print(_screen(cells, state, tmp_path))
    text = console.export_text()
    console.file.close()
    for expected in (
        "row a",
        "0.7000",
        "failed",
        "there, process 4",
        "2 of 6 cells done, 1 failed",
        "seed 1",
    ):
        assert expected in text
