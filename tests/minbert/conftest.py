"""Fixtures for the tests of minbert."""

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
