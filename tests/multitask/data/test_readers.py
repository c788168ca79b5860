"""Reading tables: each irregularity on a small file made here, then the course's files where they are."""

import csv
import os
import re
from pathlib import Path

import pytest

from minbert import InputError
from multitask.data.readers import Example, integer_label, number_label, read_table

SHARED = Path(os.environ.get("MINBERT_SHARED", Path(__file__).parents[4] / "shared")) / "data"
HEADER = "\tid\tsentence\tsentiment\n"
PAIR_HEADER = "\tid\tsentence1\tsentence2\tis_duplicate\n"


def write(folder: Path, content: str | bytes, name: str = "data.csv") -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def read_single(path: Path, **options):
    settings = {"texts": ["sentence"], "label": "sentiment", "parse_label": integer_label(0, 4)}
    return read_table(path, **(settings | options))


def read_pairs(path: Path, **options):
    settings = {"label": "is_duplicate", "parse_label": integer_label(0, 1)}
    return read_table(path, texts=["sentence1", "sentence2"], **(settings | options))


def test_course_layout_is_read_by_column_name(tmp_path):
    examples = read_single(write(tmp_path, HEADER + "0\ta1\t It 's fine .\t3\n1\tb2\tBad\t0\n"))
    assert examples.rows == (Example("a1", ("It 's fine .",), 3, 2), Example("b2", ("Bad",), 0, 3))
    assert examples.rejects == () and len(examples) == 2
    assert examples.columns == ("", "id", "sentence", "sentiment") and examples.labelled


def test_columns_and_delimiters_that_cannot_be_meant(tmp_path):
    path = write(tmp_path, HEADER)
    with pytest.raises(InputError, match="no column 'key'"):
        read_single(path, id="key")
    with pytest.raises(InputError, match="';;' is not one character"):
        read_single(path, delimiter=";;")
    with pytest.raises(InputError, match="'sentence' twice"):
        read_single(write(tmp_path, "id\tsentence\tsentence\tsentiment\n"))


def test_student_test_file_has_an_extra_column_and_no_labels(tmp_path):
    examples = read_single(write(tmp_path, "0\t\tid\tsentence\n1\t0.0\tb7\t Effective\n"))
    assert examples.rows == (Example("b7", ("Effective",), None, 2),)
    assert not examples.labelled


def test_missing_text_column_names_the_columns_and_the_nearest(tmp_path):
    path = write(tmp_path, "id\tsentense\tsentiment\n")
    with pytest.raises(InputError) as caught:
        read_single(path)
    message = str(caught.value)
    assert str(path) in message and "no column 'sentence'; did you mean 'sentense'?" in message
    assert "the file has 'id', 'sentense', 'sentiment'" in message


def test_a_file_without_header_does_not_flood_the_message(tmp_path):
    with pytest.raises(InputError) as caught:
        read_single(write(tmp_path, "0\ta1\t" + "very long text " * 1000 + "\t3\n"))
    assert len(str(caught.value)) < 400 + len(str(tmp_path))


def test_byte_order_mark_is_no_part_of_the_first_column(tmp_path):
    examples = read_single(write(tmp_path, b"\xef\xbb\xbfid\tsentence\tsentiment\na\tfine\t1\n"))
    assert examples.rows[0].id == "a" and examples.columns[0] == "id"


def test_invalid_utf8_names_file_and_line(tmp_path):
    path = write(tmp_path, HEADER.encode() + b"0\ta\tfine\t1\n1\tb\tcaf\xe9\t1\n")
    with pytest.raises(InputError, match=re.escape(f"{path}:3: byte 0xe9 is not UTF-8")):
        read_single(path)


@pytest.mark.parametrize("content", ["", "\n\r\n", "\ufeff", "   \n"])
def test_empty_file_holds_no_header(tmp_path, content):
    for name in ("empty.csv", "empty.jsonl"):
        with pytest.raises(InputError, match="holds no header"):
            read_single(write(tmp_path, content, name))


@pytest.mark.parametrize("header", [HEADER, HEADER.rstrip("\n"), HEADER.replace("\n", "\r\n")])
def test_header_alone_is_a_file_of_no_rows(tmp_path, header):
    examples = read_single(write(tmp_path, header))
    assert len(examples) == 0 and examples.in_file_order() == () and examples.labelled


def test_folder_and_missing_file(tmp_path):
    with pytest.raises(InputError, match="is a folder, and a file is needed"):
        read_single(tmp_path)
    write(tmp_path, HEADER, "ids-sst-train.csv")
    with pytest.raises(InputError, match=r"no such file; did you mean 'ids-sst-train.csv'\?"):
        read_single(tmp_path / "ids-sst-trian.csv")
    with pytest.raises(InputError, match="no such file"):
        read_single(tmp_path / "absent" / "train.csv")


def test_rows_with_too_few_or_too_many_fields_are_rejected(tmp_path):
    path = write(tmp_path, HEADER + "0\ta\tfine\t1\n1\tb\tshort\n2\tc\tlong\t1\t9\n3\td\tgood\t4\n")
    examples = read_single(path)
    assert [row.id for row in examples.rows] == ["a", "d"]
    short, long = examples.rejects
    assert (short.id, short.line, short.row, short.texts) == ("b", 3, 1, ("short",))
    assert short.reason == "3 fields where the header has 4"
    assert (long.id, long.line, long.row) == ("c", 4, 2)
    assert long.reason == "5 fields where the header has 4"


def test_empty_labels_and_texts_are_rejected_with_id_and_texts(tmp_path):
    rows = "0\ta\tone\ttwo\t1.0\n1\tb\tone\ttwo\t\n2\tc\t \ttwo\t1.0\n3\td\tone\t\t0.0\n4\t\tone\ttwo\t0.0\n"
    examples = read_pairs(write(tmp_path, PAIR_HEADER + rows))
    assert [row.id for row in examples.rows] == ["a"]
    assert [(r.id, r.texts, r.line, r.row) for r in examples.rejects] == [
        ("b", ("one", "two"), 3, 1),
        ("c", ("", "two"), 4, 2),
        ("d", ("one", ""), 5, 3),
        (None, ("one", "two"), 6, 4),
    ]
    reasons = [reject.reason for reject in examples.rejects]
    assert "label 'is_duplicate' is empty" in reasons[0]
    assert "text 'sentence1' is empty" in reasons[1] and "text 'sentence2' is empty" in reasons[2]
    assert reasons[3] == "the id is empty"


def test_label_that_cannot_be_parsed_is_rejected_with_the_value(tmp_path):
    examples = read_single(write(tmp_path, HEADER + "0\ta\tfine\t2.4\n1\tb\tfine\t5\n"))
    assert len(examples) == 0
    assert "label 'sentiment' cannot be used: '2.4' is not a whole number" in examples.rejects[0].reason
    assert "'5' is not between 0 and 4" in examples.rejects[1].reason


def test_quotes_and_line_ends_inside_quotes(tmp_path):
    rows = '0\ta\t"""Which"" is it,\nand why?"\tplain "inner" quote\t1.0\n\n1\tb\tone\ttwo\t0.0\n'
    examples = read_pairs(write(tmp_path, PAIR_HEADER + rows))
    first, second = examples.rows
    assert first.texts == ('"Which" is it,\nand why?', 'plain "inner" quote')
    assert (first.line, second.line) == (2, 5)


def test_without_quoting_quotes_are_characters(tmp_path):
    text = 'Quality\t#1 String\t#2 String\n1\t"Yes , he said\tthe "" end\n0\tNo\tyes "\n'
    path = write(tmp_path, text, "pairs.txt")
    columns = {"texts": ["#1 String", "#2 String"], "label": "Quality", "parse_label": integer_label(0, 1)}
    plain = read_table(path, quoting=False, **columns)
    assert [row.texts for row in plain.rows] == [('"Yes , he said', 'the "" end'), ("No", 'yes "')]
    assert [row.id for row in plain.rows] == ["0", "1"]


def test_rows_that_an_open_quote_swallows_are_rejected(tmp_path):
    """Though the number of fields is right: 'one <tab> ... b <tab> two' has become one text."""
    rows = '0\ta\t"one\tx\t1.0\n1\tb\ttwo"\ty\t1.0\n2\tc\tone\ttwo\t0.0\n'
    examples = read_pairs(write(tmp_path, PAIR_HEADER + rows))
    assert [row.id for row in examples.rows] == ["c"] and examples.rejects[0].line == 2
    assert "lines 2 to 3 stand inside one pair of quotes" in examples.rejects[0].reason


@pytest.mark.parametrize("ending", ["", "\n", "\n\n"])
def test_quote_open_at_the_end_of_the_file_is_rejected(tmp_path, ending):
    examples = read_table(
        write(tmp_path, 'id,text\na,fine\nb,"open, and so on\nc,lost' + ending),
        texts=["text"],
        label=None,
        parse_label=None,
    )
    assert [row.id for row in examples.rows] == ["a"]
    (reject,) = examples.rejects
    assert (reject.id, reject.line) == ("b", 3) and "not closed" in reject.reason
    assert reject.texts == (f"open, and so on\nc,lost{ending}".strip(),)


def test_last_line_of_a_file_may_be_any_word(tmp_path):
    examples = read_table(write(tmp_path, "text\nstart\nend"), texts=["text"], label=None, parse_label=None)
    assert [row.texts for row in examples.rows] == [("start",), ("end",)]


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_line_ends_and_no_final_line_end(tmp_path, ending):
    content = (HEADER + "0\ta\tfine\t1\n1\tb\tbad\t0").replace("\n", ending)
    examples = read_single(write(tmp_path, content))
    assert [(row.texts, row.label, row.line) for row in examples.rows] == [
        (("fine",), 1, 2),
        (("bad",), 0, 3),
    ]


def test_blank_lines_are_no_rows_but_an_empty_quoted_text_is(tmp_path):
    path = write(tmp_path, '\ntext\n\none\n""\n  \ntwo\n')
    examples = read_table(path, texts=["text"], label=None, parse_label=None)
    assert [(row.texts, row.id, row.line) for row in examples.rows] == [
        (("one",), "0", 4),
        (("two",), "2", 7),
    ]
    assert [reject.line for reject in examples.rejects] == [5]


def test_text_longer_than_the_csv_module_allows_is_read_and_the_limit_stays(tmp_path):
    limit = csv.field_size_limit()
    text = "word " * 100_000
    examples = read_single(write(tmp_path, HEADER + f"0\ta\t{text}\t1\n"))
    assert examples.rows[0].texts == (text.strip(),)
    assert csv.field_size_limit() == limit
    with pytest.raises(InputError):
        read_single(write(tmp_path, f'"{text}'))
    assert csv.field_size_limit() == limit


def test_nul_and_lone_carriage_return_are_rejected_and_the_rest_is_read(tmp_path):
    rows = "0\ta\tfi\0ne\t1\n1\tb\tone\rtwo\t1\n2\tc\0\tfine\t1\n3\td\tfine\t1\n"
    examples = read_single(write(tmp_path, HEADER + rows))
    assert [row.id for row in examples.rows] == ["d"]
    assert [reject.line for reject in examples.rejects] == [2, 3, 4]
    assert "NUL" in examples.rejects[0].reason and "carriage return" in examples.rejects[1].reason


def test_file_order_holds_every_row_and_repeated_ids(tmp_path):
    rows = "".join(f"{n}\tid{n // 2}\ttext {n}\t{n % 7}\n" for n in range(50))
    examples = read_single(write(tmp_path, HEADER + rows))
    assert 0 < len(examples.rejects) and len(examples) + len(examples.rejects) == 50
    assert [row.id for row in examples.in_file_order()] == [f"id{n // 2}" for n in range(50)]


@pytest.mark.parametrize(
    ("name", "content", "options"),
    [
        ("a.csv", "id,text,label\n7,one,x\n", {}),
        ("a.csv", "id\ttext\tlabel\n7\tone\tx\n", {}),
        ("a.csv", "label\textra\t text \tid\nx\t\tone\t7\n", {}),
        ("a.csv", "id;text;label\n7;one;x\n", {"delimiter": ";"}),
        ("a.jsonl", '{"id": 7, "text": "one", "label": "x"}\n', {}),
        ("a.ndjson", '\n{"text": " one ", "id": "7", "label": "x", "other": [1]}', {}),
    ],
)
def test_format_is_found_from_suffix_and_header(tmp_path, name, content, options):
    path = write(tmp_path, content, name)
    examples = read_table(path, texts=["text"], label="label", parse_label=None, **options)
    (row,) = examples.rows
    assert (row.id, row.texts, row.label) == ("7", ("one",), "x") and examples.rejects == ()
    # One column: commas in a .tsv are text.
    path = write(tmp_path, "text\none, two\n", "a.tsv")
    assert read_table(path, texts=["text"], label=None, parse_label=None).rows[0].texts == ("one, two",)


def test_ids_are_row_numbers_without_an_id_column_and_count_rejects(tmp_path):
    path = write(tmp_path, "text,label\none,1\n,1\nthree,0\n")
    examples = read_table(path, texts=["text"], label="label", parse_label=integer_label(0, 1))
    assert [row.id for row in examples.rows] == ["0", "2"] and examples.rejects[0].id == "1"
    path = write(tmp_path, "id,text\nx,one\n")
    assert read_table(path, texts=["text"], label=None, parse_label=None, id=None).rows[0].id == "0"


def test_json_lines_reject_what_is_no_row(tmp_path):
    lines = [
        '{"text": "a\u2028b", "label": 1.0}',
        '{"text": "cut',
        "[1, 2]",
        '{"label": 1}',
        '{"text": ["a"], "label": 1}',
        '{"text": "a"}',
        '{"text": "a", "label": null}',
        '{"text": "a", "label": NaN}',
        '{"text": "half \\ud800", "label": 1}',
        "[" * 100_000,
    ]
    path = write(tmp_path, "\n".join(lines), "a.jsonl")
    examples = read_table(path, texts=["text"], label="label", parse_label=integer_label(0, 1))
    assert examples.rows == (Example("0", ("a\u2028b",), 1, 1),)
    expected = ["not JSON", "a JSON list", "text 'text'", "text 'text'", "label 'label' is empty"]
    expected += ["label 'label' is empty", "not a finite number", "surrogate", "not JSON"]
    assert [reject.line for reject in examples.rejects] == list(range(2, 11))
    for reject, reason in zip(examples.rejects, expected, strict=True):
        assert reason in reject.reason
    with pytest.raises(InputError, match="b.jsonl:1: a JSON int where an object is needed"):
        read_table(write(tmp_path, "3\n4\n", "b.jsonl"), texts=["text"], label=None, parse_label=None)


def test_integer_label_takes_whole_numbers():
    labels = [integer_label(0, 4)(text) for text in ("3", "1.0", "0", "4.0", "1e0")]
    assert labels == [3, 1, 0, 4, 1] and all(type(label) is int for label in labels)


@pytest.mark.parametrize("text", ["2.4", "5", "-1", "", "nan", "inf", "good", "1_0", "\u0663"])
def test_integer_label_refuses(text):
    reasons = {"2.4": "not a whole number", "5": "not between 0 and 4", "-1": "not between 0 and 4"}
    with pytest.raises(ValueError, match=reasons.get(text, "not a finite number")):
        integer_label(0, 4)(text)


def test_number_label_stays_a_float_and_refuses_what_is_none():
    parse = number_label(0, 5)
    assert parse("2.4") == 2.4 and parse("5") == 5.0 and type(parse("5")) is float
    for text in ("", "nan", "inf", "-inf", "5.01", "-0.1", "five"):
        with pytest.raises(ValueError):
            parse(text)
    with pytest.raises(ValueError, match="finite"):
        number_label(-float("inf"), float("inf"))("1e999")


needs_course_data = pytest.mark.skipif(
    not (SHARED / "quora-dev.csv").is_file(),
    reason=f"the course's data files are not in {SHARED} (set MINBERT_SHARED)",
)


@needs_course_data
@pytest.mark.parametrize(
    ("task", "label", "sizes"),
    [
        ("ids-sst", "sentiment", {"train": 8544, "dev": 1101, "test-student": 2210}),
        ("ids-cfimdb", "sentiment", {"train": 1707, "dev": 245, "test-student": 488}),
        ("sts", "similarity", {"train": 6040, "dev": 863, "test-student": 1725}),
        ("quora", "is_duplicate", {"train": 13500}),
    ],
)
def test_sizes_of_the_course_files(task, label, sizes):
    parse = number_label(0, 5) if label == "similarity" else integer_label(0, 4)
    texts = ["sentence"] if label == "sentiment" else ["sentence1", "sentence2"]
    for split, rows in sizes.items():
        examples = read_table(SHARED / f"{task}-{split}.csv", texts=texts, label=label, parse_label=parse)
        assert len(examples) == rows and examples.rejects == ()
        assert examples.labelled == (split != "test-student")
        assert all(len(row.id) == 25 for row in examples.rows)


@needs_course_data
def test_the_two_unusable_rows_of_quora_dev():
    examples = read_pairs(SHARED / "quora-dev.csv")
    assert len(examples) == 20212 and len(examples.in_file_order()) == 20214
    first, second = examples.rejects
    assert (first.row, first.line) == (2575, 2577) and (second.row, second.line) == (14220, 14222)
    assert len(first.id) == len(second.id) == 25
    assert "label 'is_duplicate' is empty" in first.reason and "'sentence2' is empty" in second.reason
    assert sum(row.label for row in examples.rows) == 7585


@needs_course_data
def test_mrpc_keeps_its_rows_without_quoting_and_loses_none_in_silence_with_it():
    path = SHARED / "mrpc" / "msr_paraphrase_train.txt"
    columns = {"texts": ["#1 String", "#2 String"], "label": "Quality", "parse_label": integer_label(0, 1)}
    plain = read_table(path, quoting=False, **columns)
    assert len(plain) == 4076 and plain.rejects == ()
    quoted = read_table(path, **columns)
    assert len(quoted.rejects) == 53 and not any("\n" in text for row in quoted.rows for text in row.texts)
