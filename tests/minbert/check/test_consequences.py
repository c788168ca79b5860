"""Consequences of an earlier mistake cost nothing; a stage that is wrong by itself costs its points.

Run: pytest tests/minbert/check/test_consequences.py
"""

import pytest

from minbert.check.isolation.process import check_file
from minbert.check.parts import OWN_PARTS, find_part
from minbert.check.report import PartReport, text_report
from tests.minbert.check.judging import judged, names, source_of
from tests.minbert.check.students import lora, model, optimizer

MODEL, OPTIMIZER, LORA = (find_part(OWN_PARTS[name]) for name in ("model", "optimizer", "lora"))
UNKNOWN = model.scored(scale="(math.sqrt(self.size) + 0.125)")  # its numbers are those of no known mistake
TWICE = {**model.scored(scale="1"), "mask": "pass"}


def costs(part, source, folder):
    """Stage -> the mistakes that are named at it."""
    found = judged(part, source, folder)
    return {finding.stage: names(finding) for finding in found if finding.earned < finding.points}


@pytest.mark.parametrize(
    "wrong",
    [
        "scores without 1/sqrt(d)",  # the whole of attention, and all layers
        "heads not merged",  # other functions fail
        "unbiased variance (embeddings)",  # by the right function: the formulas have one norm for all
        "tanh GELU",
        "no dropout in add_norm",
        "pooler without tanh",  # gradients by a right forward
    ],
)
def test_a_mistake_costs_its_own_stage(wrong, tmp_path):
    found = judged(MODEL, source_of(model, **model.WRONG[wrong]), tmp_path)
    different = [finding.stage for finding in found if finding.status in ("different", "failed")]
    assert [finding.stage for finding in found if finding.earned < finding.points] == different[:1]
    excused = [finding.stage for finding in found if finding.excused == different[0]]
    assert set(different[1:]) <= set(excused)
    shown = text_report([PartReport("model", "bert.py", tuple(found))])
    assert shown.count(f"follows from {different[0]}") == len(excused)


def test_two_mistakes_cost_two_stages_and_are_named_both(tmp_path):
    found = costs(MODEL, source_of(model, **TWICE), tmp_path)
    assert found == {"scaled scores": {"scores without 1/sqrt(d)"}, "mask": {"mask ignored"}}
    apart = {**model.scored(scale="1"), **model.pooled("self.pooler_dense(h)")}
    found = costs(MODEL, source_of(model, **apart), tmp_path)
    assert found.keys() == {"scaled scores", "pooler"}


def test_after_a_mistake_without_a_name_the_right_function_tells(tmp_path):
    inside = {
        "scaled scores",
        "mask",
        "softmax",
        "large scores",
        "context",
        "merged heads",
        "attention dropout",
    }
    assert costs(MODEL, source_of(model, **UNKNOWN), tmp_path).keys() == inside
    wrong_too = {**UNKNOWN, **model.looped("x = layer(x, mask)", layers="self.bert_layers[::-1]")}
    assert costs(MODEL, source_of(model, **wrong_too), tmp_path).keys() == inside | {"all layers"}


def test_the_right_function_is_put_in_place_in_the_file_s_process(tmp_path):
    (tmp_path / "bert.py").write_text(source_of(model, **model.WRONG["heads not merged"]))
    found = check_file(OWN_PARTS["model"], tmp_path / "bert.py")
    assert [finding.stage for finding in found if finding.earned < finding.points] == ["merged heads"]
    assert {finding.excused for finding in found} == {"", "merged heads"}


def test_what_is_not_written_costs(tmp_path):
    unwritten = source_of(model).replace(
        "        return ln_layer(input + dropout(dense_layer(output)))", "        raise NotImplementedError"
    )
    found = costs(MODEL, unwritten, tmp_path)
    assert {"output projection", "add and norm", "one layer", "whole model"} <= found.keys()


@pytest.mark.parametrize("part, student", [(OPTIMIZER, optimizer), (LORA, lora)])
def test_most_mistakes_cost_one_stage(part, student, tmp_path):
    counts = [len(costs(part, source_of(student, **places), tmp_path)) for places in student.WRONG.values()]
    assert counts.count(0) + counts.count(1) > len(counts) / 2 and max(counts) <= 5


def test_correct_bias_is_mentioned_and_costs_nothing(tmp_path):
    found = judged(OPTIMIZER, source_of(optimizer, c1="1 - b1**t", c2="1 - b2**t"), tmp_path)
    report = PartReport("optimizer", "optimizer.py", tuple(found))
    assert report.earned == report.possible == len(OPTIMIZER.stages) - 1
    assert "Likely mistake: bias corrected although correct_bias is False" in text_report([report])
