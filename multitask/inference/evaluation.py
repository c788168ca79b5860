"""The evaluation loop: the only one. Predictions for tokenized examples, and their scores."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from minbert import Batch
from multitask.data.batches import longest_first
from multitask.data.collate import TokenizedExample, lengths_of, rows_of
from multitask.data.readers import labels_of
from multitask.model.multitask_model import MultitaskModel
from multitask.runtime.process_group import ProcessGroup

Advance = Callable[[int], None]


def predict_examples(
    model: MultitaskModel,
    task: str,
    examples: Sequence[TokenizedExample],
    batch_tokens: int = 4096,
    advance: Advance = lambda count: None,
    results: Callable[[Tensor, Batch], Sequence[Any]] | None = None,
    group: ProcessGroup | None = None,
) -> list[Any]:
    """Returns a result for each example, in order: the task's predictions, or `results(outputs, inputs)`.

    The model is in evaluation mode meanwhile; `advance` is called with the number of examples that are done.
    The processes of `group` compute the batches in turn, and each returns all results.
    """
    results = results or model.tasks[task].decode
    group = group or ProcessGroup()

    def compute(indices: list[int]) -> Sequence[Any]:
        batch = model.collate(task, [examples[i] for i in indices]).to(model.device)
        return results(model(task, batch.inputs), batch.inputs)

    batches = longest_first(lengths_of(examples), batch_tokens)
    own: list[Sequence[Any]] = []
    training = model.training
    model.eval()
    try:
        # Tensors of inference mode would be in the way of a sharded model's next training step.
        with torch.inference_mode() if group.size == 1 else torch.no_grad():
            for start in range(0, len(batches), group.size):
                turn = batches[start : start + group.size]
                # All take part in each turn, which a sharded model needs: the last batch is repeated.
                own.append(compute(turn[min(group.rank, len(turn) - 1)]))
                advance(sum(map(len, turn)))
    finally:
        model.train(training)
    found: list[Any] = [None] * len(examples)
    for rank, computed in enumerate(group.all_gather_object(own)):
        for indices, values in zip(batches[rank :: group.size], computed, strict=False):
            for index, value in zip(indices, values, strict=True):
                found[index] = value
    return found


def score_examples(
    model: MultitaskModel,
    data: Mapping[str, Sequence[TokenizedExample]],
    batch_tokens: int = 4096,
    advance: Advance = lambda count: None,
    group: ProcessGroup | None = None,
) -> tuple[dict[str, dict[str, float]], list[str]]:
    """Computes the scores of each task with labelled examples, and notes on tasks that predict a constant."""
    scores, notes = {}, []
    for task, examples in data.items():
        rows = rows_of(examples)
        if not len(rows) or any(label is None for label in labels_of(rows)):
            continue
        predictions = predict_examples(model, task, examples, batch_tokens, advance, group=group)
        scores[task] = model.tasks[task].score(predictions, rows)
        if _constant(predictions) and not _constant(labels_of(rows)):
            notes.append(
                f"{task}: all {len(rows)} predictions are {predictions[0]!r}; the training has diverged or "
                f"not begun: lower --optim.lr, raise --optim.warmup, or train longer"
            )
    return scores, notes


def _constant(values: Sequence[Any]) -> bool:
    return len(values) > 1 and all(value == values[0] for value in values)
