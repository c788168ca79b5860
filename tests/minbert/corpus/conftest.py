"""Starts the command in processes of its own."""

import subprocess
import sys
from collections.abc import Callable

import pytest


@pytest.fixture
def start() -> Callable:
    """Starts `minbert` in a process of its own, one thread each."""
    started = []

    def start_process(*arguments) -> subprocess.Popen:
        words = [sys.executable, "-m", "minbert", *map(str, arguments), "--threads", "1"]
        started.append(subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))
        return started[-1]

    yield start_process
    for process in started:
        process.kill()
        process.communicate()
