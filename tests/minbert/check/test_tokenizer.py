"""The part "tokenizer": right tokenizers pass in any style, every mistake is named, unknown ones are not.

Run: python -m pytest tests/minbert/check/test_tokenizer.py
"""

import numpy as np
import pytest

from minbert.check.judge import check_candidate, first_difference
from minbert.check.mistakes.tokenizer import outputs
from minbert.check.components.tokenizer import TOKENIZER
from tests.minbert.check.judging import (
    assert_named,
    assert_not_diagnosed,
    assert_right,
    assert_sharp,
    assert_well_described,
    changed,
    judged,
    known_names,
    names,
    random_variants,
)
from tests.minbert.check.tokenizer_student import CHOICES, MISTAKES, PLAIN, STYLES, UNKNOWN, VARIANT


def test_our_own_tokenizer_is_right():
    assert_right(TOKENIZER, check_candidate(TOKENIZER, TOKENIZER.own()))


@pytest.mark.parametrize("style", STYLES)
def test_three_styles_are_right(style, tmp_path):
    assert_right(TOKENIZER, judged(TOKENIZER, STYLES[style], tmp_path))


def test_random_right_variants_are_right(tmp_path):
    for source in random_variants(VARIANT, CHOICES, 60):
        findings = judged(TOKENIZER, source, tmp_path)
        wrong = first_difference(findings)
        assert wrong is None, f"{wrong}\n{source}"
        assert_right(TOKENIZER, findings)


def test_every_mistake_of_the_catalogue_is_tested():
    assert set(MISTAKES) == known_names(TOKENIZER) and len(MISTAKES) >= 45


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_are_named(name, tmp_path):
    findings = judged(TOKENIZER, changed(PLAIN, *MISTAKES[name]), tmp_path)
    assert_named(TOKENIZER, changed(PLAIN, *MISTAKES[name]), name, tmp_path)
    assert {found for finding in findings for found in names(finding)} == {name}


@pytest.mark.parametrize("unknown", UNKNOWN)
def test_unknown_mistakes_are_not_diagnosed(unknown, tmp_path):
    changes, stage = UNKNOWN[unknown]
    assert_not_diagnosed(TOKENIZER, changed(PLAIN, *changes), stage, tmp_path)


@pytest.mark.parametrize("stage", TOKENIZER.stages, ids=lambda stage: stage.name)
def test_the_catalogues_right_steps_are_the_references(stage):
    expected = stage.expected()
    given = outputs(stage.name)
    assert given.keys() == expected.keys()
    assert all(np.array_equal(given[name], ids) for name, ids in expected.items())


def test_the_catalogue_is_sharp():
    assert_sharp(TOKENIZER)
    assert_well_described(TOKENIZER)


def test_the_text_that_differs_is_shown(tmp_path):
    source = changed(PLAIN, *MISTAKES["no limit of 100 characters"])
    first = first_difference(judged(TOKENIZER, source, tmp_path))
    assert first.output == "ids of text 2, 'dog aaaaaaaaaaaaaaaaaaaaaaaaaa...'"
    assert "the shape is" in first.detail


def test_tokens_instead_of_ids_are_explained(tmp_path):
    source = changed(PLAIN, ("[vocabulary[token] for token in", "[token for token in"))
    first = first_difference(judged(TOKENIZER, source, tmp_path))
    assert first.status == "failed" and "returned tokens; it has to return their ids" in first.detail


def test_a_file_without_the_function_is_skipped(tmp_path):
    assert {finding.status for finding in judged(TOKENIZER, "x = 1\n", tmp_path)} == {"skipped"}


def test_the_vocabulary_given_may_be_changed(tmp_path):
    """Each call has a dictionary of its own."""
    last = '    return [vocabulary[token] for token in ["[CLS]", *tokens, "[SEP]"]]\n'
    clearing = last.replace("return", "ids =") + "    vocabulary.clear()\n    return ids\n"
    spoilt = changed(PLAIN, (last, clearing))
    assert_right(TOKENIZER, judged(TOKENIZER, spoilt, tmp_path))
