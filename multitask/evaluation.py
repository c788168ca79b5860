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
                batch = kind.collate([examples[i] for i in indices]).to(model.device)
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
) -> dict[str, dict[str, float]]:
    """The scores of each task that has examples, all with labels."""
    scores = {}
    for task, examples in data.items():
        if not examples or any(entry.example.label is None for entry in examples):
            continue
        predictions = predict_examples(model, task, examples, batch_tokens, advance)
        scores[task] = model.tasks[task].score(predictions, [entry.example for entry in examples])
    return scores
