"""A sentence's vector is its own: neighbours, padding, order, layout do not change it; nothing is NaN.

Run: pytest tests/minbert/test_own_vector.py
"""

import inspect

import pytest
import torch

from minbert import Batch, BertModel, InputError, normalize, pool
from minbert.tokenizer import pack
from minbert.weights.transformers_arguments import OURS

ONES = torch.ones(1, 4, dtype=torch.long)
POOLINGS = ["cls", "pooler", "mean", "max", "mean_sqrt_len_tokens", "weightedmean", "lasttoken"]


@pytest.fixture(params=["reference", "fused"])
def model(request, tiny_folder):
    return BertModel.from_pretrained(tiny_folder, request.param)


def padded(tokenizer, texts, columns=None):
    """The texts as right-padded tensors, with more columns where asked for."""
    tensors = tokenizer(texts).padded()
    extra = 0 if columns is None else columns - tensors["input_ids"].shape[1]
    return {name: torch.nn.functional.pad(tensor, (0, extra)) for name, tensor in tensors.items()}


def assert_same(actual, expected):
    assert actual.dtype == torch.float32
    torch.testing.assert_close(actual, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("pooling", POOLINGS)
def test_vector_is_its_own(model, tiny_tokenizer, texts, pooling):
    with torch.no_grad():
        alone = torch.cat([pool(model(tiny_tokenizer([text])), pooling) for text in texts])
        assert len({tuple(row) for row in alone.round(decimals=4).tolist()}) == len(set(texts))
        assert_same(pool(model(tiny_tokenizer(texts)), pooling), alone)

        generator = torch.Generator().manual_seed(0)
        for _ in range(3):
            order = torch.randperm(len(texts), generator=generator)
            shuffled = [texts[i] for i in order]
            assert_same(pool(model(tiny_tokenizer(shuffled)), pooling), alone[order])

        for columns in (None, 40, 64):
            inputs = padded(tiny_tokenizer, texts, columns)
            assert_same(pool(model(**inputs), pooling), alone)
            for packed in (True, False):
                batch = Batch.from_padded(**inputs, packed=packed)
                assert batch.layout.packed == packed
                assert_same(pool(model(batch), pooling), alone)


@pytest.mark.parametrize("pooling", POOLINGS)
def test_gradients_are_those_of_the_sentences_one_by_one(model, tiny_tokenizer, texts, pooling):
    """Packed, padded, and summed over calls with one text each."""

    def gradients(batches):
        model.zero_grad()
        weights = torch.linspace(-1, 1, 24)
        for batch in batches:
            (pool(model(batch), pooling) * weights).sum().backward()
        return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}

    batch = tiny_tokenizer(texts)
    expected = gradients([tiny_tokenizer([text]) for text in texts])
    for other in (batch, batch.as_padded()):
        found = gradients([other])
        assert found.keys() == expected.keys()
        largest = max(gradient.norm() for gradient in expected.values())
        for name, gradient in expected.items():  # a key's bias has a gradient of 0 but for rounding
            assert (found[name] - gradient).norm() <= 1e-4 * gradient.norm() + 1e-6 * largest, name


@pytest.mark.parametrize("dtype", [torch.bool, torch.int32, torch.int64, torch.uint8, torch.float32])
def test_masks_of_any_type(model, tiny_tokenizer, texts, dtype):
    inputs = padded(tiny_tokenizer, texts)
    expected = model(**inputs).last_hidden_state
    mask = inputs.pop("attention_mask").to(dtype)
    assert torch.equal(model(**inputs, attention_mask=mask).last_hidden_state, expected)


def test_additive_mask_is_refused(tiny, tiny_tokenizer, texts):
    inputs = padded(tiny_tokenizer, texts)
    additive = (1.0 - inputs["attention_mask"].float()) * -10000.0
    with pytest.raises(InputError, match="values other than 0 and 1"):
        tiny(inputs["input_ids"], additive)


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("half", ["autocast", "weights", "no"])
def test_empty_row_gives_zeros(model, tiny_tokenizer, texts, packed, half, pooling):
    inputs = padded(tiny_tokenizer, texts)
    inputs["attention_mask"][[1, 3]] = 0
    filled = [i for i in range(len(texts)) if i not in (1, 3)]
    if half == "weights":
        model.bfloat16()
    with torch.autocast("cpu", torch.bfloat16, enabled=half == "autocast"):
        out = model(Batch.from_padded(**inputs, packed=packed))
    vectors = pool(out, pooling)
    assert vectors.dtype == torch.float32
    assert vectors.isfinite().all() and out.last_hidden_state.isfinite().all()
    assert not vectors[[1, 3]].any() and not out.last_hidden_state[[1, 3]].any()
    assert vectors[filled].any(dim=1).all()
    for kind in ("l1", "l2"):
        assert normalize(vectors, kind).isfinite().all() and not normalize(vectors, kind)[1].any()
    vectors.square().sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is None or parameter.grad.isfinite().all(), name


def test_rows_that_are_all_empty(model, tiny_tokenizer):
    ids = torch.ones(2, 5, dtype=torch.long)
    for packed in (True, False):
        out = model(Batch.from_padded(ids, torch.zeros(2, 5), packed=packed))
        assert out.last_hidden_state.shape == (2, 5, 24) and not out.last_hidden_state.any()
        assert out.pooler_output.shape == (2, 24) and not out.pooler_output.any()
        for pooling in POOLINGS:
            assert not pool(out, pooling).any()


def test_empty_row_under_a_three_dimensional_mask(model):
    ids = torch.ones(2, 4, dtype=torch.long)
    mask = torch.ones(2, 4, 4, dtype=torch.bool)
    mask[1] = False
    mask[0, 2] = False  # looks at nothing, is looked at
    out = model(ids, mask)
    assert out.last_hidden_state.isfinite().all() and out.last_hidden_state[0].any(dim=1).all()
    assert not out.last_hidden_state[1].any() and not out.pooler_output[1].any()


def test_restore_gives_the_callers_order(tiny_tokenizer, texts):
    sequences = tiny_tokenizer.encode(texts)
    batch = pack(sequences)
    assert batch.layout.lengths == tuple(sorted((len(s.ids) for s in sequences), reverse=True))
    assert batch.restore(batch.order).tolist() == list(range(len(texts)))
    tensors = batch.padded()
    for row, sequence in enumerate(sequences):
        count = len(sequence.ids)
        assert tensors["input_ids"][row, :count].tolist() == sequence.ids
        assert tensors["attention_mask"][row].sum() == count
        assert not tensors["input_ids"][row, count:].any()
    again = batch.as_padded()
    assert len(again) == len(batch) == len(texts)
    assert all(torch.equal(again.padded()[name], tensors[name]) for name in tensors)


def test_pooling_and_normalization_by_hand():
    vectors = torch.tensor([[3.0, -4.0], [0.0, 0.0]])
    assert_same(normalize(vectors, "l2"), torch.tensor([[0.6, -0.8], [0.0, 0.0]]))
    assert_same(normalize(vectors, "l1"), torch.tensor([[3 / 7, -4 / 7], [0.0, 0.0]]))
    assert normalize(vectors, None) is vectors
    with pytest.raises(InputError, match="l1, l2 or none"):
        normalize(vectors, "l3")


def test_unknown_pooling_is_refused(tiny, tiny_tokenizer):
    with pytest.raises(InputError, match="did you mean 'mean'"):
        pool(tiny(tiny_tokenizer(["a"])), "meen")


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (dict(input_ids=torch.zeros(3, dtype=torch.long)), r"shape \(3,\); it must be \(B, S\)"),
        (dict(input_ids=torch.zeros(0, 4, dtype=torch.long)), "both at least 1"),
        (dict(input_ids=torch.zeros(2, 0, dtype=torch.long)), "both at least 1"),
        (dict(input_ids=torch.zeros(2, 4).long(), attention_mask=torch.ones(2, 3)), "attention_mask"),
        (dict(input_ids=torch.zeros(1, 4).long(), attention_mask=torch.ones(2, 4)), "attention_mask"),
        (
            dict(input_ids=torch.zeros(2, 4, dtype=torch.long), token_type_ids=torch.zeros(1, 4).long()),
            "token_type_ids has shape",
        ),
        (
            dict(input_ids=torch.zeros(2, 4, dtype=torch.long), token_type_ids=torch.full((2, 4), 2)),
            "token_type_ids holds 2; this model knows 0 to 1",
        ),
        (dict(input_ids=torch.full((1, 2), 10_000)), "input_ids holds 10000"),
        (dict(input_ids=torch.full((1, 2), -1)), "input_ids holds -1"),
        (dict(input_ids=torch.zeros(1, 65, dtype=torch.long)), "65 tokens; this model takes 64"),
        (dict(input_ids=torch.ones(1, 2)), r"input_ids has dtype torch.float32; .* give torch.long"),
        (dict(input_ids=torch.ones(1, 2).to(torch.int16)), "input_ids has dtype torch.int16"),
        (dict(input_ids=ONES, token_type_ids=torch.ones(1, 4)), "token_type_ids has dtype torch.float32"),
        (dict(input_ids=[[101, 102]]), r"input_ids is of type list; give a tensor \(B, S\)"),
        (dict(input_ids={"input_ids": ONES}), r"input_ids is of type dict; .*: model\(\*\*inputs\)"),
        (dict(input_ids=ONES, attention_mask=[[1] * 4]), "attention_mask is of type list"),
        (dict(), "input_ids is of type NoneType"),
        (dict(input_ids=ONES, attention_mask=torch.ones(1, 2, 4, 4)), r"\(1, 1, 1 or 4, 4\)"),
        (dict(input_ids=ONES, attention_mask=torch.ones(1, 1, 1, 4)), "values other than 0 and -inf"),
        (dict(input_ids=ONES, attention_mask=torch.full((1, 1, 4, 4), -0.5)), "values other than 0 and -inf"),
    ],
)
def test_inputs_that_do_not_fit_are_refused(tiny, inputs, message):
    with pytest.raises(InputError, match=message):
        tiny(**inputs)


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        (
            dict(inputs_embeds=torch.ones(1, 4, 24)),
            "no inputs_embeds: a forward hook on model.embeddings.word",
        ),
        (dict(position_ids=torch.arange(4)[None]), "no position_ids: a token's position is its column"),
        (dict(head_mask=torch.ones(3)), "no head_mask: "),
        (dict(use_cache=True), "no use_cache: "),
        (dict(encoder_hidden_states=torch.ones(1, 4, 24)), "there is no cross-attention"),
        (dict(attn_mask=ONES), "no argument 'attn_mask'; it has .*; did you mean 'attention_mask'"),
        (dict(labels=ONES), "no argument 'labels'; it has input_ids, attention_mask"),
    ],
)
def test_arguments_that_it_does_not_have(tiny, argument, message):
    with pytest.raises(TypeError, match=message):
        tiny(ONES, **argument)
    if "inputs_embeds" in argument:  # alone, as transformers takes it
        with pytest.raises(TypeError, match=message):
            tiny(**argument)


def test_the_names_that_a_message_lists_are_those_of_forward():
    parameters = inspect.signature(BertModel.forward).parameters
    assert {*OURS} - {"return_dict"} == {*parameters} - {"self", "others"}
