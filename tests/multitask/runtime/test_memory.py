"""Freed memory is kept: a process that allocates the same again gets no new pages; the peak is its own."""

import subprocess
import sys

import pytest

from multitask.runtime import memory

PROGRAM = """
import resource, torch
from multitask.runtime.memory import keep_freed_memory, peak_memory
torch.set_num_threads(1)
def faults(rounds):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(rounds):
        tensors = [torch.ones(2**20 * size) for size in (1, 4, 16)]  # 84 MB
        del tensors
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
cpu = torch.device("cpu")
before = peak_memory(cpu)
x = torch.ones(2**26)
del x
after = peak_memory(cpu)
faults(8)
leaves = faults(10)
assert keep_freed_memory()
faults(8)
print(before, after, leaves, faults(10))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's allocator")
def test_what_is_freed_is_used_again_and_the_peak_is_not_that_of_the_parent():
    ballast = bytearray(b"x") * 2**30  # held by the parent while the child starts
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    assert len(ballast) == 2**30
    before, after, leaves, keeps = map(int, done.stdout.split())
    assert keeps < 100 < 1000 < leaves
    assert 2**26 < before < 2**30 and after - before == pytest.approx(2**28, rel=0.1)


def test_without_glibc_nothing_happens(monkeypatch):
    monkeypatch.setattr(memory.ctypes, "CDLL", lambda name: object())
    assert memory.keep_freed_memory() is False
