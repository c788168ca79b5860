"""The texts of files in each format, from the beginning and from any place; wrong rows by file and line.

Run: pytest tests/minbert/corpus/test_texts.py
"""

import csv
import json

import pytest

from minbert import InputError
from minbert.corpus.texts import KINDS, TextFiles

TEXTS = [
    "the cat, reads",
    'a "good" book',
    "two\nlines",
    "",
    "caf\u00e9 \u4e2d\u6587 \U0001f600",
    "tab\there",
    "a\u2028b",
    " spaces ",
]
LINES = [text for text in TEXTS if "\n" not in text]  # what a plain text can hold


def write(path, texts):
    """Writes texts in the format of the file's ending, with a second column."""
    if path.suffix == ".txt":
        path.write_text("\n".join(texts), encoding="utf-8", newline="")
    elif path.suffix in (".jsonl", ".ndjson"):
        rows = [json.dumps({"n": n, "text": text}, ensure_ascii=n % 2 == 0) for n, text in enumerate(texts)]
        path.write_text("\n\n".join(rows), encoding="utf-8", newline="")
    elif path.suffix in (".csv", ".tsv"):
        with open(path, "w", encoding="utf-8", newline="") as file:
            table = csv.writer(file, delimiter="\t" if path.suffix == ".tsv" else ",")
            table.writerow(["n", "text"])
            table.writerows(enumerate(texts))
    else:
        pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
        table = pa.table({"n": list(range(len(texts))), "text": pa.array(texts, pa.string())})
        pq.write_table(table, path, row_group_size=3)


@pytest.mark.parametrize("ending", KINDS)
def test_every_row_from_every_place(tmp_path, ending):
    texts = LINES if ending == ".txt" else TEXTS
    write(tmp_path / f"a{ending}", texts)
    write(tmp_path / f"b{ending}", texts[::-1])
    for source, expected in ((f"a{ending}", texts), ("", texts + texts[::-1])):
        files = TextFiles(tmp_path / source)
        rows = list(files.rows())
        assert [text for _, text in rows] == expected
        for number, (place, _) in enumerate(rows):
            assert list(files.rows(place)) == rows[number:]


def test_a_folder_is_read_in_the_order_of_paths(tmp_path):
    for name in ("b/1.csv", "a/2.csv", "10.csv", "9.csv", ".hidden.csv", "_SUCCESS/1.csv", "README.md"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(f"text\n{name}\n")
    files = TextFiles(tmp_path)
    assert files.names == ["10.csv", "9.csv", "a/2.csv", "b/1.csv"]
    assert [text for _, text in files.rows()] == files.names
    assert files.sizes() == [[name, len(f"text\n{name}\n")] for name in files.names]
    (tmp_path / "c.txt").write_text("a text\n")
    with pytest.raises(InputError, match=r"files of several kinds \(csv, text\); give one with files of one"):
        TextFiles(tmp_path)


def test_columns_by_name(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text(
        "\ufeffquestion\tanswer\n\nwhy, oh?\tso\n", encoding="utf-8"
    )  # by tabs, as the header says
    assert [text for _, text in TextFiles(path, "question").rows()] == ["why, oh?"]
    assert [(place.line, text) for place, text in TextFiles(path, "answer").rows()] == [(3, "so")]
    for delimiter in ";|":
        path.with_name("b.csv").write_text(f"question{delimiter}answer\nwhy, oh?{delimiter}so\n")
        assert [text for _, text in TextFiles(path.with_name("b.csv"), "question").rows()] == ["why, oh?"]
    with pytest.raises(InputError, match="a.csv:1 has no column 'anwser'; did you mean 'answer'"):
        list(TextFiles(path, "anwser").rows())
    with pytest.raises(InputError, match="a.csv:1 has no column 'text'.*its columns: question, answer"):
        list(TextFiles(path).rows())
    path.write_text("text,text\na,b\n")
    with pytest.raises(InputError, match="has the column 'text' more than once"):
        list(TextFiles(path).rows())
    path.write_text("")
    with pytest.raises(InputError, match="a.csv:1 has no column 'text'.*its columns: none"):
        list(TextFiles(path).rows())
    (tmp_path / "a.txt").write_text("a\n")
    with pytest.raises(InputError, match="--column is 'text', but .*a.txt is plain text without columns"):
        TextFiles(tmp_path / "a.txt", "text")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", b'text\n"two\nlines"\nok,no\n', "a.csv:4 has 2 fields where the header has 1"),
        ("a.csv", b'text\nok\n"open\nto the end\n', "a.csv:3 begins a row that is not CSV"),
        ("a.csv", b"text\nok\ncaf\xe9\n", "a.csv:3 is not UTF-8"),
        ("a.jsonl", b'{"text": "a"}\n\n{"text": "b"\n', "a.jsonl:3 is not JSON"),
        ("a.jsonl", b'{"text": "a"}\n["b"]\n', "a.jsonl:2 holds a list; give one JSON object a line"),
        ("a.jsonl", b'{"txt": "a"}\n', "a.jsonl:1 has no key 'text'; did you mean 'txt'"),
        ("a.jsonl", b'{"text": null}\n', "a.jsonl:1 has nothing in 'text', not a text; leave the row out"),
        ("a.jsonl", b'{"text": 7}\n', "a.jsonl:1 has a int in 'text'"),
        ("a.jsonl", b'{"text": "\\ud800"}\n', "a.jsonl:1 has half of a surrogate pair"),
        ("a.txt", b"caf\xe9\n", "a.txt:1 is not UTF-8"),
        ("a.parquet", b"text\n", "a.parquet is not a Parquet file"),
    ],
)
def test_wrong_rows_are_named(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message):
        list(TextFiles(tmp_path / name).rows())


def test_wrong_columns_of_parquet(tmp_path):
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "a.parquet"
    words = pa.array(["a", "b", None])
    pq.write_table(pa.table({"text": words, "kind": words.dictionary_encode(), "n": [1, 2, 3]}), path)
    for column in ("text", "kind"):
        with pytest.raises(InputError, match=f"a.parquet:3 has nothing in '{column}'"):
            list(TextFiles(path, column).rows())
    with pytest.raises(InputError, match="the column 'n' has the type int64; give one of strings"):
        list(TextFiles(path, "n").rows())
    with pytest.raises(InputError, match="has no column 'txt'; did you mean 'text'"):
        list(TextFiles(path, "txt").rows())
