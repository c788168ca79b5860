"""The evaluation loop: the only one. Predictions for tokenized examples, and their scores."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from minbert import Batch
from multitask.data.collate import TokenizedExample, compute_sorted, lengths_of, rows_of
from multitask.data.readers import labels_of
from multitask.model.multitask_model import MultitaskModel

Advance = Callable[[int], None]


def predict_examples(
    model: MultitaskModel,
    task: str,
    examples: Sequence[TokenizedExample],
    batch_tokens: int = 4096,
    advance: Advance = lambda count: None,
    results: Callable[[Tensor, Batch], Sequence[Any]] | None = None,
) -> list[Any]:
    """Returns a result for each example, in order: the task's predictions, or `results(outputs, inputs)`.

    The model is in evaluation mode meanwhile; `advance` is called with the size of each batch that is done.
    """
    results = results or model.tasks[task].decode

    def compute(indices: list[int]) -> Sequence[Any]:
        batch = model.collate(task, [examples[i] for i in indices]).to(model.device)
        found = results(model(task, batch.inputs), batch.inputs)
        advance(len(indices))
        return found

    training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            return compute_sorted(lengths_of(examples), batch_tokens, compute)
    finally:
        model.train(training)


def score_examples(
    model: MultitaskModel,
    data: Mapping[str, Sequence[TokenizedExample]],
    batch_tokens: int = 4096,
    advance: Advance = lambda count: None,
) -> tuple[dict[str, dict[str, float]], list[str]]:
    """Computes the scores of each task with labelled examples, and notes on tasks that predict a constant."""
    scores, notes = {}, []
    for task, examples in data.items():
        rows = rows_of(examples)
        if not len(rows) or any(label is None for label in labels_of(rows)):
            continue
        predictions = predict_examples(model, task, examples, batch_tokens, advance)
        scores[task] = model.tasks[task].score(predictions, rows)
        if _constant(predictions) and not _constant(labels_of(rows)):
            notes.append(
                f"{task}: all {len(rows)} predictions are {predictions[0]!r}; the training has diverged or "
                f"not begun: lower --optim.lr, raise --optim.warmup, or train longer"
            )
    return scores, notes


def _constant(values: Sequence[Any]) -> bool:
    return len(values) > 1 and all(value == values[0] for value in values)
