"""Devices: each process takes its card, a run on the CPU leaves cards alone, Apple's devices need no fp64.

torch.cuda is replaced where a card would be asked; with cards, tests/test_gpu.py runs.
"""

from types import SimpleNamespace

import pytest
import torch

from minbert import InputError
from multitask import train
from multitask.config.task_config import task_config
from multitask.config.task_kinds import make_task
from multitask.inference.checkpoint import RandomState
from multitask.runtime.device import find_device, random_state, set_random_state, unchanged_random_state
from multitask.runtime.precision import Precision

CPU = torch.device("cpu")


@pytest.fixture
def two_cards(monkeypatch):
    """A machine that has two; the list holds what is done to them."""
    done = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", lambda device: done.append(str(device)))
    monkeypatch.setattr(torch, "empty", lambda *size, device: done.append(f"memory on {device}"))
    return done


@pytest.mark.parametrize(
    ("name", "local_rank", "device"),
    [("auto", None, "cuda"), ("cuda:1", None, "cuda:1"), ("auto", "1", "cuda:1"), ("cuda", "0", "cuda:0")],
)
def test_a_process_touches_its_card_alone(two_cards, monkeypatch, name, local_rank, device):
    if local_rank is not None:
        monkeypatch.setenv("LOCAL_RANK", local_rank)
    assert find_device(name) == torch.device(device)
    assert two_cards == [f"memory on {device}", device]


@pytest.mark.parametrize(
    ("name", "local_rank", "message"),
    [
        ("cuda", "2", "more processes than cards: this is process 2 .* --nproc-per-node 2"),
        ("cuda:1", "0", "device 'cuda:1' names one card for all processes; give cuda"),
    ],
)
def test_cards_that_are_not_there_or_for_all(two_cards, monkeypatch, name, local_rank, message):
    monkeypatch.setenv("LOCAL_RANK", local_rank)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "3")
    with pytest.raises(InputError, match=message):
        find_device(name)


def test_a_run_on_the_cpu_asks_nothing_of_a_card(tiny_config, monkeypatch):
    """Each of these makes a context on the card, of some 500 MB."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    for name in ("get_rng_state", "get_rng_state_all", "set_rng_state", "current_device", "_lazy_init"):
        monkeypatch.setattr(torch.cuda, name, lambda *arguments, name=name: pytest.fail(name))
    train(tiny_config(train={"max_steps": 2}, checkpoint={"every_steps": 1}, tasks={"sst": {}}))


def test_the_random_state_of_a_device_is_kept(monkeypatch):
    states = {"mps": torch.zeros(3)}
    fake = SimpleNamespace(
        get_rng_state=lambda: states["mps"], set_rng_state=lambda state: states.update(mps=state)
    )
    monkeypatch.setattr(torch, "get_device_module", lambda device: fake)
    apple = torch.device("mps")
    saved = RandomState(apple).state_dict()
    states["mps"], before = torch.ones(3), torch.get_rng_state()
    with unchanged_random_state(apple):
        torch.rand(1)
        states["mps"] = torch.full((3,), 2.0)
    assert torch.equal(states["mps"], torch.ones(3)) and torch.equal(torch.get_rng_state(), before)
    RandomState(apple).load_state_dict(saved)
    assert torch.equal(states["mps"], torch.zeros(3))
    RandomState(CPU).load_state_dict(saved)  # goes on elsewhere
    set_random_state(random_state(CPU), apple)
    assert torch.equal(states["mps"], torch.zeros(3))


def test_a_state_of_bf16_goes_on_in_fp16_and_back():
    half, scaled = Precision("bf16", CPU), Precision("bf16", CPU)
    scaled.scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
    half.steps = 3
    for one, other in ((half, scaled), (scaled, half)):
        other.load_state_dict(one.state_dict())
        assert other.steps == 3
    assert scaled.scaler.get_scale() == 8.0


class WithoutDouble(torch.Tensor):
    """As on Apple's devices, where fp64 raises."""

    device = torch.device("mps")

    def double(self):
        raise TypeError("MPS has no fp64")

    def cpu(self):
        return self.as_subclass(torch.Tensor)


@pytest.mark.parametrize("name", ["sst", "paraphrase", "sts"])
def test_the_default_tasks_need_no_fp64_of_the_device(name):
    task = make_task(name, task_config(name, {}))
    outputs = torch.linspace(-1, 1, 20).view(4, 5) if name == "sst" else torch.linspace(-1, 1, 4)
    elsewhere = outputs.as_subclass(WithoutDouble)
    assert task.decode(elsewhere, None) == task.decode(outputs, None)
    scores = task.example_scores(elsewhere).as_subclass(torch.Tensor)
    torch.testing.assert_close(scores.double(), task.example_scores(outputs).double(), atol=1e-6, rtol=0)
