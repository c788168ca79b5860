"""Multiple negatives ranking (Henderson et al. 2017, section 4.4): pairs, and all others as negatives."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from multitask.data.readers import Example, Examples, integer_label, read_table
from multitask.tasks.contrastive import ContrastiveTask


class Ranking(ContrastiveTask):
    """Positive pairs of any table; rows whose label is 0 are read, counted, and used for nothing.

    A file without the label column holds positive pairs only. `negatives` names columns of hard negatives.
    """

    def __init__(self, name, config):
        super().__init__(name, config)
        self._notes: list[str] = []

    def load(self, source: Path, split: str) -> Examples:
        """The rows with label 1, or all of them where there are no labels."""
        path, label = self.path(source, split), self.config.label
        examples = read_table(path, texts=self.columns, label=label, parse_label=integer_label(0, 1))
        if not examples.labelled:
            notes = [f"{path} has no column {label!r}; every row is a positive pair"]
        else:
            positives = tuple(row for row in examples.rows if row.label == 1)
            notes = [
                f"{len(examples.rows) - len(positives):,} of {len(examples.rows):,} rows are no positive "
                f"pairs, and not used"
            ]
            examples = replace(examples, rows=positives)
        if split == "train":
            self._notes = notes
        return self._remember(split, examples)

    def prepare_training(self, examples: Sequence[Example]) -> list[str]:
        """Also says how many rows of the file are no positive pairs."""
        return [*self._notes, *super().prepare_training(examples)]
