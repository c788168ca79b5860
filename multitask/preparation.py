"""What stands ready before the first step: the data read and tokenized, the tokenizer, the model."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from minbert import BertConfig, BertModel, InputError, Tokenizer, find_folder
from multitask.config import RunConfig
from multitask.data.collate import TokenizedExample
from multitask.data.readers import Examples
from multitask.model import MultitaskModel
from multitask.run import load_trained_heads, make_tasks
from multitask.splits import load_split
from multitask.tasks.base import ScoredTask, TrainingTask
from multitask.training.freezing import freeze

Splits = dict[str, dict[str, Examples]]  # split -> task -> examples


@dataclass
class Prepared:
    """A run's model on its device, its tokenized data, and what its folder says of heads and data files."""

    tokenizer: Tokenizer
    model: MultitaskModel
    train: dict[str, list[TokenizedExample]]
    dev: dict[str, list[TokenizedExample]]
    heads: dict[str, dict[str, Any]]
    hashes: dict[str, str]
    notes: list[str]


def prepare(config: RunConfig, weights: str | Path, data: Path, device: torch.device) -> Prepared:
    """Reads the data, makes tokenizer, encoder and heads. `weights` is a folder or `scratch`."""
    scratch = str(weights) == "scratch"
    bert = BertConfig(**config.model) if scratch else bert_config(config, weights)
    tasks = make_tasks(config.tasks, bert)
    splits, hashes, notes = read_splits(config, tasks, data)
    if scratch:
        texts = (text for examples in splits["train"].values() for row in examples.rows for text in row.texts)
        tokenizer = Tokenizer.train(texts, config.vocab_size)
        encoder = BertModel(replace(bert, vocab_size=tokenizer.vocab_size))
    else:
        tokenizer = Tokenizer.from_pretrained(weights)
        wants_pooler = any(task.config.pooling == "pooler" for task in tasks.values())
        encoder = BertModel.from_pretrained(weights, config=bert, pooler="random" if wants_pooler else None)
        if wants_pooler and encoder.load_report.missing:
            notes.append("the weights hold no pooler; a random one takes its place")
    freeze(encoder, config.freeze)
    check_names(tasks)
    model = MultitaskModel(encoder, tasks)
    if not scratch:
        load_trained_heads(model, find_folder(weights))
    tokenized = {
        split: {name: tasks[name].tokenize(tokenizer, examples.rows) for name, examples in loaded.items()}
        for split, loaded in splits.items()
    }
    train = {name: examples for name, examples in tokenized["train"].items() if can_learn(model, name)}
    notes += describe_training_data(tokenized["train"], train)
    heads = {name: _head_facts(task, splits["train"][name]) for name, task in tasks.items()}
    return Prepared(tokenizer, model.to(device), train, tokenized["dev"], heads, hashes, notes)


def bert_config(config: RunConfig, weights: str | Path) -> BertConfig:
    """The sizes of the weights, with the dropout rates of the run."""
    return replace(BertConfig.from_folder(find_folder(weights)), **config.model)


def read_splits(
    config: RunConfig, tasks: Mapping[str, TrainingTask], data: Path
) -> tuple[Splits, dict[str, str], list[str]]:
    """Training rows of each task, dev rows of those that can be scored; -> (splits, hashes of files, notes).

    Raises InputError where a task has nothing to train on.
    """
    splits: Splits = {"train": {}, "dev": {}}
    hashes, notes = {}, []
    for split, loaded in splits.items():
        for name, task in tasks.items():
            if split == "dev" and not isinstance(task, ScoredTask):
                continue
            examples, note = load_split(task, data, split, config.limit)
            notes += note
            if examples is not None and examples.rows:
                loaded[name] = examples
                hashes[task.file(split)] = _sha256(Path(examples.path))
            elif split == "train":
                file = data / (task.file("train") or "")
                raise InputError(f"{name} has nothing to train on: {file} is missing or holds no usable row")
    for split, loaded in splits.items():
        for name, examples in list(loaded.items()):
            if all(example.label is not None for example in examples.rows):
                continue
            if split == "train":
                raise InputError(
                    f"the training split of {name} has no labels; set {name}.label to their column; "
                    f"{examples.path} has {', '.join(examples.columns)}"
                )
            del loaded[name]
            notes.append(f"{name}: {tasks[name].file('dev')} has no labels to score by")
    return splits, hashes, notes


def check_names(tasks: Mapping[str, TrainingTask]) -> None:
    """Raises InputError for a task name that a torch module cannot give to a part of it, such as `half`."""
    for name in tasks:
        if hasattr(torch.nn.ModuleDict(), name):
            raise InputError(f"task name {name!r} is taken by torch; choose another name")


def can_learn(model: MultitaskModel, task: str) -> bool:
    """Whether a task trains anything: not a head without parameters over a frozen encoder."""
    parameters = [*model.encoder.parameters(), *model.heads[task].parameters()]
    return any(parameter.requires_grad for parameter in parameters)


def describe_training_data(
    tokenized: Mapping[str, list[TokenizedExample]], used: Mapping[str, list[TokenizedExample]]
) -> list[str]:
    """A line for each task whose inputs were cut, and for each that trains nothing."""
    notes = []
    for name, examples in tokenized.items():
        cut = sum(any(side.truncated for side in entry.sides) for entry in examples)
        if name not in used:
            notes.append(f"{name}: scored only; its head has no parameters and the encoder is frozen")
        elif cut:
            notes.append(
                f"{name}: {cut / len(examples):.1%} of the training inputs are cut to the longest input"
            )
    return notes


def _head_facts(task: TrainingTask, examples: Examples) -> dict[str, Any]:
    facts: dict[str, Any] = {"config": task.config.__dict__, "labels": list(getattr(task, "labels", ()))}
    if isinstance(task, ScoredTask):
        facts["fallback"] = task.fallback(examples.rows)
    return facts


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
