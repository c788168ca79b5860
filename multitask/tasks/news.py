"""AG News: the beginning of a newspaper article -> World, Sports, Business or Sci/Tech.

The files hold labels from 1 and texts with scars: ` #39;` where `&#39;` stood, marks of HTML such as
`&lt;b&gt;`, and a backslash in place of a line end. `plain_text` mends them, for all splits alike.
"""

import html
import re
from dataclasses import replace
from pathlib import Path

from minbert import InputError
from multitask.data.readers import Example, Examples, Reject, column_names, integer_label, read_table
from multitask.tasks.generic import ClassificationTask

PARTS = ("title", "description")
# Only these names: " phone;" and " times;" would be references too, but are words here.
_REFERENCE = re.compile(r"(?:^|[ &])(#\d{2,5}|quot|amp|lt|gt|nbsp|hellip|eacute);")
_MARKUP = re.compile(r"</?[a-zA-Z][^<>]*>")


class News(ClassificationTask):
    """Accuracy over the topics in `labels`; the files number them from 1."""

    def parse_label(self, text: str) -> str:
        return self.labels[integer_label(1, len(self.labels))(text) - 1]

    def load(self, source: Path, split: str) -> Examples:
        """A split whose text is one column, or else the title and the description, with a space between."""
        config, name = self.config, self.file(split)
        if name is None:
            raise InputError(f"task {self.name} has no {split} split; set {self.name}.{split} to a file name")
        path = Path(source) / name
        columns = column_names(path)
        whole = config.text in columns or not set(PARTS) <= set(columns)
        texts = [config.text] if whole else list(PARTS)
        examples = read_table(path, texts=texts, label=config.label, parse_label=self.parse_label)
        return replace(
            examples,
            rows=tuple(map(_mended, examples.rows)),
            rejects=tuple(_mended(row) if len(row.texts) == len(texts) else row for row in examples.rejects),
        )


def plain_text(text: str) -> str:
    """The text without its scars: references as characters, no HTML marks, single spaces.

    ` #39;` is read as `&#39;`, so the space before it goes; a backslash counts as white space.
    """
    text = _REFERENCE.sub(lambda match: html.unescape(f"&{match[1]};"), text.replace(" amp;", " &amp;"))
    return " ".join(_MARKUP.sub(" ", text).replace("\\", " ").split())


def _mended(row: Example | Reject) -> Example | Reject:
    """The row with its texts as one; one that consists of scars stays as it is."""
    text = " ".join(row.texts)
    return replace(row, texts=(plain_text(text) or text,))
