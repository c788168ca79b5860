"""Averages checkpoints' weights, "model soups" (Wortsman et al. 2022): one model, as cheap as each is.

Made for runs that began with the same weights, and for several checkpoints of one run. An average is summed
in fp64 and written in fp32.
"""

import hashlib
import json
import math
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor

from minbert import BertConfig, InputError, Tokenizer, atomic_folder, find_folder, read_tensors, write_tensors
from multitask.config.option_types import plain
from multitask.config.run_config import RunConfig
from multitask.config.task_config import TaskConfig
from multitask.experiments.ensemble.ensemble import Scores, check_sources, with_overall
from multitask.inference.checkpoint import check_damage, read_heads, task_adapters
from multitask.inference.run import open_source
from multitask.runtime.tracking import write_json
from multitask.training.selection import selector

METHODS = ("plain", "greedy")
# Keys that only training reads; averaged checkpoints may differ in them.
_OF_TRAINING = {
    "encoder": ("hidden_dropout_prob", "attention_probs_dropout_prob", "extra", "initializer_range"),
    "task": (
        *("dropout", "label_smoothing", "class_weights", "focal_gamma", "temperature", "learn_temperature"),
        *("symmetric", "hard_negative_weight", "mask_false_negatives", "chunk_size", "mask_rate", "weight"),
        *("batch_size", "accumulation", "start_epoch", "lr", "encoder_lr"),
        *("train", "dev", "test", "negatives"),
    ),
}
# Losses whose outputs mean something else than those of the others.
_OWN_OUTPUTS = ("ordinal", "angle")
_NOT_COPIED = ("*.safetensors", "training_state", "adapter", "README.md", "checksums.json", ".*")


@dataclass
class WeightAverage:
    """The result of an average: the checkpoints in it, and scores on dev where there was data to score."""

    sources: list[str]
    method: str
    kept: list[str]
    single: list[Scores]
    scores: Scores
    folder: str

    def as_dict(self) -> dict[str, Any]:
        single = zip(self.sources, self.single, strict=True)
        return {
            "method": self.method,
            "kept": self.kept,
            "single": [{"source": source, **with_overall(scores)} for source, scores in single],
            "average": with_overall(self.scores),
            "folder": self.folder,
        }


def average_weights(
    sources: Sequence[str],
    out: str | Path,
    method: str = "plain",
    data: str | Path | None = None,
    tasks: Sequence[str] | None = None,
    device: str = "auto",
) -> WeightAverage:
    """Averages the best/ of runs, or checkpoint folders, into the new folder `out`, itself a checkpoint.

    "plain" takes all; "greedy" begins with the best by dev score and goes through the others from the better
    to the worse, keeping each with which the average scores no worse. The score is overall_2024, else the
    mean of the tasks' primary metrics. Without `data` nothing is scored, which greedy needs.
    Raises InputError, with the first difference, for checkpoints that are not of one form.
    """
    check_sources(sources)
    out = Path(out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out} exists already; give --out the name of a new folder")
    folders = [checkpoint_folder(source) for source in sources]
    check_sources([str(folder) for folder in folders])
    for source, folder in zip(sources[1:], folders[1:], strict=True):
        check_same_form(folders[0], folder, source)

    def score(folder: Path) -> tuple[Scores, float | None]:
        return ({}, None) if data is None else score_on_dev(folder, data, tasks, device)

    scored = [score(folder) for folder in folders]
    values = [value for _, value in scored]
    kept = _greedy(folders, values, score) if method == "greedy" else range(len(folders))
    with atomic_folder(out) as partial:
        write_average([folders[place] for place in kept], partial)
        single, chosen = [scores for scores, _ in scored], [sources[place] for place in kept]
        result = WeightAverage(list(sources), method, chosen, single, score(partial)[0], str(out))
        write_json(partial / "average.json", result.as_dict())
    return result


def checkpoint_folder(source: str) -> Path:
    """Returns the best/ of a run's folder, else the folder of weights itself."""
    if not (Path(source) / "environment.json").is_file():
        return find_folder(source)
    best = Path(source) / "best"
    if not best.is_dir():
        raise InputError(f"{source} has no best/ yet; let the run reach its first evaluation")
    return best


def score_on_dev(
    folder: Path, data: str | Path, tasks: Sequence[str] | None, device: str
) -> tuple[Scores, float | None]:
    """Scores a checkpoint on dev; -> scores, and the number that checkpoints are compared by, or None."""
    run = open_source(folder, tasks, device=device)
    scores = run.evaluate(data, "dev", tasks).scores
    value = selector(RunConfig(), run.model.tasks)(scores)
    return scores, -math.inf if value is not None and math.isnan(value) else value


def _greedy(
    folders: Sequence[Path],
    values: Sequence[float | None],
    score: Callable[[Path], tuple[Scores, float | None]],
) -> list[int]:
    """Returns the places of the checkpoints to keep, the best first, of equal ones the earliest."""
    if None in values:
        raise InputError(
            "greedy keeps checkpoints by their dev scores; give --data DIR with a labelled dev split"
        )
    order = sorted(range(len(folders)), key=lambda place: -values[place])
    kept, best = order[:1], values[order[0]]
    for place in order[1:]:
        with TemporaryDirectory(prefix="minbert-average-") as folder:
            write_average([folders[i] for i in [*kept, place]], Path(folder))
            value = score(Path(folder))[1]
        if value >= best:
            kept, best = [*kept, place], value
    return kept


def write_average(folders: Sequence[Path], out: Path) -> None:
    """Writes the mean of checkpoints' tensors into a folder, with the other files of the first one."""
    shutil.copytree(folders[0], out, ignore=shutil.ignore_patterns(*_NOT_COPIED), dirs_exist_ok=True)
    for name in _tensor_files(folders[0]):
        write_tensors(mean_tensors([folder / name for folder in folders]), out / name)


def mean_tensors(paths: Sequence[Path]) -> dict[str, Tensor]:
    """Returns the mean of each tensor over safetensors files of one form, in fp32, or fp64 where they are.

    Raises InputError for tensors of whole numbers that are not equal.
    """
    first, *others = [read_tensors(path) for path in paths]
    means = {}
    for name, tensor in first.items():
        if tensor.is_floating_point():
            total = sum((tensors[name].double() for tensors in others), tensor.double())
            means[name] = (total / len(paths)).to(torch.promote_types(tensor.dtype, torch.float32))
            continue
        for path, tensors in zip(paths[1:], others, strict=True):
            if not torch.equal(tensor, tensors[name]):
                raise InputError(f"{name} has whole numbers that differ in {paths[0]} and {path}")
        means[name] = tensor
    return means


def _tensor_files(folder: Path) -> list[str]:
    """Lists a checkpoint's safetensors files, in its own folder and in those of sentence-transformers."""
    found = (path.relative_to(folder) for path in folder.rglob("*.safetensors"))
    return sorted(str(path) for path in found if path.parts[0] not in ("adapter", "training_state"))


def check_same_form(first: Path, other: Path, source: str) -> None:
    """Raises InputError, with the first difference, for a checkpoint whose weights cannot be averaged."""
    for folder in (first, other):
        if task_adapters(folder):
            raise InputError(
                f"{folder} has an adapter for each task, whose factors cannot be averaged one by one; "
                f"average predictions instead: --average predictions"
            )
    ours, theirs = _form(first), _form(other)
    for key in dict.fromkeys([*ours, *theirs]):
        wanted, found = (form.get(key, "missing") for form in (ours, theirs))
        if wanted == found or (key.endswith(".loss") and not {wanted, found} & {*_OWN_OUTPUTS}):
            continue
        raise InputError(
            f"{source} is of another form than {first}: {key} is {found!r}, and {wanted!r} in the first; "
            f"only weights of one form can be averaged: average predictions instead, or leave it out"
        )


def _form(folder: Path) -> dict[str, Any]:
    """Collects sizes, tokenizer, tasks, heads and shapes, without what only training reads."""
    check_damage(folder)
    form = _without(asdict(BertConfig.from_folder(folder)), "encoder")
    tokenizer = json.loads(Tokenizer.from_pretrained(folder).backend.to_str())
    for key, value in tokenizer.items():
        digest = hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
        form[f"the tokenizer's {key}, by its hash,"] = digest[:8]
    heads = read_heads(folder)
    form["the list of tasks"] = ", ".join(sorted(heads)) or "none"
    for task, head in heads.items():
        form[f"the list of labels of {task}"] = head.get("labels")
        values = _without(asdict(TaskConfig()) | head["config"], "task")
        form |= {f"{task}.{key}": value for key, value in values.items()}
    for name in _tensor_files(folder):
        shapes = {key: list(tensor.shape) for key, tensor in read_tensors(folder / name).items()}
        form |= {f"the shape of {key} in {name}": shape for key, shape in shapes.items()}
    return plain(form)


def _without(values: Mapping[str, Any], part: str) -> dict[str, Any]:
    return {key: value for key, value in values.items() if key not in _OF_TRAINING[part]}
