"""The evaluation loop: the only one. Predictions for tokenized examples, and their scores."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from minbert import sorted_batches
from multitask.data.collate import TokenizedExample
from multitask.model import MultitaskModel


def predict_examples(
    model: MultitaskModel,
    task: str,
    examples: Sequence[TokenizedExample],
    batch_tokens: int = 4096,
    advance: Callable[[int], None] = lambda count: None,
) -> list[Any]:
    """The task's decoded predictions in the order of `examples`; `advance` hears how many are done."""
    kind = model.tasks[task]
    predictions: list[Any] = [None] * len(examples)
    training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            for indices in sorted_batches([example.length for example in examples], batch_tokens):
                batch = model.collate(task, [examples[i] for i in indices]).to(model.device)
                decoded = kind.decode(model(task, batch.inputs), batch.inputs)
                for index, prediction in zip(indices, decoded, strict=True):
                    predictions[index] = prediction
                advance(len(indices))
    finally:
        model.train(training)
    return predictions


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
