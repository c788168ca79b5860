"""Soft predictions: on the scale that models share, and hard ones from them as `decode` gives them."""

import numpy as np
import pytest
import torch

from minbert import InputError
from multitask.config.task_config import task_config
from multitask.config.task_kinds import make_task

KINDS = {
    "sst": {},
    "cfimdb": {},
    "news": {},
    "paraphrase": {},
    "sts": {},
    "sst ordinal": {"type": "sst", "loss": "ordinal"},
    "sts scaled": {"type": "sts", "label_scale": [-1.0, 1.0]},
    "sts angle": {"type": "sts", "loss": "angle"},
    "classification": {"labels": ["x", "y", "z"]},
}


def make(kind):
    values = KINDS[kind]
    name = kind.split()[0]
    return make_task(name, task_config(name, values))


def outputs_of(task, size=64):
    width = {"sts": 2 if task.config.loss == "angle" else 1, "paraphrase": 1}.get(task.config.type)
    width = task.outputs if width is None else width
    outputs = torch.randn(size, width, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return outputs.squeeze(-1)


@pytest.mark.parametrize("kind", KINDS)
def test_hard_predictions_of_soft_ones_are_those_of_decode(kind):
    task = make(kind)
    outputs = outputs_of(task)
    assert task.hard(task.example_scores(outputs).numpy()) == task.decode(outputs, None)


def test_probabilities_are_softmax_sigmoid_and_differences_of_levels():
    logits = torch.tensor([[0.0, np.log(3.0), 0, 0, 0]], dtype=torch.float64)
    assert torch.allclose(
        make("sst").example_scores(logits), torch.tensor([[1, 3, 1, 1, 1]], dtype=torch.float64) / 7
    )
    assert make("paraphrase").example_scores(torch.tensor([0.0, np.log(3.0)])).tolist() == pytest.approx(
        [0.5, 0.75]
    )
    above = torch.tensor([[0.9, 0.7, 0.2, 0.1]], dtype=torch.float64)
    levels = make("sst ordinal").example_scores(above.logit())
    assert levels.tolist()[0] == pytest.approx([0.1, 0.2, 0.5, 0.1, 0.1])


def test_scores_are_on_the_scale_of_the_labels_whatever_the_loss_made_of_them():
    cosine = torch.tensor([0.0, 0.5, 1.0])
    assert make("sts").example_scores(cosine).tolist() == [0.0, 2.5, 5.0]
    assert make("sts scaled").example_scores(cosine).tolist() == [2.5, 3.75, 5.0]


def test_a_kind_without_one_prediction_an_example_says_so():
    task = make_task("ner", task_config("ner", {"labels": ["O", "B-X", "I-X"]}))
    with pytest.raises(InputError, match="ner: tasks of type 'ner' give no number for each example"):
        task.example_scores(torch.zeros(2, 3))
