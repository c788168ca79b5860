"""Imports the commands of benchmarks/, as they import each other; runs them on a tiny model and few texts."""

import json
import sys
from importlib import import_module
from pathlib import Path
from random import Random

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
SENTENCES = 70  # two full batches and a ragged one


@pytest.fixture(scope="session")
def commands():
    """The function that imports a file of benchmarks/."""
    sys.path.insert(0, str(BENCHMARKS))
    import_module("comparison").MATRIX = 64  # the machine's peak is of no interest here
    yield import_module
    sys.path.remove(str(BENCHMARKS))


@pytest.fixture
def results(commands, capsys, monkeypatch):
    """The function that runs a command and returns its JSON."""
    monkeypatch.setattr("gc.collect", lambda: 0)  # slow beside the objects of all tests

    def run(name: str, *arguments: object) -> dict:
        words = [str(word) for word in arguments]
        commands(name).main([*words, "--threads", "1", "--repetitions", "1", "--json"])
        return json.loads(capsys.readouterr().out)

    return run


@pytest.fixture(scope="session")
def few(tmp_path_factory) -> Path:
    """A folder with a few sentences of many lengths as SST, and nothing else."""
    folder, draw = tmp_path_factory.mktemp("few"), Random(0)
    words = "the cat reads a great book , what good film is not dull ! under green river".split()
    lines = ["\tid\tsentence\tsentiment\n"]
    for number in range(SENTENCES):
        sentence = " ".join(draw.choices(words, k=draw.randint(1, 30)))
        lines.append(f"{number}\ts{number}\t{sentence}\t{draw.randint(0, 4)}\n")
    (folder / "ids-sst-train.csv").write_text("".join(lines), "utf-8")
    return folder
