"""The stages around attention: what is asked of a candidate, and what the references say.

Every stage is fed with the references of the one before. What stands at padding is not compared.
"""

from contextlib import suppress
from functools import cache

import numpy as np

from minbert.check.bert.candidate import Candidate
from minbert.check.bert.fixture_arrays import additive_mask, at_tokens, first_of, given, reference
from minbert.check.judge import distance
from minbert.check.references.bert import Bert
from minbert.check.stage import TOLERANCE, Array, MissingImplementation, Outputs

WHOLE_LAYER = "layer with attention"  # not compared; tells mistakes apart
# Not compared. A mask that is 1 and 0 after it has been extended: (1 - mask) * -10000.
UNEXTENDED, UNEXTENDS = "last_hidden_state under a mask extended before", np.float32(10000)
SMALL = 0.02  # brings the variance of a sum near the norm's epsilon


def _diagonal(value: float) -> tuple[Array, Array]:
    """A dense layer, weight and bias, that multiplies by one number."""
    size = reference("layer.0.input").shape[-1]
    return np.eye(size, dtype=np.float32) * np.float32(value), np.zeros(size, dtype=np.float32)


def run_parameters(candidate: Candidate) -> Outputs:
    return {f"{name} is there": np.array(float(held)) for name, held in candidate.has_parameter().items()}


def run_embeddings(candidate: Candidate) -> Outputs:
    return {
        "embeddings": candidate.embed(given("input_ids")),
        "norm of zeros": candidate.embed(given("zero_sum_ids"))[:, -1:],
    }


def expect_embeddings() -> Outputs:
    bias = reference("weights.embeddings.LayerNorm.bias")
    return {"embeddings": reference("embeddings.output"), "norm of zeros": bias[None, None]}


def run_output_projection(candidate: Candidate) -> Array:
    """The dense layer in norm(x + dense(output)), where all else there is right."""
    x, output = first_of("input"), first_of("attention_output")
    for arguments in ((x, np.zeros_like(x), _diagonal(0)), (x, output, _diagonal(1))):
        found, right = (other.add_norm(*arguments) for other in (candidate, Bert()))
        if distance(found, right) > TOLERANCE:
            raise MissingImplementation("norm(x + output) is not right; see the stage add and norm")
    return candidate.add_norm(x, first_of("merged"))


def run_add_norm(candidate: Candidate) -> Outputs:
    """With a dense layer that changes nothing, then with values near epsilon, then with the layer's own."""
    x, output = first_of("input"), first_of("attention_output")
    identity = _diagonal(1)
    return {
        "norm(x + output)": candidate.add_norm(x, output, identity),
        "norm of a small sum": candidate.add_norm(x * SMALL, output * SMALL, identity),
        "norm of zeros": candidate.add_norm(x * 0, output * 0, _diagonal(0))[:1, :1],
        "norm(x + dense(output))": candidate.add_norm(x, first_of("merged")),
    }


@cache
def expect_add_norm() -> Outputs:
    right = reference("layer.0.attention_norm")
    others = run_add_norm(Bert())  # not in the fixture
    return others | {"norm(x + output)": right, "norm(x + dense(output))": right}


def run_feed_forward(candidate: Candidate) -> Outputs:
    """The layer without what attention adds: an input whose norm is what the feed-forward layers are fed."""
    x = reference("layer.0.input") + reference("layer.0.attention_output")
    found = {"layer without attention": candidate.feed_forward(x.astype(np.float32))}
    with suppress(Exception):  # its own stage tells why
        found[WHOLE_LAYER] = at_tokens(candidate.layer(0, first_of("input"), additive_mask()))
    return found


def expect_feed_forward() -> Outputs:
    return {"layer without attention": reference("layer.0.output")}


def run_all_layers(candidate: Candidate) -> Outputs:
    embeddings, ids, mask = map(given, ("embeddings.output", "input_ids", "attention_mask"))
    found = {"last_hidden_state": at_tokens(candidate.all_layers(embeddings, ids, mask))}
    if distance(found["last_hidden_state"], expect_all_layers()["last_hidden_state"]) > TOLERANCE:
        with suppress(Exception):  # what a model makes of such a mask is only told where it makes something
            found[UNEXTENDED] = at_tokens(candidate.all_layers(embeddings, ids, 1 + mask / UNEXTENDS))
    return found


def expect_all_layers() -> Outputs:
    return {"last_hidden_state": at_tokens(reference("last_hidden_state"))}


def _forward(candidate: Candidate, ids: Array, mask: Array) -> Outputs:
    outputs = candidate.forward(ids, mask)
    hidden = outputs["last_hidden_state"][:, : reference("input_ids").shape[1]]
    return {"last_hidden_state": at_tokens(hidden), "pooler_output": outputs["pooler_output"]}


def run_forward(candidate: Candidate) -> Outputs:
    return _forward(candidate, given("input_ids"), given("attention_mask"))


def expect_forward() -> Outputs:
    return {
        "last_hidden_state": at_tokens(reference("last_hidden_state")),
        "pooler_output": reference("pooler_output"),
    }


def run_padding(candidate: Candidate) -> Outputs:
    """Other tokens where padding is, more padding, a sentence without its padding, another order."""
    ids, mask = given("input_ids"), given("attention_mask")
    others = np.where(mask == 1, ids, 7 + np.arange(ids.shape[1]))
    wider = (np.pad(array, ((0, 0), (0, 3))) for array in (ids, mask))
    length = int(mask[-1].sum())
    other = _forward(candidate, others, mask)
    turned = candidate.forward(ids[::-1].copy(), mask[::-1].copy())  # a batch of the same shape
    more = _forward(candidate, *wider)
    alone = candidate.forward(ids[-1:, :length], mask[-1:, :length])
    return {
        **{f"other padding: {name}": value for name, value in other.items()},
        **{f"more padding: {name}": value for name, value in more.items()},
        "no padding: last_hidden_state": alone["last_hidden_state"],
        "other order: last_hidden_state": at_tokens(turned["last_hidden_state"][::-1]),
    }


def expect_padding() -> Outputs:
    both = {f"{case} padding: {k}": v for case in ("other", "more") for k, v in expect_forward().items()}
    length = int(reference("attention_mask")[-1].sum())
    hidden = reference("last_hidden_state")
    return both | {
        "no padding: last_hidden_state": hidden[-1:, :length],
        "other order: last_hidden_state": at_tokens(hidden),
    }


def run_evaluation(candidate: Candidate) -> Outputs:
    first, second = (run_forward(candidate) for _ in range(2))
    return {f"second {name} less the first": second[name] - first[name] for name in first}
