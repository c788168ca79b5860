"""Encodes the parts of a corpus on a Ray cluster, by Ray Data and a pool of actors that hold the encoder."""

import logging
import os
import socket
from collections.abc import Callable

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
    folder: PartFolder,
    load: Callable,
    workers: int | None,
    threads: int,
    on_cuda: bool,
    address: str | None,
    done: Callable[[int], object],
) -> None:
    """Encodes the missing parts; calls `done` with the rows of each as they end.

    `address` is that of a running cluster; None starts one on this machine. Each of `workers` actors takes
    `threads` CPUs, and with `on_cuda` one GPU; None is as many as the cluster has room for. Ray does the part
    of an actor that died again. All nodes have to see folder, corpus and weights under the same paths.
    Raises InputError without Ray, for a cluster out of reach or without room, and what an actor raised.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    os.environ.setdefault(
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0"
    )  # what the next version does; ends a warning
    try:
        import ray
        import ray.data
    except ModuleNotFoundError:
        raise InputError('ray is needed for --engine ray; pip install "minbert[ray]" installs it') from None
    started = {} if address else {"include_dashboard": False}
    host, _, port = (address or "").rpartition(":")
    try:
        if host and "://" not in address:  # ray.init waits for minutes where nobody listens
            socket.create_connection((host, int(port)), timeout=10).close()
        ray.init(address or "local", log_to_driver=False, logging_level=logging.ERROR, **started)
    except (OSError, RuntimeError, ValueError) as error:
        raise InputError(f"the Ray cluster {address!r} cannot be reached: {error}") from None
    try:
        _encode(ray, folder, load, workers, threads, on_cuda, done)
    finally:
        ray.shutdown()


def _encode(ray, folder, load, workers, threads, on_cuda, done) -> None:
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
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    # A block for each part: blocks are what actors take, and small ones would be merged into one.
    parts = ray.data.from_items(numbers, override_num_blocks=len(numbers))
    encoded = parts.map_batches(
        PartEncoder,
        batch_size=1,
        compute=ray.data.ActorPoolStrategy(size=min(workers or room, len(numbers))),
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
