"""A task's LoRA adapter and its head as a folder that peft loads onto a model of transformers."""

import shutil
from pathlib import Path

from minbert import InputError, read_json_object, read_tensors, write_json, write_tensors
from minbert.export import check_plain
from multitask.export.task_model import SEQUENCE, TOKEN, class_of, find_task_model, head_modules
from multitask.inference.checkpoint import ADAPTER_FOLDER
from multitask.inference.run import Run
from multitask.tasks.base import TrainingTask

WEIGHTS, CONFIG, BASE = "adapter_model.safetensors", "adapter_config.json", "base.json"
_MODEL = "base_model.model."
_TASK_TYPES = {SEQUENCE: "SEQ_CLS", TOKEN: "TOKEN_CLS"}


def write_task_adapter(folder: Path, run: Run, task: TrainingTask, checkpoint: Path) -> list[str]:
    """Writes the adapter of the task, or the one of all tasks, with head and pooler; -> notes for the user.

    They are for the run's base, as a BertForSequenceClassification or BertForTokenClassification of as many
    labels, or its family's class of that kind. Raises InputError for a checkpoint without LoRA, and for a
    head that transformers has not.
    """
    adapters = checkpoint / ADAPTER_FOLDER
    source = next((path for path in (adapters / task.name, adapters) if (path / CONFIG).is_file()), None)
    if source is None:
        raise InputError(f"{checkpoint} has no LoRA adapter for {task.name}; take --format hf")
    encoder = run.model.encoder
    check_plain(encoder)
    found = find_task_model(task)
    prefix = f"{encoder.config.family.prefix}."
    tensors = {
        name.replace(_MODEL, f"{_MODEL}{prefix}", 1): tensor
        for name, tensor in read_tensors(source / WEIGHTS).items()
    }
    saved = head_modules(encoder, found)
    for module, layer in saved.items():
        tensors |= {f"{_MODEL}{module}.{name}": tensor for name, tensor in layer.state_dict().items()}
    modules = sorted({name.removeprefix(prefix).partition(".")[0] for name in saved})
    changes = {"task_type": _TASK_TYPES[found.architecture], "modules_to_save": modules}
    write_tensors(tensors, folder / WEIGHTS)
    write_json(folder / CONFIG, read_json_object(source / CONFIG) | changes, sort_keys=True)
    shutil.copyfile(source / BASE, folder / BASE)
    labels = len(found.classifier.bias)
    return [
        f"load it onto {class_of(encoder, found)}.from_pretrained(BASE, num_labels={labels})",
        found.about,
    ]
