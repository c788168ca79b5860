"""Markdown that shows a text as it is, whatever is in it: read back by a parser of CommonMark and tables.

Run: pytest tests/multitask/test_text_table.py
"""

import pytest

from minbert import markdown_text
from multitask.text_table import markdown_table

TEXTS = [
    "a | b",
    "`code` and ``more``",
    "*stars* _under_ __both__ off_by_one",
    "[a link](http://x) ![image](x) [reference]: x [one][two]",
    "<img src=x onerror=alert(1)> <!-- a --> &lt; R&D &#60;",
    "# heading",
    "1. item",
    "- item",
    "+ item",
    "> quote",
    "---",
    "===",
    "~~struck~~ \\ and \\| and \\",
    "two\nlines\r\n\n# and more",
    "+0.012 [+0.003, +0.021]* 1.5",
]


@pytest.fixture(scope="module")
def parse():
    """Renders Markdown; -> (kinds of tokens, texts of its inline parts)."""
    markdown = pytest.importorskip("markdown_it").MarkdownIt("commonmark").enable(["table", "strikethrough"])

    def read(text: str) -> tuple[list[str], list[str]]:
        tokens = markdown.parse(text)
        inline = [token for token in tokens if token.type == "inline"]
        kinds = {token.type for part in inline for token in part.children} - {"text", "text_special"}
        assert not kinds - {"code_inline"}, (text, kinds)
        return [token.type for token in tokens], [
            "".join(c.content for c in part.children) for part in inline
        ]

    return read


@pytest.mark.parametrize("text", TEXTS)
def test_a_text_is_shown_as_it_is(parse, text):
    line = " ".join(text.split())
    kinds, shown = parse(markdown_text(text))
    assert kinds == ["paragraph_open", "inline", "paragraph_close"] and shown == [line]
    kinds, shown = parse(markdown_table(["a", text], [[text, 1], ["`x|y`", "b"]]))
    assert shown == ["a", line, line, "1", "x|y", "b"]


def test_control_characters_are_written_out_and_plain_text_stays():
    assert markdown_text("\x1b[31mred\x07") == r"\\x1b[31mred\\x07"
    for plain in ("off_by_one", "1.5", "-0.1", "R&D", "[+0.003, +0.021]", "LoRA, rank 8"):
        assert markdown_text(plain) == plain
