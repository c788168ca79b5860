"""The data report: counts made by hand on small splits, and the known facts of the course's data."""

import json
import tracemalloc

from multitask.data import doctor
from multitask.data.doctor import Lengths, Spread, diagnose, either_order, spacing_key, word_key
from multitask.data.readers import Example, Examples, Reject, integer_label, number_label, read_table


def examples(*rows, ids=None, rejects=()) -> Examples:
    """Each row is its texts and then its label; lines count from 2, as below a header."""
    ids = ids or [f"id{n}" for n in range(len(rows))]
    made = (Example(ids[n], tuple(row[:-1]), row[-1], n + 2) for n, row in enumerate(rows))
    return Examples("data.csv", tuple(made), tuple(rejects))


def single(*rows, ids=None, **options):
    return diagnose({("task", "train"): examples(*rows, ids=ids)}, **options).files[0]


def overlaps(report) -> dict:
    return {(o.task, o.split, o.other): (o.rows, o.identical, o.sharing) for o in report.overlaps}


def test_rows_rejects_and_classes():
    rejects = [Reject(None, (), line, "the id is empty", line) for line in (9, 10, 11)]
    split = examples(("a", 1), ("b", 0), ("c", 1), ("d", 4), rejects=rejects)
    report = diagnose({("sst", "train"): split}, listed=2)
    (file,) = report.files
    assert (file.rows, file.rejected) == (4, 3)
    assert file.rejects == ("data.csv:9: the id is empty", "data.csv:10: the id is empty")
    assert file.balance == {"0": 1, "1": 2, "4": 1} and file.spread is None
    assert report.lines() == [
        "sst train: 4 rows, 3 rejected (data.csv)",
        "  rejected: data.csv:9: the id is empty",
        "  rejected: data.csv:10: the id is empty",
        "  rejected: 1 more",
        "  labels: 0: 1 (25.0%), 1: 2 (50.0%), 4: 1 (25.0%)",
    ]


def test_spread_of_numbers_counts_of_tags_and_lengths_in_tokens():
    file = single(("a", "b", 0.0), ("c", "d", 1.0), ("e", "f", 2.0), ("g", "h", 5.0))
    assert file.balance is None and file.spread == Spread(2.0, 0.0, 0.75, 1.5, 2.75, 5.0)
    assert single(("a b", ("O", "B-X")), ("c", ("O",))).balance == {"B-X": 1, "O": 2}

    def count(texts):
        return [len(row[0].split()) for row in texts]

    rows = [("x " * n, 0) for n in (*range(1, 20), 100)]
    assert single(*rows, lengths=count, max_length=15).lengths == Lengths(10, 19, 100, 5, 0.25)
    assert single(*rows, lengths=count).lengths == Lengths(10, 19, 100, None, None)
    assert single(*rows).lengths is None
    report = diagnose({("t", "test"): examples(("a", None)), ("t", "dev"): examples()}, lengths=count)
    unlabelled, empty = report.files
    assert unlabelled.balance is None and unlabelled.spread is None
    assert empty.rows == 0 and empty.lengths is None
    assert report.lines().count("  labels: none") == 2


def test_duplicates_conflicts_and_ids_name_their_lines():
    texts = [("A fine  film", 1), ("a fine film", 1), ("other", 0), ("OTHER", 1), ("other!", 1)]
    file = single(*texts, ids=["a", "b", "a", "c", "d"])
    assert (file.duplicate_texts.count, file.duplicate_texts.lines) == (2, (3, 5))
    assert (file.conflicts.count, file.conflicts.lines) == (1, (5,))
    assert (file.duplicate_ids.count, file.duplicate_ids.lines) == (1, (4,))
    assert file.swapped_pairs.count == 0


def test_swapped_pairs_are_told_from_repeated_ones_and_three_texts_have_an_order():
    file = single(("one", "two", 1.0), ("two", "one", 1.0), ("One", "two", 1.0), ("two", "two", 1.0))
    assert file.duplicate_texts.lines == (4,) and file.swapped_pairs.lines == (3,)
    assert file.conflicts.count == 0
    assert single(("one", "two", 1.0), ("two", "one", 0.5)).conflicts.lines == (3,)
    assert single(("a", "b", "c", None), ("c", "b", "a", None)).swapped_pairs.count == 0


def test_overlaps_between_splits_of_one_task_only():
    report = diagnose(
        {
            ("sst", "train"): examples(("Good film .", 1), ("bad", 0), ("same", 1), ("same", 1)),
            ("sst", "dev"): examples(("good film", 1), ("SAME", 1), ("new", 0)),
            ("other", "dev"): examples(("bad", 0)),
        }
    )
    assert overlaps(report) == {("sst", "train", "dev"): (3, 2, None), ("sst", "dev", "train"): (2, 1, None)}
    said = "sst: dev rows that also stand in train: 2 (1 to the letter, up to case and spacing)"
    assert said in report.lines()
    apart = diagnose({("t", "train"): examples(("a", 0)), ("t", "dev"): examples(("b", 0))})
    assert apart.lines()[-1] == "no row stands in two splits of one task"


def test_pairs_overlap_in_either_order_and_sharing_is_counted_apart():
    report = diagnose(
        {
            ("sts", "train"): examples(("one", "two", 1.0), ("three", "four", 1.0)),
            ("sts", "dev"): examples(("two", "one", 1.0), ("three", "five", 1.0), ("six", "seven", 1.0)),
        },
        lengths=lambda rows: [3] * len(rows),
        max_length=2,
    )
    assert overlaps(report) == {("sts", "train", "dev"): (1, 1, 2), ("sts", "dev", "train"): (1, 1, 2)}
    assert "sts: dev rows that share a sentence with train: 2" in report.lines()
    loaded = json.loads(json.dumps(report.as_dict()))
    assert loaded["files"][0]["lengths"]["truncated"] == 2 and loaded["files"][0]["spread"]["mean"] == 1.0
    assert loaded["overlaps"][0]["rows"] == 1


def test_keys():
    assert spacing_key(" A\tfine\n film. ") == "a fine film."
    assert word_key('"A fine-film", 2x!') == "a fine film 2x"
    # Without ASCII words a text is its own key: "?" is not "!", nor one Russian sentence another.
    assert word_key("?") == "?" and word_key("Да 2") != word_key("Нет 2")
    assert word_key("caf\u00e9 noir") == "caf noir"
    assert either_order(("b", "a")) == either_order(("a", "b")) != either_order(("a", "c"))
    assert either_order(("b", "a", "c")) == ("b", "a", "c")


def test_memory_does_not_hold_the_texts(write, monkeypatch):
    """Some numbers of 8 bytes a row, whatever the texts' length."""
    monkeypatch.setattr(doctor, "ROWS_AT_ONCE", 200)

    def peak(rows: int) -> int:
        text = "word " * 100
        lines = "".join(f"{i},{text}{i},{i % 2}\n" for i in range(rows))
        table = read_table(write("id,text,label\n" + lines), texts=["text"], label="label", parse_label=int)
        tracemalloc.start()
        (file,) = diagnose({("t", "train"): table}, lengths=lambda rows: [3] * len(rows)).files
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert file.rows == rows and file.duplicate_texts.count == 0 and file.balance["1"] == rows // 2
        return found

    few, many = peak(2000), peak(6000)
    assert (many - few) / 4000 < 200


def test_known_overlaps_of_the_course_data(course_data):
    pair = ["sentence1", "sentence2"]
    splits = {
        (task, split): read_table(
            course_data / f"{file}-{split}.csv", texts=texts, label=label, parse_label=parse
        )
        for split in ("train", "dev")
        for task, file, texts, label, parse in (
            ("sst", "ids-sst", ["sentence"], "sentiment", integer_label(0, 4)),
            ("sts", "sts", pair, "similarity", number_label(0, 5)),
        )
    }
    report = diagnose(splits)
    found = overlaps(report)
    assert found["sst", "dev", "train"] == (3, 2, None)
    assert found["sts", "dev", "train"][:2] == (18, 16)
    files = {(file.task, file.split): file for file in report.files}
    assert list(files["sst", "train"].balance.values()) == [1092, 2218, 1624, 2322, 1288]
    assert round(files["sts", "dev"].spread.mean, 3) == 2.723
