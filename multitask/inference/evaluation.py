"""The evaluation loop: the only one. Predictions for tokenized examples, and their scores."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from minbert import Batch, sorted_batches
from multitask.data.collate import TokenizedExample
from multitask.model.multitask_model import MultitaskModel


def output_batches(
    model: MultitaskModel,
    task: str,
    examples: Sequence[TokenizedExample],
    batch_tokens: int = 4096,
    advance: Callable[[int], None] = lambda count: None,
) -> Iterator[tuple[list[int], Tensor, Batch]]:
    """Batch by batch: the places of its examples, the task's outputs for them, and their inputs.

    The model is in evaluation mode meanwhile; `advance` hears how many examples are done.
    """
    training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            for indices in sorted_batches([example.length for example in examples], batch_tokens):
                batch = model.collate(task, [examples[i] for i in indices]).to(model.device)
                yield indices, model(task, batch.inputs), batch.inputs
                advance(len(indices))
    finally:
        model.train(training)


def predict_examples(
    model: MultitaskModel,
    task: str,
    examples: Sequence[TokenizedExample],
    batch_tokens: int = 4096,
    advance: Callable[[int], None] = lambda count: None,
) -> list[Any]:
    """The task's decoded predictions in the order of `examples`; `advance` hears how many are done."""
    predictions: list[Any] = [None] * len(examples)
    for indices, outputs, inputs in output_batches(model, task, examples, batch_tokens, advance):
        decoded = model.tasks[task].decode(outputs, inputs)
        for index, prediction in zip(indices, decoded, strict=True):
            predictions[index] = prediction
    return predictions


def soft_predictions(
    model: MultitaskModel, task: str, examples: Sequence[TokenizedExample], batch_tokens: int = 4096
) -> np.ndarray:
    """What the task's `soft` makes of the outputs, in the order of `examples`; (N, ...) in float64."""
    places, parts = [], []
    for indices, outputs, _ in output_batches(model, task, examples, batch_tokens):
        places += indices
        parts.append(model.tasks[task].soft(outputs.double()).cpu().numpy())
    return np.concatenate(parts)[np.argsort(places)] if parts else np.zeros(0)


def score_examples(
    model: MultitaskModel,
    data: Mapping[str, Sequence[TokenizedExample]],
    batch_tokens: int = 4096,
    advance: Callable[[int], None] = lambda count: None,
) -> tuple[dict[str, dict[str, float]], list[str]]:
    """The scores of each task that has labelled examples; a note on each whose predictions are all equal."""
    scores, notes = {}, []
    for task, examples in data.items():
        if not examples or any(entry.example.label is None for entry in examples):
            continue
        predictions = predict_examples(model, task, examples, batch_tokens, advance)
        rows = [entry.example for entry in examples]
        scores[task] = model.tasks[task].score(predictions, rows)
        if _constant(predictions) and not _constant([row.label for row in rows]):
            notes.append(
                f"{task}: all {len(rows)} predictions are {predictions[0]!r}; the training has diverged or "
                f"not begun: lower --optim.lr, raise --optim.warmup, or train longer"
            )
    return scores, notes


def _constant(values: Sequence[Any]) -> bool:
    return len(values) > 1 and all(value == values[0] for value in values)
