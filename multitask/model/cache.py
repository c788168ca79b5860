"""Caches activations of frozen layers on disk: computed once, read in every epoch.

Frozen embeddings and layers without dropout give a token sequence the same rows each time. They lie in a file
that is mapped into memory, and a batch gets those of its sequences: the encoder continues from
there. N rows of a file, T token rows of a batch, B sequences, S tokens, D hidden size.
"""

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from minbert import (
    FIRST_TOKEN_POOLINGS,
    Batch,
    CachedActivations,
    InputError,
    TokenSequence,
    adapted_modules,
    atomic_write,
    base_hash,
    cut_by_tokens,
    pool,
)
from multitask.config.run_config import CacheConfig
from multitask.data.collate import TokenizedExample
from multitask.runtime.process_group import ProcessGroup

BATCH_TOKENS = 4096  # of the one pass over the data
FORMAT = 1  # part of the files' names; another one where their content changes its meaning


class FrozenPart(NamedTuple):
    """The embeddings and the lowest `layers` layers; with `pooling`, all of them, and one row a sequence."""

    layers: int
    pooling: str | None

    def __str__(self) -> str:
        if self.pooling is not None:
            return f"the frozen encoder's vectors ({self.pooling})"
        return f"the frozen embeddings and layer{'s 1 to' if self.layers > 1 else ''} {self.layers}"


def frozen_layers(model: nn.Module) -> int:
    """Returns how many of the lowest layers give the same rows each time; 0 if the embeddings do not.

    A layer with adapters counts as trained, and projected attention stands beside all layers.
    """
    encoder = model.encoder
    if model.frozen_dropout or encoder.encoder.projected_attention is not None or _trains(encoder.embeddings):
        return 0
    trained = [_trains(layer) or bool(adapted_modules(layer)) for layer in encoder.encoder.layers]
    return [*trained, True].index(True)


def _trains(module: nn.Module) -> bool:
    return any(parameter.requires_grad for parameter in module.parameters())


def kept_pooling(pooling: str) -> str:
    """The pooling of the row that is kept for a task that pools so; a frozen pooler runs each time."""
    return "cls" if pooling in FIRST_TOKEN_POOLINGS else pooling


def frozen_outputs(
    model: nn.Module, part: FrozenPart, sequences: Sequence[TokenSequence]
) -> Iterator[tuple[int, Tensor]]:
    """Computes the rows of a frozen part for sequences, which come longest first, batch by batch.

    Yields the number of sequences, and their rows (T, D), or (B, D) where they are pooled, fp32 on the CPU.
    This is the only place that computes them. The model is in evaluation mode.
    """
    encoder = model.encoder
    lengths = [len(sequence.ids) for sequence in sequences]
    for indices in cut_by_tokens(range(len(sequences)), lengths, BATCH_TOKENS):
        chosen = [sequences[i] for i in indices]
        batch = Batch.from_sequences([s.ids for s in chosen], [s.types for s in chosen]).to(model.device)
        with torch.inference_mode():
            with model.autocast():
                cls_only = part.pooling in FIRST_TOKEN_POOLINGS
                output = encoder(batch, cls_only=cls_only, layers=part.layers, pooler=False)
            # outside autocast, as tasks pool
            rows = output.packed if part.pooling is None else pool(output, part.pooling)
        yield len(chosen), rows.float().cpu()


class FrozenRows:
    """One file: the rows of a frozen part for the sequences that it knows.

    `values` (N, D) is fp32 or fp16; `starts` maps a sequence's fingerprint to the first of its rows.
    """

    def __init__(self, part: FrozenPart, values: np.ndarray, starts: Mapping[bytes, int]):
        self.part = part
        self.values = values
        self.starts = starts

    def attach(self, inputs: Batch) -> Batch:
        """The batch with its sequences' rows in fp32; as it was where one is not known.

        With pooled rows it has one token a sequence.
        """
        lengths = np.array(inputs.layout.lengths)
        if not inputs.layout.packed or not lengths.all():
            return inputs
        ends = np.cumsum(lengths)
        if (inputs.layout.positions.numpy()[ends - 1] != lengths - 1).any():
            return inputs  # padding within a sequence
        ids, types = inputs.token_ids.numpy(), inputs.token_type_ids.numpy()
        spans = zip((ends - lengths).tolist(), ends.tolist(), strict=True)
        found = [self.starts.get(_fingerprint(ids[start:end], types[start:end])) for start, end in spans]
        if None in found:
            return inputs
        rows = np.array(found)
        if self.part.pooling is None:
            rows = np.repeat(rows - (ends - lengths), lengths) + np.arange(len(ids))
        else:
            inputs = inputs.cls_only()
        values = torch.from_numpy(self.values[rows].astype(np.float32, copy=False))
        return replace(inputs, cached=CachedActivations(values, *self.part))


class FrozenCache:
    """Cached rows that each task of a run reads in place of the frozen layers; some tasks have none."""

    def __init__(self, rows: Mapping[str, FrozenRows]):
        self.rows = dict(rows)

    def attach(self, task: str, inputs: Batch) -> Batch:
        """The batch as the task's model input, see `FrozenRows.attach`."""
        return self.rows[task].attach(inputs) if task in self.rows else inputs

    def __deepcopy__(self, memo) -> "FrozenCache":
        return self  # it never changes, and its files are mapped once


def open_cache(
    settings: CacheConfig,
    model: nn.Module,
    examples: Mapping[str, Sequence[TokenizedExample]],
    folder: Path,
    group: ProcessGroup,
    say: Callable[[str], None] = lambda line: None,
    quiet: bool = True,
) -> FrozenCache | None:
    """Returns the activations of a MultitaskModel's frozen part for each task's examples; None without one.

    Read from `folder` where they lie there, else computed and written by the first process. `say` hears their
    size before that, and also where the disk has no room, without an error. Where the whole encoder is
    frozen, a task that reads pooled vectors only gets these. Raises InputError where `folder` is a file.
    """
    layers = frozen_layers(model)
    if not layers:
        return None
    whole = layers == len(model.encoder.encoder.layers)
    readers: dict[FrozenPart, list[str]] = {}
    for name, task in model.tasks.items():
        if examples.get(name) and not task.random_inputs:
            pooling = task.pooled_inputs if whole else None
            part = FrozenPart(layers, None if pooling is None else kept_pooling(pooling))
            readers.setdefault(part, []).append(name)
    rows: dict[str, FrozenRows] = {}
    for part, names in readers.items():
        wanted = _Wanted(model, part, [entry for name in names for entry in examples[name]], settings)
        path = None
        if group.is_main:
            path = _prepare_file(wanted, folder, say, quiet)
        path = group.broadcast_object(path)
        values = None if path is None else wanted.read(path)
        if values is not None:
            rows |= dict.fromkeys(names, FrozenRows(part, values, wanted.starts))
    return FrozenCache(rows) if rows else None


@dataclass
class _Wanted:
    """Content of one file: the rows of a part of a model for the sequences of some examples."""

    model: nn.Module
    part: FrozenPart
    examples: Sequence[TokenizedExample]
    settings: CacheConfig

    @cached_property
    def sequences(self) -> dict[bytes, TokenSequence]:
        """Each one once by its fingerprint, longest first, in an order that does not depend on the data's."""
        found = {}
        for side in (side for entry in self.examples for side in entry.sides if side.ids):
            found[_fingerprint(np.array(side.ids, np.int64), np.array(side.types, np.int64))] = side
        return dict(sorted(found.items(), key=lambda item: (-len(item[1].ids), item[0])))

    @cached_property
    def starts(self) -> dict[bytes, int]:
        """The first row of each sequence."""
        counts = [1 if self.part.pooling else len(sequence.ids) for sequence in self.sequences.values()]
        ends = np.cumsum(counts)
        return dict(zip(self.sequences, (ends - counts).tolist(), strict=True))

    @property
    def shape(self) -> tuple[int, int]:
        """(N, D)"""
        lengths = [len(sequence.ids) for sequence in self.sequences.values()]
        return len(lengths) if self.part.pooling else sum(lengths), self.model.encoder.config.hidden_size

    @property
    def dtype(self) -> np.dtype:
        return np.dtype({"fp32": np.float32, "fp16": np.float16}[self.settings.precision])

    @property
    def size(self) -> int:
        """Bytes on the disk."""
        return self.shape[0] * self.shape[1] * self.dtype.itemsize

    def __str__(self) -> str:
        return f"{self.part}: {len(self.sequences):,} sequences, {_gigabytes(self.size)}"

    def key(self) -> str:
        """Returns the sha256 of all that decides a row: tensors, sizes, kernels, precisions, sequences."""
        model, encoder = self.model, self.model.encoder
        with model.autocast():
            autocast = torch.is_autocast_enabled(model.device.type)
            numbers = str(torch.get_autocast_dtype(model.device.type)) if autocast else "fp32"
        facts = {
            "format": FORMAT,
            "embeddings": base_hash(encoder.embeddings),
            "layers": [base_hash(layer) for layer in encoder.encoder.layers[: self.part.layers]],
            "heads": encoder.config.num_attention_heads,
            "epsilon": encoder.config.layer_norm_eps,
            "kernels": encoder.kernels,
            "pooling": self.part.pooling,
            "computed": [model.device.type, numbers],
            "kept": self.settings.precision,
        }
        digest = hashlib.sha256(json.dumps(facts).encode())
        for fingerprint in self.sequences:
            digest.update(fingerprint)
        return digest.hexdigest()

    def read(self, path: Path) -> np.ndarray | None:
        """The file's rows (N, D), mapped; None where it is missing, cut off or holds something else."""
        try:
            values = np.lib.format.open_memmap(path, mode="r")
        except (OSError, ValueError):
            return None
        whole = values.shape == self.shape and values.dtype == self.dtype and values.flags.c_contiguous
        return np.asarray(values) if whole else None

    def write(self, path: Path, quiet: bool) -> None:
        """Computes the file, whole or not at all."""
        header = {"descr": self.dtype.str, "fortran_order": False, "shape": self.shape}
        training = self.model.training
        self.model.eval()
        try:
            with (
                tqdm(total=len(self.sequences), desc="cache", leave=False, disable=quiet or None) as bar,
                atomic_write(path, "wb") as file,
            ):
                np.lib.format.write_array_header_1_0(file, header)
                for count, rows in frozen_outputs(self.model, self.part, [*self.sequences.values()]):
                    file.write(rows.numpy().astype(self.dtype).tobytes())
                    bar.update(count)
        finally:
            self.model.train(training)


def _prepare_file(wanted: _Wanted, folder: Path, say: Callable[[str], None], quiet: bool) -> Path | None:
    """Returns the file with the wanted rows, written if missing; None if the disk has no room for it."""
    path = folder / f"{wanted.key()}.npy"
    if wanted.read(path) is not None:
        say(f"cache of {wanted} read from {folder}")
        return path
    check_folder(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(folder).free
        if free < wanted.size:
            say(f"no cache of {wanted}, and {folder} has {_gigabytes(free)} left; computed in each epoch")
            return None
        say(f"cache of {wanted} in {folder}")
        wanted.write(path, quiet)
    except OSError as error:
        say(f"no cache of {wanted}: {error}; computed in each epoch")
        return None
    return path


def check_folder(folder: Path) -> None:
    """Raises InputError where a cache's folder is a file."""
    if folder.exists() and not folder.is_dir():
        raise InputError(f"cache.folder is {str(folder)!r}, which is a file; give the name of a folder")


def _fingerprint(ids: np.ndarray, types: np.ndarray) -> bytes:
    """Returns 16 bytes that identify a token sequence; (S,) and (S,), both int64."""
    return hashlib.blake2b(ids.tobytes() + types.tobytes(), digest_size=16).digest()


def _gigabytes(size: int) -> str:
    return f"{size / 1e9:,.2f} GB" if size >= 1e8 else f"{size / 1e6:.2f} MB"
