"""A task as a folder of transformers: BertForSequenceClassification or BertForTokenClassification."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from minbert import InputError, atomic_write, read_tensors, write_tensors
from minbert.export import check_plain, merged_encoder, write_encoder
from multitask.inference.run import Run
from multitask.model.heads import MLPHead
from multitask.tasks.base import TextTask, TrainingTask
from multitask.tasks.generic import ClassificationTask, PairTask, SimilarityTask
from multitask.tasks.tokens import TokensTask

SEQUENCE, TOKEN = "BertForSequenceClassification", "BertForTokenClassification"


@dataclass(frozen=True)
class TaskModel:
    """A head that a class of transformers has: the class, its classifier, and what config.json says of it."""

    architecture: str
    classifier: nn.Linear
    settings: dict[str, Any]
    about: str  # what the outputs are


def find_task_model(run: Run, task: TrainingTask) -> TaskModel:
    """The class of transformers for a task's head. Raises InputError for a head that has none, with why."""
    head = run.model.heads[task.name]
    if reason := _misfit(task, head):
        raise InputError(
            f"transformers has no class for {task.name}: {reason}; take --format onnx, which holds every "
            f"head, or --format sentence-transformers for sentence vectors"
        )
    config = task.config
    classifier = next(layer for layer in head if isinstance(layer, nn.Linear))
    if isinstance(task, PairTask):
        names, problem = ["1"], "multi_label_classification"
        about = "One logit; its sigmoid is the probability of 1, that the two texts are the same."
    elif isinstance(task, SimilarityTask):
        names, problem = ["score"], "regression"
        bottom, top = config.label_scale
        about = (
            f"One number, {bottom:g} at a score of {config.low:g} and {top:g} at {config.high:g}: score = "
            f"{config.low:g} + {config.high - config.low:g} * (output - {bottom:g}) / {top - bottom:g}."
        )
    else:
        names, problem = list(task.labels), "single_label_classification"
        about = "A logit for each label; a softmax makes them probabilities."
    settings = {
        "classifier_dropout": config.dropout,
        "id2label": {str(i): str(name) for i, name in enumerate(names)},
        "label2id": {str(name): i for i, name in enumerate(names)},
    }
    if isinstance(task, TokensTask):
        about = (
            "Logits for each token. A word has the tag of its first sub-word; what the others, [CLS] and "
            '[SEP] get was never trained and means nothing: ask a pipeline for aggregation_strategy "first".'
        )
        return TaskModel(TOKEN, classifier, settings, about)
    return TaskModel(SEQUENCE, classifier, settings | {"problem_type": problem}, about)


def _misfit(task: TrainingTask, head: nn.Module) -> str | None:
    """Why no class of transformers computes what the task's head does; None where one does."""
    config = task.config
    if not isinstance(task, ClassificationTask | PairTask | SimilarityTask | TokensTask):
        return f"tasks of type {config.type!r} have another kind of head"
    if config.pairs == "bi":
        return "it compares the vectors of two inputs, and transformers' classes read one"
    if config.hidden:
        return "its head has hidden layers, and transformers' is one linear layer"
    if config.normalize or config.projection:
        return "its vectors are normalised or projected before the head"
    if isinstance(task, TextTask) and config.pooling != "pooler":
        return f"it pools by {config.pooling!r}, and transformers' classifier reads BERT's pooler"
    if config.loss == "ordinal":
        return "its outputs are thresholds between labels (loss ordinal), not a logit for each label"
    base = TokensTask if isinstance(task, TokensTask) else TextTask
    own = [getattr(type(task), name, None) for name in ("forward", "sentence_vectors")]
    usual = [getattr(base, name, None) for name in ("forward", "sentence_vectors")]
    if own != usual or not isinstance(head, MLPHead):
        return "its class computes its outputs in its own way"
    return None


def write_task_model(folder: Path, run: Run, task: TrainingTask) -> list[str]:
    """Writes encoder, head, tokenizer and a README.md; -> notes for the user."""
    check_plain(run.model.encoder)
    found = find_task_model(run, task)
    encoder = merged_encoder(run.model.encoder, task.name)
    write_encoder(folder, encoder, run.tokenizer, task.config.max_length)
    tensors = {f"bert.{name}": tensor for name, tensor in read_tensors(folder / "model.safetensors").items()}
    if found.architecture == TOKEN:  # which has no pooler
        tensors = {name: tensor for name, tensor in tensors.items() if not name.startswith("bert.pooler.")}
    for name, tensor in found.classifier.state_dict().items():
        tensors[f"classifier.{name}"] = tensor
    write_tensors(tensors, folder / "model.safetensors")
    path = folder / "config.json"
    values = json.loads(path.read_text(encoding="utf-8"))
    values |= {"architectures": [found.architecture], **found.settings}
    with atomic_write(path) as file:
        file.write(json.dumps(values, indent=2, sort_keys=True) + "\n")
    with atomic_write(folder / "README.md") as file:
        file.write(_readme(task, found))
    return [found.about]


def _readme(task: TrainingTask, found: TaskModel) -> str:
    labels = ", ".join(found.settings["label2id"])
    auto = found.architecture.replace("Bert", "AutoModel")
    return f"""\
# {task.name}: a {found.architecture}

{found.about}

Labels: {labels}. Texts are cut to {task.config.max_length} tokens.

```python
from transformers import {auto}, AutoTokenizer

model = {auto}.from_pretrained("FOLDER")
tokenizer = AutoTokenizer.from_pretrained("FOLDER")
```
"""
