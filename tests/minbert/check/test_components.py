"""The parts beside the model: what only one of them has, and files that fail.

Run: pytest tests/minbert/check/test_components.py
"""

import pytest
import torch

from minbert.check.components.lora import LORA
from minbert.check.components.optimizer import OPTIMIZER
from minbert.check.components.pooling import POOLING
from minbert.check.components.tokenizer import TOKENIZER
from minbert.check.judge import check_candidate, first_difference
from tests.minbert.check.judging import assert_right, judged, module_of, names, source_of
from tests.minbert.check.students import lora, optimizer, pooling, tokenizer
from tests.minbert.check.test_parts import ONE_FACTOR, TOLD_BY_EPSILON


def test_what_the_first_step_cannot_tell_apart_the_later_steps_do(tmp_path):
    name = "second moment from the first moment"
    candidate = OPTIMIZER.load(module_of(source_of(optimizer, **optimizer.WRONG[name]), tmp_path))
    [alone] = check_candidate(OPTIMIZER, candidate, [OPTIMIZER.stage("first step")])
    assert names(alone) == ONE_FACTOR - TOLD_BY_EPSILON
    both = check_candidate(OPTIMIZER, candidate, OPTIMIZER.stages[:2])
    assert [names(finding) for finding in both] == [{name}] * 2


def test_torchs_optimizer_differs_where_it_is_documented_to():
    """Decay before the update, and epsilon on the corrected root; it has no correct_bias."""

    class Torchs(torch.optim.AdamW):
        def __init__(self, params, correct_bias=True, **settings):
            super().__init__(params, **settings)

    findings = check_candidate(OPTIMIZER, Torchs)
    found = {finding.stage: names(finding) for finding in findings if finding.status != "same"}
    assert found.pop("no bias correction") == {"bias corrected although correct_bias is False"}
    assert found.pop("first step with decay") == {"decay of the parameters before the update"}
    assert found.pop("tiny gradients") == {"epsilon on the corrected root"}
    assert not any(found.values())  # what follows from them


@pytest.mark.parametrize(
    ("part", "student", "places", "stage", "detail"),
    [
        (
            OPTIMIZER,
            optimizer,
            {"c1": "1 - b1 ** (t - 1)"},
            "first step",
            "at a parameter's first step t is 1",
        ),
        (LORA, lora, {"merge": "return None"}, "merged layer", "merge() returned a NoneType"),
        (POOLING, pooling, {"cls": "return [0.0]"}, "first token", "cls_pooling returned a list"),
        (
            POOLING,
            pooling,
            {"mean": "hidden[mask == 0] = 0\n    return hidden.sum(1) / mask.sum(1)[:, None]"},
            "mean",
            "mean_pooling changes its input hidden",
        ),
        (TOKENIZER, tokenizer, {"ids": "tokens"}, "words", "returned tokens; it has to return their ids"),
    ],
)
def test_what_fails_is_explained(part, student, places, stage, detail, tmp_path):
    first = first_difference(judged(part, source_of(student, **places), tmp_path))
    assert first.stage == stage and first.status == "failed" and not first.mistakes
    assert detail in first.detail


def test_adapters_may_be_linear_layers_without_a_bias(tmp_path):
    assert_right(LORA, judged(LORA, lora.MODULES, tmp_path))


def test_shapes_that_fit_a_square_layer_only_fail_with_the_reason(tmp_path):
    source = source_of(lora, zeros="torch.zeros(linear.in_features, rank)")
    findings = {finding.stage: finding for finding in judged(LORA, source, tmp_path)}
    assert findings["new layer"].status == "different" and not findings["new layer"].mistakes
    assert findings["output"].status == "same"
    other = findings["output of another size"]
    assert other.status == "failed" and "lora_B has the shape (6, 3); it has to be (4, 3)" in other.detail


def test_functions_that_are_not_there_are_skipped(tmp_path):
    *others, last = judged(LORA, source_of(lora, name="fold"), tmp_path)
    assert {finding.status for finding in others} == {"same"}
    assert last.status == "skipped" and "no method merge" in last.detail
    source = source_of(pooling).replace("def max_pooling", "def maximum")
    skipped = [finding for finding in judged(POOLING, source, tmp_path) if finding.status != "same"]
    assert [finding.status for finding in skipped] == ["skipped"]
    assert "no function max_pooling" in skipped[0].detail


def test_the_text_that_differs_is_shown(tmp_path):
    first = first_difference(judged(TOKENIZER, source_of(tokenizer, long="False"), tmp_path))
    assert first.output == "ids of text 2, 'dog aaaaaaaaaaaaaaaaaaaaaaaaaa...'"
    assert "the shape is" in first.detail


def test_the_vocabulary_given_may_be_changed(tmp_path):
    """Each call has a dictionary of its own."""
    ids = "(lambda ids: [ids, vocabulary.clear()][0])([vocabulary[token] for token in tokens])"
    assert_right(TOKENIZER, judged(TOKENIZER, source_of(tokenizer, ids=ids), tmp_path))
