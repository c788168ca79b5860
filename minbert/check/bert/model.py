"""The part "model": the stages of a BERT, in the order of the computation."""

from collections.abc import Callable
from types import ModuleType

import numpy as np

from minbert.check.bert import attention_stages as attention
from minbert.check.bert import dropout_stages as dropout
from minbert.check.bert import stages as model
from minbert.check.bert.candidate import Candidate
from minbert.check.mistakes.bert import known_mistakes
from minbert.check.mistakes.bert.signs import AGAIN, DETERMINISTIC
from minbert.check.stage import TOLERANCE, Outputs, Part, Stage

GRADIENT_TOLERANCE = 1e-4  # the smallest variances make gradients of fp32 err most
LARGE_SCORES_TOLERANCE = 1e-3  # a score of 200 errs by 1e-4 in fp32

INSIDE = ("scaled scores", "mask", "softmax")
ATTENTION = (*INSIDE, "context", "merged heads")
LAYER = ("q/k/v split", *ATTENTION, "self-attention", "output projection", "add and norm", "feed-forward")
MODEL_STAGES = ("embeddings", *LAYER, "one layer", "all layers", "pooler")


def _load(module: ModuleType) -> Candidate:
    from minbert.check.bert.course_model import CourseModel

    return CourseModel(module)


def _own() -> Candidate:
    from minbert.check.bert.own_model import OwnModel

    return OwnModel()


def twice(run: Callable[[Candidate], Outputs]) -> Callable[[Candidate], Outputs]:
    """Adds what a second run gives, by which dropout in evaluation is recognised."""

    def run_twice(candidate: Candidate) -> Outputs:
        outputs = run(candidate)
        return {**outputs, **{f"{name}{AGAIN}": value for name, value in run(candidate).items()}}

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
    run = quietly(twice(run) if name in DETERMINISTIC else run)
    return Stage(name, run, expected, known_mistakes(name, run, expected), builds_on, tolerance=tolerance)


STAGES = (
    _stage("embeddings", model.run_embeddings, model.expect_embeddings),
    _stage("q/k/v split", attention.run_split, attention.expect_split),
    _stage("scaled scores", attention.run_scores, attention.expect_scores),
    _stage("mask", attention.run_mask, attention.expect_mask, INSIDE[:1]),
    _stage("softmax", attention.run_softmax, attention.expect_softmax, INSIDE[:2]),
    _stage(
        "large scores",
        attention.run_large_scores,
        attention.expect_large_scores,
        INSIDE,
        LARGE_SCORES_TOLERANCE,
    ),
    _stage("context", attention.run_context, attention.expect_context, INSIDE),
    _stage("merged heads", attention.run_merged, attention.expect_merged, ATTENTION[:-1]),
    _stage(
        "self-attention",
        attention.run_self_attention,
        attention.expect_self_attention,
        ("q/k/v split", *ATTENTION),
    ),
    _stage("output projection", model.run_output_projection, model.expect_output_projection),
    _stage("add and norm", model.run_add_norm, model.expect_add_norm, ("output projection",)),
    _stage(
        "feed-forward",
        model.run_feed_forward,
        model.expect_feed_forward,
        ("output projection", "add and norm"),
    ),
    _stage("one layer", model.run_one_layer, model.expect_one_layer, LAYER),
    _stage("all layers", model.run_all_layers, model.expect_all_layers, (*LAYER, "one layer")),
    _stage("pooler", model.run_pooler, model.expect_pooler),
    _stage("whole model", model.run_forward, model.expect_forward, MODEL_STAGES),
    _stage("padding", model.run_padding, model.expect_padding, (*MODEL_STAGES, "whole model")),
    _stage("dropout in evaluation", model.run_evaluation, model.expect_evaluation, MODEL_STAGES),
    _stage(
        "embedding dropout", dropout.run_embedding_dropout, dropout.expect_embedding_dropout, ("embeddings",)
    ),
    _stage("attention dropout", dropout.run_attention_dropout, dropout.expect_attention_dropout, ATTENTION),
    _stage(
        "sublayer dropout",
        dropout.run_sublayer_dropout,
        dropout.expect_sublayer_dropout,
        ("output projection", "add and norm"),
    ),
    _stage(
        "gradients",
        model.run_gradients,
        model.expect_gradients,
        (*MODEL_STAGES, "whole model"),
        GRADIENT_TOLERANCE,
    ),
)
MODEL = Part("model", "bert.py", STAGES, _load, _own)
