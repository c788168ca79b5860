"""HTML pages in one file that loads nothing: one style, light and dark, for all reports of both packages."""

from typing import TYPE_CHECKING

from minbert import attach_names

if TYPE_CHECKING:
    from minbert.cli.page.html import Cell as Cell
    from minbert.cli.page.html import Column as Column
    from minbert.cli.page.html import Section as Section
    from minbert.cli.page.html import Tile as Tile
    from minbert.cli.page.html import bullets as bullets
    from minbert.cli.page.html import facts as facts
    from minbert.cli.page.html import figure as figure
    from minbert.cli.page.html import folded as folded
    from minbert.cli.page.html import headline as headline
    from minbert.cli.page.html import page as page
    from minbert.cli.page.html import paragraph as paragraph
    from minbert.cli.page.html import section as section
    from minbert.cli.page.html import side_by_side as side_by_side
    from minbert.cli.page.html import table as table
    from minbert.cli.page.html import tabs as tabs
    from minbert.cli.page.html import text_column as text_column
    from minbert.cli.page.numbers import difference as difference
    from minbert.cli.page.numbers import duration as duration
    from minbert.cli.page.numbers import number as number
    from minbert.cli.page.numbers import score as score

__getattr__, __dir__, __all__ = attach_names(
    __name__,
    {
        "html": (
            "Cell",
            "Column",
            "Section",
            "Tile",
            "bullets",
            "facts",
            "figure",
            "folded",
            "headline",
            "page",
            "paragraph",
            "section",
            "side_by_side",
            "table",
            "tabs",
            "text_column",
        ),
        "numbers": ("difference", "duration", "number", "score"),
    },
)
