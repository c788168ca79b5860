"""The encoder and what BERT does not have: a formula written out, the same in every layout and kernel.

Run: pytest tests/minbert/test_encoder.py
"""

import math
from dataclasses import replace

import pytest
import torch

from minbert import (
    Batch,
    BertModel,
    CachedActivations,
    InputError,
    LoRAConfig,
    add_lora,
    use_adapter,
)
from tests.encoders import VARIANTS, fill_adapters

each_variant = pytest.mark.parametrize("changes", VARIANTS.values(), ids=VARIANTS)


@pytest.fixture
def batch(tiny_tokenizer, texts) -> Batch:
    return tiny_tokenizer(texts)


@pytest.fixture
def make(load, randomize):
    """`make(changes, kernels, random=True)`: a variant of the tiny model in fp64; its task in use is sts."""

    def build(changes, kernels="fused", random=True) -> BertModel:
        model = load(kernels=kernels, **changes).double()
        if random:
            randomize(model)
        use_adapter(model, "sts")
        return model

    return build


# --- the formula --------------------------------------------------------------------------------------------


def norm(x, layer):
    centred = x - x.mean(-1, keepdim=True)
    variance = (centred**2).mean(-1, keepdim=True)
    return centred / torch.sqrt(variance + layer.eps) * layer.weight + layer.bias


def gelu(x):
    return x * (1 + torch.erf(x / math.sqrt(2))) / 2


def linear(x, layer):
    return x @ layer.weight.T + layer.bias


def contexts(x, attention, heads):
    """The context of each head, a list of (S, K)."""
    query, key, value = (
        linear(x, layer).chunk(heads, dim=-1) for layer in (attention.query, attention.key, attention.value)
    )
    return [
        torch.softmax(q @ k.T / math.sqrt(q.shape[-1]), dim=-1) @ v
        for q, k, v in zip(query, key, value, strict=True)
    ]


def written_out(model, x, task):
    """The encoder's formula for one sentence, (S, D) -> (S, D)."""
    config = model.config
    for number, layer in enumerate(model.encoder.layers):
        heads = contexts(x, layer.attention, config.num_attention_heads)
        for extra in layer.attention.head_layers:
            biases = extra.bias.chunk(len(heads))
            heads = [h + gelu(h @ extra.weight[i] + biases[i]) for i, h in enumerate(heads)]
        hidden = norm(x + linear(torch.cat(heads, dim=-1), layer.attention.output), layer.attention_norm)
        feed = layer.feed_forward
        summed = hidden + linear(gelu(linear(hidden, feed.intermediate)), feed.output)
        if model.encoder.projected_attention is not None:
            projected = model.encoder.projected_attention.adapters[task]
            narrow = linear(x, projected.down)
            heads = contexts(narrow, projected.layers[number], model.encoder.projected_attention.heads)
            summed = summed + linear(torch.cat(heads, dim=-1), projected.up)
        x = norm(summed, layer.feed_forward_norm)
    return x


each_form = pytest.mark.parametrize(("kernels", "packed"), [("fused", True), ("reference", False)])


@each_form
@each_variant
def test_equals_the_formula(make, batch, changes, kernels, packed):
    model = make(changes, kernels)
    batch = batch if packed else batch.as_padded()
    out = model(batch, output_hidden_states=True)
    mask = batch.padded()["attention_mask"].bool()
    for sentence in range(len(batch)):
        real = mask[sentence]
        expected = written_out(model, out.hidden_states[0][sentence][real], "sts")
        torch.testing.assert_close(out.last_hidden_state[sentence][real], expected, rtol=0, atol=1e-10)


@each_variant
def test_gradients_flow_to_every_parameter_that_is_in_use(make, batch, changes):
    model = make(changes)
    loss(model(batch)).backward()
    for name, parameter in model.named_parameters():
        if ".adapters.sst." in name:  # another task's
            assert parameter.grad is None, name
        elif not name.endswith("key.bias"):  # 0 but for rounding: it adds the same to all scores of a query
            assert parameter.grad.abs().amax() > 1e-9, name


# --- noise on the embeddings --------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["packed", "rectangular", "padded"])
def test_noise_is_added_to_what_leaves_the_embeddings(make, batch, form):
    model = make({})
    inputs = {"packed": (batch,), "rectangular": (batch.as_padded(),), "padded": batch.padded().values()}
    inputs = inputs[form]
    rows = model(*inputs).packed.shape
    assert rows[0] == (len(batch.token_ids) if form != "rectangular" else len(inputs[0].token_ids))
    noise = torch.randn(rows, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    noise.requires_grad_()
    plain = model(*inputs, output_hidden_states=True)
    noisy = model(*inputs, output_hidden_states=True, embedding_noise=noise)
    assert torch.equal(noisy.states[0], plain.states[0] + noise)
    assert torch.equal(noisy.packed, model.encoder(plain.states[0] + noise, plain.batch.layout))
    [gradient] = torch.autograd.grad(loss(noisy), noise)
    assert gradient.shape == noise.shape and gradient.abs().max() > 0
    zero = torch.zeros_like(noise)
    assert torch.equal(model(*inputs, embedding_noise=zero).packed, plain.packed)


@pytest.mark.parametrize("shape", [(1, 24), (24,), ()])
def test_noise_of_another_shape_is_refused_not_broadcast(make, batch, shape):
    with pytest.raises(InputError, match=r"embedding_noise has shape .*; it must be .*, 24\)"):
        make({})(batch, embedding_noise=torch.zeros(shape))


# --- checkpointing ------------------------------------------------------------------------------------------


def loss(out):
    weight = torch.randn(out.packed.shape, generator=torch.Generator().manual_seed(1), dtype=out.packed.dtype)
    return (out.packed * weight).sum() + out.pooler_output.square().sum()


def gradients_of(model, batch, checkpointing, seed=0):
    model.encoder.checkpointing = checkpointing
    model.train()
    model.zero_grad()
    torch.manual_seed(seed)
    loss(model(batch)).backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize(
    ("kernels", "packed", "dtype"),
    [("fused", True, torch.float64), ("reference", False, torch.float64), ("fused", True, torch.bfloat16)],
)
def test_checkpointing_gives_the_same_gradients_with_dropout(make, batch, kernels, packed, dtype):
    model = make(VARIANTS["all"], kernels)
    batch = batch if packed else batch.as_padded()
    if dtype == torch.bfloat16:
        model.float()
    with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
        kept, again = (gradients_of(model, batch, checkpointing) for checkpointing in (False, True))
        other = gradients_of(model, batch, True, seed=1)  # dropout was on
    assert kept.keys() == again.keys() and len(kept) > 80
    assert all(torch.equal(again[name], gradient) for name, gradient in kept.items())
    assert any(not torch.equal(other[name], gradient) for name, gradient in kept.items())


def test_checkpointing_of_two_tasks_before_one_backward(make, batch):
    """The layers run again when another task is in use, and must run with their own.

    The base is frozen, so no layer's input needs a gradient: the reentrant kind gives none at all there.
    """
    model = make(VARIANTS["projected attention"])
    add_lora(model, LoRAConfig(rank=2), names=("sst", "sts"))
    fill_adapters(model)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(".adapters." in name)
    found = []
    for checkpointing in (False, True):
        model.encoder.checkpointing = checkpointing
        model.zero_grad()
        losses = []
        for factor, task in ((1.0, "sst"), (3.0, "sts")):
            use_adapter(model, task)
            losses.append(factor * loss(model(batch)))
        use_adapter(model, None)
        sum(losses).backward()
        assert model.encoder.projected_attention.active is None
        found.append({name: p.grad.clone() for name, p in model.named_parameters() if p.requires_grad})
    assert len(found[0]) == 2 * (4 + 12) + 2 * 2 * 4
    for name, gradient in found[0].items():
        assert torch.equal(found[1][name], gradient) and gradient.abs().max() > 0, name


def test_checkpointing_keeps_less_and_nothing_without_gradients(make, batch):
    model = make({}).train()
    kept = []
    for model.encoder.checkpointing in (False, True):
        sizes = []
        with torch.autograd.graph.saved_tensors_hooks(
            lambda tensor, sizes=sizes: sizes.append(tensor.numel()) or tensor, lambda tensor: tensor
        ):
            model(batch)
        kept.append(sum(sizes))
    assert kept[1] < kept[0] / 3
    model.eval()
    with torch.no_grad():
        assert not model(batch).packed.requires_grad


# --- only what is used --------------------------------------------------------------------------------------


@each_form
@each_variant
def test_first_rows_alone_are_those_of_the_whole(make, batch, changes, kernels, packed):
    """Outputs, pooler and gradients; the batch holds an empty text and equal lengths."""
    model = make(changes, kernels)
    batch = batch if packed else batch.as_padded()
    whole, first = model(batch), model(batch, cls_only=True)
    assert first.last_hidden_state.shape == (len(batch), 1, 24)
    torch.testing.assert_close(
        first.last_hidden_state[:, 0], whole.last_hidden_state[:, 0], rtol=0, atol=1e-12
    )
    torch.testing.assert_close(first.pooler_output, whole.pooler_output, rtol=0, atol=1e-12)
    weights = torch.linspace(-1, 1, 24, dtype=torch.float64)
    expected, found = (
        torch.autograd.grad((out.pooler_output * weights).sum(), tensors, allow_unused=True)
        for out in (whole, first)
        for tensors in [list(model.parameters())]
    )
    for a, b in zip(expected, found, strict=True):
        assert (a is None) == (b is None)
        if a is not None:
            torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-12)


def test_first_rows_of_padding_at_the_left_and_of_nothing(tiny):
    """Column 0 is what the reference's pooler reads, padding or not; an empty row gives zeros."""
    ids = torch.tensor([[2, 7, 9, 3], [0, 2, 8, 3], [0, 0, 0, 0]])
    mask = torch.tensor([[1, 1, 1, 1], [0, 1, 1, 1], [0, 0, 0, 0]])
    whole, first = tiny(ids, mask), tiny(ids, mask, cls_only=True)
    torch.testing.assert_close(first.pooler_output, whole.pooler_output)
    assert not first.pooler_output[2].any()
    batch = Batch.from_sequences([[], [2, 3], []], [[], [0, 0], []])
    torch.testing.assert_close(tiny(batch, cls_only=True).pooler_output, tiny(batch).pooler_output)
    assert tiny(Batch.from_sequences([[]], [[]]), cls_only=True).packed.shape == (0, 24)


def test_first_rows_alone_cost_one_row_a_sequence_in_the_last_layer(tiny, batch):
    rows = []
    for layer in tiny.encoder.layers:
        layer.feed_forward.register_forward_hook(lambda module, inputs, output: rows.append(len(output)))
    tiny(batch, cls_only=True)
    assert rows == [len(batch.token_ids), sum(length > 0 for length in batch.layout.lengths)]


def test_first_rows_leave_no_states_and_maps(tiny, batch):
    for wish in ("output_hidden_states", "output_attentions"):
        with pytest.raises(InputError, match="cls_only"):
            tiny(batch, cls_only=True, **{wish: True})


@each_variant
@pytest.mark.parametrize("layers", [0, 1, 2])
def test_a_batch_continues_from_cached_activations(make, batch, changes, layers):
    model = make(changes)
    hidden = model.embeddings(batch.token_ids, batch.token_type_ids, batch.layout.positions)
    hidden = model.encoder(hidden, batch.layout, slice(0, layers))
    later = replace(batch, cached=CachedActivations(hidden, layers))
    for cls_only in (False, True):
        expected = model(batch, cls_only=cls_only).last_hidden_state
        found = model(later, cls_only=cls_only).last_hidden_state
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


def test_cached_activations_move_with_their_batch_and_take_no_noise(tiny, batch):
    rows = torch.zeros(len(batch.token_ids), 24)
    later = replace(batch, cached=CachedActivations(rows, 1))
    assert later.to("cpu").cached.layers == 1
    assert later.to("meta").cached.rows.is_meta
    with pytest.raises(InputError, match="cached activations"):
        tiny(later, embedding_noise=rows)
    with pytest.raises(InputError, match="cached activations"):
        tiny(later, output_hidden_states=True)
