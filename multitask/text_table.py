"""Tables as text: Markdown, and aligned columns for a terminal."""

from collections.abc import Sequence
from typing import Any

from minbert import markdown_text, printable


def markdown_table(headings: Sequence[str], rows: Sequence[Sequence[Any]], numbers: bool = False) -> str:
    """Returns a Markdown table of plain texts; one in backticks is code.

    With `numbers` all columns but the first are numbers, which are aligned to the right.
    """
    rule = ["---", *["---:" if numbers else "---"] * (len(headings) - 1)]
    cells = [
        [_markdown_cell(str(cell), numbers and place > 0) for place, cell in enumerate(row)] for row in rows
    ]
    lines = [[_markdown_cell(heading) for heading in headings], rule, *cells]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _markdown_cell(text: str, is_number: bool = False) -> str:
    code = text[1:-1]
    if code and text[0] == text[-1] == "`" and "`" not in code:
        return f"`{printable(' '.join(code.split()))}`".replace("|", r"\|")
    return text if is_number else markdown_text(text)


def aligned_lines(rows: Sequence[Sequence[str]], left: int = 1) -> list[str]:
    """Returns the rows as lines of columns that are as wide as their longest cell.

    The first `left` columns are aligned to the left, the others to the right.
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    padded = [
        [cell.ljust(widths[i]) if i < left else cell.rjust(widths[i]) for i, cell in enumerate(row)]
        for row in rows
    ]
    return ["  ".join(cells).rstrip() for cells in padded]
