"""The model equals transformers' BertModel: outputs, gradients, hidden states, attention maps, saved files.

Run: pytest tests/minbert/test_reference.py
"""

import random
from itertools import product

import pytest
import torch

from minbert import Batch, BertConfig, BertModel
from minbert.weights.load import our_name

transformers = pytest.importorskip("transformers", reason="compares with transformers' BertModel")

TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-10}


def assert_near(actual, expected, tolerance):
    torch.testing.assert_close(actual, expected, atol=tolerance, rtol=0)


def random_case(seed: int):
    """A configuration with odd sizes and a padded batch: (config values, ids, mask, types)."""
    rng = random.Random(seed)
    heads = rng.randint(1, 12)
    longest = 300 if seed % 5 == 0 else rng.randint(3, 24)
    config = dict(
        vocab_size=rng.randint(5, 90),
        hidden_size=heads * rng.choice([1, 2, 3, 5, 7, 8]) + (0 if heads > 1 else 1),
        num_hidden_layers=rng.randint(1, 4),
        num_attention_heads=heads,
        intermediate_size=rng.randint(1, 50),
        max_position_embeddings=longest + rng.randint(0, 5),
        type_vocab_size=rng.randint(1, 4),
        layer_norm_eps=rng.choice([1e-12, 1e-5, 1e-3]),
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    generator = torch.Generator().manual_seed(seed)
    count = rng.randint(1, 6)
    ids = torch.randint(0, config["vocab_size"], (count, longest), generator=generator)
    types = torch.randint(0, config["type_vocab_size"], (count, longest), generator=generator)
    lengths = [longest] + [rng.randint(1, longest) for _ in range(count - 1)]
    left = seed % 3 == 0
    mask = torch.zeros(count, longest, dtype=torch.long)
    for row, length in enumerate(lengths):
        mask[row, longest - length :] = 1 if left and row % 2 else 0
        mask[row, :length] = 1 if not (left and row % 2) else mask[row, :length]
    return config, ids, mask, types


def pair_of_models(values, kernels, dtype, randomize):
    """transformers' BertModel and ours, by each of these kernels, with the same random parameters."""
    theirs = transformers.BertModel(transformers.BertConfig(**values, attn_implementation="eager"))
    randomize(theirs)
    theirs = theirs.eval().to(dtype)
    models = [theirs]
    for name in kernels:
        models.append(BertModel(BertConfig(**values), name).eval().to(dtype))
        models[-1].load_state_dict({our_name(k): tensor for k, tensor in theirs.state_dict().items()})
    return models


@pytest.mark.parametrize("seed", range(12))  # long ones, and those with padding on the left, in both types
def test_equals_transformers(seed, randomize):
    dtype = (torch.float32, torch.float64)[seed % 2]
    values, ids, mask, types = random_case(seed)
    theirs, *models = pair_of_models(values, ("reference", "fused"), dtype, randomize)
    reference = theirs(ids, mask, types)
    real = mask.bool()
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(reference.last_hidden_state.shape, generator=generator, dtype=dtype)
    pooler_weight = torch.randn(reference.pooler_output.shape, generator=generator, dtype=dtype)

    def loss(out):
        hidden = (out.last_hidden_state * weight * real.unsqueeze(-1)).sum()
        return hidden + (out.pooler_output * pooler_weight).sum()

    loss(reference).backward()
    expected = {our_name(name): parameter.grad for name, parameter in theirs.named_parameters()}
    largest = max(gradient.norm() for gradient in expected.values())
    noise = largest * (1e-6 if dtype == torch.float32 else 1e-13)  # a key's bias has gradient 0
    for ours, packed in product(models, (True, False)):
        batch = Batch.from_padded(ids, mask, types, packed=packed)
        assert batch.layout.packed == (packed and bool(mask[:, 0].all()))
        out = ours(batch)
        assert_near(out.last_hidden_state[real], reference.last_hidden_state[real], TOLERANCE[dtype])
        assert_near(out.pooler_output, reference.pooler_output, TOLERANCE[dtype])
        assert not out.last_hidden_state[~real].any()
        ours.zero_grad()
        loss(out).backward()
        found = {name: parameter.grad for name, parameter in ours.named_parameters()}
        assert found.keys() == expected.keys()
        for name, gradient in expected.items():
            assert (found[name] - gradient).norm() <= 1e-4 * gradient.norm() + noise, name


@pytest.mark.parametrize("kernels", ["reference", "fused"])
def test_hidden_states_and_maps_equal_transformers(kernels, randomize):
    values, ids, mask, types = random_case(7)
    theirs, ours = pair_of_models(values, [kernels], torch.float64, randomize)
    reference = theirs(ids, mask, types, output_hidden_states=True, output_attentions=True)
    maps = ours(ids, mask, types, output_attentions=True).attentions
    packed = ours(ids, mask, types, output_hidden_states=True)
    assert packed["hidden_states"] is packed.hidden_states and packed.attentions is None
    assert len(maps) == len(reference.attentions) and len(packed.hidden_states) == len(
        reference.hidden_states
    )
    for ours_, theirs_ in zip(maps, reference.attentions, strict=True):
        assert_near(ours_, theirs_, 1e-10)
    for ours_, theirs_ in zip(packed.hidden_states, reference.hidden_states, strict=True):
        assert_near(ours_[mask.bool()], theirs_[mask.bool()], 1e-10)
    # a packed Batch becomes a rectangle for the maps; what padding looks at is of no interest
    batch = Batch.from_padded(ids, mask, types)
    for ours_, theirs_ in zip(ours(batch, output_attentions=True).attentions, maps, strict=True):
        looks = mask.bool()[:, None, :, None]
        assert_near(ours_ * looks, theirs_ * looks, 1e-12)


@pytest.mark.parametrize("kernels", ["reference", "fused"])
def test_three_dimensional_mask_equals_transformers(kernels, randomize):
    values, ids, _, types = random_case(4)
    theirs, ours = pair_of_models(values, [kernels], torch.float64, randomize)
    count, columns = ids.shape
    causal = torch.ones(columns, columns, dtype=torch.bool).tril().expand(count, -1, -1)
    additive = torch.zeros(count, 1, columns, columns, dtype=torch.float64)
    additive.masked_fill_(~causal[:, None], torch.finfo(torch.float64).min)
    reference = theirs(ids, additive, types)
    for mask in (causal, causal.long()):
        out = ours(ids, mask, types)
        assert_near(out.last_hidden_state, reference.last_hidden_state, 1e-10)
        assert_near(out.pooler_output, reference.pooler_output, 1e-10)


@pytest.mark.parametrize("kernels", ["reference", "fused"])
def test_transformers_own_masks(kernels, randomize):
    """4-D masks: booleans, and floats that are added to the scores, for all rows or for each."""
    values, ids, mask, types = random_case(3)  # with padding on the left
    theirs, ours = pair_of_models(values, [kernels], torch.float64, randomize)
    count, columns = ids.shape
    real = mask.bool()
    causal = torch.ones(columns, columns, dtype=torch.bool).tril()
    for attends in (
        real[:, None, None, :],
        real[:, None, None, :].expand(count, 1, columns, columns),
        causal[None, None],
        causal.expand(count, 1, columns, columns),
    ):
        seen = attends.expand(count, 1, columns, columns)
        seen = seen.any(dim=(1, 2)) & seen.any(dim=(1, 3))  # zeros in ours elsewhere
        for lowest in (torch.finfo(torch.float64).min, -10000.0):  # the latter is the course's
            additive = torch.zeros(attends.shape, dtype=torch.float64).masked_fill(~attends, lowest)
            reference = theirs(ids, additive, types)
            for given in (attends, additive):
                out = ours(ids, given, types)
                assert_near(out.last_hidden_state[seen], reference.last_hidden_state[seen], 1e-10)


def test_a_call_as_transformers_has_it(randomize):
    values, ids, mask, types = random_case(1)
    theirs, ours = pair_of_models(values, ["fused"], torch.float32, randomize)
    same = dict(input_ids=ids, attention_mask=mask, token_type_ids=types, position_ids=None)
    same |= dict(inputs_embeds=None, use_cache=False, past_key_values=None, head_mask=None)
    for return_dict in (None, True, False):
        hidden, pooled = ours(**same, return_dict=return_dict)
        reference = theirs(ids, mask, types, return_dict=return_dict)
        assert_near(hidden[mask.bool()], reference[0][mask.bool()], 1e-5)
        assert_near(pooled, reference[1], 1e-5)


def test_a_hook_does_what_inputs_embeds_do(randomize):
    """As the TypeError says; gradients reach the vectors."""
    values, ids, _, types = random_case(2)
    theirs, ours = pair_of_models(values, ["fused"], torch.float64, randomize)
    generator = torch.Generator().manual_seed(2)
    vectors = torch.randn(*ids.shape, values["hidden_size"], generator=generator, dtype=torch.float64)
    given, hooked = (vectors.clone().requires_grad_() for _ in range(2))
    reference = theirs(inputs_embeds=given, token_type_ids=types).pooler_output
    hook = ours.embeddings.word.register_forward_hook(lambda *_: hooked.flatten(0, 1))
    found = ours(ids, token_type_ids=types).pooler_output
    hook.remove()
    assert_near(found, reference, 1e-10)
    reference.sum().backward()
    found.sum().backward()
    assert_near(hooked.grad, given.grad, 1e-10)


def test_minilm_equals_transformers(minilm):
    theirs = transformers.BertModel.from_pretrained(minilm, attn_implementation="eager").eval()
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(1000, 30000, (3, 33), generator=generator)
    mask = torch.ones_like(ids)
    mask[1, 20:] = 0
    real, types = mask.bool(), (torch.arange(33) > 10).long().expand(3, 33)
    with torch.no_grad():
        for kernels, dtype in (
            ("reference", torch.float32),
            ("fused", torch.float32),
            ("fused", torch.float64),
        ):
            reference = theirs.to(dtype)(ids, mask, types)
            ours = BertModel.from_pretrained(minilm, kernels).to(dtype)
            for packed in (True, False):
                out = ours(Batch.from_padded(ids, mask, types, packed=packed))
                assert_near(out.last_hidden_state[real], reference.last_hidden_state[real], TOLERANCE[dtype])
                assert_near(out.pooler_output, reference.pooler_output, TOLERANCE[dtype])


def test_saved_folder_loads_bit_equal_in_transformers(tiny, tmp_path):
    tiny.save_pretrained(tmp_path / "out")
    theirs, report = transformers.BertModel.from_pretrained(tmp_path / "out", output_loading_info=True)
    assert not any(report.values()), report
    assert type(theirs) is transformers.BertModel and theirs.dtype == torch.float32
    saved = theirs.state_dict()
    assert {our_name(name) for name in saved} == set(tiny.state_dict())
    for name, tensor in saved.items():
        assert torch.equal(tensor, tiny.state_dict()[our_name(name)]), name


def test_half_precision_folder_is_saved_as_what_it_became(tiny, tmp_path):
    """config.json of a half-precision checkpoint says so; after loading and saving the file holds fp32."""
    reference = transformers.BertModel.from_pretrained(save(tiny, tmp_path / "fp32")).half()
    reference.save_pretrained(tmp_path / "fp16")
    ours = BertModel.from_pretrained(tmp_path / "fp16")
    with torch.no_grad():
        for parameter in ours.parameters():
            parameter.add_(1e-6)  # not to be had in fp16
    theirs = transformers.BertModel.from_pretrained(save(ours, tmp_path / "again"))
    for name, tensor in theirs.state_dict().items():
        assert torch.equal(tensor, ours.state_dict()[our_name(name)]), name


def save(model, folder):
    model.save_pretrained(folder)
    return folder
