"""What only a CUDA device can show: the model and a run there agree with the CPU, and fp16 skips bad steps.

    python -m pytest tests/test_gpu.py

Every test is skipped without a device.
"""

from dataclasses import replace

import pytest
import torch

from minbert import AdamW, BertModel, Tokenizer
from minbert.optim import fused_update_works
from multitask.training.precision import Precision, resolve_precision

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device"),
]


@pytest.mark.parametrize("kernels", ["reference", "fused"])
@pytest.mark.parametrize("packed", [True, False])
def test_the_model_gives_what_it_gives_on_the_cpu(tiny_folder, texts, kernels, packed):
    model = BertModel.from_pretrained(tiny_folder, kernels=kernels).double()
    batch = Tokenizer.from_pretrained(tiny_folder)(texts)
    batch = batch if packed else batch.rectangular()
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


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_a_run_learns_and_its_weights_stay_fp32(tiny_folder, tmp_path, precision):
    from multitask import RunConfig, train

    values = {
        "weights": str(tiny_folder),
        "data": "sample",
        "out": str(tmp_path / "run"),
        "device": "cuda",
        "precision": precision,
        "limit": 64,
        "train": {"epochs": 2},
    }
    run = train(RunConfig.from_dict(values))
    assert all(parameter.dtype == torch.float32 for parameter in run.model.parameters())
    assert set(run.scores["scores"]) == {"sst", "paraphrase", "sts"}
    again = train(replace(run.config, out=str(tmp_path / "again"), device="cpu", precision="fp32"))
    assert again.scores["scores"].keys() == run.scores["scores"].keys()


def test_auto_takes_half_precision():
    assert resolve_precision("auto", torch.device("cuda")) in ("bf16", "fp16")


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
def test_every_kind_of_method_runs(tiny_folder, tmp_path, method, precision):
    from multitask import RunConfig, train

    values = {
        "weights": str(tiny_folder),
        "data": "sample",
        "out": str(tmp_path / "run"),
        "device": "cuda",
        "precision": precision,
        "limit": 32,
        "train": {"epochs": 1},
    }
    said = []
    run = train(RunConfig.from_dict(values | METHODS[method]), said.append)
    assert all(parameter.isfinite().all() for parameter in run.model.parameters())
    assert not any("no gradient" in line for line in said)
