"""Freed memory is kept: a process that allocates the same again gets no new pages.

Run: pytest tests/multitask/runtime/test_memory.py
"""

import subprocess
import sys

import pytest

from multitask.runtime import memory

PROGRAM = """
import resource, sys, torch
from multitask.runtime.memory import keep_freed_memory
torch.set_num_threads(1)
if sys.argv[1] == "keep":
    assert keep_freed_memory()
def faults(rounds):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(rounds):
        tensors = [torch.ones(2**20 * size) for size in (1, 4, 16)]  # 84 MB
        del tensors
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
faults(8)
print(faults(10))
"""


def faults(word: str) -> int:
    done = subprocess.run([sys.executable, "-c", PROGRAM, word], capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's allocator")
def test_what_is_freed_is_used_again():
    assert faults("keep") < 100 < 1000 < faults("leave")


def test_without_glibc_nothing_happens(monkeypatch):
    monkeypatch.setattr(memory.ctypes, "CDLL", lambda name: object())
    assert memory.keep_freed_memory() is False


def test_the_peak_is_the_most_that_this_process_held_and_not_what_its_parent_did():
    program = (
        "import torch; from multitask.runtime.memory import peak_memory; cpu = torch.device('cpu')\n"
        "before = peak_memory(cpu); x = torch.ones(2**26); del x; print(before, peak_memory(cpu))"
    )
    ballast = bytearray(b"x") * 2**30  # held by the parent while the child starts
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert len(ballast) == 2**30
    before, after = map(int, done.stdout.split())
    assert 2**26 < before < 2**30 and after - before == pytest.approx(2**28, rel=0.1)
