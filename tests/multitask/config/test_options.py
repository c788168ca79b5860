"""The options of a run: one for every key, files below the command line, hints for misspelt ones."""

from dataclasses import fields, is_dataclass
from types import UnionType
from typing import get_args, get_type_hints

import pytest

from minbert import AttentionAdapterConfig, BertConfig, CommandParser, InputError
from multitask.config.option_types import flat, plain
from multitask.config.options import RunOptions, add_run_options, option_of, read_run_options, run_keys
from multitask.config.run_config import RunConfig
from multitask.config.task_config import TaskConfig


@pytest.fixture
def parser():
    parser = CommandParser(prog="multitask train")
    add_run_options(parser)
    return parser


@pytest.fixture
def read(parser):
    return lambda *arguments: read_run_options(parser, [str(argument) for argument in arguments])[0]


def test_every_key_has_an_option_with_a_help_text(parser):
    keys = set()
    for f in fields(RunConfig):
        part = getattr(RunConfig(), f.name)
        if is_dataclass(part):
            keys |= {f"{f.name}.{inner.name}" for inner in fields(part)}
        elif f.name not in ("model", "tasks", "stages"):
            keys.add(f.name)
    keys |= {f"model.{f.name}" for part in (BertConfig, AttentionAdapterConfig) for f in fields(part)}
    keys -= {"model.extra", "model.vocab_size", "model.projected_attention_names"}
    assert {key for key, *_ in run_keys()} == keys
    options = parser._option_string_actions
    for key in keys:
        assert options[option_of(key)].help, key
    in_force = flat(RunConfig().to_dict())
    shown = {key: default for key, _, _, default in run_keys() if not key.startswith("model.")}
    assert {key: plain(default) for key, default in shown.items() if key in in_force} == {
        key: value for key, value in in_force.items() if key in shown
    }
    assert all(f.metadata["help"] for f in fields(TaskConfig))
    text = " ".join(parser.format_help().split())
    assert all(option in text for option in options)
    assert all(f"--TASK.{f.name.replace('_', '-')}" in text for f in fields(TaskConfig))


VALUES = {  # type -> text, value
    int: ("7", 7),
    float: ("0.25", 0.25),
    str: ("word", "word"),
    bool: ("false", False),
    tuple[str, ...]: ("a, b", ("a", "b")),
    tuple[int, ...]: ("16,8", (16, 8)),
    tuple[float, ...]: ("-1,1", (-1.0, 1.0)),
    dict[str, int]: ("layers.1.=4,query=2", {"layers.1.": 4, "query": 2}),
    dict[str, float]: ("layers.1.=0.5", {"layers.1.": 0.5}),
}
TASK_KEYS = [(f"sst.{key}", hint) for key, hint in get_type_hints(TaskConfig).items()]


@pytest.mark.parametrize(("key", "hint"), [*((key, hint) for key, hint, *_ in run_keys()), *TASK_KEYS])
def test_every_option_sets_its_key(parser, key, hint):
    kinds = get_args(hint) if isinstance(hint, UnionType) else (hint,)
    text, value = VALUES[kinds[0]]
    option = option_of(key)
    cases = [([option, text], value), ([f"{option}={text}"], value)]
    for words, value in [*cases, *([([option, "None"], None)] if len(kinds) > 1 else [])]:
        found = RunOptions(parser, words).changes(["sst"])
        for part in (["tasks"] if (key, hint) in TASK_KEYS else []) + key.split("."):
            (name,) = found
            assert name == part
            found = found[part]
        assert found == value and type(found) is type(value)


def test_the_command_line_wins_over_the_file(read, tmp_path):
    path = tmp_path / "a.toml"
    path.write_text(
        "limit = 5\n[train]\nepochs = 7\nbatch-size = 4\n[tasks.sst]\npooling = 'max'\n[tasks.sts]\n",
        encoding="utf-8",
    )
    config = read(path, "--train.epochs", 2, "--sst.pooling=cls", "--train.batch-size=9")
    assert (config.train.epochs, config.train.batch_size, config.limit) == (2, 9, 5)
    assert config.tasks["sst"].pooling == "cls"
    assert list(config.tasks) == ["sst", "sts"]
    assert read("--train.epochs", 2, path).train.epochs == 2


def test_tasks_chooses_and_orders_them(read, tmp_path):
    assert list(read("--tasks", "sts, sst").tasks) == ["sts", "sst"]
    path = tmp_path / "a.toml"
    path.write_text(
        "[tasks.mine]\ntype = 'similarity'\nhigh = 3\n[tasks.sst]\npooling = 'cls'\n", encoding="utf-8"
    )
    config = read(path, "--tasks", "sts,mine")
    assert list(config.tasks) == ["sts", "mine"] and config.tasks["mine"].high == 3.0
    assert read("--tasks", "mine", "--mine.type", "similarity", "--mine.high", "2").tasks["mine"].high == 2.0


@pytest.mark.parametrize(
    ("arguments", "key", "value"),
    [
        (["--lr", "2e-5"], "optim.lr", 2e-5),
        (["--batch_size", "8"], "train.batch_size", 8),
        (["--batch-size", "8"], "train.batch_size", 8),
        (["--epochs", "10"], "train.epochs", 10),
        (["--seed", "3"], "train.seed", 3),
        (["--use_gpu"], "device", "cuda"),
        (["--use_gpu", "--device", "cpu"], "device", "cpu"),
        (["--option", "pretrain"], "freeze", "backbone"),
        (["--option", "finetune"], "freeze", "none"),
        (["--fine-tune-mode", "last-linear-layer"], "freeze", "backbone"),
        (["--fine-tune-mode", "full-model"], "freeze", "none"),
        (["--hidden_dropout_prob", "0.3"], "model.hidden_dropout_prob", 0.3),
        (["--hidden_dropout_prob", "0.3"], "model.attention_probs_dropout_prob", 0.3),
        (["--hidden_dropout_prob", "0.3"], "tasks.sts.dropout", 0.3),
        (["--hidden_dropout_prob", "0.3", "--sts.dropout", "0.2"], "tasks.sts.dropout", 0.2),
    ],
    ids=str,
)
def test_the_course_s_flags(read, arguments, key, value):
    found = read(*arguments).to_dict()
    for part in key.split("."):
        found = found[part]
    assert found == value


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--trian.epochs", "3"], "there is no option --trian.epochs; did you mean '--train.epochs'"),
        (["--train.epoch=3"], "there is no option --train.epoch; did you mean '--train.epochs'"),
        (["--train.batch_size", "3"], "there is no option --train.batch_size; .*'--train.batch-size'"),
        (["--sst.poolin", "cls"], "there is no option --sst.poolin; did you mean '--sst.pooling'"),
        (["--sstt.pooling", "cls"], "there is no option --sstt.pooling: .*; did you mean 'sst'"),
        (["--wieghts", "x"], "there is no option --wieghts; did you mean '--weights'"),
        (["--tasks", "sst", "--sts.pooling", "cls"], "there is no option --sts.pooling"),
        (["--sst.pooling"], "--sst.pooling needs a value"),
        (["--train.epochs"], "--train.epochs needs a value: passes over"),
        (["--train.epochs", "many"], "--train.epochs is 'many'; give a whole number"),
        (["--sst.lr", "fast"], "--sst.lr is 'fast'; give a number"),
        (["--sst.pooling", "clss"], "sst.pooling is 'clss'; .*did you mean 'cls'"),
        (["--hidden_dropout_prob", "much"], "--hidden_dropout_prob is 'much'; give a number"),
        (["--tasks", "sst,sst"], "name each task once"),
        (["--tasks", ","], "name each task once"),
        (["--tasks", "paraprase"], "there is no task 'paraprase'; did you mean 'paraphrase'"),
        (["--option", "both"], "is 'both'; choose from"),
        (["nothing.toml"], "there is no file nothing.toml and no preset of that name"),
        (["sample", "more"], "there is nothing to do with 'more'"),
        (["--task-file", "nothing.py"], "there is no Python file nothing.py"),
    ],
    ids=str,
)
def test_what_is_wrong_is_named(read, arguments, message):
    with pytest.raises(InputError, match=message):
        read(*arguments)


def test_tables_of_a_file_that_are_no_tables(read, tmp_path):
    path = tmp_path / "a.toml"
    for text, message in (
        ("tasks = ['sst']", "tasks is"),
        ("tasks = 'sst'", "tasks is 'sst'; it is a table"),
        ("task_file = 3", "task_file is 3; give a text"),
    ):
        path.write_text(text, encoding="utf-8")
        for arguments in ([path], [path, "--tasks", "sst"]):
            with pytest.raises(InputError, match=message):
                read(*arguments)
