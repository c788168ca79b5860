"""Runs the command in this process, and starts it in others."""

import subprocess
import sys
from collections.abc import Callable

import pytest

from minbert.cli.main import main


@pytest.fixture
def run(capsys) -> Callable:
    """Runs `minbert` in this process: (status, standard output, standard error)."""

    def run_main(*arguments):
        with pytest.raises(SystemExit) as stop:
            main([str(argument) for argument in arguments])
        return stop.value.code, *capsys.readouterr()

    return run_main


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
