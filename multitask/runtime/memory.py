"""Memory of a process: keeps freed memory for the next step, measures the peak, says where it ran out."""

import ctypes
import resource
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from minbert import InputError

# Numbers of glibc's malloc.h.
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4
LARGEST = 2**31 - 1


def keep_freed_memory() -> bool:
    """Makes glibc's allocator keep freed memory, for the whole process; returns False without glibc.

    A step frees its activations and gradients, and the next one wants as much again. By default large pieces
    go back to the system each time, which hands them out anew, page by page and filled with zeros.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False
    return bool(mallopt(M_MMAP_MAX, 0) and mallopt(M_TRIM_THRESHOLD, LARGEST))


@contextmanager
def named_memory_errors(where: Callable[[], str]) -> Iterator[None]:
    """Raises InputError with `where()`, a batch and what to set, where the memory of CPU or card ends."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        on_cpu = isinstance(error, MemoryError) or "DefaultCPUAllocator" in str(error)
        if not (on_cpu or isinstance(error, torch.OutOfMemoryError)):
            raise
        raise InputError(f"out of memory {'on the CPU' if on_cpu else 'on the card'}, {where()}") from error


def peak_memory(device: torch.device) -> int:
    """Returns the largest memory of the process in bytes: on the device with CUDA, else on the host."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii")
        line = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024
    except (OSError, StopIteration):  # not Linux; there, what getrusage says holds for the parent's start too
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024
