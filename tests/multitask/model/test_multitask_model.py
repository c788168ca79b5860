"""MultitaskModel: precision of what comes after the encoder, weights of tasks, modes, what nobody reads."""

import copy

import pytest
import torch
from torch import nn

from minbert import LoRAConfig, add_lora
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


@pytest.mark.parametrize(
    ("task", "pooling"), [("sst", "cls"), ("sst", "pooler"), ("paraphrase", "mean"), ("sts", "max")]
)
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
    model.double()
    assert model("sst", batch_of(tasks["sst"]).inputs).dtype == torch.float64


def test_loss_is_the_tasks_mean_times_its_weight(tiny, batch_of):
    tasks = tasks_of(sst={"weight": 0.25}, paraphrase={"weight": 2.0})
    model = MultitaskModel(tiny, tasks).eval()
    for name, weight in (("sst", 0.25), ("paraphrase", 2.0)):
        batch = batch_of(tasks[name])
        plain = tasks[name].loss(model(name, batch.inputs), batch.targets)
        torch.testing.assert_close(model.loss(name, batch), plain * weight)


@pytest.mark.parametrize("names", [(), ("default",), ("sst", "sts", "other")])
@pytest.mark.parametrize("pooling", ["mean", "pooler"])
def test_what_a_task_reads_is_what_gets_a_gradient(tiny, batch_of, pooling, names):
    """Unused is what none of the trained tasks reads; sts is scored only."""
    add_lora(tiny, LoRAConfig(rank=2), names=names) if names else None
    tasks = tasks_of(
        sst={"pooling": pooling}, paraphrase={}, sts={"train": None, "head": "mlp", "loss": "mse"}
    )
    model = MultitaskModel(tiny.requires_grad_(True), tasks)
    graded = set()
    for name, task in tasks.items():
        model.zero_grad()
        model.loss(name, batch_of(task)).backward()
        found = {key for key, parameter in model.named_parameters() if parameter.grad is not None}
        assert found == model.read_by(name)
        graded |= found if task.config.train else set()
    assert model.unused_parameters() == {name for name, _ in model.named_parameters()} - graded


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
