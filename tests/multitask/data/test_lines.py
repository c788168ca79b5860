"""Plain text, and the names of a table's columns."""

from pathlib import Path

import pytest

from minbert import InputError
from multitask.data.readers import Example, column_names, read_lines


def write(folder: Path, content: str | bytes, name: str = "data.csv") -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def test_columns_are_named_without_reading_the_rows(tmp_path):
    assert column_names(write(tmp_path, "label,text \n1,a\n")) == ("label", "text")
    assert column_names(write(tmp_path, '{"a": 1}\n{"b": [2]}\n', "a.jsonl")) == ("a", "b")
    assert column_names(write(tmp_path, "a;b\n"), delimiter=";") == ("a", "b")


def test_plain_text_is_an_example_a_line(tmp_path):
    path = write(tmp_path, b"\xef\xbb\xbf One , two .\r\n\n  \nA\xe2\x80\xa8b\nc\0\nlast")
    examples = read_lines(path)
    assert examples.rows == (
        Example("1", ("One , two .",), None, 1),
        Example("4", ("A\u2028b",), None, 4),
        Example("6", ("last",), None, 6),
    )
    (reject,) = examples.rejects
    assert (reject.id, reject.line, reject.row, reject.texts) == ("5", 5, 2, ("c\0",))
    assert "NUL" in reject.reason and not examples.labelled
    with pytest.raises(InputError, match="holds no text; give a file with one text a line"):
        read_lines(write(tmp_path, " \n\n"))
