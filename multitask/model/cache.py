"""Caches activations of frozen layers on disk: computed once, read in every epoch.

Frozen embeddings and layers without dropout give a token sequence the same rows each time. They lie in a file
that is mapped into memory; a batch gets those of its sequences, and the encoder continues from there. N rows
of a file, T token rows of a batch, B sequences, S tokens, D hidden size.
"""

import hashlib
import json
import shutil
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
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
from multitask.data.collate import Joined, TokenizedExample
from multitask.runtime.locks import take_lock
from multitask.runtime.messages import logger
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
    """Returns the pooling of the row that is kept for a task's pooling; a frozen pooler runs each time."""
    return "cls" if pooling in FIRST_TOKEN_POOLINGS else pooling


class FrozenRows:
    """The rows of a frozen part for the sequences of some examples, in one file.

    `starts` maps a sequence's fingerprint to the first of its rows; `shape` is (N, width).
    """

    def __init__(self, part: FrozenPart, examples: Sequence[TokenizedExample], width: int, precision: str):
        self.part = part
        self.precision = precision
        self.dtype = np.dtype({"fp32": np.float32, "fp16": np.float16}[precision])
        self.examples = examples
        found = {}  # fingerprint -> minus the length, number of the example, of the sequence in it
        for number, entry in enumerate(examples):
            for place, side in enumerate(entry.sides):
                if side.ids:
                    key = _fingerprint(np.array(side.ids, np.int64), np.array(side.types, np.int64))
                    found[key] = -len(side.ids), number, place
        # Each once, longest first, in an order that does not depend on that of the data.
        self.sequences = dict(sorted(found.items(), key=lambda item: (item[1][0], item[0])))
        counts = [1 if part.pooling else -length for length, _, _ in self.sequences.values()]
        self.starts = dict(zip(self.sequences, (np.cumsum(counts) - counts).tolist(), strict=True))
        self.shape = sum(counts), width
        self.values: np.ndarray | None = None

    @property
    def size(self) -> int:
        """Bytes on the disk."""
        return self.shape[0] * self.shape[1] * self.dtype.itemsize

    def __str__(self) -> str:
        return f"{self.part}: {len(self.sequences):,} sequences, {_gigabytes(self.size)}"

    def key(self, model: nn.Module) -> str:
        """Returns the sha256 of all that decides a row: tensors, sizes, kernels, precisions, sequences."""
        encoder = model.encoder
        with model.autocast():
            autocast = torch.is_autocast_enabled(model.device.type)
            numbers = str(torch.get_autocast_dtype(model.device.type)) if autocast else "fp32"
        facts = {
            "format": FORMAT,
            "embeddings": base_hash(encoder.embeddings),
            "layers": [base_hash(layer) for layer in encoder.encoder.layers[: self.part.layers]],
            "heads": encoder.config.num_attention_heads,
            "epsilon": encoder.config.layer_norm_eps,
            "activation": encoder.config.activation,
            "positions": [encoder.config.family.counts_positions, encoder.config.pad_token_id],
            "kernels": encoder.kernels,
            "pooling": self.part.pooling,
            "computed": [model.device.type, numbers],
            "kept": self.precision,
        }
        return hashlib.sha256(json.dumps(facts).encode() + b"".join(self.sequences)).hexdigest()

    def read(self, path: Path) -> bool:
        """Maps the file's rows as `values`; returns False for a missing, a damaged or another file."""
        try:
            values = np.lib.format.open_memmap(path, mode="r")
        except (OSError, ValueError):
            return False
        self.values = np.asarray(values)
        return values.shape == self.shape and values.dtype == self.dtype and values.flags.c_contiguous

    def write(self, model: nn.Module, path: Path, group: ProcessGroup, quiet: bool) -> None:
        """Computes the file, whole or not at all; all processes of `group` compute, rank 0 writes."""
        parts = self._compute_parts(model, group, quiet)
        header = {"descr": self.dtype.str, "fortran_order": False, "shape": self.shape}
        try:
            with atomic_write(path, "wb") if group.is_main else nullcontext() as file:
                if group.is_main:
                    np.lib.format.write_array_header_1_0(file, header)
                for rows in parts:
                    file.write(rows.tobytes())
        finally:
            deque(parts, maxlen=0)  # the others go on computing where rank 0 cannot write

    def _compute_parts(self, model: nn.Module, group: ProcessGroup, quiet: bool) -> Iterator[np.ndarray]:
        """Yields the rows in order, in rank 0; the processes compute batches in turn."""
        sequences = [*self.sequences.values()]
        lengths = [-length for length, _, _ in sequences]
        batches = list(cut_by_tokens(range(len(sequences)), lengths, BATCH_TOKENS))
        training = model.training
        model.eval()
        try:
            with tqdm(total=len(sequences), desc="cache", leave=False, disable=quiet or None) as bar:
                for start in range(0, len(batches), group.size):
                    turn = batches[start : start + group.size]
                    chosen = (sequences[i] for i in turn[min(group.rank, len(turn) - 1)])
                    own = [self.examples[number].sides[place] for _, number, place in chosen]
                    rows = self._compute(model, own).numpy().astype(self.dtype)
                    yield from group.gather_object(rows)[: len(turn)]
                    bar.update(sum(map(len, turn)))
        finally:
            model.train(training)

    @torch.inference_mode()
    def _compute(self, model: nn.Module, sequences: Sequence[TokenSequence]) -> Tensor:
        """Computes the rows of a batch of sequences, (T, D) or, pooled, (B, D), in fp32 on the CPU."""
        batch = Batch.from_sequences([s.ids for s in sequences], [s.types for s in sequences])
        pooling = self.part.pooling
        reads = {"cls_only": pooling in FIRST_TOKEN_POOLINGS, "layers": self.part.layers, "pooler": False}
        with model.autocast():
            output = model.encoder(batch.to(model.device), **reads)
        # Outside autocast, as tasks pool.
        return (output.packed if pooling is None else pool(output, pooling)).float().cpu()

    def attach(self, inputs: Batch) -> Batch:
        """Returns the batch with its sequences' rows in fp32; as it was where one is not known.

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

    def __deepcopy__(self, memo) -> "FrozenRows":
        return self  # it never changes, and its file is mapped once


def open_cache(
    model: nn.Module,
    examples: Mapping[str, Sequence[TokenizedExample]],
    folder: Path,
    precision: str,
    group: ProcessGroup,
    quiet: bool = True,
) -> dict[str, FrozenRows]:
    """Returns the activations of a MultitaskModel's frozen part for the examples of each task that has some.

    They are read from `folder`, else computed by all processes and written by the first one in `precision`,
    fp32 or fp16; without room on the disk there is a message and no cache. Where the whole encoder is frozen,
    a task that reads pooled vectors only gets these. Raises InputError where `folder` is a file.
    """
    layers = frozen_layers(model)
    if not layers:
        return {}
    whole = layers == len(model.encoder.encoder.layers)
    readers: dict[FrozenPart, list[str]] = {}
    for name, task in model.tasks.items():
        if examples.get(name) and not task.random_inputs:
            pooling = task.pooled_inputs if whole else None
            part = FrozenPart(layers, None if pooling is None else kept_pooling(pooling))
            readers.setdefault(part, []).append(name)
    rows: dict[str, FrozenRows] = {}
    for part, names in readers.items():
        of_part = Joined(*(examples[name] for name in names))
        wanted = FrozenRows(part, of_part, model.encoder.config.hidden_size, precision)
        path = _prepare_file(model, wanted, folder, group, quiet)
        if path is not None and wanted.read(path):
            rows |= dict.fromkeys(names, wanted)
    return rows


def _prepare_file(
    model: nn.Module, wanted: FrozenRows, folder: Path, group: ProcessGroup, quiet: bool
) -> Path | None:
    """Returns the file with the wanted rows, written if missing; None if the disk has no room for it."""
    path = folder / f"{wanted.key(model)}.npy"
    check_folder(folder)
    has_room = group.broadcast_object(_has_room(wanted, folder))
    with _one_at_a_time(path.with_suffix(".lock")) if has_room and group.is_main else nullcontext():
        is_there = group.broadcast_object(wanted.read(path))
        if is_there:
            logger.info(f"cache of {wanted} read from {folder}")
        elif has_room:
            logger.info(f"cache of {wanted} in {folder}")
            try:
                wanted.write(model, path, group, quiet)
            except OSError as error:
                logger.info(f"no cache of {wanted}: {error}; computed in each epoch")
                path = None
            path = group.broadcast_object(path)
    return path if is_there or has_room else None


@contextmanager
def _one_at_a_time(path: Path) -> Iterator[None]:
    """Waits for another command that computes the same rows; the file is whole without a lock too."""
    try:
        with take_lock(path, required=False, timeout=-1):
            yield
    finally:
        path.unlink(missing_ok=True)


def _has_room(wanted: FrozenRows, folder: Path) -> bool:
    """Makes the folder; returns True if the rows fit on its disk, and says so where not."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(folder).free
    except OSError as error:
        logger.info(f"no cache of {wanted}: {error}; computed in each epoch")
        return False
    if free < wanted.size:
        logger.info(f"no cache of {wanted}, and {folder} has {_gigabytes(free)} left; computed in each epoch")
    return free >= wanted.size


def check_folder(folder: Path) -> None:
    """Raises InputError where a cache's folder is a file."""
    if folder.exists() and not folder.is_dir():
        raise InputError(f"cache.folder is {str(folder)!r}, which is a file; give the name of a folder")


def _fingerprint(ids: np.ndarray, types: np.ndarray) -> bytes:
    """Returns 16 bytes that identify a token sequence; (S,) and (S,), both int64."""
    return hashlib.blake2b(ids.tobytes() + types.tobytes(), digest_size=16).digest()


def _gigabytes(size: int) -> str:
    return f"{size / 1e9:,.2f} GB" if size >= 1e8 else f"{size / 1e6:.2f} MB"
