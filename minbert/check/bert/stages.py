"""The stages around attention: what is asked of a candidate, and what the references say.

Every stage is fed with the references of the one before. What stands at padding is not compared.
"""

from functools import cache

import numpy as np

from minbert.check.bert.candidate import Candidate
from minbert.check.bert.fixture_arrays import at_tokens, first_of, given, reference
from minbert.check.judge import distance
from minbert.check.references.bert import Bert
from minbert.check.stage import TOLERANCE, Array, MissingImplementation, Outputs

SMALL = 0.02  # brings the variance of a sum near the norm's epsilon


def _diagonal(value: float) -> tuple[Array, Array]:
    """A dense layer, weight and bias, that multiplies by one number."""
    size = reference("layer.0.input").shape[-1]
    return np.eye(size, dtype=np.float32) * np.float32(value), np.zeros(size, dtype=np.float32)


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
        "norm(x + dense(output))": candidate.add_norm(x, first_of("merged")),
    }


@cache
def expect_add_norm() -> Outputs:
    right = reference("layer.0.attention_norm")
    small = run_add_norm(Bert())["norm of a small sum"]  # not in the fixture
    return {"norm(x + output)": right, "norm of a small sum": small, "norm(x + dense(output))": right}


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
