"""The part "model": the stages of a BERT, in the order of the computation."""

import json
from collections.abc import Callable, Collection
from contextlib import AbstractContextManager
from dataclasses import replace
from types import ModuleType
from typing import Any

import numpy as np

from minbert.check.bert import attention_stages as attention
from minbert.check.bert import dropout_stages as dropout
from minbert.check.bert import stages as model
from minbert.check.bert.candidate import Candidate
from minbert.check.bert.fixture_arrays import additive_mask, at_tokens, first_of, given, reference
from minbert.check.fixtures import model_fixture
from minbert.check.judge import distance
from minbert.check.mistakes.bert import known_mistakes
from minbert.check.mistakes.bert.signs import DETERMINISTIC, WITHOUT_DROPOUT
from minbert.check.mistakes.table import replay_of
from minbert.check.references.bert import Bert
from minbert.check.stage import TOLERANCE, Array, Outputs, Part, Stage

GRADIENT_TOLERANCE = 1e-4  # the smallest variances make gradients of fp32 err most
LARGE_SCORES_TOLERANCE = 1e-3  # a score of 200 errs by 1e-4 in fp32

BATCH = ("input_ids", "attention_mask")
INSIDE = ("scaled scores", "mask", "softmax")
ATTENTION = (*INSIDE, "context", "merged heads")
LAYER = ("q/k/v split", *ATTENTION, "self-attention", "output projection", "add and norm", "feed-forward")
DROPOUT = ("embedding dropout", "attention dropout", "sublayer dropout")
MODEL_STAGES = ("embeddings", *LAYER, "one layer", "weights unchanged", "all layers", "pooler")
ASKS = {
    **dict.fromkeys(("embeddings", "embedding dropout"), "BertModel.embed"),
    "q/k/v split": "BertSelfAttention.transform",
    **dict.fromkeys((*ATTENTION, "large scores", "attention dropout"), "BertSelfAttention.attention"),
    "self-attention": "BertSelfAttention.forward",
    **dict.fromkeys(("output projection", "add and norm", "sublayer dropout"), "BertLayer.add_norm"),
    **dict.fromkeys(("feed-forward", "one layer"), "BertLayer.forward"),
    "all layers": "BertModel.encode",
    "parameters": "BertModel.__init__",
    "gradients": "the backward pass",  # beside a right BertModel.forward the others are a user's own
}  # else BertModel.forward


def _load(module: ModuleType) -> Candidate:
    from minbert.check.bert.course_model import CourseModel

    return CourseModel(module)


def _in_place(candidate: Candidate, functions: Collection[str]) -> AbstractContextManager[Candidate]:
    from minbert.check.bert.right_functions import in_place

    return in_place(candidate, functions)


def _own() -> Candidate:
    from minbert.check.bert.own_model import OwnModel

    return OwnModel()


def twice(run: Callable[[Candidate], Outputs]) -> Callable[[Candidate], Outputs]:
    """Adds what a run without dropout gives, where two runs differ."""

    def run_twice(candidate: Candidate) -> Outputs:
        outputs, again = run(candidate), run(candidate)
        if all(distance(again.get(name), value) <= TOLERANCE for name, value in outputs.items()):
            return outputs
        with candidate.with_dropout(None):
            return {
                **outputs,
                **{f"{name}{WITHOUT_DROPOUT}": value for name, value in run(candidate).items()},
            }

    return run_twice


def quietly(run: Callable[[Candidate], Outputs]) -> Callable[[Candidate], Outputs]:
    """Without numpy's warnings: what is not a number is found, and said, when outputs are compared."""

    def run_quietly(candidate: Candidate) -> Outputs:
        with np.errstate(all="ignore"):
            return run(candidate)

    return run_quietly


def _stage(
    name: str,
    run: Callable[[Candidate], Outputs],
    expected: Callable[[], Outputs],
    builds_on: tuple[str, ...] = (),
    tolerance: float = TOLERANCE,
) -> Stage:
    once = quietly(run)
    run = quietly(twice(run)) if name in DETERMINISTIC else once
    known = known_mistakes(name, run, expected)
    replay = None if name == "gradients" else replay_of(Bert, lambda kind: once(kind()))
    asks = ASKS.get(name, "BertModel.forward")
    exact = name not in DROPOUT  # which count draws
    return Stage(
        name, run, expected, known, builds_on, tolerance=tolerance, replay=replay, asks=asks, exact=exact
    )


def _single(
    name: str,
    output: str,
    run: Callable[[Candidate], Array],
    right: str | Callable[[], Array],
    builds_on: tuple[str, ...] = (),
    compared: Callable[[Array], Array] = at_tokens,
    **settings: float,
) -> Stage:
    """A stage of one output, whose right value is that name's of the fixture, or computed."""

    def expected() -> Outputs:
        return {output: compared(reference(right) if isinstance(right, str) else right())}

    return _stage(name, lambda c: {output: compared(run(c))}, expected, builds_on, **settings)


def _everywhere(x: Array) -> Array:
    """Compares rows of padding, too."""
    return x


def _large_probabilities() -> Array:
    scores = attention.LARGE * reference("layer.0.scores")
    powers = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def _layers(layer: Callable[[int], Array]) -> Outputs:
    return {f"layer {number + 1}": at_tokens(layer(number)) for number in (0, 1)}


def _gradients() -> Outputs:
    start, (tensors, _) = "gradient.", model_fixture("model")
    return {name.removeprefix(start): value for name, value in tensors.items() if name.startswith(start)}


# fmt: off
STAGES = (
    _stage("parameters", model.run_parameters, lambda: model.run_parameters(Bert())),
    _stage("embeddings", model.run_embeddings, model.expect_embeddings),
    _stage("q/k/v split", lambda c: c.split(first_of("input")),
           lambda: {name: reference(f"layer.0.{name}") for name in ("query", "key", "value")}),
    _stage("scaled scores", attention.run_scores, attention.expect_scores),
    _stage("mask", attention.run_mask, attention.expect_mask, INSIDE[:1]),
    _stage("softmax", attention.run_softmax, attention.expect_softmax, INSIDE[:2]),
    _single("large scores", "probabilities", attention.run_large_scores, _large_probabilities, INSIDE,
            compared=_everywhere, tolerance=LARGE_SCORES_TOLERANCE),
    _single("context", "context", attention.run_context, "layer.0.context", INSIDE),
    _single("merged heads", "attention", attention.attend, "layer.0.merged", ATTENTION[:-1]),
    _single("self-attention", "self-attention",
            lambda c: c.self_attention(first_of("input"), additive_mask()), "layer.0.merged",
            ("q/k/v split", *ATTENTION)),
    _single("output projection", "norm(x + dense(output))", model.run_output_projection,
            "layer.0.attention_norm", compared=_everywhere),
    _stage("add and norm", model.run_add_norm, model.expect_add_norm, ("output projection",)),
    _stage("feed-forward", model.run_feed_forward, model.expect_feed_forward,
           ("output projection", "add and norm")),
    _stage("one layer",
           lambda c: _layers(lambda number: c.layer(number, given(f"layer.{number}.input"), additive_mask())),
           lambda: _layers(lambda number: reference(f"layer.{number}.output")), LAYER),
    _stage("weights unchanged", lambda c: {"changed parameters": c.changed_weights(*map(given, BATCH))},
           lambda: {"changed parameters": np.array(0.0)}),
    _stage("all layers", model.run_all_layers, model.expect_all_layers,
           (*LAYER, "one layer", "weights unchanged")),
    _single("pooler", "pooler_output",
            lambda c: c.pool(*map(given, ("last_hidden_state", "embeddings.output", *BATCH))),
            "pooler_output", ("weights unchanged",), _everywhere),
    _stage("whole model", model.run_forward, model.expect_forward, MODEL_STAGES),
    _stage("padding", model.run_padding, model.expect_padding, (*MODEL_STAGES, "whole model")),
    _stage("dropout in evaluation", model.run_evaluation,
           lambda: {f"second {name} less the first": np.zeros_like(value)
                    for name, value in model.expect_forward().items()}, MODEL_STAGES),
    _stage("embedding dropout", dropout.run_embedding_dropout, dropout.expect_embedding_dropout,
           ("embeddings",)),
    _stage("attention dropout", dropout.run_attention_dropout, dropout.expect_attention_dropout, ATTENTION),
    _stage("sublayer dropout", dropout.run_sublayer_dropout, dropout.expect_sublayer_dropout,
           ("output projection", "add and norm")),
    _stage("training", dropout.run_training, dropout.expect_training,
           (*MODEL_STAGES, "whole model", *DROPOUT)),
    _stage("gradients", lambda c: c.gradients(*map(given, (*BATCH, "direction.hidden", "direction.pooler"))),
           _gradients, (*MODEL_STAGES, "whole model"), GRADIENT_TOLERANCE),
)
# fmt: on
NAMES = ("BertSelfAttention", "BertLayer", "BertModel")
INNER = tuple(dict.fromkeys(ASKS[name] for name in (*LAYER, "one layer")))
WHOLE = ("all layers", "whole model", "padding")
MODEL = Part("model", "bert.py", STAGES, _load, _own, NAMES, _in_place, INNER, WHOLE)


def model_with_config(**settings: str) -> Part:
    """The part for a file whose classes read further attributes of the config: `use_lora="true"`."""
    values = {name: literal(text) for name, text in settings.items()}

    def load(module: ModuleType) -> Candidate:
        from minbert.check.bert.course_model import CourseModel

        return CourseModel(module, values)

    return replace(MODEL, load=load)


def literal(text: str) -> Any:
    """A number, true, false, null or another JSON value; other texts as they are."""
    try:
        return json.loads(text)
    except ValueError:
        return text
