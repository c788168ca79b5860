"""Files of words and tags: what is written, read back, and found wrong."""

import pytest

from minbert import InputError
from multitask.tasks.predictions import prediction_path, tag_format, validate_file, validate_folder
from multitask.tasks.tag_files import read_tags, write_tags

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


@pytest.mark.parametrize("dialect", ["code", "handout"])
def test_both_dialects_have_one_name(tmp_path, dialect):
    assert prediction_path(tmp_path, tag_format("ner"), "dev", dialect) == tmp_path / "ner-dev-out.txt"


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
