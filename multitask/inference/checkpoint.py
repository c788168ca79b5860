"""Checkpoints: a folder whose root runs in transformers, the heads beside it, and the state of training.

safetensors and JSON only; nothing in a checkpoint can run code.
"""

import copy
import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from minbert import (
    AMOUNT,
    ANYTHING,
    InputError,
    SentenceModules,
    Tokenizer,
    adapter_names,
    atomic_write,
    by_key,
    by_name,
    check_value,
    list_of,
    merge_lora,
    optional,
    or_null,
    read_json_object,
    read_tensors,
    remove_lora,
    restore_folder,
    save_lora,
    whole,
    write_json,
    write_modules,
    write_tensors,
)
from multitask.model.multitask_model import DEFAULT_ADAPTER, MultitaskModel
from multitask.runtime.device import random_state, set_random_state
from multitask.runtime.messages import logger
from multitask.runtime.process_group import ProcessGroup

STATE_FOLDER = "training_state"
ADAPTER_FOLDER = "adapter"
CHECKSUMS = "checksums.json"
_SIZES = by_key({"hidden": optional(list_of(whole(1))), "projection": optional(or_null(whole(1)))})
HEADS = {"tasks": by_name(by_key({"config": _SIZES, "labels": or_null(list_of(ANYTHING))}))}
# Rules for the states of training, checked before its parts take them over.
_LENGTHS = list_of(list_of(whole(0), 2), 1)
_COUNTS = {"steps": whole(0), "skipped": whole(0)}
STATE = by_key(
    {
        "plan": optional(by_key({"step": whole(0)})),
        "precision": optional(by_key(_COUNTS)),
        "progress": optional(
            by_key({"seconds": AMOUNT, "peak_memory": or_null(AMOUNT), "lengths": optional(_LENGTHS)})
        ),
    }
)


def save_model(
    folder: Path,
    model: MultitaskModel,
    tokenizer: Tokenizer,
    tasks: Mapping[str, Mapping[str, Any]],
    base: str | None = None,
) -> float | None:
    """Writes encoder, tokenizer and heads; `tasks` is what heads.json says of each task.

    The root is what runs: with one LoRA adapter it is merged into the encoder, and `adapter/` holds it too;
    with one for each task the root is the base, and the adapters are `adapter/TASK/`. `base` names the
    weights that they adapt. -> the largest change of an output by the merge; None where nothing was merged.
    """
    names = adapter_names(model.encoder)
    encoder, change = model.encoder, None
    if names:
        encoder = copy.deepcopy(encoder).eval()
        for name in names:
            path = folder / ADAPTER_FOLDER if names == (DEFAULT_ADAPTER,) else folder / ADAPTER_FOLDER / name
            save_lora(encoder, path, name, base)
        if names == (DEFAULT_ADAPTER,):
            change = merge_lora(encoder)
        else:
            remove_lora(encoder)
    encoder.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    write_tensors(model.heads.state_dict(), folder / "heads.safetensors")
    write_json(folder / "heads.json", {"tasks": tasks})
    pooled = [task.sentence_pooling for task in model.tasks.values() if task.sentence_pooling is not None]
    if pooled:  # a task of the run trains sentence vectors as such
        write_modules(folder, SentenceModules.of(encoder.config.hidden_size, *pooled[0]))
    return change


def read_heads(folder: Path) -> dict[str, dict[str, Any]]:
    """Reads heads.json: facts of each task; empty for a folder without heads, such as pretrained weights.

    Raises InputError for heads that are larger than heads.safetensors, before they are built.
    """
    path = folder / "heads.json"
    if not path.is_file():
        return {}
    tasks = read_json_object(path, HEADS, "take another checkpoint of the run")["tasks"]
    weights = sum(tensor.numel() for tensor in read_tensors(folder / "heads.safetensors").values())
    for name, entry in tasks.items():
        sizes = [entry["config"].get("projection") or 1, *entry["config"].get("hidden", ())]
        sizes.append(max(len(entry["labels"] or ()) - 1, 1))  # outputs, of an ordinal loss
        least = sum(before * after for before, after in pairwise(sizes))
        if least > max(weights, 1):
            raise InputError(
                f"{path}: the head of {name} has at least {least:,} weights, heads.safetensors {weights:,}; "
                f"take another checkpoint of the run"
            )
    return tasks


def task_adapters(folder: Path) -> tuple[str, ...]:
    """Returns the tasks for which a checkpoint has an adapter each; empty where its one adapter is merged."""
    return tuple(sorted(path.parent.name for path in (folder / ADAPTER_FOLDER).glob("*/adapter_config.json")))


def load_head(folder: Path, name: str, head: nn.Module) -> None:
    """Puts one task's tensors from heads.safetensors into a head.

    Raises InputError that lists all missing, unexpected and mis-shaped tensors.
    """
    prefix = f"{name}."
    path = folder / "heads.safetensors"
    found = {
        key.removeprefix(prefix): value for key, value in read_tensors(path).items() if key.startswith(prefix)
    }
    expected = head.state_dict()
    problems = [f"missing {key}" for key in expected if key not in found]
    problems += [f"unexpected {key}" for key in found if key not in expected]
    problems += [
        f"{key} has shape {tuple(found[key].shape)}, the head {tuple(expected[key].shape)}"
        for key in expected
        if key in found and found[key].shape != expected[key].shape
    ]
    if problems:
        raise InputError(
            f"the head of {name} in {path} is another one: {'; '.join(problems)}; "
            f"configure the task as it was trained, or start from weights without heads"
        )
    head.load_state_dict(found)


class SavedShards(NamedTuple):
    """A tensor that was saved by several processes, each of which wrote some of its rows."""

    parts: list[Tensor]  # memory-mapped

    def read(self, start: int, stop: int) -> Tensor:
        """Returns the rows from `start` to `stop`, as far as there are any."""
        places = list(accumulate(map(len, self.parts), initial=0))
        cut = [
            part[max(start - first, 0) : max(stop - first, 0)]
            for part, first in zip(self.parts, places, strict=False)
        ]
        return torch.cat(cut)


def save_state(folder: Path, state: Mapping[str, Any], group: ProcessGroup | None = None) -> None:
    """Writes a nested state of tensors and plain values: safetensors for the tensors, JSON for the rest.

    Each process writes its shards of the tensors that are sharded, rank 0 all else.
    """
    group, tensors, shards = group or ProcessGroup(), {}, {}
    plain = _without_tensors(state, tensors, shards, "")
    if shards:
        write_tensors(shards, folder / STATE_FOLDER / _shard_file(group.rank, group.size))
    if group.is_main:
        write_tensors(tensors, folder / STATE_FOLDER / "tensors.safetensors")
        with atomic_write(folder / STATE_FOLDER / "state.json") as file:
            file.write(json.dumps(plain, allow_nan=False) + "\n")


def load_state(folder: Path) -> dict[str, Any]:
    """Reads the state that `save_state` wrote, with SavedShards in place of tensors that were sharded.

    Raises InputError where there is none.
    """
    path = folder / STATE_FOLDER / "state.json"
    if not path.is_file():
        raise InputError(f"{folder} has no training state; only a run's last/ can be resumed")
    files = [path.with_name("tensors.safetensors"), *sorted(path.parent.glob("shard-*-of-*.safetensors"))]
    tensors, *shards = map(read_tensors, files)
    remedy = "train anew, or from best/ with --weights"
    try:
        state = dict(_with_tensors(read_json_object(path, remedy=remedy), tensors, shards).items())
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path} is not what a run writes; {remedy}") from None
    check_value("", state, STATE, f"{path}: ", f"; {remedy}")
    return state


def _shard_file(number: int, count: int) -> str:
    return f"shard-{number + 1:05}-of-{count:05}.safetensors"


def _without_tensors(value: Any, tensors: dict[str, Tensor], shards: dict[str, Tensor], path: str) -> Any:
    if hasattr(value, "to_local"):  # a DTensor, whose import takes a while
        shards[path] = value.to_local()
        return {"shards": path}
    if isinstance(value, Tensor):
        tensors[path] = value
        return {"tensor": path}
    if isinstance(value, Mapping):
        # Pairs, since JSON would turn the optimizer's whole-number keys into texts.
        return {
            "items": [
                [key, _without_tensors(entry, tensors, shards, f"{path}/{key}")]
                for key, entry in value.items()
            ]
        }
    if isinstance(value, list | tuple):
        return [_without_tensors(entry, tensors, shards, f"{path}/{i}") for i, entry in enumerate(value)]
    return value


def _with_tensors(value: Any, tensors: Mapping[str, Tensor], shards: list[Mapping[str, Tensor]]) -> Any:
    if isinstance(value, dict) and "tensor" in value:
        return tensors[value["tensor"]].clone()
    if isinstance(value, dict) and "shards" in value:
        return SavedShards([part[value["shards"]] for part in shards])
    if isinstance(value, dict):
        return {key: _with_tensors(entry, tensors, shards) for key, entry in value["items"]}
    return [_with_tensors(entry, tensors, shards) for entry in value] if isinstance(value, list) else value


def write_checksums(folder: Path) -> None:
    """Writes checksums.json: the SHA-256 of each file of a checkpoint that is ready."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    write_json(folder / CHECKSUMS, {str(path.relative_to(folder)): _sha256(path) for path in files})


def find_damage(folder: Path) -> str | None:
    """Returns what is wrong with a checkpoint: a file that is missing, or differs from checksums.json.

    None where nothing is, and for a checkpoint without checksums, as minBERT 0.1 wrote them.
    """
    path = folder / CHECKSUMS
    if not path.is_file():
        return None
    try:
        sums = read_json_object(path)
    except InputError as error:
        return str(error)
    for name, expected in sums.items():
        file = folder / name
        if not file.is_file():
            return f"{file} is missing"
        if _sha256(file) != expected:
            return f"{file} differs from its checksum"
    return None


def check_damage(folder: Path) -> None:
    """Raises InputError for a checkpoint with a `find_damage`."""
    if damage := find_damage(folder):
        raise InputError(
            f"{damage}; take the checkpoint from another copy of the run, or delete {folder / CHECKSUMS} if "
            f"you changed it"
        )


def former_checkpoint(last: Path) -> Path:
    """Returns the path of last.previous/, which is beside what last/ leads to where that is a link."""
    last = Path(os.path.realpath(last))
    return last.with_name(f"{last.name}.previous")


def repair_last(last: Path) -> None:
    """Puts last.previous/ in the place of a last/ that is damaged or missing.

    Raises InputError where last/ is damaged and no former checkpoint is whole.
    """
    last, previous = Path(os.path.realpath(last)), former_checkpoint(last)
    restore_folder(last)
    restore_folder(last, keep=True)
    damage = find_damage(last)
    if damage is None:
        return
    if not (previous / CHECKSUMS).is_file() or find_damage(previous) is not None:
        raise InputError(
            f"{damage}, and no former checkpoint is whole; train anew, or from best/ with --weights"
        )
    logger.warning(f"{damage}; the run goes on from {previous.name}/, the checkpoint before it")
    removed = last.with_name(f".{last.name}.partial")  # whole or gone, whenever a kill comes
    shutil.rmtree(removed, ignore_errors=True)
    os.replace(last, removed)
    os.replace(previous, last)
    shutil.rmtree(removed)


def check_room(path: Path, size: int, keep: int) -> None:
    """Raises InputError where the disk has no room for a checkpoint of so many bytes.

    With `keep` 2, before there is one, it must have room for the second one too.
    """
    count = 1 if path.exists() else keep
    needed, free = size * count, shutil.disk_usage(path.parent).free
    if free < needed:
        what = "2 checkpoints take" if count > 1 else "a checkpoint takes"
        raise InputError(
            f"the disk of {path} has {free:,} bytes left, and {what} {needed:,}; make room"
            f"{', or give --checkpoint.keep 1' if count > 1 else ''}, then multitask resume {path.parent}"
        )


def size_of(value: Any) -> int:
    """Returns the bytes of all tensors in nested values."""
    if isinstance(value, Tensor):
        return value.numel() * value.element_size()
    if isinstance(value, Mapping):
        value = list(value.values())
    return sum(map(size_of, value)) if isinstance(value, list | tuple) else 0


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class RandomState:
    """Random generators of torch as a part of the training state: dropout goes on where it stopped.

    Each process of a run has its own, of the CPU and of its device. A run that goes on in more processes, or
    on another kind of device, draws new numbers there.
    """

    def __init__(self, device: torch.device, group: ProcessGroup | None = None):
        self.device = device
        self.group = group or ProcessGroup()

    def state_dict(self) -> dict[str, Any]:
        own = {"device": self.device.type, "states": random_state(self.device)}
        return {"ranks": self.group.all_gather_object(own)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        states = state["ranks"]
        if len(states) != self.group.size:
            logger.info(
                f"the run was trained by {len(states)} processes, this is {self.group.size}: it goes on, but "
                f"not bit by bit as with so many"
            )
        if self.group.rank < len(states):
            own = states[self.group.rank]
            kept = own["states"] if own["device"] == self.device.type else own["states"][:1]
            set_random_state(kept, self.device)
