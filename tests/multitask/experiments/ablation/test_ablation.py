"""Tables: what a file defines, what it may not say, and the presets."""

from importlib import resources

import pytest

from minbert import CommandParser, InputError
from multitask.config.option_types import flat
from multitask.config.options import RunOptions, add_key_options
from multitask.experiments.ablation.definition import published_scores, read_ablation

TABLE = """
title = "Rates"
about = "What the rate does."
baseline = "slow"
seeds = [0, 4]
preset = "lora"

[base.train]
epochs = 7

[[rows]]
name = "slow"

[[rows]]
name = "fast"
about = "Ten times as fast."
set.optim.lr = 1e-3
set.tasks.sst.pooling = "cls"
"""


def options(*words: str) -> RunOptions:
    parser = CommandParser(prog="multitask ablate")
    add_key_options(parser)
    return RunOptions(parser, ["--weights", "W", "--data", "sample", *words])


@pytest.fixture
def write(tmp_path):
    """The function `write(text)` -> the name of a file with it."""

    def write_file(text: str) -> str:
        path = tmp_path / "table.toml"
        path.write_text(text, encoding="utf-8")
        return str(path)

    return write_file


def test_a_row_is_preset_base_row_and_options_each_on_top_of_the_one_before(write):
    found = read_ablation(write(TABLE), options("--train.batch-size", "5", "--sst.dropout", "0.3"))
    assert (found.title, found.about, found.baseline) == ("Rates", "What the rate does.", "slow")
    assert found.seeds == (0, 4)
    slow, fast = (row.config for row in found.rows)
    assert slow.lora.rank == fast.lora.rank == 8 and slow.optim.adapter_lr == 1e-3, "the preset"
    assert slow.train.epochs == fast.train.epochs == 7, "the base"
    assert (slow.optim.lr, fast.optim.lr) == (5e-5, 1e-3), "the row"
    assert (slow.tasks["sst"].pooling, fast.tasks["sst"].pooling) == ("mean", "cls")
    assert slow.train.batch_size == fast.train.batch_size == 5, "the options"
    assert slow.tasks["sst"].dropout == fast.tasks["sst"].dropout == 0.3
    assert slow.weights == "W" and slow.data == "sample"
    assert flat(found.rows[1].changes) == {"optim.lr": 1e-3, "tasks.sst.pooling": "cls"}

    found = read_ablation(write(TABLE), options("--optim.lr", "0.5", "--tasks", "sst"), [9])
    assert [(row.config.optim.lr, list(row.config.tasks)) for row in found.rows] == [(0.5, ["sst"])] * 2
    assert found.seeds == (9,)
    named = read_ablation(write('baseline = "a\\nb"\n[[rows]]\nname = " a\\r\\nb "'), options())
    assert named.baseline == named.rows[0].name == "a b", "a name is one line wherever it is written"
    found = read_ablation(write('[[rows]]\nname = "a"\n[[rows]]\nname = "b"\nset.limit = 9'), options())
    assert (found.baseline, found.seeds) == ("a", (1, 2, 3))


@pytest.mark.parametrize(
    ("text", "words", "message"),
    [
        ("title = 'x'", [], "has no rows; give"),
        ("rows = 3", [], "rows is 3; give a list"),
        ("[[rows]]\nset.freeze = 'backbone'", [], "a row has no name"),
        ("[[rows]]\nname = 'a'\n[[rows]]\nname = 'a'", [], "two rows are called 'a'"),
        ("[[rows]]\nname = 'a'\nsets.freeze = 1", [], "no key rows.sets; did you mean 'set'"),
        ("sedes = [1]\n[[rows]]\nname = 'a'", [], "there is no key sedes; did you mean 'seeds'"),
        ("[[rows]]\nname = 'a'\nset.optim.rate = 1", [], "row 'a': there is no key optim.rate"),
        ("[[rows]]\nname = 'a'\nset.optim.lr = 'x'", [], "row 'a': optim.lr is 'x'; give a number"),
        ("[[rows]]\nname = 'a'\nset.train.seed = 1", [], "row 'a' sets train.seed; give seeds"),
        ("baseline = 'b'\n[[rows]]\nname = 'a'", [], "baseline is 'b'; choose from a"),
        ("seeds = []\n[[rows]]\nname = 'a'", [], "seeds are"),
        ("seeds = [1, 1]\n[[rows]]\nname = 'a'", [], "each once"),
        ("seeds = [-1]\n[[rows]]\nname = 'a'", [], "from 0"),
        ("seeds = ['x']\n[[rows]]\nname = 'a'", [], "seeds is 'x'; give a whole number"),
        ("preset = 'papr'\n[[rows]]\nname = 'a'", [], "no preset of that name"),
        ("[[rows]]\nname = 'a'\npublished.sst = 'x'", [], "published.sst is 'x'"),
        ("[[rows]]\nname = 'a'\npublished.f1 = 0.1", [], "no key published.f1"),
        ("[[rows]]\nname = 'a'", ["--train.seed", "3"], "give --seeds 1,2,3 in place"),
        ("[[rows]]\nname = 'a'", ["--news.pooling", "cls"], "no row has the task news"),
        ("[[rows]]\nname = 'a'", ["--sst.poling", "cls"], "did you mean '--sst.pooling'"),
        ("x = ", [], "is not TOML"),
    ],
)
def test_a_wrong_table_is_refused(write, text, words, message):
    with pytest.raises(InputError, match=message):
        read_ablation(write(text), options(*words))


def test_published_numbers_are_put_on_one_footing():
    """The source paper's rows: LoRA, last four layers, and the contrastive loss mix two formulas."""
    lora = published_scores({"overall": 0.683, "sst": 0.529, "paraphrase": 0.738, "sts": 0.782})
    assert lora["formula"] == "mean_raw"
    assert lora["mean_raw"] == pytest.approx((0.529 + 0.738 + 0.782) / 3)
    assert lora["overall_2024"] == pytest.approx((0.529 + 0.738 + 1.782 / 2) / 3)
    contrastive = published_scores({"overall": 0.647, "sst": 0.457, "paraphrase": 0.794, "sts": 0.379})
    assert contrastive["formula"] == "overall_2024"
    assert (
        published_scores({"overall": 0.406, "sst": 0.317, "paraphrase": 0.548, "sts": 0.0})["formula"]
        == "neither"
    )
    assert published_scores({"sst": 0.5}) == {
        "overall": None,
        "formula": "neither",
        "scores": {"sst.accuracy": 0.5},
        "note": "",
    }


TABLES = sorted(
    entry.name.removesuffix(".toml")
    for entry in (resources.files("multitask") / "config" / "presets" / "tables").iterdir()
)


@pytest.mark.parametrize("name", TABLES)
def test_each_preset_builds_and_has_several_seeds(name):
    found = read_ablation(name, options())
    assert len(found.seeds) >= 2 and len(found.rows) >= 5 and found.title and found.about
    configs = [row.config for row in found.rows]
    assert all(config != other for place, config in enumerate(configs) for other in configs[:place])


def test_the_papers_table_has_its_eleven_rows_and_one_more():
    with pytest.raises(InputError, match="presets: .*did you mean 'paper'"):
        read_ablation("papr", options())
    rows = read_ablation("paper", options()).rows
    printed = [row.published["overall"] for row in rows if row.published]
    assert printed == [0.406, 0.596, 0.667, 0.657, 0.683, 0.647, 0.7418, 0.7781, 0.7823, 0.7889, 0.7849]
    formulas = [row.published["formula"] for row in rows if row.published]
    assert formulas == ["neither"] * 2 + ["mean_raw"] * 3 + ["overall_2024"] * 6
    assert [row.name for row in rows if not row.published] == ["LoRA, all linear layers"]
