"""ablate: scores, differences and costs of a table, what its folder holds, what it refuses."""

import json
from pathlib import Path

import numpy as np
import pytest

from minbert import InputError
from multitask import RunConfig, train
from multitask.cli import run as run_command
from multitask.experiments.ablation.ablate import CLAIMS, LOGS, RUNS, ablate
from multitask.experiments.ablation.statistics import interval
from multitask.run import load_run
from multitask.splits import load_split


def test_scores_are_those_of_plain_runs(finished, tables, tmp_path):
    """Each cell is what `train` gives with that seed, its score that of the best checkpoint on dev."""
    _, summary = finished
    config = tables.read("two.toml").rows[1].config.to_dict()
    row = summary["rows"][1]
    for cell in row["cells"]:
        values = config | {"out": str(tmp_path / str(cell["seed"]))}
        values["train"] = values["train"] | {"seed": cell["seed"]}
        run = train(RunConfig.from_dict(values))
        evaluation = run.evaluate()
        assert cell["scores"]["sst.accuracy"] == evaluation.scores["sst"]["accuracy"]
        assert cell["scores"]["sts.pearson"] == pytest.approx(evaluation.scores["sts"]["pearson"], abs=1e-12)
        assert cell["scores"]["overall_2024"] == pytest.approx(evaluation.overall["overall_2024"], abs=1e-12)
        assert cell["scores"]["mean_raw"] == pytest.approx(evaluation.overall["mean_raw"], abs=1e-12)
    values = [cell["scores"]["overall_2024"] for cell in row["cells"]]
    assert row["scores"]["overall_2024"] == {
        "mean": pytest.approx(np.mean(values)),
        "sd": pytest.approx(np.std(values, ddof=1)),
        "n": 2,
    }
    assert row["costs"]["trained_parameters"] == run.scores["costs"]["trained_parameters"]
    assert row["costs"]["epochs"] == 4 and row["costs"]["peak_memory"] > 1e8
    assert row["costs"]["tokens_per_second"] > 0 and row["costs"]["seconds_per_epoch"] > 0


def test_differences_rest_on_the_dev_examples(finished, tables, tmp_path):
    """The interval of SST's difference, from predictions that were made anew, by plain resampling."""
    _, summary = finished
    correct = {}
    for row in tables.read("two.toml").rows:
        for seed in (1, 2):
            values = row.config.to_dict() | {"out": str(tmp_path / f"{row.name}{seed}")}
            values["train"] = values["train"] | {"seed": seed}
            train(RunConfig.from_dict(values))
            run = load_run(values["out"])
            examples, _ = load_split(run.task("sst"), Path(values["data"]), "dev")
            guesses = run.predict_rows("sst", examples.rows)
            correct[row.name, seed] = np.array(
                [g == e.label for g, e in zip(guesses, examples.rows, strict=True)]
            )
    gains = np.mean([correct["fast", s].astype(float) - correct["slow", s] for s in (1, 2)], axis=0)
    drawn = np.random.default_rng(3).integers(len(gains), size=(20_000, len(gains)))
    low, high = interval(gains[drawn].mean(axis=1))
    found = summary["rows"][1]["differences"]["sst.accuracy"]
    assert found["mean"] == pytest.approx(gains.mean(), abs=1e-12)
    assert (found["low"], found["high"]) == pytest.approx((low, high), abs=1 / len(gains))
    assert summary["rows"][0]["differences"] == {}, "the baseline differs from nothing"


def test_a_failed_cell_is_recorded_and_stops_nothing(finished):
    out, summary = finished
    states = {row["name"]: [cell["state"] for cell in row["cells"]] for row in summary["rows"]}
    assert states == {"slow": ["finished"] * 2, "fast": ["finished"] * 2, "broken": ["failed"] * 2}
    broken = summary["rows"][2]
    assert "lower --optim.lr" in broken["cells"][0]["error"] and broken["scores"] == {}
    assert "Traceback" in next((out / LOGS).glob("broken-*")).read_text()


def test_what_the_folder_holds(finished):
    out, summary = finished
    assert {path.name for path in out.iterdir()} >= {
        *("ablation.json", "table.json", "table.md", "table.csv", "table.tex"),
        *(CLAIMS, LOGS, RUNS),
    }
    assert json.loads((out / "table.json").read_text()) == summary
    runs = list((out / RUNS).glob("slow-*")) + list((out / RUNS).glob("fast-*"))
    assert len(runs) == 4
    for run in runs:
        assert {path.name for path in run.iterdir()} == {
            *("config.json", "environment.json", "metrics.jsonl", "scores.json"),
        } | {path.name for path in run.iterdir() if path.name == "README.md"}


def test_finished_and_failed_cells_are_not_computed_again(finished, tables):
    out, summary = finished
    before = tables.starts(out)
    again = ablate(tables.read("broken.toml"), out)
    assert tables.starts(out) == before
    assert tables.repeatable(again) == tables.repeatable(summary)


def test_a_table_of_fewer_rows_and_seeds_finds_its_cells(finished, tables):
    out, _ = finished
    before = tables.starts(out)
    fewer = ablate(tables.read("two.toml", "--seeds", "2"), out)
    assert tables.starts(out) == before and len(fewer["rows"]) == 2
    assert {cell["state"] for row in fewer["rows"] for cell in row["cells"]} == {"finished"}
    assert fewer["rows"][1]["differences"]["sst.accuracy"]["significant"] is None, "one seed"


@pytest.mark.slow
def test_failed_cells_are_computed_again_where_asked(finished, tables):
    out, _ = finished
    before = tables.starts(out)
    ablate(tables.read("broken.toml", "--seeds", "1,2"), out, jobs=2, retry_failed=True)
    changed = {name for name, count in tables.starts(out).items() if count != before[name]}
    assert changed and all(name.startswith("broken") for name in changed)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--jobs", "0"], "jobs is 0; it must be at least 1"),
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
    assert not out.exists() or not list(out.glob("runs"))


def test_without_a_folder_and_with_a_dry_run(tables, capsys):
    command = tables.command()
    with pytest.raises(InputError, match="no folder for the table; give --out"):
        run_command(command)
    run_command([*command, "--dry-run"])
    assert capsys.readouterr().out == "slow: the base\nfast: optim.lr = 0.003\n"


def test_the_folder_of_a_run_is_left_alone(tables, tmp_path):
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(InputError, match="is the folder of a run; give --out another one"):
        run_command(tables.command("--out", str(tmp_path)))
    assert [path.name for path in tmp_path.iterdir()] == ["config.json"]
