"""Every part: right files pass in any way of writing, each mistake is named, unknown ones are not.

Run: pytest tests/minbert/check/test_parts.py
"""

import itertools
from collections.abc import Iterable
from types import ModuleType
from typing import NamedTuple

import numpy as np
import pytest

from minbert.check.bert.model import MODEL
from minbert.check.components.lora import LORA
from minbert.check.components.optimizer import OPTIMIZER
from minbert.check.components.pooling import POOLING
from minbert.check.components.tokenizer import TOKENIZER
from minbert.check.judge import check_candidate, distance, first_difference
from minbert.check.mistakes import bert as bert_tables
from minbert.check.mistakes import lora as lora_table
from minbert.check.mistakes import optimizer as optimizer_table
from minbert.check.mistakes import pooling as pooling_table
from minbert.check.mistakes import tokenizer as tokenizer_table
from minbert.check.mistakes.table import Wrong
from minbert.check.references.bert import Bert
from minbert.check.stage import Part
from tests.minbert.check.judging import assert_right, judged, module_of, names, right_variants, source_of
from tests.minbert.check.students import lora, model, optimizer, pooling, tokenizer
from tests.test_submissions import SUBMISSIONS

MARGIN = 10  # tolerances


class Checked(NamedTuple):
    part: Part
    student: ModuleType
    rows: list[Wrong]
    variants: int
    known: int  # mistakes

    def stages_of(self, name: str) -> set[str]:
        """The stages at which a mistake may show first."""
        stages = self.part.stages
        return {stage.name for stage in stages if name in {known.name for known in stage.mistakes}}


def rows_in(values: Iterable) -> list[Wrong]:
    rows = [value for value in values if isinstance(value, Wrong)]
    return rows + [row for value in values if isinstance(value, tuple) for row in rows_in(value)]


PARTS = {
    "model": Checked(MODEL, model, rows_in(bert_tables.TABLES.values()), 30, 344),
    "optimizer": Checked(OPTIMIZER, optimizer, rows_in(vars(optimizer_table).values()), 30, 109),
    "lora": Checked(LORA, lora, rows_in(vars(lora_table).values()), 16, 41),
    "pooling": Checked(POOLING, pooling, rows_in(vars(pooling_table).values()), 16, 41),
    "tokenizer": Checked(TOKENIZER, tokenizer, rows_in(vars(tokenizer_table).values()), 16, 46),
}
# At the first step these are the same by arithmetic: m is in proportion to g, whose size the update forgets.
ONE_FACTOR = {
    "gradient in the first moment without 1 - beta1",
    "second moment from the scaled gradient",
    "second moment from the first moment",
    "gradient in place of the first moment",
    "first moment corrected twice",
    "first moment started at the gradient",
}
# Of these, two are told by other gradients.
TOLD_BY_EPSILON = {
    "gradient in the first moment without 1 - beta1",
    "second moment from the scaled gradient",
}
ROOTS_OF_BETA2 = {
    "bias correction of the second moment without the root",
    "gradient in the second moment without 1 - beta2",
}
ALIKE = {
    "first step": (
        ONE_FACTOR,
        ROOTS_OF_BETA2,
        {"bias corrected twice", "moments started at the gradient"},
        {"1 - beta2 in the first moment", "beta2 for the first moment"},
        {"1 - beta1 in the second moment", "beta1 for the second moment"},
    ),
}
# What these files do wrong besides, which shows behind the mistake that they are named after.
TOO = {
    "embeddings set to zero at padding": {"no dropout on the embeddings"},
    "step count stays at 1": {"bias corrected although correct_bias is False"},
    "corrected moments kept in the state": {"epsilon on the corrected root"},
}

every_part = pytest.mark.parametrize("checked", PARTS.values(), ids=PARTS)


def cases(attribute: str):
    """One case for each entry of the students' tables of that name."""
    return pytest.mark.parametrize(
        ("checked", "entry"),
        [
            pytest.param(checked, entry, id=f"{name}-{entry[0]}")
            for name, checked in PARTS.items()
            for table in [getattr(checked.student, attribute, {})]
            for entry in (table.items() if isinstance(table, dict) else table)
        ],
    )


@every_part
def test_our_own_code_is_right(checked):
    assert_right(checked.part, check_candidate(checked.part, checked.part.own()))


@every_part
def test_right_files_are_right(checked, tmp_path):
    for source in right_variants(checked.student, checked.variants):
        assert_right(checked.part, judged(checked.part, source, tmp_path), source)


@cases("WRONG")
def test_mistakes_are_named_where_they_show_first(checked, entry, tmp_path):
    name, places = entry
    findings = judged(checked.part, source_of(checked.student, **places), tmp_path)
    first = first_difference(findings)
    assert first.status == "different" and names(first) == {name}, first
    assert first.stage in checked.stages_of(name)
    assert {named for finding in findings for named in names(finding)} == {name} | TOO.get(name, set())


@cases("OTHERWISE")
def test_other_ways_of_writing_a_mistake_are_named_too(checked, entry, tmp_path):
    name, places = entry
    first = first_difference(judged(checked.part, source_of(checked.student, **places), tmp_path))
    assert names(first) == {name}, first


@cases("UNKNOWN")
def test_unknown_mistakes_are_not_diagnosed(checked, entry, tmp_path):
    _, (places, stage) = entry
    findings = judged(checked.part, source_of(checked.student, **places), tmp_path)
    first = first_difference(findings)
    assert first is not None and first.stage == stage and first.status == "different"
    assert first.output and first.difference > first.tolerance
    assert not any(names(finding) for finding in findings)


@every_part
def test_every_step_of_the_catalogue_is_made_by_a_file(checked):
    """So that what rows predict is what torch computes; what is recognised by signs is made too."""
    blind = [each.names.split(" | ") for each in SUBMISSIONS if f"{each.file}.py" == checked.part.file]
    written = checked.student.WRONG.keys() | set(itertools.chain(*blind)) - {"no name"}
    made = [row for row in checked.rows if row.name in written]
    for rows_of in (steps_of, cuts_of):
        assert rows_of(made) == rows_of(checked.rows)
    known = {known.name for stage in checked.part.stages for known in stage.mistakes}
    assert known - {row.name for row in checked.rows} <= written <= known


def steps_of(rows):
    return {step for row in rows for step in row.steps}


def cuts_of(rows):
    return {point for row in rows for point in row.steps.get("cut", ())}


@pytest.mark.parametrize(
    "stage", [stage for stage in MODEL.stages if stage.mistakes], ids=lambda stage: stage.name
)
def test_every_row_of_the_model_is_recognised_when_it_is_run(stage):
    """In fp64, with the formulas as the candidate: each row shows at its stage first, and is named there."""
    before = MODEL.stages[: MODEL.stages.index(stage) + 1]
    shown = {known.name for other in before[:-1] for known in other.mistakes}
    for row in bert_tables.TABLES.get(stage.name, ()):
        # These formulas have one norm, and show it before.
        if row.name not in shown and not row.name.endswith("(add and norm)"):
            first = first_difference(check_candidate(MODEL, row.kind(Bert)(), before))
            assert first is not None and (first.stage, names(first)) == (stage.name, {row.name})


@every_part
def test_the_catalogue_is_sharp(checked):
    """Every mistake is far from the reference, and from each other one of its stage save those alike."""
    kinds = {row.name: row.kind(Bert) for row in checked.rows}
    for stage in checked.part.stages:
        right = stage.expected()
        predictive = {known.name: known for known in stage.mistakes if known.predict}
        predictions = {name: known.predict() for name, known in predictive.items()}
        margins = {name: MARGIN * (known.tolerance or stage.tolerance) for name, known in predictive.items()}
        given = predictions
        if checked.part is MODEL:  # with outputs that are not compared, but tell some mistakes apart
            with np.errstate(all="ignore"):
                given = {name: stage.run(kinds[name]()) for name in predictions}
                right = stage.run(Bert())
        for name in predictions:
            assert apart(right, predictions[name]) >= margins[name], f"{stage.name}: {name}"
        for one, other in itertools.permutations(predictions, 2):
            close = apart(given[one], predictions[other]) < margins[other]
            alike = any({one, other} <= group for group in ALIKE.get(stage.name, ()))
            assert close == (alike and other not in TOLD_BY_EPSILON), f"{stage.name}: {one} | {other}"


def apart(given, expected):
    return max(distance(given.get(name), value) for name, value in expected.items())


@every_part
def test_the_catalogue_is_well_described(checked):
    described = {}
    for known in (known for stage in checked.part.stages for known in stage.mistakes):
        texts = (known.cause, known.remedy)
        assert described.setdefault(known.name, texts) == texts, "a name means one mistake"
        assert known.name and not known.name.endswith(".")
        for text in texts:
            assert text.endswith(".") and not text.endswith("..") and "  " not in text and len(text) < 150
    assert len(described) == checked.known


@every_part
def test_what_is_not_there_is_skipped(checked, tmp_path):
    assert {finding.status for finding in judged(checked.part, "x = 1\n", tmp_path)} == {"skipped"}


@every_part
def test_stages_do_not_depend_on_each_other(checked, tmp_path):
    candidate = checked.part.load(module_of(source_of(checked.student), tmp_path))
    for stage in reversed(checked.part.stages):
        [finding] = check_candidate(checked.part, candidate, [stage])
        assert finding.status == "same", finding


def test_mistakes_of_several_stages_are_each_named(tmp_path):
    """Each stage feeds on references, so a mistake does not hide one that shows elsewhere."""
    chosen = ["positions from 1", "scores without 1/sqrt(d)", "tanh GELU", "pooler without tanh"]
    places = {place: code for name in chosen for place, code in model.WRONG[name].items()}
    findings = judged(MODEL, source_of(model, **places), tmp_path)
    found = {finding.stage: names(finding) for finding in findings if finding.mistakes}
    assert found == {stage: {name} for name in chosen for stage in PARTS["model"].stages_of(name)}
