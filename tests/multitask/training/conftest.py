"""Fixtures for the tests of training: the tiny encoder with several tasks, and batches for them."""

import pytest
import torch

from minbert import BertModel, Tokenizer
from multitask.config.task_config import task_config
from multitask.config.task_kinds import make_task
from multitask.data.readers import Example
from multitask.model.multitask_model import MultitaskModel

WORDS = "cat dog house river book film good bad great dull".split()
LABELS = {
    "sst": lambda i: i % 5,
    "paraphrase": lambda i: i % 2,
    "sts": lambda i: i * 0.4,
    "ranking": lambda i: None,
}
TASKS = {"sst": {"pooling": "cls"}, "paraphrase": {"pairs": "bi"}, "sts": {}}


@pytest.fixture
def make_model(tiny_folder, randomize):
    """make_model(**tasks) -> the tiny encoder in fp64 with heads from a seed, in evaluation mode.

    `tasks` are configurations by name; without any there are sst, paraphrase and sts.
    """

    def make(**tasks) -> MultitaskModel:
        encoder = BertModel.from_pretrained(tiny_folder)
        made = {name: make_task(name, task_config(name, values)) for name, values in (tasks or TASKS).items()}
        model = MultitaskModel(encoder, made)
        randomize(model.heads, seed=1)
        return model.double().eval()

    return make


@pytest.fixture
def make_examples(tiny_folder):
    """make_examples(model, task, count, start=0) -> tokenized examples `start` to `start + count`."""
    tokenizer = Tokenizer.from_pretrained(tiny_folder)

    def make(model: MultitaskModel, name: str, count: int, start: int = 0):
        sides = 1 if name == "sst" else 2
        rows = []
        for i in range(start, start + count):
            texts = tuple(
                " ".join(WORDS[(i + k * (s + 1) + 3 * s) % 10] for k in range(1 + (3 * i + s) % 6))
                for s in range(sides)
            )
            rows.append(Example(str(i), texts, LABELS[name](i), i + 2))
        return model.tasks[name].tokenize(tokenizer, rows)

    return make


@pytest.fixture
def make_batch(make_examples):
    """make_batch(model, task, count, start=0) -> those examples as a TaskBatch."""

    def make(model: MultitaskModel, name: str, count: int, start: int = 0):
        return model.tasks[name].collate(make_examples(model, name, count, start))

    return make


@pytest.fixture
def gradients_of():
    """gradients_of(model) -> copies of all gradients by name; those that are None are left out."""

    def read(model: torch.nn.Module) -> dict[str, torch.Tensor]:
        return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}

    return read


@pytest.fixture
def assert_equal_gradients():
    """assert_equal_gradients(found, wanted, atol): the same names, and values as close."""

    def check(found, wanted, atol=1e-10):
        assert found.keys() == wanted.keys()
        for name in found:
            torch.testing.assert_close(
                found[name], wanted[name], atol=atol, rtol=0, msg=lambda m, n=name: n + m
            )

    return check
