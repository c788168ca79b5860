"""Loads the inputs of a run: tokenizer, model, and the tokenized examples of each task."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from minbert import (
    AttentionAdapterConfig,
    BertConfig,
    BertModel,
    InputError,
    Tokenizer,
    add_attention_adapters,
    add_lora,
    find_folder,
    load_attention_adapters,
    load_lora,
    read_attention_adapters,
)
from multitask.config.run_config import RunConfig
from multitask.data.collate import TokenizedExample
from multitask.data.readers import Examples
from multitask.inference.checkpoint import ADAPTER_FOLDER
from multitask.inference.saved_tasks import load_trained_heads, make_tasks, saved_labels
from multitask.model.multitask_model import DEFAULT_ADAPTER, MultitaskModel
from multitask.tasks.base import TrainingTask
from multitask.tasks.splits import load_split, open_data
from multitask.training.parameters.freezing import freeze

SCRATCH = "scratch"
Splits = dict[str, dict[str, Examples]]  # split -> task -> examples


@dataclass
class RunInputs:
    """A run's model on its device, its tokenized data, and the facts that its folder keeps of them.

    `heads` is the content of heads.json, `hashes` the SHA-256 of each data file, `notes` are messages.
    """

    tokenizer: Tokenizer
    model: MultitaskModel
    train: dict[str, list[TokenizedExample]]
    dev: dict[str, list[TokenizedExample]]
    heads: dict[str, dict[str, Any]]
    hashes: dict[str, str]
    notes: list[str]


def load_inputs(
    config: RunConfig, data: Path, device: torch.device, checkpoint: Path | None = None
) -> RunInputs:
    """Reads the data of a folder and makes tokenizer, encoder and heads, those of `checkpoint` if given."""
    source = checkpoint or config.weights
    scratch = source == SCRATCH
    bert = BertConfig(**config.encoder_changes) if scratch else bert_config(config, checkpoint)
    tasks = make_tasks(config.tasks, bert, _labels_of_scored(config, source))
    splits, hashes, notes = _read_splits(config, tasks, data)
    if scratch:
        texts = (text for examples in splits["train"].values() for row in examples.rows for text in row.texts)
        tokenizer = Tokenizer.train(texts, config.vocab_size)
        bert = replace(bert, vocab_size=tokenizer.vocab_size)
    else:
        tokenizer = Tokenizer.from_pretrained(source)
    for name, examples in splits["train"].items():
        notes += [f"{name}: {note}" for note in tasks[name].prepare_training(examples.rows)]
    model = make_model(config, bert, tasks, checkpoint)
    trained = () if scratch else load_trained_heads(model, find_folder(source))
    notes += freeze(model, config.freeze)
    report = model.encoder.load_report
    if report and report.missing and model.encoder.pooler is not None:
        notes.append("the weights have no pooler; a random one takes its place")
    if report and report.fresh:
        notes.append(f"{len(report.fresh)} tensors of the encoder are not in the weights and start anew")
    tokenized = {
        split: {name: tasks[name].tokenize(tokenizer, examples.rows) for name, examples in loaded.items()}
        for split, loaded in splits.items()
    }
    train = {}
    for name, examples in tokenized["train"].items():
        cut = sum(any(side.truncated for side in entry.sides) for entry in examples)
        parameters = [*model.encoder.parameters(), *model.heads[name].parameters()]
        if not any(parameter.requires_grad for parameter in parameters):
            notes.append(f"{name}: scored only; nothing that it uses is trained")
            continue
        train[name] = examples
        if cut:
            share = cut / len(examples)
            notes.append(f"{name}: {share:.1%} of the training inputs are cut to the longest input")
    notes += [
        f"{name}: its head is not trained, neither here nor in {source}; its scores mean nothing"
        for name in tasks
        if name not in {*train, *trained} and tasks[name].scored
    ]
    heads = {}
    for name, task in tasks.items():
        heads[name] = {"config": task.config.__dict__, "labels": list(getattr(task, "labels", ()))}
        if task.scored and name in splits["train"]:
            heads[name]["fallback"] = task.majority_prediction(splits["train"][name].rows)
    if config.parallel != "fsdp":  # which moves the model part by part
        model.to(device)
    return RunInputs(tokenizer, model, train, tokenized["dev"], heads, hashes, notes)


def check_weights(config: RunConfig) -> None:
    """Raises InputError for a configuration without weights."""
    if config.weights is None:
        raise InputError("no weights; give --weights with a folder of pretrained weights, or `scratch`")


def untrained_model(config: RunConfig) -> MultitaskModel:
    """Returns the model that a run would train; reads data only for labels that no key names."""
    check_weights(config)
    if config.needs_scratch:
        bert = BertConfig(**config.encoder_changes, vocab_size=config.vocab_size)
    else:
        bert = bert_config(config)
    tasks = make_tasks(config.tasks, bert, _labels_of_scored(config, config.weights))
    unnamed = [task for task in tasks.values() if getattr(task, "labels", None) == () and task.file("train")]
    if unnamed and config.data is not None:
        with open_data(config.data) as folder:
            for task in unnamed:
                task.load(folder, "train")
    model = make_model(config, bert, tasks)
    freeze(model, config.freeze)
    return model


def _labels_of_scored(config: RunConfig, source: str | Path) -> dict[str, Any]:
    """Returns the labels of tasks that are scored only, from the heads of the weights."""
    saved = {} if source == SCRATCH else saved_labels(find_folder(source))
    return {name: labels for name, labels in saved.items() if name not in config.trained_tasks}


def bert_config(config: RunConfig, checkpoint: Path | None = None) -> BertConfig:
    """Returns the configuration of the weights with the run's changes, which a checkpoint has already."""
    if checkpoint is not None and not config.lora.rank:
        return replace(BertConfig.from_folder(checkpoint), **config.encoder_changes)
    found = BertConfig.from_folder(find_folder(config.weights))
    layers = found.num_hidden_layers + config.extra_layers
    return replace(found, **config.encoder_changes, num_hidden_layers=layers)


def add_adapters_within_attention(config: RunConfig, encoder: BertModel, source: str | Path) -> None:
    """Adds the adapters of the weights and those that the run wants, an own one for each trained task."""
    folder = None if source == SCRATCH else find_folder(source)
    found = read_attention_adapters(folder) if folder else AttentionAdapterConfig()
    wanted = replace(found, **config.attention_adapters)
    if wanted.projected_attention_size:
        names = dict.fromkeys([*found.projected_attention_names, *config.trained_tasks])
        wanted = replace(wanted, projected_attention_names=tuple(names))
    if found.kinds:
        load_attention_adapters(encoder, folder, wanted)
    elif wanted.kinds:
        add_attention_adapters(encoder, wanted)


def make_model(
    config: RunConfig, bert: BertConfig, tasks: Mapping[str, TrainingTask], checkpoint: Path | None = None
) -> MultitaskModel:
    """Returns an encoder, with the run's adapters, and fresh heads.

    A pooler that is needed and missing is random. With LoRA the encoder is that of the run's own weights,
    and only the adapters come from the checkpoint: its root has them merged.
    """
    for name in tasks:
        if hasattr(torch.nn.ModuleDict(), name):
            raise InputError(f"task name {name!r} is taken by torch; choose another name")
    source = config.weights if checkpoint is None or config.lora.rank else checkpoint
    if source == SCRATCH:
        encoder = BertModel(bert)
    else:
        wants_pooler = any(task.config.pooling == "pooler" for task in tasks.values())
        pooler = "random" if wants_pooler else None
        encoder = BertModel.from_pretrained(source, config=bert, pooler=pooler, adapter="none")
    add_adapters_within_attention(config, encoder, source)
    if config.lora.rank:
        names = config.trained_tasks if config.adapter_per_task else (DEFAULT_ADAPTER,)
        add_lora(encoder, config.lora, names)
        for name in names if checkpoint else ():
            folder = checkpoint / ADAPTER_FOLDER
            load_lora(encoder, folder / name if config.adapter_per_task else folder, name)
    encoder.encoder.checkpointing = config.train.checkpointing
    return MultitaskModel(encoder, tasks, frozen_dropout=config.frozen_dropout)


def _read_splits(
    config: RunConfig, tasks: Mapping[str, TrainingTask], data: Path
) -> tuple[Splits, dict[str, str], list[str]]:
    """Reads training rows of each task, dev rows of those that can be scored: (splits, hashes, notes).

    Raises InputError where a task has nothing to train on.
    """
    splits: Splits = {"train": {}, "dev": {}}
    hashes, notes, unlabelled = {}, [], []
    for split, loaded in splits.items():
        for name, task in tasks.items():
            scored = task.scored
            if not (scored if split == "dev" else not scored or task.file("train") is not None):
                continue
            examples, note = load_split(task, data, split, config.limit)
            notes += note
            if examples is not None and examples.rows:
                loaded[name] = examples
                hashes[task.file(split)] = file_hash(Path(examples.path))
                if scored and any(example.label is None for example in examples.rows):
                    unlabelled.append((split, name))
            elif split == "train":
                file = data / (task.file("train") or "")
                raise InputError(f"{name} has nothing to train on: {file} is missing or has no usable row")
    for split, name in unlabelled:
        examples = splits[split].pop(name)
        if split == "train":
            raise InputError(
                f"the training split of {name} has no labels; set {name}.label to their column; "
                f"{examples.path} has {', '.join(examples.columns)}"
            )
        notes.append(f"{name}: {tasks[name].file('dev')} has no labels to score by")
    return splits, hashes, notes


def file_hash(path: Path) -> str:
    """Returns the SHA-256 of a file's content, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
