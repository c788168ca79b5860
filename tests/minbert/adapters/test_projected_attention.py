"""Projected attention: one pair of projections a task, shared by all layers, and nothing changed at first.

The formula itself is compared in test_encoder.py.
Run: pytest tests/minbert/adapters/test_projected_attention.py
"""

import pytest
import torch

from minbert import AdamW, AttentionAdapterConfig, BertModel, InputError, add_attention_adapters, use_adapter
from tests.encoders import PROJECTED


@pytest.fixture
def model(load) -> BertModel:
    return load(**PROJECTED)


def test_parameters_are_registered_once(model):
    """Names and sizes of one task's: two projections for all layers, three matrices a layer."""
    names = [name for name in model.state_dict() if ".adapters." in name]
    prefix = "encoder.projected_attention.adapters.sst."
    own = {name.removeprefix(prefix) for name in names if name.startswith(prefix)}
    kinds = ("weight", "bias")
    parts = ["down", "up"] + [f"layers.{n}.{part}" for n in range(2) for part in ("query", "key", "value")]
    assert own == {f"{part}.{kind}" for part in parts for kind in kinds}
    assert len(names) == 2 * len(own) == len(model.state_dict()) - len(plain_names(model))
    count = sum(p.numel() for name, p in model.named_parameters() if name.startswith(prefix))
    assert count == (24 * 10 + 10) + (10 * 24 + 24) + 2 * 3 * (10 * 10 + 10)


def plain_names(model):
    return [name for name in model.state_dict() if "projected_attention" not in name]


def test_start_values(model):
    adapter = model.encoder.projected_attention.adapters["sst"]
    assert not adapter.up.weight.any() and not adapter.up.bias.any() and not adapter.down.bias.any()
    for linear in (adapter.down, adapter.layers[1].value):
        assert 0.01 < linear.weight.std() < 0.03
    assert not model.training and not model.encoder.projected_attention.training


def test_one_task_does_not_touch_another(model, tiny, tiny_tokenizer, texts):
    """None is in use until a task is named; a task's training leaves the others where they were."""
    batch = tiny_tokenizer(texts)
    before = tiny(batch).packed
    projected = model.encoder.projected_attention
    assert projected.active is None and torch.equal(model(batch).packed, before)
    optimizer = AdamW(projected.adapters["sst"].parameters(), lr=1e-2)
    use_adapter(model, "sst")
    assert torch.equal(model(batch).packed, before)
    for _ in range(2):  # `up` first; what stands before it has a gradient of 0 until `up` is another
        optimizer.zero_grad()
        model(batch).packed.square().mean().backward()
        optimizer.step()
    gradients = {name: p.grad for name, p in projected.adapters["sst"].named_parameters()}
    assert all(gradient.abs().max() > 0 for gradient in gradients.values())
    assert (model(batch).packed - before).abs().max() > 1e-3
    for name in ("sts", None, "another"):
        use_adapter(model, name)
        assert torch.equal(model(batch).packed, before)


def test_rows_of_an_empty_batch(model):
    use_adapter(model, "sst")
    ids = torch.ones(2, 3, dtype=torch.long)
    assert not model(ids, torch.zeros(2, 3)).last_hidden_state.any()


def test_names_that_torch_needs_are_refused(tiny):
    config = AttentionAdapterConfig(**PROJECTED | {"projected_attention_names": ("keys",)})
    with pytest.raises(InputError, match="cannot be called 'keys', torch needs the name"):
        add_attention_adapters(tiny, config)
