"""Memory: an error that says where it ended, and none that grows with the steps."""

import gc
import os
from pathlib import Path

import pytest
import torch

from minbert import InputError
from multitask import train
from multitask.model.multitask_model import MultitaskModel
from multitask.runtime.callbacks import Callback


def on_the_cpu():
    torch.empty(2**50)


def on_a_card():
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")


@pytest.mark.parametrize(("ends", "where"), [(on_the_cpu, "on the CPU"), (on_a_card, "on the card")])
def test_the_message_names_batch_tokens_and_options(tiny_config, tmp_path, monkeypatch, ends, where):
    config = tiny_config(tasks={"sst": {}}, limit=20, train={"batch_size": 8})
    losses, tokens = [], []
    loss, forward = MultitaskModel.loss, MultitaskModel.forward

    def fails_at_step_2(self, task, batch):
        losses.append(len(batch.targets))
        tokens.append(sum(batch.inputs.layout.lengths))
        return loss(self, task, batch) if len(losses) < 2 else ends()

    with monkeypatch.context() as patch:
        patch.setattr(MultitaskModel, "loss", fails_at_step_2)
        with pytest.raises(InputError) as error:
            train(config)
    assert str(error.value).startswith(
        f"out of memory {where}, at step 2, with a batch of {losses[1]} examples of sst, {tokens[1]} tokens; "
        f"lower --train.batch-size (now 8) and raise --train.accumulation, or set --train.checkpointing"
    )

    def fails_in_evaluation(self, task, inputs):
        return forward(self, task, inputs) if self.training else ends()

    monkeypatch.setattr(MultitaskModel, "forward", fails_in_evaluation)
    with pytest.raises(
        InputError, match=rf"{where}, with a batch of 15 examples of sst, .*--eval.batch-tokens"
    ):
        train(tiny_config(tasks={"sst": {}}, limit=20, out=str(tmp_path / "other")))


def test_another_error_stays_as_it_is(tiny_config, monkeypatch):
    def fails(self, task, batch):
        raise RuntimeError("another")

    monkeypatch.setattr(MultitaskModel, "loss", fails)
    with pytest.raises(RuntimeError, match="^another$"):
        train(tiny_config(tasks={"sst": {}}, limit=20))


class Measured(Callback):
    """Memory that cannot be freed, open descriptors and files of the run, every 500 steps."""

    def __init__(self, out: Path):
        self.out = out
        self.found: list[tuple[int, int, int]] = []

    def on_step_end(self, step: int) -> None:
        if step % 500 == 0:
            gc.collect()
            pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
            files = sum(path.is_file() for path in self.out.rglob("*"))
            self.found.append((pages * os.sysconf("SC_PAGE_SIZE"), len(os.listdir("/proc/self/fd")), files))


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="Linux tells what a process has")
def test_5000_steps_with_500_checkpoints_take_no_more_than_500(tiny_config, tmp_path):
    measured = Measured(tmp_path / "run")
    config = tiny_config(
        tasks={"sst": {}},
        train={"epochs": 200, "batch_size": 1, "max_steps": 5000},
        checkpoint={"every_steps": 10},
    )
    train(config, callbacks=[measured])
    memory, descriptors, files = zip(*measured.found, strict=True)
    assert len(memory) == 10
    assert memory[-1] - memory[1] < 8 * 2**20, memory
    assert len(set(descriptors[1:])) == 1 and len(set(files[1:])) == 1, (descriptors, files)
