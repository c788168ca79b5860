"""The references of AdamW, LoRA and pooling against torch, peft and sentence-transformers.

Run: pytest tests/minbert/check/references/test_components.py
"""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from minbert.check.fixtures import model_fixture
from minbert.check.references.lora import LAYERS
from minbert.check.references.make import is_up_to_date
from minbert.check.references.optimizer import Settings, scenarios


@pytest.mark.parametrize("name", ["model", "optimizer", "lora", "pooling", "tokenizer", "losses", "metrics"])
def test_making_it_again_gives_the_file(name):
    assert is_up_to_date(name)


def assert_equal(theirs: torch.Tensor, ours: np.ndarray) -> None:
    np.testing.assert_allclose(theirs.detach().numpy(), ours, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("scene", scenarios())
def test_adamw_equals_torchs_under_other_settings(scene):
    """With d = lr weight_decay, torch's step under the rate lr (1 - d), the decay weight_decay / (1 - d) and
    eps divided by sqrt(1 - beta2^t) gives (1 - d) (p - alpha_t m / (sqrt(v) + eps)), the handout's step.
    """
    tensors, settings = model_fixture("optimizer")
    settings = settings[scene]
    groups = []
    for number, group in enumerate(settings["groups"]):
        for name in group["parameters"]:
            start = torch.tensor(tensors[f"{scene}/start/{name}"], dtype=torch.float64)
            chosen = vars(Settings()) | settings["settings"] | group | {"name": name, "number": number}
            groups.append({"params": [nn.Parameter(start)], "chosen": chosen})
    optimizer = torch.optim.AdamW(groups)
    for step in range(1, settings["steps"] + 1):
        for group in optimizer.param_groups:
            [parameter], chosen = group["params"], group["chosen"]
            gradient = tensors.get(f"{scene}/gradient {step}/{chosen['name']}")
            parameter.grad = None if gradient is None else torch.tensor(gradient, dtype=torch.float64)
            state = optimizer.state[parameter]
            if not state and not chosen["correct_bias"]:  # a step so late that nothing is corrected
                zeros = torch.zeros_like(parameter)
                state.update(step=torch.tensor(1e9), exp_avg=zeros, exp_avg_sq=zeros.clone())
            t = float(state["step"]) + 1 if state else 1
            lr = settings["rates"][step - 1][chosen["number"]] if settings["rates"] else chosen["lr"]
            decay = chosen["weight_decay"]
            group["betas"] = tuple(chosen["betas"])
            group["lr"] = lr * (1 - lr * decay)
            group["weight_decay"] = decay / (1 - lr * decay)
            group["eps"] = chosen["eps"] / math.sqrt(1 - chosen["betas"][1] ** t)
        optimizer.step()
        for group in optimizer.param_groups:
            name = group["chosen"]["name"]
            assert_equal(group["params"][0], tensors[f"{scene}/expected/{name} after step {step}"])


def test_losses_of_the_closure():
    tensors, _ = model_fixture("optimizer")
    before = tensors["closure/start/weight"].astype(np.float64)
    for step in (1, 2):
        gradient = tensors[f"closure/gradient {step}/weight"].astype(np.float64)
        [loss] = tensors[f"closure/expected/loss of step {step}"]
        assert loss == pytest.approx(math.fsum((gradient * before).ravel()), abs=1e-12)
        before = tensors[f"closure/expected/weight after step {step}"]


def test_inputs_of_adamw_bring_out_missing_and_tiny_gradients():
    tensors, settings = model_fixture("optimizer")
    there = {
        name: [t for t in (1, 2, 3, 4) if f"missing gradients/gradient {t}/{name}" in tensors]
        for name in ("always", "never", "late", "sometimes")
    }
    assert there == {"always": [1, 2, 3, 4], "never": [], "late": [3, 4], "sometimes": [1, 3, 4]}
    sizes = np.abs([tensors[f"tiny gradients/gradient {t}/weight"] for t in (1, 2, 3)])
    eps = settings["tiny gradients"]["settings"]["eps"]
    assert 0 < sizes.min() < eps / 100 and sizes.max() > 10 * eps


@pytest.mark.parametrize("layer", LAYERS)
def test_lora_equals_peft(layer):
    peft = pytest.importorskip("peft", reason="compares with peft")
    tensors, settings = model_fixture("lora")
    given = {
        name.removeprefix(f"{layer}/"): torch.tensor(value, dtype=torch.float64)
        for name, value in tensors.items()
        if name.startswith(f"{layer}/")
    }
    size_out, size_in = given["weight"].shape
    base = nn.Sequential(nn.Linear(size_in, size_out)).double()
    base[0].load_state_dict({"weight": given["weight"], "bias": given["bias"]})
    rank, alpha = settings[layer]["rank"], settings[layer]["alpha"]
    adapted = peft.get_peft_model(base, peft.LoraConfig(r=rank, lora_alpha=alpha, target_modules=["0"]))
    linear = adapted.base_model.model[0]
    A, B = linear.lora_A["default"].weight, linear.lora_B["default"].weight
    with torch.no_grad():
        A.data, B.data = given["lora_A"].clone(), given["lora_B"].clone()
    x = given["x"].clone().requires_grad_()
    output = adapted(x)
    (output * given["direction"]).sum().backward()
    merged = adapted.merge_and_unload()[0]
    theirs = {
        "output": output,
        "gradient of lora_A": A.grad,
        "gradient of lora_B": B.grad,
        "gradient of the input": x.grad,
        "merged weight": merged.weight,
        "merged bias": merged.bias,
    }
    assert {name for name in given if name.startswith("expected/")} == {f"expected/{name}" for name in theirs}
    for name, value in theirs.items():
        assert_equal(value, tensors[f"{layer}/expected/{name}"])


@pytest.mark.parametrize("kind", ["cls", "mean", "max"])
def test_pooling_equals_sentence_transformers(kind):
    pytest.importorskip("sentence_transformers", reason="compares with sentence-transformers")
    from sentence_transformers.sentence_transformer.modules import Pooling

    tensors, _ = model_fixture("pooling")
    features = {
        "token_embeddings": torch.tensor(tensors["hidden"], dtype=torch.float64),
        "attention_mask": torch.tensor(tensors["mask"]),
    }
    pooling = Pooling(tensors["hidden"].shape[-1], pooling_mode=kind)
    assert_equal(pooling(features)["sentence_embedding"], tensors[f"expected/{kind}"])


@pytest.mark.parametrize(("kind", "p"), [("l1", 1.0), ("l2", 2.0)])
def test_normalisation_equals_torch(kind, p):
    tensors, _ = model_fixture("pooling")
    vectors = torch.tensor(tensors["vectors"], dtype=torch.float64)
    assert_equal(F.normalize(vectors, p=p, dim=-1), tensors[f"expected/{kind}"])


def test_inputs_of_pooling_bring_out_padding():
    """Padding is larger than every real value, and the first feature has no positive real value."""
    tensors, _ = model_fixture("pooling")
    real, padding = tensors["hidden"][tensors["mask"] == 1], tensors["hidden"][tensors["mask"] == 0]
    assert padding.min() > real[:, 0].max() and real[:, 0].max() < 0 and len(padding)
    assert tensors["mask"].sum(axis=1).tolist() == [6, 4, 2, 1]
