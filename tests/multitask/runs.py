"""Runs that die at a step, and runs compared bit by bit."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from multitask.training.progress import Progress


class Killed(BaseException):
    """In the place of a kill: nothing of the training sees it."""


def killed(run: Callable, after: int, where: str = "after_step") -> None:
    """Calls `run()`, which dies at step `after`, before that method of Progress."""
    original = getattr(Progress, where)

    def dies(self, *arguments):
        if self.plan.step == after:
            raise Killed
        return original(self, *arguments)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
        patch.setattr(Progress, where, dies)
        run()


def records(folder: Path) -> list[dict]:
    """The records of metrics.jsonl without their seconds."""
    lines = (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [{key: value for key, value in json.loads(line).items() if key != "seconds"} for line in lines]


def assert_same_run(folder: Path, other: Path) -> None:
    """The same files, those of tensors byte for byte, and the same log and scores apart from measurements."""
    files = sorted(path.relative_to(folder) for path in folder.rglob("*.*"))
    assert files == sorted(path.relative_to(other) for path in other.rglob("*.*"))
    tensors = [path for path in files if path.suffix == ".safetensors"]
    assert len(tensors) >= 5  # best/ and last/ with their heads, and the training state
    for path in tensors:
        assert (folder / path).read_bytes() == (other / path).read_bytes(), path
    assert records(folder) == records(other)
    assert _repeatable_scores(folder) == _repeatable_scores(other)


def _repeatable_scores(folder: Path) -> dict:
    scores = json.loads((folder / "scores.json").read_text(encoding="utf-8"))
    for measured in ("training_seconds", "peak_memory", "trained_parameters"):  # fewer with SubsetEmbedding
        assert scores["costs"].pop(measured) > 0
    return scores | {"seconds": 0}


def ones_for(randn: Callable) -> Callable:
    """torch.randn with ones in place of what it would draw from the default generator."""
    return lambda shape, generator=None, **at: (
        randn(shape, generator=generator, **at) if generator else torch.ones(shape, **at)
    )
