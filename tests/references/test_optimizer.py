"""The reference of AdamW against torch.optim.AdamW, whose arithmetic is the same under other settings.

With d = lr weight_decay, torch's step under the rate lr (1 - d), the decay weight_decay / (1 - d) and eps
divided by sqrt(1 - beta2^t) gives (1 - d) (p - alpha_t m / (sqrt(v) + eps)), which is the handout's step: the
decay of the updated parameters, epsilon beside the uncorrected root.

Run: python -m pytest tests/references/test_optimizer.py
"""

import math

import numpy as np
import pytest
import torch
from safetensors.numpy import load

from minbert.check.fixtures import model_fixture
from minbert.check.references.make import make
from references.optimizer import DEFAULTS, fixture, scenarios


def test_making_it_again_gives_the_file():
    tensors, settings = model_fixture("optimizer")
    again = load(make("optimizer"))
    assert again.keys() == tensors.keys()
    for name, value in tensors.items():
        assert again[name].dtype == value.dtype
        np.testing.assert_allclose(again[name], value, rtol=1e-12, atol=1e-12, err_msg=name)
    assert settings.keys() == fixture()[1].keys()


def test_inputs_are_fp32_and_outputs_fp64():
    for name, value in model_fixture("optimizer")[0].items():
        assert value.dtype == (np.float64 if "/expected/" in name else np.float32), name


@pytest.mark.parametrize("scene", scenarios())
def test_equals_torchs_adamw_under_other_settings(scene):
    tensors, settings = model_fixture("optimizer")
    settings = settings[scene]
    groups = []
    for number, group in enumerate(settings["groups"]):
        for name in group["parameters"]:
            start = torch.tensor(tensors[f"{scene}/start/{name}"], dtype=torch.float64)
            chosen = DEFAULTS | settings["settings"] | group | {"name": name, "number": number}
            groups.append({"params": [torch.nn.Parameter(start)], "chosen": chosen})
    optimizer = torch.optim.AdamW(groups)
    for step in range(1, settings["steps"] + 1):
        for group in optimizer.param_groups:
            [parameter] = group["params"]
            chosen = group["chosen"]
            gradient = tensors.get(f"{scene}/gradient {step}/{chosen['name']}")
            parameter.grad = None if gradient is None else torch.tensor(gradient, dtype=torch.float64)
            state = optimizer.state[parameter]
            if not state and not chosen["correct_bias"]:  # a step so late that nothing is corrected
                zeros = torch.zeros_like(parameter)
                state.update(step=torch.tensor(1e9), exp_avg=zeros, exp_avg_sq=zeros.clone())
            t = float(state["step"]) + 1 if state else 1
            lr = settings["rates"][step - 1][chosen["number"]] if settings["rates"] else chosen["lr"]
            decay, beta2 = chosen["weight_decay"], chosen["betas"][1]
            group["betas"] = tuple(chosen["betas"])
            group["lr"] = lr * (1 - lr * decay)
            group["weight_decay"] = decay / (1 - lr * decay)
            group["eps"] = chosen["eps"] / math.sqrt(1 - beta2**t)
        optimizer.step()
        for group in optimizer.param_groups:
            name = group["chosen"]["name"]
            expected = tensors[f"{scene}/expected/{name} after step {step}"]
            np.testing.assert_allclose(group["params"][0].detach().numpy(), expected, rtol=1e-12, atol=1e-12)


def test_losses_of_the_closure():
    tensors, _ = model_fixture("optimizer")
    before = tensors["closure/start/weight"].astype(np.float64)
    for step in (1, 2):
        gradient = tensors[f"closure/gradient {step}/weight"].astype(np.float64)
        [loss] = tensors[f"closure/expected/loss of step {step}"]
        assert loss == pytest.approx(math.fsum((gradient * before).ravel()), abs=1e-12)
        before = tensors[f"closure/expected/weight after step {step}"]


def test_gradients_are_missing_where_they_should_be():
    tensors, settings = model_fixture("optimizer")
    there = {
        name: [t for t in (1, 2, 3, 4) if f"missing gradients/gradient {t}/{name}" in tensors]
        for name in ("always", "never", "late", "sometimes")
    }
    assert there == {"always": [1, 2, 3, 4], "never": [], "late": [3, 4], "sometimes": [1, 3, 4]}
    sizes = np.abs(
        np.concatenate([tensors[f"tiny gradients/gradient {t}/weight"].ravel() for t in (1, 2, 3)])
    )
    eps = settings["tiny gradients"]["settings"]["eps"]
    assert sizes.min() < eps / 100 and sizes.max() > 10 * eps and sizes.min() > 0
