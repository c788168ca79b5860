"""A task as a folder of transformers: BertForSequenceClassification or BertForTokenClassification."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from minbert import (
    BertModel,
    InputError,
    Tokenizer,
    atomic_write,
    markdown_text,
    read_json_object,
    read_tensors,
    write_json,
    write_tensors,
)
from minbert.export import check_plain, merged_encoder, write_encoder
from multitask.inference.run import Run
from multitask.tasks.base import TrainingTask

SEQUENCE, TOKEN = "BertForSequenceClassification", "BertForTokenClassification"


@dataclass(frozen=True)
class TaskModel:
    """A head that a class of transformers has: the class, its classifier, and what config.json says of it.

    `architecture` is BERT's class; `class_of` names that of another family.
    """

    architecture: str
    classifier: nn.Linear
    settings: dict[str, Any]
    about: str  # what the outputs are


def find_task_model(task: TrainingTask) -> TaskModel:
    """Returns the class of transformers for a task's head. Raises InputError for a head without one."""
    if reason := task.classifier_misfit():
        raise InputError(
            f"transformers has no class for {task.name}: {reason}; take --format onnx, which holds every "
            f"head, or --format sentence-transformers for sentence vectors"
        )
    names, about, problem = task.classifier_outputs()
    settings = {
        "classifier_dropout": task.config.dropout,
        "id2label": {str(i): str(name) for i, name in enumerate(names)},
        "label2id": {str(name): i for i, name in enumerate(names)},
    }
    if problem is not None:
        settings["problem_type"] = problem
    return TaskModel(task.architecture, task.classifier(), settings, about)


def write_task_model(folder: Path, run: Run, task: TrainingTask) -> list[str]:
    """Writes encoder, head, tokenizer and a README.md; -> notes for the user."""
    check_plain(run.model.encoder)
    found = find_task_model(task)
    encoder = merged_encoder(run.model.encoder, task.name)
    write_classifier(folder, encoder, run.tokenizer, task, found)
    with atomic_write(folder / "README.md") as file:
        file.write(_readme(task, found, class_of(encoder, found)))
    return [found.about]


def write_classifier(
    folder: Path, encoder: BertModel, tokenizer: Tokenizer, task: TrainingTask, found: TaskModel
) -> None:
    """Writes an encoder with the head of a task as transformers' class has them, and the tokenizer."""
    write_encoder(folder, encoder, tokenizer, task.config.max_length)
    family = encoder.config.family
    saved = read_tensors(folder / "model.safetensors")
    tensors = {f"{family.prefix}.{name}": t for name, t in saved.items() if not name.startswith("pooler.")}
    for module, layer in head_modules(encoder, found).items():
        tensors |= {f"{module}.{name}": tensor for name, tensor in layer.state_dict().items()}
    write_tensors(tensors, folder / "model.safetensors")
    path = folder / "config.json"
    changes = {"architectures": [class_of(encoder, found)], **found.settings}
    write_json(path, read_json_object(path) | changes, sort_keys=True)


def class_of(encoder: BertModel, found: TaskModel) -> str:
    """Returns the class of transformers for a head on an encoder of its family."""
    return found.architecture.replace("Bert", encoder.config.family.classes)


def head_modules(encoder: BertModel, found: TaskModel) -> dict[str, nn.Linear]:
    """Returns what that class has above the encoder's layers, by its names: pooler and classifier."""
    if found.architecture == TOKEN:  # which has no pooler
        return {"classifier": found.classifier}
    pooler, classifier = encoder.config.family.sequence_head
    return {pooler: encoder.pooler.dense, classifier: found.classifier}


def _readme(task: TrainingTask, found: TaskModel, architecture: str) -> str:
    labels = markdown_text(", ".join(found.settings["label2id"]))
    auto = found.architecture.replace("Bert", "AutoModel")
    return f"""\
# {task.name}: a {architecture}

{found.about}

Labels: {labels}. Texts are cut to {task.config.max_length} tokens.

```python
from transformers import {auto}, AutoTokenizer

model = {auto}.from_pretrained("FOLDER")
tokenizer = AutoTokenizer.from_pretrained("FOLDER")
```
"""
