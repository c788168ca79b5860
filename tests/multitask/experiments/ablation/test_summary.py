"""The table from records: means, differences of single and overall scores, costs, and what must be noted."""

from types import SimpleNamespace

import numpy as np
import pytest
from scipy import stats

from multitask.experiments.ablation.cells import Cell
from multitask.experiments.ablation.definition import Ablation, Row
from multitask.experiments.ablation.summary import summarize_table

SIZES = {"sst": 120, "paraphrase": 90, "sts": 70}


def table(*names, seeds=(1, 2)):
    config = SimpleNamespace(limit=None)
    rows = tuple(Row(name, "", {"optim": {"lr": 1.0}}, None, config) for name in names)
    cells = [Cell(name, seed, config, f"{name}{seed}") for seed in seeds for name in names]
    return Ablation("T", "", names[0], seeds, rows), cells


@pytest.fixture
def records(cell_record):
    draw = np.random.default_rng(4)
    shifts = {"base": 0.0, "better": 0.25}
    return {f"{name}{seed}": cell_record(draw, shift) for seed in (1, 2) for name, shift in shifts.items()}


def test_differences_of_an_overall_score_come_from_tasks_resampled_on_their_own(records):
    """The interval by plain resampling with another generator; ours may differ by what 10,000 draws leave."""
    found = summarize_table(*table("base", "better"), records)
    assert found["columns"] == [
        *("sst.accuracy", "paraphrase.accuracy", "sts.pearson", "overall_2024", "mean_raw"),
    ]
    draw, scores = np.random.default_rng(9), {}
    chosen = {name: draw.integers(size, size=(4000, size)) for name, size in SIZES.items()}
    for key, entry in records.items():
        values = {name: np.take(task["values"], chosen[name], 1) for name, task in entry["tasks"].items()}
        correlation = stats.pearsonr(*values["sts"], axis=1).statistic
        shares = values["sst"][0].mean(axis=1) + values["paraphrase"][0].mean(axis=1)
        scores[key] = (shares + (correlation + 1) / 2) / 3
    replicates = sum(scores[f"better{seed}"] - scores[f"base{seed}"] for seed in (1, 2)) / 2
    low, high = np.quantile(replicates, [0.025, 0.975])
    difference = found["rows"][1]["differences"]["overall_2024"]
    assert (difference["low"], difference["high"]) == pytest.approx((low, high), abs=0.06 * (high - low))
    assert difference["significant"] is True
    means = [row["scores"]["overall_2024"]["mean"] for row in found["rows"]]
    assert difference["mean"] == pytest.approx(means[1] - means[0])
    raw = found["rows"][1]["differences"]["mean_raw"]
    assert raw["high"] - raw["low"] > difference["high"] - difference["low"], "STS counts twice as much"


def test_rows_that_were_scored_on_other_examples_are_not_compared(records):
    for seed in (1, 2):
        records[f"better{seed}"]["tasks"]["sst"]["examples"] = "others"
    found = summarize_table(*table("base", "better"), records)
    differences = found["rows"][1]["differences"]
    assert differences["sst.accuracy"]["low"] is None and differences["overall_2024"]["low"] is None
    assert differences["sts.pearson"]["low"] is not None
    assert any(note.startswith("sst: rows were scored on different examples") for note in found["notes"])


def test_missing_and_failed_cells_and_the_seeds_that_remain(records):
    failed = {"state": "failed", "error": "out of memory", "tasks": {}}
    del records["base2"]
    found = summarize_table(*table("base", "better", "broken"), records | {"broken1": failed})
    base, better, broken = found["rows"]
    assert [cell["state"] for cell in base["cells"]] == ["finished", "missing"]
    assert base["scores"]["sst.accuracy"]["n"] == 1 and base["scores"]["sst.accuracy"]["sd"] is None
    assert better["scores"]["sst.accuracy"]["n"] == 2
    paired = records["better1"]["tasks"]["sst"]["value"] - records["base1"]["tasks"]["sst"]["value"]
    assert better["differences"]["sst.accuracy"]["mean"] == pytest.approx(paired), "the seed of both rows"
    assert better["differences"]["sst.accuracy"]["significant"] is None
    assert broken["scores"] == {} and broken["costs"] == {} and broken["differences"] == {}
    assert broken["cells"][0]["error"] == "out of memory"
    assert "3 of 6 cells have no scores" in found["notes"]


def test_a_correlation_that_is_not_defined_is_left_out(records):
    records["better1"]["tasks"]["sts"]["value"] = None  # what JSON has for NaN
    records["better1"]["tasks"]["sts"]["values"][0] = [0.0] * SIZES["sts"]
    row = summarize_table(*table("base", "better"), records)["rows"][1]
    assert row["scores"]["sts.pearson"]["n"] == 1
    assert "sts.pearson" not in row["cells"][0]["scores"] and "overall_2024" not in row["cells"][0]["scores"]


def test_cells_of_unlike_machines_are_noted(records):
    records["base1"]["environment"] = {"device": "cuda", "torch": "2", "threads": 1, "platform": "p"}
    notes = summarize_table(*table("base", "better"), records)["notes"]
    assert notes == ["cells ran with different device: cpu, cuda; small differences may be its"]


def test_costs_are_of_training_alone(records):
    records["better2"]["costs"] = records["better2"]["costs"] | {"training_seconds": 50.0, "peak_memory": 7}
    costs = summarize_table(*table("base", "better"), records)["rows"][1]["costs"]
    assert costs == {
        "trained_parameters": 10,
        "parameters": 40,
        "epochs": 2.0,
        "seconds_per_epoch": 20.0,
        "tokens_per_second": pytest.approx((200 + 120) / 2),
        "peak_memory": 10**8,
    }


def test_other_tasks_stand_behind_the_courses_and_have_no_overall_score(records, cell_record):
    draw = np.random.default_rng(2)
    for key in records:
        tasks = cell_record(draw)["tasks"]
        records[key]["tasks"] = {"news": tasks["paraphrase"], "sst": tasks["sst"]}
    assert summarize_table(*table("base", "better"), records)["columns"] == ["sst.accuracy", "news.accuracy"]


def test_two_tasks_are_never_resampled_in_step(records):
    """Two tasks with the very same flags: the spreads of their scores add up as those of independent ones."""
    for entry in records.values():
        entry["tasks"]["paraphrase"] = dict(entry["tasks"]["sst"])
        entry["tasks"]["sts"] = entry["tasks"]["sts"] | {"values": [[0.0, 1.0, 2.0] * 40] * 2, "value": 1.0}
    differences = summarize_table(*table("base", "better"), records)["rows"][1]["differences"]
    single, both = (differences[name] for name in ("sst.accuracy", "overall_2024"))
    widths = [entry["high"] - entry["low"] for entry in (single, both)]
    assert widths[1] == pytest.approx(np.sqrt(2) / 3 * widths[0], rel=0.1)
