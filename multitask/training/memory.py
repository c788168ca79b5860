"""Freed memory that stays with the process, so that a step finds it where the last one left it."""

import ctypes

# Numbers of glibc's malloc.h.
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4
LARGEST = 2**31 - 1


def keep_freed_memory() -> bool:
    """Tells glibc's allocator to keep what is freed, for the whole process; -> False without glibc.

    A step frees its activations and gradients, and the next one wants as much again. By default large pieces
    go back to the system each time, which hands them out anew, page by page and filled with zeros.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False
    return bool(mallopt(M_MMAP_MAX, 0) and mallopt(M_TRIM_THRESHOLD, LARGEST))
