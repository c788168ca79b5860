"""MultitaskModel: precision of what comes after the encoder, weights of tasks, modes, what nobody reads."""

import copy

import pytest
import torch
from torch import nn

from multitask.config.task_config import task_config
from multitask.config.task_kinds import make_task
from multitask.data.collate import TaskBatch
from multitask.data.readers import Example
from multitask.model.multitask_model import EncoderView, MultitaskModel

TEXTS = [("the cat reads a book", "a dog"), ("good", "very good !"), ("what a movie", "dull film")]


@pytest.fixture
def batch_of(tiny_tokenizer):
    """batch_of(task) -> a TaskBatch of three examples."""

    def make(task) -> TaskBatch:
        sides = 1 if task.config.text2 is None else 2
        rows = [Example(str(i), texts[:sides], i % 2, i + 2) for i, texts in enumerate(TEXTS)]
        return task.collate(task.tokenize(tiny_tokenizer, rows))

    return make


def tasks_of(**configs):
    return {name: make_task(name, task_config(name, values)) for name, values in configs.items()}


@pytest.mark.parametrize("pooling", ["cls", "pooler", "mean", "max"])
@pytest.mark.parametrize("task", ["sst", "paraphrase", "sts"])
def test_only_the_encoder_runs_in_bf16(task, pooling, tiny, batch_of):
    values = {} if task == "sst" else {"pairs": "bi"}
    tasks = tasks_of(**{task: {"pooling": pooling, "normalize": "l2"} | values})
    model = MultitaskModel(tiny, tasks, lambda: torch.autocast("cpu", torch.bfloat16)).eval()
    seen = {}

    def note(name):
        return lambda module, args, output: seen.update({name: (args[0].dtype, output.dtype)})

    model.encoder.encoder.layers[0].register_forward_hook(note("layer"))
    first = next(m for m in model.encoder.encoder.modules() if isinstance(m, nn.Linear))
    first.register_forward_hook(note("linear"))
    model.encoder.pooler.dense.register_forward_hook(note("pooler"))
    model.heads[task].register_forward_hook(note("head"))
    outputs = model(task, batch_of(tasks[task]).inputs)
    assert seen["linear"][1] == torch.bfloat16
    assert seen["head"] == (torch.float32, torch.float32) and outputs.dtype == torch.float32
    assert seen.get("pooler", seen["head"]) == (torch.float32, torch.float32)
    loss = model.loss(task, batch_of(tasks[task]))
    assert loss.dtype == torch.float32
    loss.backward()
    assert all(p.grad is None or p.grad.dtype == torch.float32 for p in model.parameters())


def test_rows_of_an_encoder_in_bf16_are_raised(tiny, batch_of):
    """Whatever autocast leaves in half precision, tasks and heads see fp32."""
    tasks = tasks_of(sst={}, sts={})
    model = MultitaskModel(tiny, tasks).eval()
    model.encoder.to(torch.bfloat16)
    for name, task in tasks.items():
        inputs = batch_of(task).inputs
        assert model.encoder(inputs).packed.dtype == torch.bfloat16
        encode = EncoderView(model.encoder, name, model.autocast)
        assert encode(inputs).packed.dtype == model(name, inputs).dtype == torch.float32


def test_fp64_stays_fp64(tiny, batch_of):
    tasks = tasks_of(sst={}, sts={})
    model = MultitaskModel(tiny, tasks).double().eval()
    for name, task in tasks.items():
        assert model(name, batch_of(task).inputs).dtype == torch.float64


def test_loss_is_the_tasks_mean_times_its_weight(tiny, batch_of):
    tasks = tasks_of(sst={"weight": 0.25}, paraphrase={"weight": 2.0})
    model = MultitaskModel(tiny, tasks).eval()
    for name, weight in (("sst", 0.25), ("paraphrase", 2.0)):
        batch = batch_of(tasks[name])
        plain = tasks[name].loss(model(name, batch.inputs), batch.targets)
        torch.testing.assert_close(model.loss(name, batch), plain * weight)


def test_a_task_trains_its_own_head_only(tiny, batch_of):
    tasks = tasks_of(sst={}, paraphrase={})
    model = MultitaskModel(tiny, tasks)
    model.loss("sst", batch_of(tasks["sst"])).backward()
    assert all(p.grad is not None for p in model.heads["sst"].parameters())
    assert all(p.grad is None for p in model.heads["paraphrase"].parameters())
    assert sorted(model.heads) == ["paraphrase", "sst"]


def test_the_pooler_is_unused_unless_a_task_pools_by_it(tiny):
    pooler = {"encoder.pooler.dense.weight", "encoder.pooler.dense.bias"}
    model = MultitaskModel(tiny, tasks_of(sst={}, sts={}))
    assert model.unused_parameters() == pooler
    assert pooler < {name for name, _ in model.named_parameters()}
    assert MultitaskModel(tiny, tasks_of(sst={"pooling": "pooler"}, sts={})).unused_parameters() == set()
    tiny.pooler = None
    assert MultitaskModel(tiny, tasks_of(sst={})).unused_parameters() == set()


def test_unused_is_what_gets_no_gradient(tiny, batch_of):
    tasks = tasks_of(sst={}, paraphrase={}, sts={})
    model = MultitaskModel(tiny, tasks)
    for name, task in tasks.items():
        model.loss(name, batch_of(task)).backward()
    without = {name for name, parameter in model.named_parameters() if parameter.grad is None}
    assert without == model.unused_parameters()


def test_a_frozen_encoder_runs_without_dropout(tiny, batch_of):
    tasks = tasks_of(sst={})
    model = MultitaskModel(tiny, tasks).train()
    assert model.encoder.training
    for parameter in tiny.parameters():
        parameter.requires_grad_(False)
    assert model.train() is model
    assert model.training and model.heads["sst"].training
    assert not any(module.training for module in model.encoder.modules())
    model.heads["sst"].eval()
    inputs = batch_of(tasks["sst"]).inputs
    assert torch.equal(model("sst", inputs), model("sst", inputs))
    assert not model.eval().training


def test_a_task_owns_its_head_and_follows_the_models_mode(tiny):
    tasks = tasks_of(sst={}, paraphrase={})
    model = MultitaskModel(tiny, tasks)
    names = {name for name, _ in model.named_parameters() if not name.startswith("encoder.")}
    assert names == {f"heads.{name}.1.{part}" for name in tasks for part in ("weight", "bias")}
    for name, task in tasks.items():
        assert model.heads[name] is task.head
        assert not model.eval().tasks[name].training and model.train().tasks[name].training
    twin = copy.deepcopy(model)
    assert all(twin.heads[name] is twin.tasks[name].head is not model.heads[name] for name in tasks)
