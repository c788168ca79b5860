"""Loads the inputs of a run: tokenizer, model, and the tokenized examples of each task."""

from collections.abc import Iterator, Mapping
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
    did_you_mean,
    find_folder,
    load_attention_adapters,
    load_lora,
    read_attention_adapters,
)
from multitask.config.run_config import RunConfig
from multitask.data.cache_folder import cache_folder, file_hash
from multitask.data.readers import Examples
from multitask.data.token_store import TokenStore
from multitask.inference.checkpoint import ADAPTER_FOLDER
from multitask.inference.saved_tasks import load_trained_heads, make_tasks, saved_labels
from multitask.model.multitask_model import DEFAULT_ADAPTER, MultitaskModel
from multitask.tasks.base import TrainingTask
from multitask.tasks.splits import (
    check_rejected,
    class_notes,
    files_of_split,
    missing_split,
    open_data,
    part_of,
    tokenize_split,
)
from multitask.training.parameters.freezing import freeze

SCRATCH = "scratch"
Stores = dict[str, TokenStore]  # by task


@dataclass
class RunInputs:
    """A run's model on its device, its tokenized data, and the facts that its folder keeps of them.

    `heads` is the content of heads.json, `hashes` the SHA-256 of each data file, `notes` are messages.
    """

    tokenizer: Tokenizer
    model: MultitaskModel
    train: Stores
    dev: Stores
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
    splits = _Splits(config, tasks, data)
    if scratch:
        tokenizer = Tokenizer.train(splits.training_texts(), config.vocab_size)
        bert = replace(bert, vocab_size=tokenizer.vocab_size)
    else:
        tokenizer = Tokenizer.from_pretrained(source)
        tokenizer.check_embeddings(bert.vocab_size)
    stores, hashes, notes = splits.tokenize(tokenizer)
    for name, store in stores["train"].items():
        said = [*class_notes(tasks[name], store.rows), *tasks[name].prepare_training(store.rows)]
        notes += [f"{name}: {note}" for note in said]
    model = make_model(config, bert, tasks, checkpoint)
    trained = () if scratch else load_trained_heads(model, find_folder(source))
    notes += freeze(model, config.freeze)
    report = model.encoder.load_report
    if report and report.missing and model.encoder.pooler is not None:
        notes.append("the weights have no pooler; a random one takes its place")
    notes += report.notes if report else []
    if report and report.fresh:
        notes.append(f"{len(report.fresh)} tensors of the encoder are not in the weights and start anew")
    train = {}
    for name, store in stores["train"].items():
        parameters = [*model.encoder.parameters(), *model.heads[name].parameters()]
        if not any(parameter.requires_grad for parameter in parameters):
            notes.append(f"{name}: scored only; nothing that it uses is trained")
            continue
        train[name] = store
        if store.truncated:
            notes.append(f"{name}: {store.truncated:.1%} of the training inputs are cut to the longest input")
    notes += [
        f"{name}: its head is not trained, neither here nor in {source}; its scores mean nothing"
        for name in tasks
        if name not in {*train, *trained} and tasks[name].scored
    ]
    heads = {}
    for name, task in tasks.items():
        heads[name] = {"config": task.config.__dict__, "labels": list(getattr(task, "labels", ()))}
        if task.scored and name in stores["train"]:
            heads[name]["fallback"] = task.majority_prediction(stores["train"][name].rows)
    if config.parallel != "fsdp":  # which moves the model part by part
        model.to(device)
    return RunInputs(tokenizer, model, train, stores["dev"], heads, hashes, notes)


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
                _ = task.labels  # read here: a sample's folder goes
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
        prefix = config.weights_prefix if source == config.weights else None
        encoder = BertModel.from_pretrained(
            source, config=bert, pooler=pooler, adapter="none", weights_prefix=prefix
        )
    add_adapters_within_attention(config, encoder, source)
    if config.lora.rank:
        names = config.trained_tasks if config.adapter_per_task else (DEFAULT_ADAPTER,)
        add_lora(encoder, config.lora, names)
        for name in names if checkpoint else ():
            folder = checkpoint / ADAPTER_FOLDER
            load_lora(encoder, folder / name if config.adapter_per_task else folder, name)
    encoder.encoder.checkpointing = config.train.checkpointing
    return MultitaskModel(encoder, tasks, frozen_dropout=config.frozen_dropout)


class _Splits:
    """Training rows of each task, dev rows of those that can be scored: opened, then tokenized."""

    def __init__(self, config: RunConfig, tasks: Mapping[str, TrainingTask], data: Path):
        self.config = config
        self.tasks = tasks
        self.data = data
        self.notes: list[str] = []
        self.train = self._open("train")

    def _open(self, split: str) -> dict[str, Examples]:
        found = {}
        for name, task in self.tasks.items():
            scored = task.scored
            if not (scored if split == "dev" else not scored or task.file("train") is not None):
                continue
            if missing := missing_split(task, self.data, split):
                if split == "train":
                    raise self._no_training_file(name)
                self.notes.append(missing)
            else:
                found[name] = task.load(self.data, split)
        return found

    def _no_training_file(self, name: str) -> InputError:
        file = self.tasks[name].file("train")
        if file is None:
            return InputError(f"{name} has nothing to train on; set {name}.train to a file name")
        path = self.data / file
        near = sorted(entry.name for entry in path.parent.glob("[!.]*"))
        more = ", ..." if len(near) > 5 else ""
        held = f"{path.parent} holds {', '.join(near[:5]) or 'nothing'}{more}"
        return InputError(
            f"{name} has nothing to train on: there is no file {path}{did_you_mean(path.name, near)}; "
            f"{held}; give --data the folder with the file, or set {name}.train to its name"
        )

    def training_texts(self) -> Iterator[str]:
        """Yields the texts of the training rows of all tasks."""
        for examples in self.train.values():
            limit = self.config.limit
            rows = examples.rows if limit is None else part_of(examples, limit).kept(examples)
            for row in rows:
                yield from row.texts

    def tokenize(self, tokenizer: Tokenizer) -> tuple[dict[str, Stores], dict[str, str], list[str]]:
        """Returns the tokens by split and task, hashes of files, notes.

        Raises InputError where a task has nothing to train on.
        """
        cache, limit = cache_folder(self.config.data_cache), self.config.limit
        stores: dict[str, Stores] = {"train": {}, "dev": {}}
        hashes, unlabelled = {}, []
        for split in stores:
            opened = self.train if split == "train" else self._open(split)
            for name, examples in opened.items():
                task = self.tasks[name]
                store, notes = tokenize_split(task, examples, split, tokenizer, cache, limit)
                self.notes += notes
                check_rejected(task, examples.path, store.rejected, self.config.max_rejected)
                if len(store):
                    files = files_of_split(examples)
                    for file in files:
                        known = task.file(split) if len(files) == 1 else f"{task.file(split)}/{file.name}"
                        hashes[known] = file_hash(file, cache)
                    if task.scored and store.unlabelled:
                        self._refuse_unlabelled(name, examples, split)
                        unlabelled.append(f"{name}: {task.file('dev')} has no labels to score by")
                    else:
                        stores[split][name] = store
                elif split == "dev":
                    self.notes.append(f"{name}: {examples.path} has no usable row to score")
                else:
                    first = f"; {store.rejected.first[0]}" if store.rejected.count else ""
                    raise InputError(
                        f"{name} has nothing to train on: no row of {examples.path} is usable{first}"
                    )
        return stores, hashes, self.notes + unlabelled

    def _refuse_unlabelled(self, name: str, examples: Examples, split: str) -> None:
        if split == "train":
            raise InputError(
                f"the training split of {name} has no labels; set {name}.label to their column; "
                f"{examples.path} has {', '.join(examples.columns)}"
            )
