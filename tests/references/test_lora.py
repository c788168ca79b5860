"""The reference of LoRA against peft: output, gradients by autograd, and the merged layer.

Run: python -m pytest tests/references/test_lora.py
"""

import numpy as np
import pytest
import torch
from safetensors.numpy import load
from torch import nn

from minbert.check.fixtures import model_fixture
from references.lora import LAYERS, fixture
from minbert.check.references.make import make


def test_making_it_again_gives_the_file():
    tensors, settings = model_fixture("lora")
    again = load(make("lora"))
    assert again.keys() == tensors.keys() and settings == fixture()[1]
    for name, value in tensors.items():
        assert value.dtype == (np.float64 if "/expected/" in name else np.float32), name
        np.testing.assert_allclose(again[name], value, rtol=1e-12, atol=1e-12, err_msg=name)


@pytest.mark.parametrize("layer", LAYERS)
def test_equals_peft(layer):
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
    expected = {name for name in given if name.startswith("expected/")}
    assert expected == {f"expected/{name}" for name in theirs}
    for name, value in theirs.items():
        np.testing.assert_allclose(
            value.detach().numpy(), given[f"expected/{name}"].numpy(), rtol=1e-12, atol=1e-12, err_msg=name
        )
