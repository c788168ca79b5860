"""The part "model": right ones pass in any style, every mistake is named, what is unknown is not.

Run: pytest tests/minbert/check/test_model.py
"""

import itertools

import numpy as np
import pytest
import torch

from minbert.check.bert.formulas import Formulas, model_config
from minbert.check.bert.model import MODEL
from minbert.check.bert.own_model import OwnModel
from minbert.check.fixtures import model_fixture
from minbert.check.judge import check_candidate, distance, first_difference
from minbert.check.mistakes.bert import CATALOGUE
from tests.minbert.check.judging import (
    MARGIN,
    assert_not_diagnosed,
    assert_right,
    changed,
    judged,
    known_names,
    module_of,
    names,
    random_variants,
)
from tests.minbert.check.model_files import PLAIN, STYLES
from tests.minbert.check.model_mistakes import CONTEXT, MASKED, MERGED, NORMED, PROJECTED, SCALED, SUM
from tests.minbert.check.model_mistakes import MISTAKES as FIRST_MISTAKES
from tests.minbert.check.model_mistakes_later import ACTIVE, DENSE, ENCODED, RETURN, SECOND, TANH
from tests.minbert.check.model_mistakes_later import MISTAKES as LATER_MISTAKES
from tests.minbert.check.model_variants import CHOICES, VARIANT

MISTAKES = FIRST_MISTAKES | LATER_MISTAKES
STAGE_OF = {known.name: stage.name for stage in MODEL.stages for known in stage.mistakes}
STAGE_NAMES = [stage.name for stage in MODEL.stages]


CODE = {"attention", "attention_layer_norm", "out_layer_norm", "add_norm", "tanh", "transform", "x"}
CODE |= {"self-attention"}


def stages_up_to(name: str):
    return MODEL.stages[: STAGE_NAMES.index(name) + 1]


@pytest.mark.parametrize("kernels", ["fused", "reference"])
def test_our_own_model_is_right(kernels):
    assert_right(MODEL, check_candidate(MODEL, OwnModel(kernels)))


def test_our_own_models_token_types_are_right():
    """Which no stage asks for, since the course's model has none."""
    tensors, _ = model_fixture("model")
    inputs = [
        torch.from_numpy(tensors[name].copy()) for name in ("input_ids", "attention_mask", "token_type_ids")
    ]
    with torch.no_grad():
        out = OwnModel().model(*inputs)
        hidden, pooled = (value.double().numpy() for value in (out.last_hidden_state, out.pooler_output))
    expected = tensors["typed.last_hidden_state"] * tensors["attention_mask"][..., None]
    assert distance(hidden, expected) < 5e-6
    assert distance(pooled, tensors["typed.pooler_output"]) < 5e-6


def test_the_formulas_are_the_references():
    """Written apart from them, and equal to the last digits where a stage is not fed with fp32."""
    findings = check_candidate(MODEL, Formulas())
    assert_right(MODEL, findings)
    tensors, _ = model_fixture("model")
    names_of_inputs = ("input_ids", "attention_mask", "direction.hidden", "direction.pooler")
    inputs = [tensors[name] for name in names_of_inputs]
    for name, value in Formulas().forward(*inputs[:2]).items():
        assert np.abs(value - tensors[name]).max() < 1e-12
    for name, value in Formulas().gradients(*inputs).items():
        assert np.abs(value - tensors[f"gradient.{name}"]).max() < 1e-8


@pytest.mark.parametrize("style", [pytest.param("loops", marks=pytest.mark.slow), "plain", "einsum", "torch"])
def test_three_styles_are_right(style, tmp_path):
    assert_right(MODEL, judged(MODEL, STYLES[style], tmp_path))


def test_random_right_variants_are_right(tmp_path):
    for source in random_variants(VARIANT, CHOICES, 425):
        assert_no_finding(source, tmp_path)


def assert_no_finding(source, folder):
    findings = judged(MODEL, source, folder)
    wrong = first_difference(findings)
    assert wrong is None, f"{wrong}\n{source}"
    assert_right(MODEL, findings)


def test_every_mistake_of_the_catalogue_is_tested():
    assert set(MISTAKES) == known_names(MODEL) and len(MISTAKES) >= 200
    assert len(MISTAKES) == len(FIRST_MISTAKES) + len(LATER_MISTAKES)
    assert len(STAGE_OF) == sum(len(stage.mistakes) for stage in MODEL.stages), "a name stands at two stages"


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_are_named_where_they_show_first(name, tmp_path):
    candidate = MODEL.load(module_of(changed(PLAIN, *MISTAKES[name]), tmp_path))
    first = first_difference(check_candidate(MODEL, candidate, stages_up_to(STAGE_OF[name])))
    assert first is not None and first.status == "different", first
    assert first.stage == STAGE_OF[name], f"{first.stage} shows it: {first}"
    assert names(first) == {name}, f"{sorted(names(first))} instead of {name}, at {first.output}"


@pytest.mark.slow
def test_mistakes_are_not_taken_for_others_at_later_stages(tmp_path):
    for name, changes in MISTAKES.items():
        findings = judged(MODEL, changed(PLAIN, *changes), tmp_path)
        assert [names(finding) for finding in findings if finding.mistakes] == [{name}], name


@pytest.mark.slow
def test_mistaken_formulas_are_named_too():
    """In fp64, and where a mistake may show at several stages at the first of them."""
    for mistaken in CATALOGUE:
        first = first_difference(check_candidate(MODEL, mistaken()))
        assert first.stage == mistaken.stages[0]
        [known] = first.mistakes
        assert known.name.removesuffix(f" ({first.stage})") == mistaken.name


def test_the_catalogue_is_sharp():
    """Every mistake is far from the reference, and at its stage from every other."""
    tolerances = {mistaken.name: mistaken.tolerance for mistaken in CATALOGUE if mistaken.tolerance}
    for stage in MODEL.stages:
        expected = stage.expected()
        predictions = {known.name: known.predict() for known in stage.mistakes if known.predict}
        margins = {name: MARGIN * tolerances.get(name, stage.tolerance) for name in predictions}
        for name, predicted in predictions.items():
            assert expected.keys() <= predicted.keys()
            assert apart(expected, predicted) >= margins[name], f"{stage.name}: {name}"
        for one, other in itertools.permutations(predictions, 2):
            given = predictions[one] | hidden_outputs(stage, one)
            assert apart(given, predictions[other]) >= margins[other], f"{stage.name}: {one} | {other}"


def hidden_outputs(stage, name):
    """What is not compared, but tells some mistakes apart."""
    [mistaken] = [m for m in CATALOGUE if name in (m.name, f"{m.name} ({stage.name})")]
    with np.errstate(all="ignore"):
        return {key: value for key, value in stage.run(mistaken()).items() if not key.endswith(", again")}


def apart(given, predicted):
    return max(distance(given.get(name), value) for name, value in predicted.items())


def test_the_catalogue_is_well_described():
    for stage in MODEL.stages:
        for known in stage.mistakes:
            assert known.name and not known.name.endswith(".")
            for text in (known.cause, known.remedy):
                assert text.endswith(".") and not text.endswith("..") and "  " not in text
                assert not text[0].islower() or text.split("(")[0].split()[0] in CODE, text
                assert len(text) < 150, text
    assert len({mistaken.cause for mistaken in CATALOGUE}) >= len(CATALOGUE) - 4


UNKNOWN = {
    "a share of the word embeddings": ([(SUM, "summed = 0.9 * words + positions + types")], "embeddings"),
    "a norm in between": ([(NORMED, NORMED.replace("(summed)", "(summed.clamp(-2, 2))"))], "embeddings"),
    "tanh of the projections": ([(PROJECTED, "proj = torch.tanh(linear_layer(x))")], "q/k/v split"),
    "another temperature": ([(SCALED, "scores = scores / 3")], "scaled scores"),
    "a bias for near tokens": (
        [
            (
                SCALED,
                SCALED
                + "\n        scores = scores - (torch.arange(7)[:, None] - torch.arange(7)).abs() * 0.1",
            )
        ],
        "scaled scores",
    ),
    "the mask of the first four columns": (
        [(MASKED, "scores = scores + attention_mask * (torch.arange(scores.size(-1)) < 4)")],
        "mask",
    ),
    "half the weights": ([(CONTEXT, "context = 0.5 * probs @ value")], "softmax"),
    "heads rolled by one": (
        [(MERGED, MERGED.replace("context.view", "context.roll(1, dims=2).view"))],
        "merged heads",
    ),
    "features backwards": ([(MERGED, MERGED + ".flip(-1)")], "merged heads"),
    "values averaged": ([(CONTEXT, "context = probs @ (value + 0.1)")], "softmax"),
    "clipped values": ([(CONTEXT, "context = probs @ value.clamp(-1.5, 1.5)")], "context"),
    "a projection scaled": ([(DENSE, "projected = 1.1 * dense_layer(output)")], "add and norm"),
    "a norm shifted": ([(RETURN, "return ln_layer(total) + 0.01")], "add and norm"),
    "another activation": ([(ACTIVE, "wide = F.softplus(wide)")], "feed-forward"),
    "a scaled feed-forward": ([(SECOND, SECOND.replace("wide,", "1.2 * wide,"))], "feed-forward"),
    "hidden states clipped": ([(ENCODED, ENCODED + ".clamp(-1, 1)")], "all layers"),
    "a pooler of its own": ([(TANH, "pooled = torch.sin(pooled)")], "pooler"),
    "a gradient scaled": (
        [
            (
                "q = self.transform(hidden_states, self.query)",
                "q = self.transform(hidden_states, self.query)\n        q = q.detach() * 0.5 + q * 0.5",
            )
        ],
        "gradients",
    ),
}


@pytest.mark.parametrize("unknown", UNKNOWN)
def test_unknown_mistakes_are_not_diagnosed(unknown, tmp_path):
    changes, stage = UNKNOWN[unknown]
    assert_not_diagnosed(MODEL, changed(PLAIN, *changes), stage, tmp_path)


def test_two_mistakes_are_both_named(tmp_path):
    """Each stage feeds on references, so a mistake does not hide one that shows elsewhere."""
    chosen = ["positions from 1", "scores without 1/sqrt(d)", "tanh GELU", "pooler without tanh"]
    changes = [change for name in chosen for change in MISTAKES[name]]
    findings = judged(MODEL, changed(PLAIN, *changes), tmp_path)
    found = {finding.stage: names(finding) for finding in findings if finding.mistakes}
    assert found == {STAGE_OF[name]: {name} for name in chosen}


def test_stages_do_not_depend_on_each_other(tmp_path):
    candidate = MODEL.load(module_of(PLAIN, tmp_path))
    for stage in reversed(MODEL.stages):
        [finding] = check_candidate(MODEL, candidate, [stage])
        assert finding.status == "same", finding


def test_the_configuration_is_the_fixtures_but_for_dropout():
    config, fixed = model_config(), model_fixture("model")[1]["config"]
    assert {name for name in fixed if config[name] != fixed[name]} == {
        "hidden_dropout_prob",
        "attention_probs_dropout_prob",
    }
