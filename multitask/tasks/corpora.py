"""Further corpora: CoNLL-2003's entities, AG News, the Microsoft Research Paraphrase Corpus."""

import html
import re
from dataclasses import replace
from pathlib import Path

from multitask.data.readers import Examples, Reject, Row, column_names, integer_label, read_table
from multitask.tasks.generic import ClassificationTask, PairTask
from multitask.tasks.tokens import TokensTask

PARTS = ("title", "description")
# Only these names: " phone;" and " times;" would be references too, but are words here.
_REFERENCE = re.compile(r"(?:^|[ &])(#\d{2,5}|quot|amp|lt|gt|nbsp|hellip|eacute);")
_MARKUP = re.compile(r"</?[a-zA-Z][^<>]*>")


class NER(TokensTask):
    """Named entities as in CoNLL-2003: F1 over whole entities, tags in IOB1 or IOB2."""

    defaults = {
        "text": "words",
        "label": "tags",
        "train": "conll2003/eng.train",
        "dev": "conll2003/eng.testa",
        "test": "conll2003/eng.testb",
    }
    demands_entities = True


class MRPC(PairTask):
    """Microsoft Research Paraphrase Corpus: do two sentences say the same? Ids are row numbers from 0."""

    defaults = {
        "train": "mrpc/msr_paraphrase_train.txt",
        "dev": "mrpc/msr_paraphrase_test.txt",
        "text": "#1 String",
        "text2": "#2 String",
        "label": "Quality",
        "pairs": "cross",
        "loss": "binary_cross_entropy",
    }

    def load(self, source: Path, split: str) -> Examples:
        """Reads the pairs of a split. In these files a quote is a character like others and opens nothing."""
        config, path = self.config, self.path(source, split)
        texts, parse = [config.text, config.text2], self.parse_label
        return read_table(
            path,
            texts=texts,
            label=config.label,
            parse_label=parse,
            quoting=False,
            delimiter=config.delimiter,
        )


class News(ClassificationTask):
    """AG News: the beginning of a newspaper article -> a topic of `labels`; the files number them from 1.

    The files' texts have scars: ` #39;` where `&#39;` stood, marks of HTML such as `&lt;b&gt;`, a backslash
    in place of a line end. `plain_text` removes them, in all splits alike.
    """

    defaults = {
        "train": "agnews/train.csv",
        "test": "agnews/test.csv",
        "label": "label",
        "labels": ("World", "Sports", "Business", "Sci/Tech"),
        "max_length": 128,
    }

    def parse_label(self, text: str) -> str:
        return self.labels[integer_label(1, len(self.labels))(text) - 1]

    def load(self, source: Path, split: str) -> Examples:
        """Reads a split whose text is one column, or else title and description, with a space between."""
        config, path = self.config, self.path(source, split)
        columns = column_names(path, config.delimiter)
        whole = config.text in columns or not set(PARTS) <= set(columns)
        texts = [config.text] if whole else list(PARTS)
        examples = read_table(
            path,
            texts=texts,
            label=config.label,
            parse_label=self.parse_label,
            delimiter=config.delimiter,
        )

        def mended(row: Row) -> Row:
            return row if isinstance(row, Reject) and len(row.texts) != len(texts) else _mended(row)

        return examples.changed(mended)


def plain_text(text: str) -> str:
    """Removes a text's scars: references become characters, HTML marks go, spaces are single.

    ` #39;` is read as `&#39;`, so the space before it goes; a backslash counts as white space.
    """
    text = _REFERENCE.sub(lambda match: html.unescape(f"&{match[1]};"), text.replace(" amp;", " &amp;"))
    return " ".join(_MARKUP.sub(" ", text).replace("\\", " ").split())


def _mended(row: Row) -> Row:
    """Joins a row's texts and removes their scars; a text of scars alone stays as it is."""
    text = " ".join(row.texts)
    return replace(row, texts=(plain_text(text) or text,))
