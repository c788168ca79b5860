"""The data report: counts made by hand on small splits, and the known facts of the course's data."""

import json
import os
from pathlib import Path

import pytest

from multitask.data.doctor import Lengths, Spread, diagnose, row_key, spacing_key, word_key
from multitask.data.readers import Example, Examples, Reject, integer_label, number_label, read_table

SHARED = Path(os.environ.get("MINBERT_SHARED", Path(__file__).parents[4] / "shared")) / "data"


def examples(*rows, path="data.csv", ids=None, rejects=()) -> Examples:
    """Each row is its texts and then its label; lines count from 2, as below a header."""
    made = tuple(
        Example(ids[n] if ids else f"id{n}", tuple(row[:-1]), row[-1], n + 2) for n, row in enumerate(rows)
    )
    return Examples(path, made, tuple(rejects))


def single(split: Examples, **options):
    return diagnose({("task", "train"): split}, **options).files[0]


def test_rows_rejects_and_classes():
    rejects = [Reject(None, (), line, "the id is empty", line) for line in (9, 10, 11)]
    report = diagnose(
        {("sst", "train"): examples(("a", 1), ("b", 0), ("c", 1), ("d", 4), rejects=rejects)}, listed=2
    )
    (file,) = report.files
    assert (file.task, file.split, file.path, file.rows, file.rejected) == ("sst", "train", "data.csv", 4, 3)
    assert file.rejects == ("data.csv:9: the id is empty", "data.csv:10: the id is empty")
    assert file.balance == {"0": 1, "1": 2, "4": 1} and file.spread is None
    text = "\n".join(report.lines())
    assert "sst train: 4 rows, 3 rejected (data.csv)" in text and "rejected: 1 more" in text
    assert "data.csv:10: the id is empty" in text and "data.csv:11" not in text
    assert "labels: 0: 1 (25.0%), 1: 2 (50.0%), 4: 1 (25.0%)" in text


def test_float_labels_are_spread_not_counted():
    file = single(examples(("a", "b", 0.0), ("c", "d", 1.0), ("e", "f", 2.0), ("g", "h", 5.0)))
    assert file.balance is None
    assert file.spread == Spread(
        mean=2.0, lowest=0.0, lower_quartile=0.75, median=1.5, upper_quartile=2.75, highest=5.0
    )


def test_unlabelled_and_empty_splits():
    report = diagnose(
        {("t", "test"): examples(("a", None)), ("t", "dev"): examples()}, lengths=lambda rows: [1] * len(rows)
    )
    unlabelled, empty = report.files
    assert unlabelled.balance is None and unlabelled.spread is None
    assert empty.rows == 0 and empty.lengths is None
    assert "  labels: none" in report.lines()


def test_token_lengths_and_truncation():
    rows = [("x " * n, 0) for n in (*range(1, 20), 100)]

    def count(texts):
        return [len(row[0].split()) for row in texts]

    file = single(examples(*rows), lengths=count, max_length=15)
    assert file.lengths == Lengths(10, 19, 100, truncated=5, truncated_share=0.25)
    assert single(examples(*rows), lengths=count).lengths == Lengths(10, 19, 100, None, None)
    assert single(examples(*rows)).lengths is None
    with pytest.raises(ValueError, match="one number a row"):
        single(examples(*rows), lengths=lambda texts: [3])


def test_duplicates_conflicts_and_ids_name_their_lines():
    file = single(
        examples(
            ("A fine  film", 1),
            ("a fine film", 1),
            ("other", 0),
            ("OTHER", 1),
            ("other!", 1),
            ids=["a", "b", "a", "c", "d"],
        )
    )
    assert (file.duplicate_texts.count, file.duplicate_texts.lines) == (2, (3, 5))
    assert (file.conflicts.count, file.conflicts.lines) == (1, (5,))
    assert (file.duplicate_ids.count, file.duplicate_ids.lines) == (1, (4,))
    assert file.swapped_pairs.count == 0


def test_swapped_pairs_are_told_from_repeated_ones():
    file = single(
        examples(("one", "two", 1.0), ("two", "one", 1.0), ("One", "two", 1.0), ("two", "two", 1.0))
    )
    assert file.duplicate_texts.lines == (4,) and file.swapped_pairs.lines == (3,)
    assert file.conflicts.count == 0
    assert single(examples(("one", "two", 1.0), ("two", "one", 0.5))).conflicts.lines == (3,)


def test_three_texts_have_an_order():
    file = single(examples(("a", "b", "c", None), ("c", "b", "a", None)))
    assert file.swapped_pairs.count == 0


def test_overlaps_between_splits_of_one_task_only():
    report = diagnose(
        {
            ("sst", "train"): examples(("Good film .", 1), ("bad", 0), ("same", 1), ("same", 1)),
            ("sst", "dev"): examples(("good film", 1), ("SAME", 1), ("new", 0)),
            ("other", "dev"): examples(("bad", 0)),
        }
    )
    counts = {(o.split, o.other): (o.rows, o.identical, o.sharing) for o in report.overlaps}
    assert counts == {("train", "dev"): (3, 2, None), ("dev", "train"): (2, 1, None)}
    assert (
        "sst: dev rows that also stand in train: 2 (1 to the letter, up to case and spacing)"
        in report.lines()
    )


def test_pairs_overlap_in_either_order_and_sharing_is_counted_apart():
    report = diagnose(
        {
            ("sts", "train"): examples(("one", "two", 1.0), ("three", "four", 1.0)),
            ("sts", "dev"): examples(("two", "one", 1.0), ("three", "five", 1.0), ("six", "seven", 1.0)),
        }
    )
    counts = {(o.split, o.other): (o.rows, o.identical, o.sharing) for o in report.overlaps}
    assert counts == {("train", "dev"): (1, 1, 2), ("dev", "train"): (1, 1, 2)}
    assert "sts: dev rows that share a sentence with train: 2" in report.lines()


def test_no_overlap_is_said():
    report = diagnose({("t", "train"): examples(("a", 0)), ("t", "dev"): examples(("b", 0))})
    assert report.lines()[-1] == "no row stands in two splits of one task"


def test_keys():
    assert spacing_key(" A\tfine\n film. ") == "a fine film."
    assert word_key('"A fine-film", 2x!') == "a fine film 2x"
    # Without ASCII words a text is its own key: "?" is not "!", nor one Russian sentence another.
    assert word_key("?") == "?" and word_key("Да 2") != word_key("Нет 2")
    assert word_key("caf\u00e9 noir") == "caf noir"
    assert row_key(("b", "a"), spacing_key) == row_key(("A", "b"), spacing_key)


def test_report_is_json():
    report = diagnose(
        {("t", "train"): examples(("a", "b", 1.5), ("c", "d", 2.0)), ("t", "dev"): examples(("a", "b", 1.0))},
        lengths=lambda rows: [3] * len(rows),
        max_length=2,
    )
    loaded = json.loads(json.dumps(report.as_dict()))
    assert loaded["files"][0]["lengths"]["truncated"] == 2
    assert loaded["files"][0]["spread"]["mean"] == 1.75
    assert loaded["overlaps"][0]["rows"] == 1


@pytest.mark.skipif(
    not (SHARED / "quora-dev.csv").is_file(),
    reason=f"the course's data files are not in {SHARED} (set MINBERT_SHARED)",
)
def test_known_overlaps_of_the_course_data():
    splits = {}
    for split in ("train", "dev"):
        splits["sst", split] = read_table(
            SHARED / f"ids-sst-{split}.csv",
            texts=["sentence"],
            label="sentiment",
            parse_label=integer_label(0, 4),
        )
        splits["sts", split] = read_table(
            SHARED / f"sts-{split}.csv",
            texts=["sentence1", "sentence2"],
            label="similarity",
            parse_label=number_label(0, 5),
        )
        splits["paraphrase", split] = read_table(
            SHARED / f"quora-{split}.csv",
            texts=["sentence1", "sentence2"],
            label="is_duplicate",
            parse_label=integer_label(0, 1),
        )
    report = diagnose(splits)
    overlaps = {(o.task, o.split): o for o in report.overlaps}
    assert (overlaps["sst", "dev"].rows, overlaps["sst", "dev"].identical) == (3, 2)
    assert (overlaps["sts", "dev"].rows, overlaps["sts", "dev"].identical) == (18, 16)
    assert (overlaps["paraphrase", "train"].rows, overlaps["paraphrase", "train"].sharing) == (0, 2329)
    files = {(file.task, file.split): file for file in report.files}
    assert list(files["sst", "train"].balance.values()) == [1092, 2218, 1624, 2322, 1288]
    assert round(files["sts", "dev"].spread.mean, 3) == 2.723
    assert files["paraphrase", "dev"].rejected == 2
