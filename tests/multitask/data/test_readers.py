"""Reading tables and plain text: each irregularity on a small file made here, then the course's files."""

import csv
import json
import re

import pytest

from minbert import InputError
from multitask.config.task_config import DELIMITERS
from multitask.data import records
from multitask.data.readers import (
    Example,
    class_name,
    column_names,
    integer_label,
    number_label,
    read_lines,
    read_table,
)
from multitask.data.records import files_of

HEADER = "\tid\tsentence\tsentiment\n"
PAIR_HEADER = "\tid\tsentence1\tsentence2\tis_duplicate\n"
SINGLE = {"texts": ["sentence"], "label": "sentiment", "parse_label": integer_label(0, 4)}
PAIRS = {"texts": ["sentence1", "sentence2"], "label": "is_duplicate", "parse_label": integer_label(0, 1)}
TEXT = {"texts": ["text"], "label": None, "parse_label": None}


def test_course_layout_is_read_by_column_name(write):
    examples = read_table(write(HEADER + "0\ta1\t It 's fine .\t3\n1\tb2\tBad\t0\n"), **SINGLE)
    assert examples.rows == (Example("a1", ("It 's fine .",), 3, 2), Example("b2", ("Bad",), 0, 3))
    assert examples.rejects == () and len(examples) == 2
    assert examples.columns == ("", "id", "sentence", "sentiment") and examples.labelled
    student = read_table(write("0\t\tid\tsentence\n1\t0.0\tb7\t Effective\n"), **SINGLE)
    assert student.rows == (Example("b7", ("Effective",), None, 2),) and not student.labelled


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("id\tsentense\n", "no column 'sentence'; did you mean 'sentense'?; the file has 'id', 'sentense'"),
        ("id\tsentence\tsentence\n", "'sentence' twice"),
        ("0\ta1\t" + "very long text " * 1000 + "\t3\n", "the file has '0', 'a1', 'very long"),
        (HEADER.encode() + b"0\ta\tfine\t1\n1\tb\tcaf\xe9\t1\n", "data.csv:3: byte 0xe9 is not UTF-8"),
        *((blank, "has no header") for blank in ("", "\n\r\n", "\ufeff", "   \n")),
        ('"open', "data.csv:1: the header cannot be read"),
    ],
)
def test_files_that_cannot_be_read(write, content, message):
    path = write(content)
    with pytest.raises(InputError, match=re.escape(message)) as caught:
        [*read_table(path, **SINGLE).rows]
    assert str(path) in str(caught.value) and len(str(caught.value)) < 400 + len(str(path))
    path.with_name("empty").mkdir()
    with pytest.raises(InputError, match="is a folder, and a file is needed"):
        read_table(path.with_name("empty"), **SINGLE)
    with pytest.raises(InputError, match=r"no such file; did you mean 'data.csv'\?"):
        read_table(path.with_name("dta.csv"), **SINGLE)
    with pytest.raises(InputError, match="no such file"):
        read_table(path.parent / "absent" / "train.csv", **SINGLE)


@pytest.mark.parametrize(("mark", "ending"), [("", "\n"), ("\ufeff", "\r\n")])
def test_line_ends_byte_order_mark_and_no_final_line_end(write, ending, mark):
    content = mark + "id\tsentence\tsentiment\na\tfine\t1\nb\tend\t0".replace("\n", ending)
    rows = read_table(write(content), **SINGLE).rows
    assert rows == (Example("a", ("fine",), 1, 2), Example("b", ("end",), 0, 3))
    header = read_table(write(mark + HEADER.replace("\n", ending)), **SINGLE)
    assert len(header) == 0 and header.in_file_order() == () and header.labelled


def test_rows_that_cannot_be_used_are_rejected_with_id_texts_line_and_reason(write):
    fields = "{} fields where the header has 4"
    rejected = {  # line of the file -> id, texts, reason
        "\tb\tshort": ("b", ("short",), fields.format(3)),
        "\tc\tlong\t1\t9": ("c", ("long",), fields.format(5)),
        "\td\tone\t": ("d", ("one",), "the label 'sentiment' is empty"),
        "\te\t \t1": ("e", ("",), "the text 'sentence' is empty or not text"),
        "\t\tone\t1": (None, ("one",), "the id is empty"),
        "\tf\tone\t2.4": ("f", ("one",), "the label 'sentiment' cannot be used: '2.4' is not a whole number"),
        "\tg\tone\t5": ("g", ("one",), "the label 'sentiment' cannot be used: '5' is not between 0 and 4"),
        "\th\tfi\0ne\t1": (
            "h",
            ("fi\0ne",),
            "the text 'sentence' holds a NUL character or half of a surrogate pair",
        ),
        "\ti\0\tfine\t1": ("i\0", ("fine",), "the id holds a NUL character or half of a surrogate pair"),
        "\tj\tone\rtwo\t1": (None, (), "a carriage return stands outside quotes"),
    }
    examples = read_table(write(HEADER + "\n".join([*rejected, "\ta\tfine\t1"])), **SINGLE)
    assert [row.id for row in examples.rows] == ["a"]
    assert [(r.id, r.texts, r.reason) for r in examples.rejects] == list(rejected.values())
    assert [(r.line, r.row) for r in examples.rejects] == [(n + 2, n) for n in range(len(rejected))]
    assert [row.line for row in examples.in_file_order()] == list(range(2, len(rejected) + 3))


# --- quotes -------------------------------------------------------------------------------------------------


def test_quotes_and_line_ends_inside_quotes(write):
    rows = '0\ta\t"""Which"" is it,\nand why?"\tplain "inner" quote\t1.0\n\n1\tb\tone\ttwo\t0.0\n'
    first, second = read_table(write(PAIR_HEADER + rows), **PAIRS).rows
    assert first.texts == ('"Which" is it,\nand why?', 'plain "inner" quote')
    assert (first.line, second.line) == (2, 5)


def test_rows_that_an_open_quote_swallows_are_rejected(write):
    """Though the number of fields is right: 'one <tab> ... b <tab> two' has become one text."""
    rows = '0\ta\t"one\tx\t1.0\n1\tb\ttwo"\ty\t1.0\n2\tc\tone\ttwo\t0.0\n'
    examples = read_table(write(PAIR_HEADER + rows), **PAIRS)
    assert [row.id for row in examples.rows] == ["c"] and examples.rejects[0].line == 2
    assert "lines 2 to 3 stand inside one pair of quotes" in examples.rejects[0].reason


@pytest.mark.parametrize("ending", ["", "\n", "\n\n"])
def test_quote_open_at_the_end_of_the_file_is_rejected(write, ending):
    examples = read_table(write('id,text\na,fine\nb,"open, and so on\nc,lost' + ending), **TEXT)
    assert [row.id for row in examples.rows] == ["a"]
    (reject,) = examples.rejects
    assert (reject.id, reject.line) == ("b", 3) and "not closed" in reject.reason
    assert reject.texts == ("open, and so on\nc,lost",)


def test_blank_lines_are_not_rows_but_an_empty_quoted_text_is(write):
    examples = read_table(write('\ntext\n\none\n""\n  \nend'), **TEXT)
    assert examples.rows == (Example("0", ("one",), None, 4), Example("2", ("end",), None, 7))
    assert [(reject.id, reject.line) for reject in examples.rejects] == [("1", 5)]


def test_text_longer_than_the_csv_module_allows_is_read_and_the_limit_stays(write):
    limit, text = csv.field_size_limit(), "word " * 100_000
    assert read_table(write(HEADER + f"0\ta\t{text}\t1\n"), **SINGLE).rows[0].texts == (text.strip(),)
    with pytest.raises(InputError):
        read_table(write(f'"{text}'), **SINGLE)
    assert csv.field_size_limit() == limit


# --- formats ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", "id,text,label\n7,one,x\n"),
        ("a.csv", "id\ttext\tlabel\n7\tone\tx\n"),
        ("a.tsv", "label\textra\t text \tid\nx\t\tone\t7\n"),
        ("a.jsonl", '{"id": 7, "text": "one", "label": "x"}\n'),
        ("a.ndjson", '\n{"text": " one ", "id": "7", "label": "x", "other": [1]}'),
    ],
)
def test_format_is_found_from_suffix_and_header(write, name, content):
    path = write(content, name)
    examples = read_table(path, texts=["text"], label="label", parse_label=None)
    (row,) = examples.rows
    assert (row.id, row.texts, row.label) == ("7", ("one",), "x") and examples.rejects == ()
    assert column_names(path) == examples.columns and {"id", "text", "label"} <= set(examples.columns)


@pytest.mark.parametrize(("name", "mark"), DELIMITERS.items())
def test_delimiters_are_found_in_the_header_or_given(write, name, mark):
    others = "".join(set(DELIMITERS.values()) - {mark})
    rows = [["id", "a text", "label"], ["7", f"one{others}two", "x"], ["8", "three", "y"]]
    path = write("".join(mark.join(row) + "\r\n" for row in rows))
    wanted = {"texts": ["a text"], "label": "label", "parse_label": None}
    for given in (None, name, mark):
        examples = read_table(path, **wanted, delimiter=given)
        assert [(row.texts[0], row.label) for row in examples.rows] == [
            (f"one{others}two", "x"),
            ("three", "y"),
        ]
        assert column_names(path, given) == ("id", "a text", "label")
    # The columns that are wanted decide where a header has several marks.
    odd = write(mark.join(["a text", f"b{others}c{others}d{others}e", "label"]) + f"\none{mark}b{mark}x\n")
    assert read_table(odd, **wanted).rows[0].texts == ("one",)
    assert read_table(odd, texts=["a text"], label=None, parse_label=None).columns[0] == "a text"
    alone = write(f"a text\none{mark}two\n")
    assert len(read_table(alone, **wanted).rows) == (mark != ",")
    table = write(f"a text{mark}label\none{mark}x\n", "a.tsv")
    if mark == "\t":
        assert len(read_table(table, **wanted)) == 1
    else:  # the name says tabs
        with pytest.raises(InputError, match="no column 'a text'"):
            read_table(table, **wanted)
        assert len(read_table(table, **wanted, delimiter=name)) == 1
    with pytest.raises(InputError, match=r"delimiter is '.*', and .jsonl files have none; leave it out"):
        read_table(write("{}", "a.jsonl"), **wanted, delimiter=mark)


DOCUMENTS = {
    "array": lambda rows: json.dumps(rows),
    "array of lines": lambda rows: "[\n" + ",\n".join(map(json.dumps, rows)) + "\n]\n",
    "indented array": lambda rows: json.dumps(rows, indent=2, ensure_ascii=False),
    "indented objects": lambda rows: "\n".join(json.dumps(row, indent="\t") for row in rows),
    "two arrays": lambda rows: json.dumps(rows[:1]) + "\n" + json.dumps(rows[1:], indent=1),
    "lines": lambda rows: "\n".join(map(json.dumps, rows)),
}


@pytest.mark.parametrize("form", DOCUMENTS)
@pytest.mark.parametrize("suffix", [".json", ".jsonl"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_json_documents_are_read_whole(write, form, suffix, mark):
    rows = [
        {"text": f"é\u2028{i} {'x' * (70_000 if i == 2 else 3)}", "label": float(i), "x": [1]}
        for i in range(4)
    ]
    rows.append(rows[0] | {"text": ""})
    path = write(mark + DOCUMENTS[form](rows), f"a{suffix}")
    examples = read_table(path, texts=["text"], label="label", parse_label=integer_label(0, 9))
    assert [(row.id, *row.texts, row.label) for row in examples.rows] == [
        (str(i), rows[i]["text"], i) for i in range(4)
    ]
    (reject,) = examples.rejects
    assert (reject.row, reject.reason) == (4, "the text 'text' is empty or not text")
    lines = path.read_text(encoding="utf-8").split("\n")
    for row in (*examples.rows, reject):  # the line is where the object begins
        assert "{" in lines[row.line - 1] and (form == "array" or row.line in (row.line, reject.line))
    assert form in ("array", "two arrays") or len({row.line for row in examples.rows}) == 4
    for file, place, row in examples.source.entries():  # read again from its place, as the token store does
        again = examples.source.read(file, place)
        assert (again.texts, getattr(again, "label", None)) == (row.texts, getattr(row, "label", None))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('[{"text": "a"}, {"text": "b"}', "a.json: the array is not closed; the file is cut"),
        ('[{"text": "a"}\n {"text": "b"}]', "a.json:2: not JSON (a comma or ] is missing before '{')"),
        ('[{"text": "a"},\n]', "a.json:2: not JSON (Expecting value)"),
        ('[{"text": "a"},\n{"text":\n b}]', "a.json:3: not JSON (Expecting value)"),
        ('{\n"text": "a"}]', "a.json:2: not JSON (Expecting value)"),
        ("[" * 100_000, "a.json:1: not JSON (maximum recursion depth exceeded"),
        ("[" + "1" * 5000 + "]", "a.json:1: not JSON (Exceeds the limit"),
        ("[]", "has no header and no row; give one JSON object a line, or an array"),
        ("[3, 4]", "a.json:1: a JSON int where an object is needed; each row has to be one JSON object"),
        ('{"text": {"0": "a"},\n"label": [1]}', None),
        ('{"rows": [{"text": "a"}]}', "no column 'text'; the file has 'rows'"),
    ],
)
def test_json_documents_that_cannot_be_read(write, content, message):
    path = write(content, "a.json")
    if message is None:  # columns in the place of rows: a row without a text
        assert read_table(path, **TEXT).rejects[0].reason == "the text 'text' is empty or not text"
        return
    with pytest.raises(InputError, match=re.escape(message)) as caught:
        [*read_table(path, **TEXT).rows]
    assert len(str(caught.value)) < 300 + len(str(path)) and "\n" not in str(caught.value)


def test_larger_documents_are_refused_and_lines_are_not(write, monkeypatch):
    monkeypatch.setattr(records, "WHOLE", 60)
    rows = [{"text": f"text {i}"} for i in range(9)]
    assert len(read_table(write(DOCUMENTS["lines"](rows), "a.json"), **TEXT)) == 9
    with pytest.raises(InputError, match=r"a.json: .* GB of JSON that is not one object a line.*\(.jsonl\)"):
        read_table(write(DOCUMENTS["array"](rows), "a.json"), **TEXT)


@pytest.fixture
def saved(tmp_path):
    """saved(name) -> the folder that datasets.save_to_disk(name) writes, in two files of two rows."""
    pyarrow = pytest.importorskip("pyarrow")

    def write(name: str, columns: dict, features: dict | None = None):
        folder = tmp_path / name
        folder.mkdir(parents=True)
        names = [f"data-0000{i}-of-00002.arrow" for i in range(2)]
        for i, file in enumerate(names):
            table = pyarrow.table({key: values[2 * i : 2 * i + 2] for key, values in columns.items()})
            with pyarrow.OSFile(str(folder / file), "wb") as sink:
                with pyarrow.ipc.new_stream(sink, table.schema) as writer:
                    writer.write_table(table)
        state = {"_data_files": [{"filename": file} for file in names], "_format_type": None, "_split": name}
        (folder / "state.json").write_text(json.dumps(state))
        (folder / "dataset_info.json").write_text(json.dumps({"features": features or {}, "splits": {}}))
        return folder

    return write


def test_folders_that_datasets_saved(saved, tmp_path):
    folder = saved("train", {"text": ["a", "b", None, "d"], "label": [1, 0, 1, 2]})
    examples = read_table(folder, texts=["text"], label="label", parse_label=integer_label(0, 2))
    assert [(row.id, row.texts[0], row.label, row.line) for row in examples.rows] == [
        ("0", "a", 1, 1),
        ("1", "b", 0, 2),
        ("3", "d", 2, 2),
    ]
    assert [path.name for path in files_of(folder)] == [
        "data-00000-of-00002.arrow",
        "data-00001-of-00002.arrow",
    ]
    (tmp_path / "dataset_dict.json").write_text('{"splits": ["train", "test"]}')
    with pytest.raises(InputError, match=f"has the splits train, test; name .*{tmp_path.name}/train"):
        files_of(tmp_path)
    (folder / "state.json").write_text("{}")
    with pytest.raises(InputError, match="state.json: names no data files; save the dataset again"):
        files_of(folder)


def test_json_lines_reject_what_is_not_a_row(write):
    lines = {
        "[1, 2]": "a JSON list",
        '{"text": "cut': "not JSON",
        "[" * 100_000: "not JSON",
        '{"label": 1}': "text 'text'",
        '{"text": ["a"], "label": 1}': "text 'text'",
        '{"text": "a"}': "label 'label' is empty",
        '{"text": "a", "label": null}': "label 'label' is empty",
        '{"text": "a", "label": NaN}': "not a finite number",
        '{"text": "half \\ud800", "label": 1}': "surrogate",
    }
    path = write("\n".join(['{"text": "a\u2028b", "label": 1.0}', *lines]), "a.jsonl")
    examples = read_table(path, texts=["text"], label="label", parse_label=integer_label(0, 1))
    assert examples.rows == (Example("0", ("a\u2028b",), 1, 1),)
    assert [reject.line for reject in examples.rejects] == list(range(2, 11))
    for reject, reason in zip(examples.rejects, lines.values(), strict=True):
        assert reason in reject.reason
    with pytest.raises(InputError, match="b.jsonl:1: a JSON int where an object is needed"):
        read_table(write("3\n4\n", "b.jsonl"), **TEXT)
    with pytest.raises(InputError, match="has no header and no row"):
        read_table(write("\n", "b.jsonl"), **TEXT)


def test_plain_text_is_an_example_a_line(write):
    examples = read_lines(write(b"\xef\xbb\xbf One , two .\r\n\n  \nA\xe2\x80\xa8b\nc\0\nlast"))
    assert examples.rows == (
        Example("1", ("One , two .",), None, 1),
        Example("4", ("A\u2028b",), None, 4),
        Example("6", ("last",), None, 6),
    )
    (reject,) = examples.rejects
    assert (reject.id, reject.line, reject.row, reject.texts) == ("5", 5, 2, ("c\0",))
    assert "NUL" in reject.reason and not examples.labelled
    with pytest.raises(InputError, match="has no text; give a file with one text a line"):
        read_lines(write(" \n\n"))


# --- labels -------------------------------------------------------------------------------------------------


def test_numbers_equal_to_whole_numbers_are_one_class():
    for text, name in {
        "1": "1",
        "1.0": "1",
        "-2.00": "-2",
        "-0.0": "0",
        "1e+16": "10000000000000000",
        "1.5": "1.5",
        "1e5": "1e5",  # a code, as numbers are not written
        "007": "007",
        "1.0.0": "1.0.0",
        "v1.0": "v1.0",
        "": "",
        "None": "None",
    }.items():
        assert class_name(text) == name
    for value in (3, -7, 1e16, 1e22, 123456.0):
        assert class_name(json.dumps(value)) == str(int(value))


def test_labels_keep_their_type_and_are_never_rounded():
    labels = [integer_label(0, 4)(text) for text in ("3", "1.0", "0", "4.0", "1e0")]
    assert labels == [3, 1, 0, 4, 1] and all(type(label) is int for label in labels)
    assert number_label(0, 5)("2.4") == 2.4 and type(number_label(0, 5)("5")) is float
    refused = {"5": "not between 0 and 4", "-1": "not between 0 and 4"}
    refused |= dict.fromkeys(["", "nan", "inf", "good", "1_0", "\u0663"], "not a finite number")
    for text, reason in refused.items():
        for parse in (integer_label(0, 4), number_label(0, 4)):
            with pytest.raises(ValueError, match=reason):
                parse(text)
    with pytest.raises(ValueError, match="'2.4' is not a whole number"):
        integer_label(0, 4)("2.4")


# --- the course's files -------------------------------------------------------------------------------------


def test_sizes_of_the_course_files(course_data):
    for task, label, sizes in (
        ("ids-sst", "sentiment", {"train": 8544, "dev": 1101, "test-student": 2210}),
        ("ids-cfimdb", "sentiment", {"train": 1707, "dev": 245, "test-student": 488}),
        ("sts", "similarity", {"train": 6040, "dev": 863, "test-student": 1725}),
    ):
        parse = number_label(0, 5) if label == "similarity" else integer_label(0, 4)
        texts = SINGLE["texts"] if label == "sentiment" else PAIRS["texts"]
        for split, rows in sizes.items():
            path = course_data / f"{task}-{split}.csv"
            examples = read_table(path, texts=texts, label=label, parse_label=parse)
            assert len(examples) == rows and examples.rejects == ()
            assert examples.labelled == (split != "test-student")
            assert all(len(row.id) == 25 for row in examples.rows)


def test_the_two_unusable_rows_of_quora_dev(course_data):
    examples = read_table(course_data / "quora-dev.csv", **PAIRS)
    assert len(examples) == 20212 and len(examples.in_file_order()) == 20214
    first, second = examples.rejects
    assert (first.row, first.line) == (2575, 2577) and (second.row, second.line) == (14220, 14222)
    assert "label 'is_duplicate' is empty" in first.reason and "'sentence2' is empty" in second.reason
    assert sum(row.label for row in examples.rows) == 7585
