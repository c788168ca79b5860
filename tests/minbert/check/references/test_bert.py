"""The reference of the model against transformers.BertModel in fp64, its gradients against torch autograd.

Run: pytest tests/minbert/check/references/test_bert.py
"""

from copy import deepcopy

import numpy as np
import pytest
import torch

from minbert.check.fixtures import model_fixture
from minbert.check.judge import distance
from minbert.check.stage import TOLERANCE


@pytest.fixture(scope="module")
def written():
    return model_fixture("model")


@pytest.fixture(scope="module")
def tensors(written):
    return written[0]


@pytest.fixture(scope="module")
def theirs(written):
    """transformers' model in fp64, with the fixture's weights."""
    from transformers import BertConfig, BertModel

    tensors, settings = written
    config = BertConfig(**settings["config"], attn_implementation="eager")
    model = BertModel(config).double().eval()
    weights = {
        name.removeprefix("weights."): torch.tensor(value, dtype=torch.float64)
        for name, value in tensors.items()
        if name.startswith("weights.")
    }
    assert set(weights) == {name for name, _ in model.named_parameters()}
    model.load_state_dict(weights, strict=False)
    return model


@pytest.fixture(scope="module")
def ran(theirs, tensors):
    """Their outputs, and what each of their modules gave, by its name; token types zero."""
    modules, handles = {}, []
    for name, module in theirs.named_modules():

        def keep(module, given, output, name=name):
            modules[name] = output[0] if isinstance(output, tuple) else output

        handles.append(module.register_forward_hook(keep))
    with torch.no_grad():
        output = call(theirs, tensors, torch.zeros_like(torch.tensor(tensors["input_ids"])))
    for handle in handles:
        handle.remove()
    return output, modules


def call(model, tensors, token_type_ids):
    return model(
        input_ids=torch.tensor(tensors["input_ids"]),
        attention_mask=torch.tensor(tensors["attention_mask"]),
        token_type_ids=token_type_ids,
        output_hidden_states=True,
        output_attentions=True,
    )


def assert_equal_at_real_tokens(tensors, ours, theirs):
    """(B, S, ...) both."""
    real = tensors["attention_mask"].astype(bool)
    np.testing.assert_allclose(ours[real], theirs.numpy()[real], rtol=0, atol=1e-10)


def assert_equal_heads(tensors, ours, theirs):
    """(B, H, S, ...) both."""
    assert_equal_at_real_tokens(tensors, ours.transpose(0, 2, 1, 3), theirs.transpose(1, 2))


def test_hidden_states_and_attentions(tensors, ran):
    output, _ = ran
    assert_equal_at_real_tokens(tensors, tensors["last_hidden_state"], output.last_hidden_state)
    np.testing.assert_allclose(tensors["pooler_output"], output.pooler_output.numpy(), rtol=0, atol=1e-10)
    ours = [tensors["embeddings.output"], *(tensors[f"layer.{number}.output"] for number in range(3))]
    assert len(output.hidden_states) == len(ours)
    for own, their in zip(ours, output.hidden_states, strict=True):
        assert_equal_at_real_tokens(tensors, own, their)
    for number, attention in enumerate(output.attentions):
        assert_equal_heads(tensors, tensors[f"layer.{number}.probabilities"], attention)


@pytest.mark.parametrize("number", [0, 1, 2])
def test_inside_of_a_layer(tensors, ran, number):
    _, modules = ran
    theirs = f"encoder.layer.{number}"
    for own, their in {
        "attention_output": "attention.output.dense",
        "attention_norm": "attention.output",
        "intermediate": "intermediate",
        "feed_forward": "output.dense",
        "output": "output",
    }.items():
        assert_equal_at_real_tokens(tensors, tensors[f"layer.{number}.{own}"], modules[f"{theirs}.{their}"])
    assert_equal_at_real_tokens(
        tensors, tensors[f"layer.{number}.merged"], modules[f"{theirs}.attention.self"]
    )
    for part in ("query", "key", "value"):
        their = modules[f"{theirs}.attention.self.{part}"].unflatten(-1, (3, 8)).transpose(1, 2)
        assert_equal_heads(tensors, tensors[f"layer.{number}.{part}"], their)


@pytest.mark.parametrize("number", [0, 1])
def test_attention_in_other_words(tensors, number):
    """Every number of the attention, padding too, from sums written out over the indices."""
    own = {
        part: tensors[f"layer.{number}.{part}"]
        for part in ("query", "key", "value", "scores", "masked", "probabilities", "context", "merged")
    }
    scores = np.einsum("bhik,bhjk->bhij", own["query"], own["key"]) / np.sqrt(8)
    np.testing.assert_allclose(own["scores"], scores, atol=1e-12)
    padding = (tensors["attention_mask"] == 0)[:, None, None, :]
    np.testing.assert_allclose(own["masked"], np.where(padding, scores - 10000, scores), atol=1e-11)
    probabilities = torch.tensor(own["masked"]).softmax(dim=-1).numpy()
    np.testing.assert_allclose(own["probabilities"], probabilities, atol=1e-12)
    assert (own["probabilities"][np.broadcast_to(padding, probabilities.shape)] == 0).all()
    context = np.einsum("bhij,bhjk->bhik", own["probabilities"], own["value"])
    np.testing.assert_allclose(own["context"], context, atol=1e-12)
    for head in range(3):
        np.testing.assert_array_equal(own["merged"][..., 8 * head : 8 * head + 8], own["context"][:, head])


def test_embeddings_and_token_types(tensors, theirs):
    words, positions, types = (
        tensors[f"weights.embeddings.{table}_embeddings.weight"].astype(np.float64)
        for table in ("word", "position", "token_type")
    )
    total = words[tensors["input_ids"]] + positions[None, :7] + types[0]
    np.testing.assert_allclose(tensors["embeddings.sum"], total, atol=1e-12)
    with torch.no_grad():
        typed = call(theirs, tensors, torch.tensor(tensors["token_type_ids"]))
    assert_equal_at_real_tokens(tensors, tensors["typed.embeddings.output"], typed.hidden_states[0])
    assert_equal_at_real_tokens(tensors, tensors["typed.last_hidden_state"], typed.last_hidden_state)
    np.testing.assert_allclose(tensors["typed.pooler_output"], typed.pooler_output.numpy(), atol=1e-10)


def test_gradients(theirs, tensors):
    theirs.zero_grad()
    output = call(theirs, tensors, torch.zeros_like(torch.tensor(tensors["input_ids"])))
    of_hidden, of_pooler = (
        torch.tensor(tensors[f"direction.{name}"], dtype=torch.float64) for name in ("hidden", "pooler")
    )
    ((output.last_hidden_state * of_hidden).sum() + (output.pooler_output * of_pooler).sum()).backward()
    assert {name for name in tensors if name.startswith("gradient.")} == {
        f"gradient.{name}" for name, _ in theirs.named_parameters()
    }
    for name, parameter in theirs.named_parameters():
        their = parameter.grad.numpy()
        np.testing.assert_allclose(tensors[f"gradient.{name}"], their, rtol=0, atol=1e-9, err_msg=name)


def test_fp32_stays_far_within_the_tolerance(theirs, tensors):
    """A right model in fp32 is nowhere near a difference, gradients included."""
    model = deepcopy(theirs).float()
    output = call(model, tensors, torch.zeros_like(torch.tensor(tensors["input_ids"])))
    of_hidden, of_pooler = (torch.tensor(tensors[f"direction.{name}"]) for name in ("hidden", "pooler"))
    ((output.last_hidden_state * of_hidden).sum() + (output.pooler_output * of_pooler).sum()).backward()
    found = {f"gradient.{name}": parameter.grad for name, parameter in model.named_parameters()}
    found["pooler_output"] = output.pooler_output.detach()
    for name, value in found.items():
        assert distance(value.double().numpy(), tensors[name]) < TOLERANCE / 3, name


def test_inputs_show_what_they_are_there_for(tensors):
    """Attention is far from uniform, some rows are nearly constant, and padding carries no gradient."""
    scores = tensors["layer.0.scores"].std(), tensors["layer.1.scores"].std()
    assert 1.5 < min(scores) and max(scores) < 3
    variances = tensors["embeddings.sum"].var(axis=-1)
    assert ((variances > 5e-4) & (variances < 5e-3)).sum() == 3
    for name in ("layer.0.output", "layer.1.attention_norm", "layer.1.feed_forward", "pooler_output"):
        assert 0.3 < tensors[name].std() < 3
    padding = tensors["attention_mask"] == 0
    assert padding.sum(axis=1).tolist() == [2, 0, 4]  # not the first one is whole
    assert (tensors["input_ids"][padding] == 0).all() and (tensors["input_ids"][~padding] > 0).all()
    assert (tensors["direction.hidden"][padding] == 0).all()
    assert (tensors["gradient.embeddings.word_embeddings.weight"][0] == 0).all()
