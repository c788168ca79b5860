"""SPACE.toml: reading it, its points, and what is refused before anything is trained."""

import math

import pytest

from minbert import CommandParser, InputError
from multitask import RunConfig
from multitask.cli.search import add_search_options
from multitask.config.options import RunOptions
from multitask.experiments.search.settings import Method
from multitask.experiments.search.space import Space, read_space

RATE = {"low": 1e-5, "high": 1e-3, "log": True}


def space_of(parameters: dict, **others) -> Space:
    return Space.from_dict({"space": parameters, **others})


def check(space: Space, configure=RunConfig.from_dict) -> dict:
    return space.base(configure, space.corners())


def test_a_file_is_read(tmp_path):
    path = tmp_path / "space.toml"
    path.write_text(
        """
        title = "Rates"
        metric = "sst.accuracy"
        seeds = [1, 2]
        preset = "paper-baseline"
        [base.train]
        epochs = 2
        [space."optim.lr"]
        low = 1e-5
        high = 1
        log = true
        [space.tasks.sst.hidden]
        choices = [[], [768, 768]]
        [space.lora.rank]
        low = 2
        high = 8
        step = 2
        [space.dropout]
        keys = ["tasks.sst.dropout", "model.hidden-dropout-prob"]
        low = 0
        high = 0.5
        """,
        encoding="utf-8",
    )
    space = read_space(str(path))
    assert (space.title, space.metric, space.seeds) == ("Rates", "sst.accuracy", (1, 2))
    rate, hidden, rank, dropout = space.parameters
    assert (rate.name, rate.kind, rate.low, rate.high, rate.log) == ("optim.lr", "float", 1e-5, 1.0, True)
    assert isinstance(rate.high, float)
    assert (hidden.kind, hidden.choices) == ("choice", ([], [768, 768]))
    assert (rank.kind, rank.values()) == ("int", [2, 4, 6, 8])
    assert (dropout.kind, dropout.keys) == ("float", ("tasks.sst.dropout", "model.hidden_dropout_prob"))
    config = RunConfig.from_dict(
        space.with_point({"optim.lr": 0.5, "tasks.sst.hidden": [768, 768], "lora.rank": 4, "dropout": 0.25})
    )
    assert config.optim.lr == 0.5 and config.lora.rank == 4 and config.train.epochs == 2
    assert config.sampling == "sequential:sst,paraphrase,sts"  # of the preset
    assert config.tasks["sst"].hidden == (768, 768) and config.tasks["sst"].pooling == "pooler"
    assert config.tasks["sst"].dropout == config.model["hidden_dropout_prob"] == 0.25
    assert config.tasks["sts"].dropout == 0.1


def test_a_parameter_of_one_task_leaves_the_others_in_the_run():
    space = space_of({"tasks": {"sst": {"dropout": {"low": 0.0, "high": 0.5}}}})
    assert list(check(space)["tasks"]) == ["sst", "paraphrase", "sts"]


def test_a_grid_is_the_product_of_its_values():
    space = space_of(
        {
            "optim.lr": {"low": 1e-5, "high": 1e-3, "grid": [1e-4, 1e-3]},
            "tasks.sst.dropout": {"low": 0.1, "high": 0.3, "step": 0.1},
            "freeze": {"choices": ["none", "backbone"]},
        }
    )
    points = list(space.grid())
    assert len(points) == 2 * 3 * 2 == len({tuple(point.values()) for point in points})
    assert [round(point["tasks.sst.dropout"], 9) for point in points[:6:2]] == [0.1, 0.2, 0.3]
    assert points[0].keys() == {"optim.lr", "tasks.sst.dropout", "freeze"}
    assert [point["freeze"] for point in points[:2]] == ["none", "backbone"]
    with pytest.raises(InputError, match="give step, or grid"):
        list(space_of({"optim.lr": RATE}).grid())


def test_the_papers_spaces():
    grid = read_space("paper-grid")
    sizes = {parameter.name: len(parameter.values()) for parameter in grid.parameters}
    assert sizes == {"learning_rate": 4, "train.batch_size": 5, "freeze": 2}
    configs = [RunConfig.from_dict(grid.with_point(point)) for point in grid.grid()]
    assert len(configs) == 40 and {c.optim.lr for c in configs} == {1e-5, 1e-4, 1e-3, 1e-2}
    assert all(config.optim.lr == config.optim.head_lr for config in configs)
    later = {parameter.name: parameter for parameter in read_space("paper-range").parameters}
    assert (later["learning_rate"].low, later["learning_rate"].high) == (1e-7, 1e-3)
    assert (later["dropout"].low, later["dropout"].high) == (0.01, 0.5)
    assert sorted(map(len, later["hidden"].choices)) == [0, 1, 2, 3, 4]
    assert later["train.batch_size"].choices == (2, 4, 8, 16, 32, 64, 128)
    check(read_space("paper-range"))


def test_corners_hold_each_end_and_each_choice():
    few = space_of({"optim.lr": RATE, "freeze": {"choices": ["none", "backbone", "embeddings"]}})
    assert len(few.corners()) == 2 * 3
    keys = [f"tasks.{t}.{k}" for t in ("sst", "paraphrase", "sts") for k in ("dropout", "weight", "lr")]
    many = space_of({key: {"low": 0.1, "high": 0.4} for key in keys})
    corners = many.corners()
    assert len(corners) < 2**9 and all(len(corner) == 9 for corner in corners)
    for name in corners[0]:
        assert {corner[name] for corner in corners} == {0.1, 0.4}


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({}, "no parameter"),
        ({"optim.lrr": RATE}, "optim.lrr; did you mean 'optim.lr'"),
        ({"sst.pooling": {"choices": ["cls"]}}, "did you mean 'tasks.sst.pooling'"),
        ({"tasks.nli.dropout": {"low": 0.1, "high": 0.2}}, "no configuration key tasks.nli.dropout"),
        ({"optim.lr": {"low": 1e-5}}, "needs low and high, or choices"),
        ({"optim.lr": {"low": 1e-3, "high": 1e-5}}, "low must be the smaller"),
        ({"optim.lr": {"low": 0, "high": 1e-3, "log": True}}, "begins above 0"),
        ({"optim.lr": {"low": 0, "high": 1.0, "step": 0.3}}, "divide"),
        ({"optim.lr": {"low": 1e-5, "high": 1.0, "log": True, "step": 0.1}}, "log and step"),
        ({"optim.lr": {"low": math.nan, "high": 1.0}}, "low must be the smaller"),
        ({"optim.lr": {"low": "a", "high": 1.0}}, "space.optim.lr.low is 'a'; give a number"),
        ({"optim.lr": RATE | {"logg": True}}, "no key space.optim.lr.logg; did you mean 'log'"),
        ({"optim.lr": RATE | {"grid": [1.0]}}, "name values from"),
        ({"train.batch_size": {"low": 2, "high": 8.5}}, "give a whole number"),
        ({"train.batch_size": {"choices": []}}, "at least one value"),
        ({"train.batch_size": {"choices": [8, 8]}}, "each once"),
        ({"train.batch_size": {"choices": [8], "low": 2}}, "choices and low"),
        ({"freeze": {"low": 1, "high": 2}}, "freeze is not a number"),
        ({"rate": {"keys": ["optim.lr", "optim.lr"], "low": 1e-5, "high": 1.0}}, "optim.lr is set by"),
        ({"optim.lr": RATE, "rate": RATE | {"keys": ["optim.lr"]}}, "optim.lr is set by"),
        ({"out": {"choices": ["a", "b"]}}, "no configuration key out"),
        ({"optim.lr": 3}, "space.optim.lr is 3"),
    ],
)
def test_a_parameter_that_makes_no_sense_is_refused(parameters, message):
    with pytest.raises(InputError, match="^[^\n]*$") as raised:
        space_of(parameters)
    assert message in str(raised.value)


@pytest.mark.parametrize(
    ("others", "message"),
    [
        ({"metrik": "sst.accuracy"}, "no key metrik; did you mean 'metric'"),
        ({"seeds": [1, 1]}, "each seed once"),
        ({"seeds": ["one"]}, "seeds is 'one'"),
        ({"preset": "paper-bets"}, "did you mean 'paper-best'"),
        ({"title": 3}, "title is 3"),
        ({"seeds": [1, 2], "space": {"train.seed": {"choices": [1, 2]}}}, "train.seed is searched"),
    ],
)
def test_a_file_that_is_not_a_search_is_refused(others, message):
    with pytest.raises(InputError) as raised:
        Space.from_dict({"space": {"optim.lr": RATE}} | others)
    assert message in str(raised.value)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"tasks.sst.dropout": {"low": 0.1, "high": 1.5}}, "dropout is 1.5"),
        ({"tasks.sst.pooling": {"choices": ["cls", "man"]}}, "did you mean 'max'|did you mean 'mean'"),
        ({"freeze": {"choices": ["none", "all"]}}, "freeze all leaves nothing"),
        # impossible together only: the last corner
        ({"lora.rank": {"choices": [0, 4]}, "extra_layers": {"choices": [0, 1]}}, "lora freezes the encoder"),
    ],
)
def test_every_corner_is_built_before_the_first_trial(parameters, message):
    with pytest.raises(InputError, match=message):
        check(space_of(parameters))


def options_of(*words: str) -> RunOptions:
    parser = CommandParser(prog="multitask search")
    add_search_options(parser)
    return RunOptions(parser, ["space.toml", *words])


def test_options_stand_on_top_of_all_trials():
    space = space_of({"optim.lr": RATE}, base={"train": {"epochs": 7}})
    base = check(space, options_of("--epochs", "2", "--limit", "9", "--sst.pooling", "cls").configure)
    assert (base["train"]["epochs"], base["limit"], base["tasks"]["sst"]["pooling"]) == (2, 9, "cls")


@pytest.mark.parametrize(
    ("parameters", "words", "message"),
    [
        ({"optim.lr": RATE}, ["--lr", "1e-4"], "optim.lr is searched; leave out the option"),
        ({"freeze": {"choices": ["none", "backbone"]}}, ["--option", "pretrain"], "freeze is searched"),
        ({"tasks.sst.dropout": {"low": 0.2, "high": 0.3}}, ["--sst.dropout", "0.2"], "dropout is searched"),
        (
            {"tasks.sst.dropout": {"low": 0.2, "high": 0.3}},
            ["--tasks", "sts"],
            "no such task; its tasks are sts",
        ),
    ],
)
def test_options_do_not_decide_what_is_searched(parameters, words, message):
    with pytest.raises(InputError, match=message):
        check(space_of(parameters), options_of(*words).configure)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"sampler": "tpee"}, "did you mean 'tpe'"),
        ({"pruner": "mean"}, "median"),
        ({"trials": 0}, "at least 1"),
        ({"sampler": "grid", "trials": 3}, "visits each of its points once"),
        ({"sampler_seed": -1}, "from 0"),
    ],
)
def test_methods_that_make_no_sense_are_refused(given, message):
    with pytest.raises(InputError, match=message):
        Method(**given)
