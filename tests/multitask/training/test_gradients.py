"""Gradients: clipped by the norm over all parameters, and equal to the large batch's under accumulation."""

import pytest
import torch

from minbert import AdamW, BertModel, Tokenizer
from multitask.data.readers import Example
from multitask.model import MultitaskModel
from multitask.run import make_tasks
from multitask.task_config import task_config
from multitask.training.gradients import Gradients
from multitask.training.methods import Plain
from multitask.training.plan import Plan, TaskData
from multitask.training.precision import Precision

CPU = torch.device("cpu")


def gradients_over(parameters, clip):
    return Gradients(parameters, Precision("fp32", CPU), AdamW(parameters, lr=1.0), clip)


@pytest.mark.parametrize("clip", [0.0, 0.5, 5.0, 50.0])
def test_clipping_by_the_formula(clip):
    """g min(1, clip / |g|) with |g| over all tensors; 0 is no limit; a missing gradient counts as zero."""
    parameters = [torch.nn.Parameter(torch.zeros(shape)) for shape in ((2, 3), (4,), (1,))]
    values = [torch.arange(6.0).view(2, 3), -torch.ones(4)]
    for parameter, value in zip(parameters, values, strict=False):
        parameter.grad = value.clone()
    norm = sum(value.square().sum() for value in values).sqrt()  # sqrt(59), 7.7
    gradients_over(parameters, clip).finish()
    factor = min(1.0, clip / norm) if clip else 1.0
    for parameter, value in zip(parameters, values, strict=False):
        torch.testing.assert_close(parameter.grad, value * factor, atol=1e-5, rtol=1e-5)
    assert parameters[2].grad is None


@pytest.fixture
def model(tiny_folder):
    encoder = BertModel.from_pretrained(tiny_folder).double()
    configs = {
        "sst": task_config("sst", {"pooling": "cls", "dropout": 0.0}),
        "paraphrase": task_config("paraphrase", {"pairs": "bi", "dropout": 0.0}),
        "sts": task_config("sts", {}),
    }
    return MultitaskModel(encoder, make_tasks(configs, encoder.config)).double().eval()


def examples_of(model, name, tiny_folder, count):
    words = "cat dog house river book film good bad great dull".split()
    labels = {"sst": lambda i: i % 5, "paraphrase": lambda i: i % 2, "sts": lambda i: i * 0.4}
    rows = []
    for i in range(count):
        sides = 1 if name == "sst" else 2
        texts = tuple(
            " ".join(words[(i + k + s) % 10] for k in range(1 + (3 * i + s) % 7)) for s in range(sides)
        )
        rows.append(Example(str(i), texts, labels[name](i), i + 2))
    return model.tasks[name].tokenize(Tokenizer.from_pretrained(tiny_folder), rows)


def accumulated(model, plan):
    """The gradients of each step, under the names of the tensors."""
    parameters = list(model.parameters())
    gradients = gradients_over(parameters, 0.0)
    for step in plan:
        model.zero_grad(set_to_none=True)
        for piece in step.pieces:
            Plain()(model, piece, gradients.backward)
        gradients.finish()
        yield {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("name", ["sst", "paraphrase", "sts"])
@pytest.mark.parametrize("budget", [None, 24])
def test_accumulation_gives_the_gradient_of_the_one_large_batch(model, tiny_folder, name, budget):
    """11 examples in batches of 2, 4 batches a step: a last step of 2 batches, and a batch of one."""
    examples = examples_of(model, name, tiny_folder, 11)

    def collate(indices):
        return model.tasks[name].collate([examples[i] for i in indices])

    lengths = [example.length for example in examples]
    plans = [
        Plan({name: TaskData(lengths, made, 2, budget)}, "sequential", 1, seed=3, accumulation=4)
        for made in (list, collate)
    ]
    steps = [[list(piece.batch) for piece in step.pieces] for step in plans[0]]
    assert len({len(batch) for batches in steps for batch in batches}) > 1, "some batch has to be ragged"
    for batches, found in zip(steps, accumulated(model, plans[1]), strict=True):
        model.zero_grad(set_to_none=True)
        model.loss(name, collate([i for batch in batches for i in batch])).backward()
        wanted = {key: p.grad for key, p in model.named_parameters() if p.grad is not None}
        assert found.keys() == wanted.keys()
        for key in found:
            torch.testing.assert_close(found[key], wanted[key], atol=1e-10, rtol=0)
