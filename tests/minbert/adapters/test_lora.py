"""LoRA against its formulas written out: what is adapted, what trains, what a merge leaves.

Comparisons with peft and its folders: test_peft_folder.py. Run: pytest tests/minbert/adapters/test_lora.py
"""

import copy
import math
import re

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from minbert import (
    AdamW,
    Batch,
    BertConfig,
    BertModel,
    InputError,
    LoRAConfig,
    adapted_modules,
    add_lora,
    load_lora,
    merge_lora,
    save_lora,
    use_adapter,
)
from minbert.adapters.lora import LoRALinear, adapter_names, base_hash, lora_layers, remove_lora
from minbert.kernels.dropout import apply_dropout
from minbert.model import Linear
from tests.encoders import LORA_KINDS, fill_adapters

ALL = ("all-linear",)
each_kind = pytest.mark.parametrize("kind", LORA_KINDS.values(), ids=LORA_KINDS)


@pytest.fixture
def batch(tiny_tokenizer, texts) -> Batch:
    return tiny_tokenizer(texts)


def weight_by_formula(layer: LoRALinear, directed: bool = True) -> torch.Tensor:
    """W + scale B A, each row brought to its magnitude with DoRA, written out in fp64."""
    adapter = layer.adapters[layer.active]
    A, B, W = (tensor.detach().double() for tensor in (adapter.A, adapter.B, layer.weight))
    root = math.sqrt(len(A)) if adapter.rslora else len(A)
    weight = W + adapter.alpha / root * (B @ A)
    if adapter.magnitude is not None and directed:
        weight = adapter.magnitude.double()[:, None] * weight / weight.norm(dim=1, keepdim=True)
    return weight


# --- what is adapted ----------------------------------------------------------------------------------------


def deep_model(layers=6) -> BertModel:
    sizes = {"vocab_size": 20, "hidden_size": 8, "num_attention_heads": 2, "intermediate_size": 12}
    model = BertModel(BertConfig(**sizes, num_hidden_layers=layers, max_position_embeddings=16))
    for module in model.modules():
        if isinstance(module, nn.Linear):  # zero in a fresh model
            nn.init.normal_(module.bias)
    return model


def test_each_target_is_the_layer_of_that_name():
    expected = {
        "query": "attention.query",
        "key": "attention.key",
        "value": "attention.value",
        "attention_output": "attention.output",
        "intermediate": "feed_forward.intermediate",
        "output": "feed_forward.output",
    }
    for target, name in expected.items():
        model = deep_model(2)
        names = add_lora(model, LoRAConfig(rank=2, targets=(target,)))
        assert names == list(lora_layers(model)) == [f"encoder.layers.{n}.{name}" for n in (0, 1)]
    model = deep_model(2)
    names = add_lora(model, LoRAConfig(rank=2, targets=ALL))
    assert names == [f"encoder.layers.{n}.{name}" for n in (0, 1) for name in expected.values()]
    linear = {name for name, module in model.named_modules() if isinstance(module, nn.Linear)}
    assert linear - set(names) == {"pooler.dense"}


@pytest.mark.parametrize(
    ("layers", "expected"),
    [
        ("all", [0, 1, 2, 3, 4, 5]),
        ("first:4", [0, 1, 2, 3]),
        ("mid:4", [1, 2, 3, 4]),
        ("mid:3", [1, 2, 3]),
        ("last:4", [2, 3, 4, 5]),
        ("last:6", [0, 1, 2, 3, 4, 5]),
        ("5, 0-2,1", [0, 1, 2, 5]),
        ("3", [3]),
    ],
)
def test_layers_are_those_of_the_model(layers, expected):
    names = add_lora(deep_model(), LoRAConfig(rank=2, targets=("key",), layers=layers))
    assert names == [f"encoder.layers.{number}.attention.key" for number in expected]


@pytest.mark.parametrize(
    "layers", ["first:7", "mid:8", "last:99999999999", "6", "4-6", "3-1", "0-99999999999"]
)
def test_layers_that_the_model_does_not_have_are_refused(layers):
    model = deep_model()
    message = re.escape(f"layers is {layers!r}; the model has 6, numbered 0 to 5: give all, first:K")
    with pytest.raises(InputError, match=message):
        add_lora(model, LoRAConfig(layers=layers))
    assert not adapted_modules(model) and all(p.requires_grad for p in model.parameters())


@pytest.mark.parametrize(
    "layers", ["", "last4", "last:0", "last:", "first:-1", "top:4", "0-", "-3", "1,,2", 4]
)
def test_layers_that_are_no_layers_are_refused_without_a_model(layers):
    with pytest.raises(InputError, match=re.escape(f"layers is {layers!r}; give all, first:K, mid:K")):
        LoRAConfig(layers=layers)


def test_the_longest_pattern_that_occurs_decides():
    config = LoRAConfig(
        rank=2,
        alpha=4,
        targets=ALL,
        rank_pattern={"query": 3, "layers.1": 5, "layers.1.attention.query": 7, "attention.output": 6},
        alpha_pattern={"feed_forward": 8.0, "layers.10.": 1.0, "layers.10.feed_forward.output": 2.0},
    )
    model = deep_model(11)
    add_lora(model, config)

    def size(name):
        adapter = model.get_submodule(f"encoder.layers.{name}").adapters["default"]
        assert adapter.A.shape[0] == adapter.B.shape[1]
        assert adapter.scale == adapter.alpha / len(adapter.A)
        return len(adapter.A), adapter.alpha

    assert size("0.attention.query") == (3, 4)
    assert size("0.attention.key") == (2, 4)
    assert size("1.attention.query") == (7, 4)
    assert size("1.attention.key") == (5, 4)
    assert size("1.attention.output") == (6, 4)  # `attention.output` is longer than `layers.1`
    assert size("1.feed_forward.output") == (5, 8)
    assert size("10.attention.key") == (2, 1)  # `layers.1` is not found in `layers.10`
    assert size("10.feed_forward.intermediate") == (2, 8)
    assert size("10.feed_forward.output") == (2, 2)


@pytest.mark.parametrize(
    ("option", "key"),
    [
        ("rank_pattern", "layers.7"),
        ("rank_pattern", "layers.1.quer"),
        ("alpha_pattern", "key"),
        ("alpha_pattern", ""),
    ],
)
def test_a_pattern_that_matches_nothing_is_refused(option, key):
    config = LoRAConfig(layers="0-1", **{option: {"query": 3, key: 4}})
    message = f"{option} gives {key!r}.*adapted are attention.query, attention.value of encoder.layers 0, 1"
    with pytest.raises(InputError, match=message):
        add_lora(deep_model(), config)


def test_what_cannot_be_added_is_refused():
    model = deep_model(2)
    with pytest.raises(InputError, match="rank is 0"):
        add_lora(model, LoRAConfig(rank=0))
    for names in ((), ("sst", "sst")):
        with pytest.raises(InputError, match="give each adapter one of its own"):
            add_lora(model, LoRAConfig(), names)
    for name in ("", "a.b", "keys", "type"):
        with pytest.raises(InputError, match="choose another"):
            add_lora(model, LoRAConfig(), [name])
    assert not adapted_modules(model)
    add_lora(model, LoRAConfig(), ["sst"])
    with pytest.raises(InputError, match=r"has LoRA already \(sst\); merge_lora or remove_lora it first"):
        add_lora(model, LoRAConfig())


# --- what it computes ---------------------------------------------------------------------------------------


def test_a_fresh_adapter_changes_nothing(tiny, batch):
    expected = tiny(batch).packed
    add_lora(tiny, LoRAConfig(rank=3, targets=ALL, dora=True))
    assert torch.equal(tiny(batch).packed, expected)
    for layer in lora_layers(tiny).values():
        adapter = layer.adapters["default"]
        assert not adapter.B.any()
        torch.testing.assert_close(adapter.magnitude, layer.weight.norm(dim=1))
        assert adapter.A.abs().max() <= 1 / math.sqrt(layer.in_features)  # U(-b, b), b = sqrt(6 / (6 in))
        assert adapter.A.std() > 0.5 / math.sqrt(3 * layer.in_features)


@each_kind
def test_a_layer_and_its_gradients_are_the_formula(kind):
    """The row's length is a constant to the gradient (Liu et al. 2024, section 4.3)."""
    model = deep_model(1).double()
    add_lora(model, LoRAConfig(rank=3, alpha=6, targets=ALL, **kind))
    fill_adapters(model)
    for layer in lora_layers(model).values():
        adapter = layer.adapters["default"]
        x = torch.randn(5, layer.in_features, dtype=torch.float64, requires_grad=True)
        loss_weight = torch.randn(5, layer.out_features, dtype=torch.float64)
        parts = [x, *adapter.parameters()]
        out = layer(x)
        found = torch.autograd.grad((out * loss_weight).sum(), parts)
        torch.testing.assert_close(out, F.linear(x, weight_by_formula(layer), layer.bias), atol=1e-12, rtol=0)
        weight = layer.weight + adapter.scale * adapter.B @ adapter.A
        if adapter.magnitude is not None:
            weight = adapter.magnitude[:, None] * weight / weight.detach().norm(dim=1, keepdim=True)
        expected = torch.autograd.grad((F.linear(x, weight, layer.bias) * loss_weight).sum(), parts)
        torch.testing.assert_close(found, expected, atol=1e-12, rtol=0)


@pytest.mark.parametrize("dora", [False, True])
def test_dropout_is_on_what_enters_the_adapter(dora):
    """With DoRA the base's part of the change sees dropout too: W x + (m / |V| - 1) W d + m / |V| s B A d."""
    model = deep_model(1).double()
    add_lora(model, LoRAConfig(rank=3, alpha=6, dropout=0.5, targets=("query",), dora=dora))
    fill_adapters(model)
    [layer] = lora_layers(model).values()
    adapter = layer.adapters["default"]
    x = torch.randn(7, 8, dtype=torch.float64)
    torch.manual_seed(3)
    found = layer.train()(x)
    torch.manual_seed(3)
    dropped = apply_dropout(x, 0.5)
    base, update = x @ layer.weight.T + layer.bias, adapter.scale * dropped @ adapter.A.T @ adapter.B.T
    if dora:
        factor = adapter.magnitude / (layer.weight + adapter.scale * adapter.B @ adapter.A).norm(dim=1)
        update = (factor - 1) * (dropped @ layer.weight.T) + factor * update
    torch.testing.assert_close(found, base + update, atol=1e-12, rtol=0)
    assert not torch.allclose(layer.eval()(x), found)
    assert torch.equal(layer(x), layer(x))


@pytest.mark.parametrize("dora", [False, True])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast(tiny, batch, dtype, dora):
    add_lora(tiny, LoRAConfig(rank=3, targets=ALL, dora=dora))
    fill_adapters(tiny)
    expected = tiny(batch).packed
    with torch.autocast("cpu", dtype=dtype):
        [first, *_] = lora_layers(tiny).values()
        assert first(torch.randn(2, 24)).dtype == dtype
        if dora:  # the rows' lengths are not computed in half precision
            exact = weight_by_formula(first, directed=False).norm(dim=1).float()
            torch.testing.assert_close(first.adapters["default"].lengths(first.weight), exact)
        out = tiny(batch).packed
        out.float().square().mean().backward()
    assert (out.float() - expected).abs().mean() < 10 * torch.finfo(dtype).eps
    for name, parameter in tiny.named_parameters():
        assert (parameter.grad is None) == (".adapters." not in name)
        assert parameter.grad is None or (parameter.grad.dtype == torch.float32 and parameter.grad.any())


def test_a_row_of_zeros_stays_finite():
    model = deep_model(1)
    with torch.no_grad():
        model.encoder.layers[0].attention.query.weight[2] = 0
    add_lora(model, LoRAConfig(rank=2, targets=("query",), dora=True))
    out = model.encoder.layers[0].attention.query(torch.randn(3, 8))
    out.sum().backward()
    assert out.isfinite().all()
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.requires_grad)
    assert merge_lora(model) < 2e-6


# --- what trains, and names ---------------------------------------------------------------------------------


@each_kind
def test_only_adapters_train_and_the_base_is_bit_equal(tiny, batch, kind):
    before = {name: p.detach().clone() for name, p in tiny.named_parameters()}
    objects = dict(tiny.named_parameters())
    add_lora(tiny, LoRAConfig(rank=3, targets=ALL, **kind))
    after = dict(tiny.named_parameters())
    assert all(after[name] is parameter for name, parameter in objects.items())  # the very same objects
    added = {name for name in after if name not in objects}
    assert len(added) == 2 * 6 * (3 if "magnitude" in "".join(added) else 2)
    assert added == {name for name, p in after.items() if p.requires_grad}
    start = {name: after[name].detach().clone() for name in added}
    optimizer = AdamW([p for p in tiny.parameters() if p.requires_grad], lr=1e-2)
    for _ in range(2):  # in the first step the gradient of A is zero, since B is
        optimizer.zero_grad(set_to_none=True)
        tiny.train()(batch).packed.square().mean().backward()
        optimizer.step()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert not any(torch.equal(start[name], after[name]) for name in added)


def test_state_round_trip_and_copies(tiny, tiny_folder, batch):
    config = LoRAConfig(rank=3, targets=ALL, dora=True, layers="1")
    add_lora(tiny, config)
    fill_adapters(tiny)
    other = BertModel.from_pretrained(tiny_folder)
    plain = set(other.state_dict())
    add_lora(other, config)
    assert plain < set(tiny.state_dict())
    other.load_state_dict(tiny.state_dict())
    assert torch.equal(other(batch).packed, tiny(batch).packed)
    assert torch.equal(copy.deepcopy(tiny)(batch).packed, tiny(batch).packed)


def test_modes_are_kept():
    model = deep_model(2).train()
    model.encoder.layers[0].eval()
    add_lora(model, LoRAConfig(rank=2))
    for number, mode in ((0, False), (1, True)):
        layer = model.encoder.layers[number].attention.query
        assert layer.training is layer.adapters["default"].training is mode
    state = torch.get_rng_state()
    merge_lora(model)
    assert torch.equal(state, torch.get_rng_state())
    modes = [model.encoder.layers[number].attention.query.training for number in (0, 1)]
    assert modes == [False, True] and model.training


# --- merging ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 2e-6), (torch.float64, 1e-13)])
@each_kind
def test_a_merge_is_exact_and_leaves_the_plain_model(tiny, tiny_folder, batch, kind, dtype, tolerance):
    plain = BertModel.from_pretrained(tiny_folder).to(dtype)
    tiny.to(dtype)
    add_lora(tiny, LoRAConfig(rank=3, alpha=4, targets=ALL, rank_pattern={"key": 2}, **kind))
    fill_adapters(tiny)
    expected = tiny(batch).packed
    weights = {name: weight_by_formula(layer) for name, layer in lora_layers(tiny).items()}
    objects = {name: layer.weight for name, layer in lora_layers(tiny).items()}
    assert 0 <= merge_lora(tiny) < tolerance
    assert list(tiny.state_dict()) == list(plain.state_dict())
    for name, weight in weights.items():
        linear = tiny.get_submodule(name)
        assert type(linear) is Linear and linear.weight is objects[name]
        assert not linear.weight.requires_grad and linear.bias is not None
        torch.testing.assert_close(linear.weight, weight.to(dtype), atol=1e-15, rtol=0)  # rounded once
    torch.testing.assert_close(tiny(batch).packed, expected, atol=tolerance, rtol=0)
    assert (tiny(batch).packed - plain(batch).packed).abs().max() > 0.1
    assert not adapted_modules(tiny)
    with pytest.raises(InputError, match="no LoRA adapters to merge"):
        merge_lora(tiny)


def test_the_change_is_compared_in_evaluation_mode(tiny):
    add_lora(tiny, LoRAConfig(rank=3, dropout=0.5))
    fill_adapters(tiny)
    assert merge_lora(tiny.train()) < 2e-6
    assert tiny.training


def test_a_change_that_is_no_rounding_error_is_reported(tiny):
    add_lora(tiny, LoRAConfig(rank=3))
    tiny.encoder.layers[0].attention.query.adapters["default"].merged = lambda weight: weight + 1
    assert merge_lora(tiny) > 1e-3


def test_a_half_precision_model_merges_by_way_of_fp64():
    model = deep_model(1)
    add_lora(model, LoRAConfig(rank=2, targets=("query",)))
    fill_adapters(model)
    model.bfloat16()
    [expected] = [weight_by_formula(layer) for layer in lora_layers(model).values()]
    merge_lora(model)
    assert torch.equal(model.encoder.layers[0].attention.query.weight, expected.bfloat16())


# --- several adapters ---------------------------------------------------------------------------------------


def test_one_adapter_a_task(tiny, batch):
    base = tiny(batch).packed
    names = ("sst", "sts")
    add_lora(tiny, LoRAConfig(rank=3), names)
    fill_adapters(tiny)
    assert adapter_names(tiny) == names
    outputs = {}
    for name in (*names, "sst", None):
        use_adapter(tiny, name)
        out = tiny(batch).packed
        assert torch.equal(out, outputs.setdefault(name, out))
    assert torch.equal(outputs[None], base)
    assert not torch.allclose(outputs["sst"], outputs["sts"], atol=1e-2)
    use_adapter(tiny, "sst")
    tiny(batch).packed.sum().backward()
    for name, parameter in tiny.named_parameters():
        assert (parameter.grad is not None) == (".adapters.sst." in name)
    for name in (None, "para"):
        with pytest.raises(InputError, match="sst, sts"):
            merge_lora(tiny, name)
    assert merge_lora(tiny, "sts") < 2e-6
    torch.testing.assert_close(tiny(batch).packed, outputs["sts"], atol=2e-6, rtol=0)


def test_removing_leaves_the_base(tiny, batch):
    base, weight = tiny(batch).packed, tiny.encoder.layers[0].attention.query.weight
    add_lora(tiny, LoRAConfig(rank=3, dora=True), ("sst", "sts"))
    fill_adapters(tiny)
    assert not torch.allclose(tiny(batch).packed, base)
    remove_lora(tiny)
    assert torch.equal(tiny(batch).packed, base) and adapter_names(tiny) == ()
    assert tiny.encoder.layers[0].attention.query.weight is weight


def test_adapters_of_one_kind_are_not_mixed(tiny, batch, tmp_path):
    """Where the named adapter has fewer layers than the default, the others run without one."""
    add_lora(tiny, LoRAConfig(rank=2, layers="1"))
    fill_adapters(tiny)
    expected = tiny(batch).packed
    save_lora(tiny, tmp_path)
    remove_lora(tiny)
    add_lora(tiny, LoRAConfig(rank=3))
    fill_adapters(tiny)
    default = tiny(batch).packed
    load_lora(tiny, tmp_path, "sts")
    assert torch.equal(tiny(batch).packed, expected)
    use_adapter(tiny, "para")
    assert torch.equal(tiny(batch).packed, default)
    use_adapter(tiny, "sts")
    assert torch.equal(tiny(batch).packed, expected)
    merge_lora(tiny, "sts")
    torch.testing.assert_close(tiny(batch).packed, expected, atol=2e-6, rtol=0)


def test_the_hash_is_that_of_the_base(tiny, tiny_folder):
    found = base_hash(tiny)
    assert re.fullmatch("[0-9a-f]{64}", found)
    add_lora(tiny, LoRAConfig(rank=3, dora=True), ("sst", "sts"))
    fill_adapters(tiny)
    assert base_hash(tiny) == found
    assert base_hash(BertModel.from_pretrained(tiny_folder)) == found
    with torch.no_grad():
        tiny.encoder.layers[1].attention_norm.bias[3] += 1e-6
    assert base_hash(tiny) != found
