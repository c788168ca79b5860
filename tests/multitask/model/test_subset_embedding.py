"""Word embeddings of which only the touched rows train: what nn.Embedding gives, and the whole table."""

import re
import shutil
from contextlib import contextmanager, nullcontext
from copy import deepcopy

import pytest
import torch
from torch import nn
from torch.func import functional_call

from minbert import InputError
from multitask import resume, train
from multitask.model.multitask_model import EncoderView
from multitask.model.subset_embedding import SubsetEmbedding, train_touched_rows
from multitask.runtime.messages import show_messages
from multitask.tasks.base import TrainingTask
from multitask.training.components import build_components
from multitask.training.inputs import load_inputs
from multitask.training.trainer import start_runtime
from tests.multitask.runs import assert_same_run, killed

V, D, PAD = 12, 5, 3
IDS = [9, 2, 7, 4]  # that training touches
TOUCHED = [2, 3, 4, 7, 9]  # with the padding token
OTHERS = [0, 1, 5, 6, 8, 10, 11]


@pytest.fixture
def embedding():
    torch.manual_seed(0)
    embedding = nn.Embedding(V, D, padding_idx=PAD)
    nn.init.normal_(embedding.weight)  # the padding token's row too
    return embedding


@pytest.fixture
def touched(embedding):
    return SubsetEmbedding(embedding, IDS)


def move(touched):
    """A step of some optimizer -> the whole table that it leads to."""
    with torch.no_grad():
        touched.weight += torch.randn(touched.weight.shape)
    table = torch.empty(V, D)
    table[TOUCHED] = touched.weight.detach()
    table[OTHERS] = touched.others
    return table


# The module beside nn.Embedding.


def test_rows_and_gradients_are_those_of_the_embedding(embedding, touched):
    ids = torch.tensor([9, PAD, 2, 9, 4, 9, 2, PAD])
    scale = torch.randn(len(ids), D)
    for module in (embedding, touched):
        (module(ids) * scale).sum().backward()
    assert torch.equal(touched(ids), embedding(ids))
    assert touched.weight.shape == (len(TOUCHED), D)
    assert torch.equal(touched.weight.grad, embedding.weight.grad[TOUCHED])
    assert not embedding.weight.grad[[*OTHERS, PAD]].any() and touched.weight.grad.any()


def test_evaluation_reads_every_row_as_it_is_now(embedding, touched):
    assert torch.equal(touched.eval()(torch.arange(V)), embedding.weight)
    table = move(touched)
    ids = torch.tensor([0, 9, 11, 3, 2, 5, 9])
    assert torch.equal(touched(ids), table[ids])
    assert torch.equal(touched(torch.tensor(OTHERS)), embedding.weight[OTHERS])
    assert not torch.equal(touched(torch.tensor(IDS)), embedding.weight[IDS])


def test_training_reads_no_other_row_and_it_takes_over_mode_and_what_is_trained(embedding):
    touched = SubsetEmbedding(embedding, IDS)
    with pytest.raises(InputError, match="reads token 8, which no training text has; set `whole_v"):
        touched(torch.tensor([9, 8, 2]))
    touched = SubsetEmbedding(embedding.eval().requires_grad_(False), IDS)
    assert not touched.training and not touched.weight.requires_grad
    without_padding = SubsetEmbedding(nn.Embedding(V, D), IDS)
    assert without_padding.weight.shape == (len(IDS), D)


def test_its_state_is_the_whole_table(touched):
    table, weight = move(touched), touched.weight
    module = nn.ModuleDict({"word": touched})
    state = module.state_dict()
    assert list(state) == ["word.weight"]
    assert torch.equal(state["word.weight"], table) and not state["word.weight"].requires_grad
    module.load_state_dict({"word.weight": -table})
    assert touched.weight is weight and touched.weight.requires_grad
    assert torch.equal(touched.eval()(torch.arange(V)), -table)


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({}, 'Missing key.*: "word.weight"'),
        (
            {"word.weight": torch.zeros(V + 1, D)},
            r"size mismatch for word.weight: \(13, 5\) instead of \(12, 5\)",
        ),
        ({"word.weight": torch.zeros(V, D), "word.rows": torch.zeros(1)}, 'Unexpected key.*: "word.rows"'),
    ],
)
def test_states_that_do_not_fit_are_refused(touched, state, message):
    before = touched.state_dict()["weight"]
    with pytest.raises(RuntimeError, match=message):
        nn.ModuleDict({"word": touched}).load_state_dict(state)
    if "Unexpected" not in message:
        assert torch.equal(touched.state_dict()["weight"], before)


def test_copies_types_and_borrowed_weights(touched):
    """A deep copy, another number type, and torch.func's call with other rows, as the teacher makes it."""
    table = move(touched)
    copy = deepcopy(touched).double().eval()
    move(touched)
    assert torch.equal(copy(torch.arange(V)), table.double())
    rows = torch.randn(len(TOUCHED), D)
    table[TOUCHED] = rows
    assert torch.equal(functional_call(touched.eval(), {"weight": rows}, torch.arange(V)), table)


# A run beside one that trains the whole table.

SMART = {"weight": 1.0, "bregman": 1.0, "momentum": 0.5}
RUNS = {
    "clipped hard, bf16": {"optim": {"clip": 0.01, "weight_decay": 0.1}, "precision": "bf16"},
    "teacher, unfreezing": {"smart": SMART, "unfreeze": "2", "tasks": {"sst": {}}},
    "rates": {"optim": {"embeddings_lr": 1e-2}, "tasks": {"sst": {"encoder_lr": 1e-4}, "sts": {}}},
}


@pytest.fixture(scope="module")
def data(tiny_data, tmp_path_factory):
    """The tiny data with letters: x and y only in the training texts of sts, z only in dev."""
    folder = shutil.copytree(tiny_data, tmp_path_factory.mktemp("letters") / "data")
    for name, letters in (("sts-train", "yx"), ("ids-sst-dev", "z"), ("sts-dev", " z")):
        path = folder / f"{name}.csv"
        header, *rows = (line.split("\t") for line in path.read_text(encoding="utf-8").splitlines())
        for row in rows:
            for place, letter in enumerate(letters, start=2):
                row[place] += f" {letter}"
        path.write_text("".join("\t".join(row) + "\n" for row in (header, *rows)), encoding="utf-8")
    (folder / "text.txt").write_text("the cat reads\na b c\n", encoding="utf-8")
    return folder


@pytest.fixture
def config(tiny_config, data, tmp_path):
    """config(name, **changes): a run into `tmp_path / name`, evaluated and saved on the way."""

    def make(name, **changes):
        short = {"train": {"max_steps": 11}, "eval": {"every_steps": 4}, "checkpoint": {"every_steps": 4}}
        return tiny_config(data=str(data), out=str(tmp_path / name), **(short | changes))

    return make


@contextmanager
def whole_table(monkeypatch):
    """Inside, all rows are trained: every task says that it reads the whole vocabulary."""
    with monkeypatch.context() as patch:
        patch.setattr(TrainingTask, "whole_vocabulary", True)
        yield


def train_saying(config) -> list[str]:
    said: list[str] = []
    with show_messages(said.append):
        train(config)
    return said


@pytest.mark.parametrize("changes", RUNS.values(), ids=RUNS.keys())
def test_a_run_is_that_with_the_whole_table(config, vocabulary, monkeypatch, tmp_path, changes):
    """Weights, moments, teacher, evaluations on words that only dev has: the same bits."""
    with whole_table(monkeypatch):
        plain = train_saying(config("whole", **changes))
    said = train_saying(config("touched", **changes))
    assert_same_run(tmp_path / "touched", tmp_path / "whole")
    assert not [line for line in said if "without a gradient" in line]
    pattern = r"(\d+) of (\d+) (word embeddings stay as they are: no|parameters)"
    found = [re.match(pattern, line.replace(",", "")) for line in (*said, *plain)]
    counts = [(int(match[1]), int(match[2])) for match in found if match]
    (left, size), (trained, all), (trained_whole, all_whole) = counts  # the whole table is not spoken of
    assert size == len(vocabulary) and all == all_whole and trained == trained_whole - left * 24


@pytest.mark.parametrize(("first", "step"), [("touched rows", 5), ("whole table", 10)])
def test_each_goes_on_where_the_other_stopped(config, monkeypatch, tmp_path, first, step):
    """Killed after the checkpoint of step 4 or 8; the embeddings are unfrozen after step 6."""
    changes = RUNS["teacher, unfreezing"]

    train(config("uninterrupted", **changes))
    before, after = nullcontext(), whole_table(monkeypatch)
    if first == "whole table":
        before, after = after, before
    with before:
        killed(lambda: train(config("killed", **changes)), step)
    with after:
        resume(tmp_path / "killed")
    assert_same_run(tmp_path / "killed", tmp_path / "uninterrupted")


# Where it applies.


@pytest.fixture
def assembled(config, data):
    """assembled(**changes) -> what is prepared for a run, and its parts, before the first step."""

    def make(**changes):
        run = config("run", **changes)
        device, group = start_runtime(run)
        inputs = load_inputs(run, data, device)
        return inputs, build_components(run, inputs, device, group)

    return make


def test_the_touched_rows_are_those_of_all_training_texts(assembled):
    """Of both texts of pairs, and of every task; nothing decays them."""
    prepared, parts = assembled()
    entries = [entry for examples in prepared.train.values() for entry in examples]
    ids = {0, *(token for entry in entries for side in entry.sides for token in side.ids)}  # 0 is padding
    touched = prepared.model.encoder.embeddings.word
    assert touched is parts.touched
    assert touched.order[: len(touched.weight)].tolist() == sorted(ids)
    assert len(touched.others) > 0
    groups = parts.optimizer.param_groups
    (group,) = [group for group in groups if any(p is touched.weight for p in group["params"])]
    assert group["weight_decay"] == 0


@pytest.mark.parametrize(
    "changes",
    [
        {"freeze": "embeddings"},
        {"lora": {"rank": 2}},
        {"tasks": {"sst": {}, "masked_lm": {"train": "text.txt"}}},
    ],
    ids=["embeddings frozen", "lora", "masked language modelling"],
)
def test_the_whole_table_stays_where_it_has_to(assembled, changes):
    prepared, parts = assembled(**changes)
    assert type(prepared.model.encoder.embeddings.word) is nn.Embedding and parts.touched is None


def test_the_whole_table_stays_where_nearly_all_of_it_is_touched(assembled):
    """Nothing would be gained; 94 and 95 of 105 rows are on both sides of nine tenths."""
    prepared, _ = assembled(freeze="embeddings")
    model, examples = prepared.model.requires_grad_(True), prepared.train["sst"]
    size = model.encoder.embeddings.word.num_embeddings

    def restricted(count):
        side = examples[0].sides[0]._replace(ids=[*range(count), size, size + 7])  # two that do not exist
        return train_touched_rows(model, {"sst": [examples[0]._replace(sides=(side,))]})

    assert restricted(int(0.9 * size) + 1) is None
    assert len(restricted(int(0.9 * size)).weight) == int(0.9 * size)


def test_a_task_that_reads_all_words_unannounced_is_refused(assembled):
    prepared, _ = assembled(tasks={"sst": {}})
    model = prepared.model
    encode = EncoderView(model.encoder, "sst", model.autocast)
    with pytest.raises(InputError, match="sst reads all word embeddings.*set `whole_vocabulary = True`"):
        encode.word_embeddings  # noqa: B018
