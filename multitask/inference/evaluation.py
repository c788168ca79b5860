"""The evaluation loop: the only one. Predictions for tokenized examples, and their scores."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from minbert import Batch
from multitask.data.batches import longest_first
from multitask.data.collate import TokenizedExample, lengths_of, rows_of
from multitask.data.readers import labels_of
from multitask.metrics.scores import why_no_correlation
from multitask.model.multitask_model import MultitaskModel
from multitask.runtime.memory import named_memory_errors
from multitask.runtime.process_group import ProcessGroup

Advance = Callable[[int], None]
CORRELATIONS = ("pearson", "spearman")


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
        with named_memory_errors(
            lambda: (
                f"with a batch of {len(indices)} examples of {task}, {sum(lengths[indices]):,} tokens; lower "
                f"--eval.batch-tokens (now {batch_tokens}), of a trained run eval.batch_tokens in config.json"
            )
        ):
            return results(model(task, batch.inputs), batch.inputs)

    lengths = lengths_of(examples)
    batches = longest_first(lengths, batch_tokens)
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
    """Computes the scores of each task with labelled examples; the notes are those of `notes_on`."""
    scores, notes = {}, []
    for task, examples in data.items():
        rows = rows_of(examples)
        if not len(rows) or any(label is None for label in labels_of(rows)):
            continue
        predictions = predict_examples(model, task, examples, batch_tokens, advance, group=group)
        labels = labels_of(rows)
        scores[task] = model.tasks[task].score(predictions, rows)
        notes += notes_on(task, predictions, labels, scores[task])
    return scores, notes


def notes_on(
    task: str, predictions: Sequence[Any], labels: Sequence[Any], scores: Mapping[str, float]
) -> list[str]:
    """Returns notes on predictions that are all the same, and on why there is no correlation."""
    missing = " and no ".join(name for name in CORRELATIONS if math.isnan(scores.get(name, 0.0)))
    if _constant(predictions) and not _constant(labels):
        correlation = f", so there is no {missing}" if missing else ""
        return [
            f"{task}: all {len(labels)} predictions are {predictions[0]!r}{correlation}; the training has "
            f"diverged or not begun: lower --optim.lr, raise --optim.warmup, or train longer"
        ]
    if missing and (reason := why_no_correlation(predictions, labels)):
        return [f"{task}: there is no {missing}: {reason}"]
    return []


def _constant(values: Sequence[Any]) -> bool:
    return len(values) > 1 and all(value == values[0] for value in values)
