"""Tables as text: Markdown, and aligned columns for a terminal."""

from collections.abc import Sequence
from typing import Any


def markdown_table(headings: Sequence[str], rows: Sequence[Sequence[Any]], numbers: bool = False) -> str:
    """Returns a Markdown table; with `numbers` all columns but the first are aligned to the right."""
    rule = ["---", *["---:" if numbers else "---"] * (len(headings) - 1)]
    lines = [[str(cell).replace("|", r"\|") for cell in line] for line in (headings, rule, *rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


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
