"""On a CUDA device the model and a run agree with the CPU, fp16 skips bad steps, attention over packed rows
of many lengths takes one call, and no training step waits for the device.

    python -m pytest tests/test_gpu.py

Every test is skipped without a device.
"""

from dataclasses import replace
from importlib.util import find_spec
from itertools import islice

import numpy as np
import pytest
import torch

from minbert import AdamW, Batch, BertModel, SentenceEncoder, Tokenizer
from minbert.kernels.variable_length import MANY_RUNS, Sequences, jagged, packed_attention, varlen, works
from minbert.optim import fused_update_works
from multitask import RunConfig, train
from multitask.config.option_types import merge
from multitask.runtime.precision import Precision, resolve_precision
from multitask.tasks.splits import open_data
from multitask.training.loop import train_loop
from multitask.training.trainer import Trainer

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device"),
]


@pytest.mark.parametrize("kernels", ["reference", "fused"])
@pytest.mark.parametrize("packed", [True, False])
def test_the_model_gives_what_it_gives_on_the_cpu(tiny_folder, texts, kernels, packed):
    model = BertModel.from_pretrained(tiny_folder, kernels=kernels).double()
    batch = Tokenizer.from_pretrained(tiny_folder)(texts)
    batch = batch if packed else batch.as_padded()
    with torch.inference_mode():
        expected = model(batch)
        found = model.cuda()(batch.to("cuda"))
    torch.testing.assert_close(found.last_hidden_state.cpu(), expected.last_hidden_state, atol=1e-10, rtol=0)
    torch.testing.assert_close(found.pooler_output.cpu(), expected.pooler_output, atol=1e-10, rtol=0)


def test_adamw_on_the_device_equals_the_cpu():
    assert fused_update_works("cuda", torch.float32)
    start = torch.linspace(-1, 1, 100, dtype=torch.float64)
    results = []
    for device in ("cpu", "cuda"):
        parameter = torch.nn.Parameter(start.to(device, copy=True))
        optimizer = AdamW([parameter], lr=1e-2, weight_decay=0.1)
        for _ in range(50):
            parameter.grad = parameter.detach().cos()
            optimizer.step()
        results.append(parameter.detach().cpu())
    torch.testing.assert_close(*results, atol=1e-12, rtol=0)


def test_fp16_skips_an_overflowed_step_and_its_schedule_waits():
    precision = Precision("fp16", torch.device("cuda"), schedule=lambda step: 1 / (step + 1))
    parameter = torch.nn.Parameter(torch.ones(4, device="cuda"))
    optimizer = AdamW([{"params": [parameter], "lr": 0.1, "initial_lr": 0.1}])
    for scale, steps, skipped in ((float("inf"), 0, 1), (1.0, 1, 1)):
        before = parameter.detach().clone()
        precision.scaler.scale((parameter * scale).sum()).backward()
        precision.step(optimizer)
        assert (precision.steps, precision.skipped) == (steps, skipped)
        assert torch.equal(parameter, before) == (steps == 0)


@pytest.fixture
def values(tiny_folder, tmp_path) -> dict:
    """Values of a RunConfig: the tiny model and the sample on the device."""
    given = {"weights": str(tiny_folder), "data": "sample", "out": str(tmp_path / "run")}
    return given | {"device": "cuda", "limit": 32, "train": {"epochs": 1}}


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_a_run_learns_and_its_weights_stay_fp32(values, tmp_path, precision):
    run = train(RunConfig.from_dict(values | {"precision": precision}))
    assert all(parameter.dtype == torch.float32 for parameter in run.model.parameters())
    assert set(run.scores["scores"]) == {"sst", "paraphrase", "sts"}
    again = train(replace(run.config, out=str(tmp_path / "again"), device="cpu", precision="fp32"))
    assert again.scores["scores"].keys() == run.scores["scores"].keys()


def test_auto_takes_half_precision():
    assert resolve_precision("auto", torch.device("cuda")) in ("bf16", "fp16")


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_sentence_vectors_in_half_precision_are_near(tiny_folder, texts, precision):
    encoder = SentenceEncoder.from_pretrained(tiny_folder, normalize="l2")
    full = encoder.encode(texts)
    encoder.to("cuda")
    assert encoder.resolve("auto") in ("bf16", "fp16")
    half = encoder.encode(texts, compute=precision)
    assert not np.array_equal(half, full)
    np.testing.assert_allclose((full * half).sum(axis=1), 1, atol=1e-2)


ASYNCHRONOUS = ("lora", "smart", "grad cache", "checkpointing")  # of METHODS, those that never wait
METHODS = {
    "lora": {"lora": {"rank": 2, "dora": True}},
    "surgery": {"sampling": "together", "gradients": {"surgery": "pcgrad"}},
    "smart": {"smart": {"weight": 1.0, "bregman": 1.0}},
    "grad cache": {"tasks": {"nli": {"batch_size": 16, "chunk_size": 4, "learn_temperature": True}}},
    "checkpointing": {"train": {"epochs": 1, "checkpointing": True}, "unfreeze": "2"},
    "words and masks": {"tasks": {"ner": {}, "masked_lm": {}}},
}


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
@pytest.mark.parametrize("method", METHODS)
def test_every_kind_of_method_runs(values, caplog, method, precision):
    with caplog.at_level("INFO", "multitask"):
        run = train(RunConfig.from_dict(values | {"precision": precision} | METHODS[method]))
    assert all(parameter.isfinite().all() for parameter in run.model.parameters())
    assert "no gradient" not in caplog.text


# --- attention over many lengths ----------------------------------------------------------------------------

CARD = torch.device("cuda", 0)
HALF = [torch.bfloat16, torch.float16]
MANY = list(range(MANY_RUNS + 10, 0, -1))  # lengths
has_flash = pytest.mark.skipif(
    torch.cuda.is_available() and torch.cuda.get_device_capability() < (8, 0),
    reason="flash attention needs compute capability 8.0",
)


@has_flash
@pytest.mark.parametrize("dtype", HALF)
@pytest.mark.parametrize("head_size", [8, 32, 64])
def test_kernels_for_many_lengths_give_the_written_out_attention(dtype, head_size):
    assert works(jagged, CARD, dtype, head_size)
    if find_spec("torch.nn.attention.varlen"):
        assert works(varlen, CARD, dtype, head_size)


@has_flash
@pytest.mark.parametrize("dtype", HALF)
def test_dropout_is_the_same_on_the_way_back(dtype):
    """The context is linear in the values, and only the product of query and key counts: for any gradient g,
    <context, g> = <value, its gradient> and <query, its gradient> = <key, its gradient>, under one mask."""
    torch.manual_seed(0)
    rows = [torch.randn(sum(MANY), 4, 32, device=CARD, dtype=dtype).requires_grad_() for _ in range(3)]
    sequences = Sequences.of(MANY, CARD)
    context = packed_attention(*rows, sequences, sequences, 0.3)
    cotangent = torch.randn_like(context)
    gradients = torch.autograd.grad(context, rows, cotangent)
    of_query, of_key, of_value = (
        (row.float() * gradient.float()).sum() for row, gradient in zip(rows, gradients, strict=True)
    )
    torch.testing.assert_close(of_value, (context.float() * cotangent.float()).sum(), rtol=0.02, atol=2.0)
    torch.testing.assert_close(of_query, of_key, rtol=0.02, atol=2.0)
    sums = packed_attention(rows[0], rows[1], torch.ones_like(rows[2]), sequences, sequences, 0.3).float()
    assert abs(sums.mean() - 1) < 0.05 and sums.std() > 0.05


@pytest.mark.parametrize("cls_only", [False, True])
@pytest.mark.parametrize("lengths", [MANY, [9, 9, 4, 0, 1]])
def test_half_precision_on_packed_rows_agrees_with_the_reference(tiny_folder, lengths, cls_only):
    """In evaluation, in training without dropout, and with layers that run again for their gradients."""
    tokens = [[5 + (31 * row + 7 * n * n) % 90 for n in range(length)] for row, length in enumerate(lengths)]
    batch = Batch.from_sequences(tokens, [[0] * n for n in lengths]).to("cuda")
    found = []
    for kernels, checkpointing in (("reference", False), ("fused", False), ("fused", True)):
        model = BertModel.from_pretrained(tiny_folder, kernels).cuda()
        model.encoder.checkpointing = checkpointing
        with torch.autocast("cuda", torch.bfloat16):
            with torch.inference_mode():
                scored = model(batch, cls_only=cls_only).packed.float()
            rows = model(batch, cls_only=cls_only).packed.float()
        torch.manual_seed(0)
        (rows * torch.randn_like(rows)).sum().backward()
        attention = model.encoder.layers[0].attention
        gradients = [linear.weight.grad for linear in (attention.query, attention.key, attention.value)]
        found.append((scored, rows.detach(), *gradients))
    for others in found[1:]:
        for one, other in zip(found[0], others, strict=True):
            assert one.std() > 0 and (other - one).norm() <= 0.05 * one.norm()


# --- nothing waits ------------------------------------------------------------------------------------------


def ready(values, steps, **changes) -> Trainer:
    """A training on the device, up to its loop."""
    several = {"tasks": {"sst": {}, "sts": {}}, "limit": None, "train": {"epochs": 10, "max_steps": steps}}
    trainer = Trainer(RunConfig.from_dict(merge(merge(values, several), changes)))
    with open_data("sample") as data:
        trainer.setup(data)
    trainer.inputs.model.train()
    return trainer


def take(trainer, plan) -> list[torch.Tensor]:
    """The loss of each micro-batch, on the device."""
    losses, parts = [], trainer.components
    train_loop(
        parts.engine,
        plan,
        parts.method,
        parts.gradients,
        parts.precision,
        parts.optimizer,
        lambda step, micro_batch, loss: losses.append(loss),
        after_step=lambda step: None,
    )
    return losses


@pytest.mark.filterwarnings("ignore:Synchronization debug mode is a prototype:UserWarning")
@pytest.mark.parametrize(
    ("method", "attention_dropout"),
    [("plain", 0.0), ("plain", 0.1), ("r-drop", 0.1), *((name, 0.1) for name in ASYNCHRONOUS)],
)
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_training_step_waits_for_nothing(values, precision, attention_dropout, method):
    changes = {"plain": {}, "r-drop": {"r_drop": 1.0}} | METHODS
    dropout = {"attention_probs_dropout_prob": attention_dropout}
    trainer = ready(values, 30, **merge({"precision": precision, "model": dropout}, changes[method]))
    steps = iter(trainer.components.plan)
    take(trainer, islice(steps, 10))  # self-tests and first looks at gradients
    torch.cuda.set_sync_debug_mode("error")
    try:
        losses = take(trainer, steps)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert len(losses) == 20 and torch.stack(losses).isfinite().all()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of which torch.compile has many, raised and hidden by itself
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_compiled_layers_have_the_same_losses(values, precision):
    no_dropout = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    tasks = {"sst": {"dropout": 0.0}, "sts": {"dropout": 0.0}}
    losses = []
    for compiles in (False, True):
        changes = dict(precision=precision, model=no_dropout, tasks=tasks, train={"compile": compiles})
        trainer = ready(values, 12, **changes)
        losses.append(torch.stack(take(trainer, trainer.components.plan)))
    torch.testing.assert_close(*losses, rtol=1e-4 if precision == "fp32" else 2e-2, atol=1e-4)
