"""A crash at every write, fsync and rename of a checkpoint, what was not synced lost: `resume` works.

In a crash a process does nothing more: every later change of a file is refused, those that tidy up too. What
was written and not synced is then cut to its first half: a crash in a write is one at the fsync after it, as
one that loses a rename is one before it.
"""

import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from minbert import InputError
from multitask import RunConfig, load_run, resume, train
from multitask.experiments.ensemble.weight_average import average_weights
from multitask.inference.checkpoint import find_damage, load_state, repair_last
from multitask.training.progress import Progress
from multitask.training.trainer import Trainer
from tests.multitask.runs import Killed, assert_same_run, killed

CHANGES = ("replace", "rename", "unlink", "rmdir", "mkdir")  # of os


class Disk:
    """Counts what a program asks of the disk, and stops it at the operation `last`, from 1."""

    def __init__(self, last: float = float("inf")):
        self.last = last
        self.count = 0
        self.began = 0  # time in ns
        self.synced: set[int] = set()  # inodes

    @contextmanager
    def watched(self) -> Iterator[None]:
        self.began = time.time_ns()
        with pytest.MonkeyPatch.context() as patch:
            for name in CHANGES:
                patch.setattr(os, name, self._counted(getattr(os, name)))
            patch.setattr(os, "fsync", self._counted(lambda file: self.synced.add(os.fstat(file).st_ino)))
            yield

    def _counted(self, change: Callable) -> Callable:
        def counted(*arguments, **options):
            self.count += 1
            if self.count >= self.last:
                raise Killed
            return change(*arguments, **options)

        return counted

    def lose_unsynced(self, folder: Path) -> None:
        for path in folder.rglob("*"):
            status = path.stat()
            if path.is_file() and status.st_mtime_ns >= self.began and status.st_ino not in self.synced:
                os.truncate(path, status.st_size // 2)


@pytest.fixture(scope="module")
def short(tiny_options):
    tasks = {"tasks": {"sst": {}}, "limit": 16, "train": {"epochs": 3, "batch_size": 8}}
    return tiny_options | tasks | {"checkpoint": {"every_steps": 1}}


@pytest.fixture(params=[1, 2])
def keep(request):
    return request.param


def crash_in_save(config, step: int, last: float) -> Disk:
    """Trains, and crashes at an operation of the checkpoint after a step; counts them without a crash."""
    save, disk = Trainer.save, Disk(last)

    def watched(self, name):
        if self.components.plan.step != step or name != "last":
            return save(self, name)
        with disk.watched():
            save(self, name)
        raise Killed

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
        patch.setattr(Trainer, "save", watched)
        train(config)
    return disk


def test_a_checkpoint_is_whole_after_a_crash_at_every_operation(tiny_config, short, tmp_path, keep):
    """The saving of step 4, with last/ of step 3 and, where it is kept, last.previous/ of step 2."""
    out, trainers, save = tmp_path / "run", [], Trainer.save
    config = tiny_config(**short | {"checkpoint": {"every_steps": 1, "keep": keep}})

    def stops(self, name):
        if self.components.plan.step == 4 and name == "last":
            trainers.append(self)
            raise Killed
        save(self, name)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
        patch.setattr(Trainer, "save", stops)
        train(config)
    before = shutil.copytree(out, tmp_path / "before")
    counts, steps = Disk(), set()
    with counts.watched():
        trainers[0].save("last")
    assert counts.count > 40
    for last in range(1, counts.count + 1):
        shutil.rmtree(out)
        shutil.copytree(before, out)
        disk = Disk(last)
        with disk.watched(), pytest.raises(Killed):
            trainers[0].save("last")
        disk.lose_unsynced(out)
        repair_last(out / "last")
        assert find_damage(out / "last") is None
        steps.add(load_state(out / "last")["plan"]["step"])
    assert steps == {3, 4}


@pytest.mark.slow
def test_resume_works_after_a_crash_at_every_operation(tiny_config, short, tmp_path):
    train(tiny_config(**short | {"out": str(tmp_path / "whole")}))
    config = tiny_config(**short)
    count = crash_in_save(config, 4, float("inf")).count
    for last in range(1, count + 1):
        shutil.rmtree(tmp_path / "run")
        crash_in_save(config, 4, last).lose_unsynced(tmp_path / "run")
        resume(tmp_path / "run")
        assert_same_run(tmp_path / "run", tmp_path / "whole")


# Damage that no crash leaves.


def damage(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.fixture(scope="module")
def whole_run(tiny_options, short, tmp_path_factory):
    out = tmp_path_factory.mktemp("whole") / "run"
    train(RunConfig.from_dict(short | {"out": str(out)}))
    return out


def stopped(config) -> Path:
    """A run of which step 4 was not saved: last/ is of step 3, last.previous/ of step 2."""
    killed(lambda: train(config), 4)
    return Path(config.out)


@pytest.mark.parametrize("file", ["model.safetensors", "training_state/state.json", "checksums.json"])
def test_a_damaged_last_falls_back_to_the_one_before(tiny_config, short, whole_run, tmp_path, said, file):
    out = stopped(tiny_config(**short))
    damage(out / "last" / file)
    resume(out)
    named = "checksum; " if file == "checksums.json" else f"{file} differs from its checksum; "
    assert any(f"{named}the run goes on from last.previous/" in line for line in said), said
    assert "resumed after step 2 of 6" in said
    assert_same_run(out, whole_run)


@pytest.mark.parametrize("use", ["load_run", "train", "average_weights"])
def test_a_damaged_best_is_refused(tiny_config, short, whole_run, tmp_path, use):
    copy = shutil.copytree(whole_run, tmp_path / "copy")
    damage(copy / "best" / "model.safetensors")
    with pytest.raises(InputError, match="best/model.safetensors differs from its checksum; take the"):
        if use == "load_run":
            load_run(copy)
        elif use == "train":
            train(tiny_config(**short | {"weights": str(copy / "best")}))
        else:
            average_weights([str(copy), str(whole_run)], tmp_path / "average")
    (copy / "best" / "checksums.json").unlink()
    assert load_run(copy).scores["scores"]


def test_without_a_whole_checkpoint_the_damage_is_named(tiny_config, short, tmp_path):
    out = stopped(tiny_config(**short))
    for name in ("last", "last.previous"):
        damage(out / name / "heads.safetensors")
    with pytest.raises(InputError, match="last/heads.safetensors differs from its checksum, and no former"):
        resume(out)


def test_keep_1_keeps_one(tiny_config, short, tmp_path):
    out = stopped(tiny_config(**short | {"checkpoint": {"every_steps": 1, "keep": 1}}))
    assert (out / "last").is_dir() and not (out / "last.previous").exists()


@pytest.mark.parametrize("loss", ["gone", "torn", "not UTF-8"])
def test_best_scores_do_not_need_the_log(tiny_config, short, whole_run, tmp_path, said, loss):
    """metrics.jsonl is lost where it has the evaluation of the best step, which last/ has behind it."""
    out = tmp_path / "run"
    evaluate = Progress._evaluate

    def worse(self, step, epoch):  # so that the first one is the best
        evaluate(self, step, epoch) if step == 2 else setattr(self, "evaluated_step", step)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Progress, "_evaluate", worse)
        killed(lambda: train(tiny_config(**short)), 4)
        log = out / "metrics.jsonl"
        first = log.read_bytes().splitlines(keepends=True)[0]
        if loss == "gone":
            log.unlink()
        else:
            log.write_bytes(first + {"torn": b'{"kind": "eval', "not UTF-8": b'{"kind": "\xff"}\n{}\n'}[loss])
        run = resume(out)
    assert run.scores["step"] == 2 and run.scores["scores"]["sst"]["accuracy"] >= 0
    if loss != "gone":
        assert log.read_bytes().startswith(first) and (out / "metrics.jsonl.damaged").stat().st_size > 10
        assert any("bytes are set aside in metrics.jsonl.damaged" in line for line in said)


def test_a_full_disk_is_noticed_before_a_checkpoint(tiny_config, short, tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=2**10))
    with pytest.raises(
        InputError, match=r"has 1,024 bytes left, and 2 checkpoints take .* --checkpoint.keep 1, then"
    ):
        train(tiny_config(**short))
    monkeypatch.undo()
    resume(tmp_path / "run")
