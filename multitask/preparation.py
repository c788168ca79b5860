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
from multitask.splits import load_split, open_data
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
        bert = replace(bert, vocab_size=tokenizer.vocab_size)
    else:
        tokenizer = Tokenizer.from_pretrained(weights)
    model = make_model(config, weights, bert, tasks)
    if not scratch:
        load_trained_heads(model, find_folder(weights))
    tokenized = {
        split: {name: tasks[name].tokenize(tokenizer, examples.rows) for name, examples in loaded.items()}
        for split, loaded in splits.items()
    }
    train = {name: examples for name, examples in tokenized["train"].items() if can_learn(model, name)}
    notes += describe_training_data(tokenized["train"], train)
    if model.encoder.load_report and model.encoder.load_report.missing and model.encoder.pooler is not None:
        notes.append("the weights hold no pooler; a random one takes its place")
    heads = {name: _head_facts(task, splits["train"][name]) for name, task in tasks.items()}
    return Prepared(tokenizer, model.to(device), train, tokenized["dev"], heads, hashes, notes)


def untrained_model(config: RunConfig) -> MultitaskModel:
    """The model that a run would train, without the run: data are read only for labels that no key names."""
    if config.weights is None:
        raise InputError("no weights; give --weights with a folder of pretrained weights, or `scratch`")
    if config.needs_scratch:
        bert = BertConfig(**config.model, vocab_size=config.vocab_size)
    else:
        bert = bert_config(config, config.weights)
    tasks = make_tasks(config.tasks, bert)
    unnamed = [task for task in tasks.values() if getattr(task, "labels", None) == ()]
    if unnamed and config.data is not None:
        with open_data(config.data) as folder:
            for task in unnamed:
                task.load(folder, "train")
    return make_model(config, config.weights, bert, tasks)


def bert_config(config: RunConfig, weights: str | Path) -> BertConfig:
    """The sizes of the weights, with the dropout rates of the run."""
    return replace(BertConfig.from_folder(find_folder(weights)), **config.model)


def make_model(
    config: RunConfig, weights: str | Path, bert: BertConfig, tasks: Mapping[str, TrainingTask]
) -> MultitaskModel:
    """Encoder and fresh heads, frozen as the run wants; a random pooler where one is needed and missing."""
    for name in tasks:
        if hasattr(torch.nn.ModuleDict(), name):
            raise InputError(f"task name {name!r} is taken by torch; choose another name")
    if str(weights) == "scratch":
        encoder = BertModel(bert)
    else:
        wants_pooler = any(task.config.pooling == "pooler" for task in tasks.values())
        encoder = BertModel.from_pretrained(weights, config=bert, pooler="random" if wants_pooler else None)
    freeze(encoder, config.freeze)
    return MultitaskModel(encoder, tasks)


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
