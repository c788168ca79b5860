"""Prediction files byte for byte in both dialects, and every fault that `validate` has to find."""

import csv
import math
from dataclasses import replace

import numpy
import pytest

from minbert import InputError
from multitask.config.options import COURSE_MODES
from multitask.config.task_config import task_config
from multitask.config.task_kinds import make_task
from multitask.tasks.predictions import (
    generic_format,
    prediction_path,
    read_predictions,
    read_tags,
    tag_format,
    validate_file,
    validate_folder,
    write_predictions,
    write_tags,
)

FORMATS = {
    name: make_task(name, task_config(name, {})).format for name in ("sst", "paraphrase", "sts", "cfimdb")
}

IDS = ["001fefa37a13cdd53fd82f617", "00415cf9abb539fbb7989beba", "00a4cc38bd041e9a4c4e545ff"]
A, B, C = IDS


@pytest.mark.parametrize(
    ("task", "values", "code", "handout"),
    [
        (
            *("sst", [0, 4, numpy.int64(2)]),
            f"id \t Predicted_Sentiment \n{A} , 0 \n{B} , 4 \n{C} , 2 \n",
            f"id, Predicted_Sentiment\n{A}, 0\n{B}, 4\n{C}, 2\n",
        ),
        (
            *("cfimdb", [0, 1, 1]),
            f"id \t Predicted_Sentiment \n{A} , 0 \n{B} , 1 \n{C} , 1 \n",
            f"id, Predicted_Sentiment\n{A}, 0\n{B}, 1\n{C}, 1\n",
        ),
        (
            *("paraphrase", [1, 0.0, numpy.float32(1)]),
            f"id \t Predicted_Is_Paraphrase \n{A} , 1.0 \n{B} , 0.0 \n{C} , 1.0 \n",
            f"id, Predicted_Is_Paraphrase\n{A}, 1\n{B}, 0\n{C}, 1\n",
        ),
        (
            *("sts", [2.5, 3, numpy.float32(0.25)]),
            f"id \t Predicted_Similiary \n{A} , 2.5 \n{B} , 3.0 \n{C} , 0.25 \n",
            f"id, Predicted_Similarity\n{A}, 2.5\n{B}, 3.0\n{C}, 0.25\n",
        ),
    ],
)
def test_both_dialects_to_the_byte(tmp_path, task, values, code, handout):
    path = tmp_path / "new" / "file.csv"
    read = []
    for dialect, content in (("code", code), ("handout", handout)):
        write_predictions(path, IDS, values, FORMATS[task], dialect)
        assert path.read_bytes() == content.encode()
        path.write_bytes(content.replace("\n", "\r\n").encode())  # as Windows saves it
        assert validate_file(path, IDS[::-1], FORMATS[task]) == []
        read.append([(row_id, float(value)) for row_id, value in read_predictions(path, FORMATS[task])])
    assert read[0] == read[1] == [(row_id, value) for row_id, value in zip(IDS, values, strict=True)]
    with pytest.raises(InputError, match="no dialect 'handouts'; did you mean 'handout'"):
        write_predictions(path, IDS, values, FORMATS[task], file_format="handouts")


def test_generic_format_holds_labels_tags_and_numbers(tmp_path):
    path = tmp_path / "file.csv"
    write_predictions(path, ["x, y", "b"], ["World", ["B-PER", "O"]], generic_format("news"))
    assert path.read_bytes() == b"id \t Prediction \nx, y , World \nb , B-PER O \n"
    assert read_predictions(path, generic_format("news")) == [("x, y", "World"), ("b", "B-PER O")]
    assert validate_file(path, ["b", "x, y"], generic_format("news")) == []
    write_predictions(path, ["a"], [-7.25], generic_format("scores", "number"))
    assert validate_file(path, ["a"], generic_format("scores", "number")) == []
    write_predictions(path, ["a"], [12], generic_format("classes", "class"))
    assert path.read_bytes() == b"id \t Prediction \na , 12 \n"
    assert generic_format("flags", "flag").highest == 1


LABELS = ["a, b", 'say "x"', '"', ",", 'a","b', '"x"', "a ,b", 'end"', "plain; text"]


@pytest.mark.parametrize("dialect", ["code", "handout"])
def test_labels_with_commas_and_quotes_come_back(tmp_path, dialect):
    path, format = tmp_path / "file.csv", generic_format("news")
    ids = [*LABELS, "x", 'y, "z"', 'p, "q', 'p, ""']
    rows = [(row_id, label) for row_id in ids for label in LABELS]
    write_predictions(path, *zip(*rows, strict=True), format, dialect)
    assert read_predictions(path, format) == rows
    assert validate_file(path, [row_id for row_id, _ in rows], format) == []
    written = path.read_text(encoding="utf-8").splitlines()
    assert written[1].strip().endswith('"a, b"') and written[9].strip().endswith("plain; text")
    assert next(csv.reader(['x,"say ""x"""']))[1] == LABELS[1]  # as the csv module quotes
    path.write_text(f'{FORMATS["sst"].header()}\n{A} , "3" \n', encoding="utf-8")
    assert "is not a number" in str(validate_file(path, [A], FORMATS["sst"])[0])


@pytest.mark.parametrize(
    ("task", "split", "options", "name"),
    [
        ("sst", "dev", {}, "sst-dev-output.csv"),
        ("paraphrase", "test", {}, "para-test-output.csv"),
        ("sst", "dev", {"file_format": "handout"}, "sst-dev-out.csv"),
        ("cfimdb", "test", {"option": "finetune"}, "finetune-cfimdb-test-out.csv"),
        ("news", "dev", {}, "news-dev-output.csv"),
        ("ner", "dev", {}, "ner-dev-out.txt"),
        ("ner", "dev", {"file_format": "handout"}, "ner-dev-out.txt"),
    ],
)
def test_file_names(tmp_path, task, split, options, name):
    formats = {**FORMATS, "news": generic_format("news"), "ner": tag_format("ner")}
    assert prediction_path(tmp_path, formats[task], split, **options) == tmp_path / name


@pytest.mark.parametrize(
    ("task", "value", "reason"),
    [
        ("sst", 2.5, "not a whole number from 0 to 4"),
        ("sst", 5, "from 0 to 4"),
        ("paraphrase", 0.7, "not a whole number from 0 to 1"),
        ("sts", math.nan, "only finite numbers"),
        ("sts", math.inf, "only finite numbers"),
    ],
)
def test_a_value_that_cannot_be_written_leaves_no_file(tmp_path, task, value, reason):
    with pytest.raises(InputError, match=reason):
        write_predictions(tmp_path / "a.csv", [A, B], [0, value], FORMATS[task])
    assert list(tmp_path.iterdir()) == []


def test_lengths_ids_and_labels_that_break_the_form_are_refused(tmp_path):
    path = tmp_path / "a.csv"
    with pytest.raises(ValueError):
        write_predictions(path, [A, B], [0], FORMATS["sst"])
    with pytest.raises(InputError, match="id 'a\\\\nb'"):
        write_predictions(path, ["a\nb"], [0], FORMATS["sst"])
    for label in ("one\ntwo", " "):
        with pytest.raises(InputError, match="has to be one line"):
            write_predictions(path, [A], [label], generic_format("news"))
    assert not path.exists()


def check(tmp_path, rows, task="sst", header=None, ids=IDS, optional=()):
    """[(severity, line, message)] for a file with these rows."""
    path = tmp_path / "a.csv"
    path.write_text((header or FORMATS[task].header()) + "\n" + "".join(rows), encoding="utf-8")
    problems = validate_file(path, ids, FORMATS[task], optional)
    assert all(problem.path == str(path) for problem in problems)
    return [(problem.severity, problem.line, problem.message) for problem in problems]


def test_missing_extra_and_repeated_ids(tmp_path):
    problems = check(tmp_path, [f"{A} , 1 \n", f"{A} , 2 \n", f"{B} , 1 \n", "strange , 1 \n"])
    assert problems == [
        ("error", None, f"1 ids of the split have no prediction: {C}"),
        ("error", 5, "1 ids are not in the split: strange"),
        ("error", 3, f"1 ids have more than one prediction: {A}"),
    ]
    # An id that the data has twice needs two rows; one of an unreadable row may be there.
    assert check(tmp_path, ["a , 1 \n"] * 2, ids=["a", "a"]) == []
    assert "no prediction: a" in check(tmp_path, ["a , 1 \n"], ids=["a", "a"])[0][2]
    assert "more than one" in check(tmp_path, ["a , 1 \n"] * 3, ids=["a", "a"])[0][2]
    assert check(tmp_path, ["a , 1 \n", "r , 0 \n"], ids=["a"], optional=["r"]) == []
    (problem,) = check(tmp_path, ["a , 1 \n"], ids=["a"], optional=["r"])
    assert problem == ("warning", None, "1 ids whose rows cannot be read have no prediction: r")
    ((_, _, message),) = check(tmp_path, ["id0 , 1 \n"], ids=[f"id{n}" for n in range(1000)])
    assert message.startswith("999 ids") and message.endswith(", ...") and len(message) < 100


def test_wrong_header(tmp_path):
    for header in ("id,sentiment", "id \t Predicted_Similiary ", f"{A} , 1 "):
        ((severity, line, message),) = check(tmp_path, [f"{i} , 1 \n" for i in IDS], header=header)
        assert (severity, line) == ("error", 1)
        assert "Predicted_Sentiment" in message and "the header is" in message


@pytest.mark.parametrize(
    ("task", "value", "message"),
    [
        ("sst", "nan", "finite"),
        ("sts", "nan", "finite"),
        ("sts", "inf", "finite"),
        ("sst", "2.5", "not a whole number"),
        ("sst", "2.0", "not a whole number"),
        ("sst", "good", "not a number"),
        ("sst", "1_0", "not a number"),
        ("sst", "5", "out of range; classes are 0 to 4"),
        ("sst", "-1", "out of range"),
        ("cfimdb", "2", "out of range; classes are 0 to 1"),
        ("paraphrase", "2.0", "out of range"),
        ("paraphrase", "0.73", "not a whole number"),
        ("sts", "high", "not a number"),
    ],
)
def test_wrong_values_are_errors_with_their_line(tmp_path, task, value, message):
    (problem,) = check(tmp_path, [f"{A} , 1 \n", f"{B} , {value} \n", f"{C} , 0 \n"], task)
    assert problem[:2] == ("error", 3) and message in problem[2] and value in problem[2]


def test_similarities_outside_the_scale_are_warnings_and_many_of_a_fault_are_summed_up(tmp_path):
    (problem,) = check(tmp_path, [f"{A} , 5.3 \n", f"{B} , 5.0 \n", f"{C} , 0 \n"], "sts")
    assert problem[:2] == ("warning", 2)
    assert problem[2].startswith("5.3 is outside 0 to 5, as a loss without that scale leaves it")
    ids = [f"id{n}" for n in range(100)]
    problems = check(tmp_path, [f"{row_id} , nan \n" for row_id in ids], "sts", ids=ids)
    assert len(problems) == 6
    assert problems[-1] == ("error", None, "100 values that are not finite in all")


@pytest.mark.parametrize("row", ["no comma here\n", " , 1 \n", "a , \n"])
def test_malformed_rows(tmp_path, row):
    problems = check(tmp_path, [row, f"{A} , 1 \n"], ids=[A])
    assert problems == [("error", 2, f"{row.strip()!r} is not a row 'id , value'")]
    with pytest.raises(InputError, match="a.csv:2: .* is not a row"):
        read_predictions(tmp_path / "a.csv", FORMATS["sst"])


def test_absent_empty_and_undecodable_files(tmp_path):
    (problem,) = validate_file(tmp_path / "none.csv", IDS, FORMATS["sst"])
    assert problem.severity == "error" and problem.message.startswith("no such file")
    path = tmp_path / "a.csv"
    path.write_bytes(b"")
    header, missing = validate_file(path, IDS, FORMATS["sst"])
    assert "the header is ''" in header.message and missing.message.startswith("3 ids of the split")
    path.write_bytes(b"\xff\xfe")
    (problem,) = validate_file(path, IDS, FORMATS["sst"])
    assert problem.severity == "error" and "not UTF-8" in problem.message
    assert str(problem).startswith(f"error: {path}: ")


def test_folder_with_all_files_in_mixed_dialects(tmp_path):
    paths = []
    for task, split, dialect, row_id, value in (
        ("sst", "dev", "handout", A, 0),
        ("paraphrase", "test", "code", C, 1.0),
        ("news", "dev", "code", "n", "World"),
    ):
        format = FORMATS.get(task) or generic_format(task)
        paths.append(prediction_path(tmp_path, format, split, dialect))
        write_predictions(paths[-1], [row_id], [value], format, dialect)
    expected = {("sst", "dev"): [A], ("paraphrase", "test"): [C], ("news", "dev"): ["n"]}
    assert validate_folder(tmp_path, expected, FORMATS) == ([], [str(path) for path in paths])


def test_folder_checks_part_one_files_formats_of_instances_and_optional_ids(tmp_path):
    expected, paths = {("cfimdb", "dev"): [A], ("second", "dev"): [A]}, []
    for option in COURSE_MODES:
        paths.append(prediction_path(tmp_path, FORMATS["cfimdb"], "dev", option=option))
        write_predictions(paths[-1], [A, B], [1, 0], FORMATS["cfimdb"])
    second = replace(FORMATS["sst"], stem="second")
    paths.append(prediction_path(tmp_path, second, "dev"))
    write_predictions(paths[-1], [A], [4], second)
    formats = {**FORMATS, "second": second}
    problems, checked = validate_folder(tmp_path, expected, formats, {("cfimdb", "dev"): [B]})
    assert problems == [] and sorted(checked) == sorted(map(str, paths))
    problems, _ = validate_folder(tmp_path, expected, formats)
    assert [problem.severity for problem in problems] == ["error"] * len(COURSE_MODES)


def test_absent_file_of_a_split_is_an_error_and_no_file_at_all_too(tmp_path):
    expected = {("sst", "dev"): [A], ("sst", "test"): [B]}
    write_predictions(tmp_path / "sst-dev-output.csv", [A], [1], FORMATS["sst"])
    (tmp_path / "sst-test-outptu.csv").write_text("", encoding="utf-8")
    (problem,), checked = validate_folder(tmp_path, expected, FORMATS)
    assert problem.severity == "error" and problem.path.endswith("sst-test-output.csv")
    assert problem.message == "no predictions for sst test; did you mean 'sst-test-outptu.csv'?"
    assert len(checked) == 1

    empty = tmp_path / "empty"
    empty.mkdir()
    problems, checked = validate_folder(empty, expected, FORMATS)
    assert checked == [] and problems[-1].severity == "error"
    assert "has no prediction file" in problems[-1].message


def test_test_predictions_in_the_dev_file_are_recognised(tmp_path):
    expected = {("sst", "dev"): [A, B], ("sst", "test"): [C]}
    write_predictions(tmp_path / "sst-dev-output.csv", [C], [1], FORMATS["sst"])
    write_predictions(tmp_path / "sst-test-output.csv", [C], [1], FORMATS["sst"])
    problems, _ = validate_folder(tmp_path, expected, FORMATS)
    assert "holds the predictions for sst test, not sst dev" in [problem.message for problem in problems]
    assert all(problem.path.endswith("sst-dev-output.csv") for problem in problems)


# Words and tags

WORDS = [["The", "1,000", "cats"], [], ["Rome"]]
TAGS = [["O", "O", "B-X"], [], ["B-LOC"]]


def test_a_word_a_line_and_a_blank_line_between_sentences(tmp_path):
    path = tmp_path / "out" / "ner-dev-out.txt"
    write_tags(path, WORDS, TAGS)
    assert path.read_text() == "The O\n1,000 O\ncats B-X\n\nRome B-LOC\n"
    sentences = [[("The", "O"), ("1,000", "O"), ("cats", "B-X")], [("Rome", "B-LOC")]]
    assert read_tags(path) == (sentences, [])


def test_what_does_not_fit_is_refused_and_nothing_is_written(tmp_path):
    path = tmp_path / "out.txt"
    with pytest.raises(InputError, match="sentence 1 has 1 words and 2 tags"):
        write_tags(path, [["a"], ["b"]], [["O"], ["O", "O"]])
    with pytest.raises(InputError, match="1 sentences and 2 lists of tags"):
        write_tags(path, [["a"]], [["O"], ["O"]])
    assert not path.exists()


def test_lines_and_the_number_of_sentences_are_checked(tmp_path):
    path = tmp_path / "ner-dev-out.txt"
    write_tags(path, WORDS, TAGS)
    assert validate_file(path, ["0", "1"], tag_format("ner")) == []
    assert validate_file(path, ["0"], tag_format("ner"), ["1"]) == []
    (problem,) = validate_file(path, ["0", "1", "2"], tag_format("ner"))
    assert problem.severity == "error" and "holds 2 sentences; the split has 3" in problem.message
    (problem,) = validate_file(path, ["0"], tag_format("ner"))
    assert "holds 2 sentences; the split has 1" in problem.message
    path.write_text("a O\nb\n" + "c d e\n" * 6)
    problems = validate_file(path, ["0"], tag_format("ner"))
    assert [problem.line for problem in problems] == [2, 3, 4, 5, 6, None]
    assert "'b' is not a word, a space and a tag" in problems[0].message
    assert "7 malformed lines in all" in problems[-1].message


def test_a_folder_is_checked_once_and_a_missing_file_named(tmp_path):
    write_tags(tmp_path / "ner-dev-out.txt", WORDS, TAGS)
    expected = {("ner", "dev"): ["0", "1"], ("ner", "test"): ["0"]}
    problems, checked = validate_folder(tmp_path, expected, {"ner": tag_format("ner")})
    assert checked == [str(tmp_path / "ner-dev-out.txt")]
    (problem,) = problems
    assert problem.path.endswith("ner-test-out.txt") and "no predictions for ner test" in problem.message
    missing = validate_file(tmp_path / "none.txt", ["0"], tag_format("ner"))
    assert [problem.severity for problem in missing] == ["error"]
