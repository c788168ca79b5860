"""The evaluation loop: the caller's order, whatever the batches; the model's mode and gradients stay."""

import math
from dataclasses import replace

import pytest
import torch

from multitask.config.task_config import task_config
from multitask.config.task_kinds import make_task
from multitask.data.collate import TokenizedExample
from multitask.data.readers import Example
from multitask.inference.evaluation import predict_examples, score_examples
from multitask.model.multitask_model import MultitaskModel


@pytest.fixture
def model(tiny) -> MultitaskModel:
    torch.manual_seed(3)
    names = ("sst", "paraphrase", "sts")
    return MultitaskModel(tiny, {name: make_task(name, task_config(name, {})) for name in names})


@pytest.fixture
def examples(model, tiny_tokenizer, texts) -> dict[str, list[TokenizedExample]]:
    """24 examples of many lengths a task, in no order of length."""
    found = {}
    for name, task in model.tasks.items():
        sides = 1 if name == "sst" else 2
        rows = [
            Example(str(i), (texts[i * 3 % 8], texts[i * 5 % 7])[:sides], i % 2, i + 2) for i in range(24)
        ]
        found[name] = task.tokenize(tiny_tokenizer, rows)
    return found


@pytest.mark.parametrize(("task", "batch_tokens"), [("sst", 50), ("paraphrase", 37), ("sts", 100)])
def test_predictions_come_in_the_callers_order(task, batch_tokens, model, examples):
    model.tasks[task].decode = lambda outputs, inputs: list(outputs)
    counts = []
    found = predict_examples(model, task, examples[task], batch_tokens, counts.append)
    assert sum(counts) == 24 and len(counts) > 3
    together = torch.stack(found)
    alone = torch.stack([predict_examples(model, task, [entry])[0] for entry in examples[task]])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-5)
    assert together.std(dim=0).min() > 1e-3
    backwards = torch.stack(predict_examples(model, task, examples[task][::-1], batch_tokens))
    torch.testing.assert_close(backwards.flip(0), together, atol=1e-5, rtol=1e-5)
    assert predict_examples(model, task, []) == []


@pytest.mark.parametrize("training", [True, False])
def test_the_models_mode_stays_after_errors_too_and_dropout_is_off(training, model, examples):
    model.train(training)
    first = predict_examples(model, "sts", examples["sts"])
    assert model.training == model.encoder.training == training
    assert predict_examples(model, "sts", examples["sts"]) == first
    for wrong, error in ((lambda *_: 1 / 0, ZeroDivisionError), (lambda *_: [0], ValueError)):
        model.tasks["sst"].decode = wrong  # [0]: predictions are missing
        with pytest.raises(error):
            predict_examples(model, "sst", examples["sst"])
        assert model.training == training


def test_no_gradient_is_recorded(model, examples):
    recorded = []
    decode = model.tasks["sst"].decode

    def watch(outputs, inputs):
        recorded.append((outputs.requires_grad, torch.is_inference_mode_enabled()))
        return decode(outputs, inputs)

    model.tasks["sst"].decode = watch
    predict_examples(model, "sst", examples["sst"])
    assert set(recorded) == {(False, True)}
    assert all(parameter.grad is None for parameter in model.parameters())


def test_scores_of_labelled_tasks(model, examples):
    unlabelled = [
        entry._replace(example=Example(entry.example.id, entry.example.texts, None, entry.example.line))
        for entry in examples["paraphrase"]
    ]
    data = {"sst": examples["sst"], "paraphrase": unlabelled, "sts": []}
    scores, _ = score_examples(model, data)
    predictions = predict_examples(model, "sst", examples["sst"])
    labels = [entry.example.label for entry in examples["sst"]]
    hits = sum(p == label for p, label in zip(predictions, labels, strict=True))
    assert scores.keys() == {"sst"}
    assert scores["sst"]["accuracy"] == pytest.approx(hits / 24)


def test_constant_predictions_are_noted(model, examples):
    with torch.no_grad():
        for parameter in model.heads["sst"].parameters():
            parameter.zero_()
    _, notes = score_examples(model, {"sst": examples["sst"]})
    assert len(notes) == 1 and notes[0].startswith("sst: all 24 predictions are 0; the training has diverged")
    same = [entry._replace(example=replace(entry.example, label=3)) for entry in examples["sst"]]
    assert score_examples(model, {"sst": same})[1] == []  # and so are the labels


def test_a_note_says_why_there_is_no_correlation(model, examples):
    same = [entry._replace(example=replace(entry.example, label=3.5)) for entry in examples["sts"]]
    scores, notes = score_examples(model, {"sts": same})
    assert math.isnan(scores["sts"]["pearson"])
    assert notes == [f"sts: there is no pearson and no spearman: all {len(same)} labels are 3.5"]
    _, notes = score_examples(model, {"sts": examples["sts"][:1]})
    assert notes == ["sts: there is no pearson and no spearman: there is 1 example, and it takes two"]
    model.tasks["sts"].decode = lambda outputs, inputs: [2.5] * len(outputs)
    [note] = score_examples(model, {"sts": examples["sts"]})[1]
    assert "predictions are 2.5, so there is no pearson and no spearman; the training has" in note
