"""A task's LoRA adapter and its head as a folder that peft loads, with the base that it belongs to."""

import copy
import shutil
from pathlib import Path

from minbert import (
    TEXT,
    BertModel,
    InputError,
    base_hash,
    find_folder,
    or_null,
    read_json_object,
    read_tensors,
    write_json,
    write_tensors,
)
from minbert.export import check_plain
from multitask.export.task_model import (
    SEQUENCE,
    TOKEN,
    class_of,
    find_task_model,
    head_modules,
    write_classifier,
)
from multitask.inference.checkpoint import ADAPTER_FOLDER
from multitask.inference.run import Run
from multitask.tasks.base import TrainingTask

WEIGHTS, CONFIG, BASE = "adapter_model.safetensors", "adapter_config.json", "base.json"
BASE_FOLDER = "base"
_MODEL = "base_model.model."
_TASK_TYPES = {SEQUENCE: "SEQ_CLS", TOKEN: "TOKEN_CLS"}


def write_task_adapter(folder: Path, run: Run, task: TrainingTask, checkpoint: Path, out: Path) -> list[str]:
    """Writes the adapter of the task, or the one of all tasks, with head and pooler; -> notes for the user.

    `base/` holds the run's base as a BertForSequenceClassification or BertForTokenClassification with the
    task's labels, or its family's class of that kind; adapter_config.json names it by its place in `out`,
    where the folder will be. It is left out where the base is no longer where the run found it. Raises
    InputError for a checkpoint without LoRA, and for a head that transformers has not.
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
    settings = read_json_object(source / CONFIG, {"base_model_name_or_path": or_null(TEXT)})
    changes = {"task_type": _TASK_TYPES[found.architecture], "modules_to_save": modules}
    weights = settings["base_model_name_or_path"]
    base = _find_base(run, checkpoint if source != adapters else weights, source)
    if base is not None:
        changes["base_model_name_or_path"] = str(out.resolve() / BASE_FOLDER)
        write_classifier(folder / BASE_FOLDER, base, run.tokenizer, task, found)
        for path in (folder / BASE_FOLDER).glob("*token*.json"):  # which peft would ask the hub for
            shutil.copyfile(path, folder / path.name)
        auto = found.architecture.replace("Bert", "AutoPeftModel")
        loading = f"load it with {auto}.from_pretrained(OUT); adapter_config.json says where base/ lies"
    else:
        labels = len(found.classifier.bias)
        loading = (
            f"the base, {weights}, is not there or has changed, so there is no base/; load the adapter onto "
            f"{class_of(encoder, found)}.from_pretrained(BASE, num_labels={labels})"
        )
    write_tensors(tensors, folder / WEIGHTS)
    write_json(folder / CONFIG, settings | changes, sort_keys=True)
    shutil.copyfile(source / BASE, folder / BASE)
    return [loading, found.about]


def _find_base(run: Run, weights: Path | str | None, adapter: Path) -> BertModel | None:
    """Returns the encoder without the adapter, with the run's pooler; None where the weights are gone."""
    if weights is None:
        return None
    try:
        base = BertModel.from_pretrained(find_folder(weights), adapter="none")
    except InputError:
        return None
    base.pooler = copy.deepcopy(run.model.encoder.pooler)
    return base if base_hash(base) == read_json_object(adapter / BASE, {"sha256": TEXT})["sha256"] else None
