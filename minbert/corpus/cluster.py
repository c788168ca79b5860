"""Encodes the parts of a corpus on a Ray cluster, by Ray Data and a pool of actors that hold the encoder."""

import logging
import os
from collections.abc import Callable
from types import ModuleType

from minbert.corpus.parts import PartFolder
from minbert.errors import InputError


class PartEncoder:
    """An actor: loads its encoder once, then encodes parts. `load` returns the encoder."""

    def __init__(self, folder: PartFolder, load: Callable, threads: int):
        os.environ["RAYON_NUM_THREADS"] = str(threads)  # of the tokenizers library
        self.folder, self.encoder = folder, load()

    def __call__(self, batch: dict) -> dict:
        for number in batch["item"].tolist():
            self.folder.encode(number, self.encoder, lambda rows: None)
        return batch


def encode_on_ray(
    ray: ModuleType,
    folder: PartFolder,
    load: Callable,
    workers: int | None,
    threads: int,
    on_cuda: bool,
    done: Callable[[int], object],
) -> None:
    """Encodes the missing parts; calls `done` with the rows of each as they end. `ray` is connected.

    Each of `workers` actors takes `threads` CPUs, and with `on_cuda` one GPU; None is as many as the cluster
    has room for. Ray does the part of an actor that died again. All nodes have to see folder, corpus and
    weights under the same paths. Raises InputError for a cluster without room, and what an actor raised.
    """
    from ray.data import ActorPoolStrategy, DataContext, from_items

    found = ray.cluster_resources()
    room = int(found.get("CPU", 0) // threads)
    if on_cuda:
        room = min(room, int(found.get("GPU", 0)))
    if room < (workers or 1):
        need = f"{threads} CPUs" + (" and a GPU" if on_cuda else "")
        raise InputError(
            f"the Ray cluster has room for {room} workers of {need} each, and {workers or 1} are asked for; "
            f"give fewer --workers or --threads"
        )
    numbers = folder.missing()
    context = DataContext.get_current()
    context.enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    # A block for each part: blocks are what actors take, and small ones would be merged into one.
    parts = from_items(numbers, override_num_blocks=len(numbers))
    encoded = parts.map_batches(
        PartEncoder,
        batch_size=1,
        compute=ActorPoolStrategy(size=min(workers or room, len(numbers))),
        fn_constructor_kwargs={"folder": folder, "load": load, "threads": threads},
        num_cpus=threads,
        num_gpus=1 if on_cuda else 0,
    )
    try:
        for row in encoded.iter_rows():
            done(folder.rows_of(row["item"]))
    except ray.exceptions.RayTaskError as error:
        cause = error.cause
        raise cause if isinstance(cause, InputError | OSError) else error from None
