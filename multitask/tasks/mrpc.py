"""Microsoft Research Paraphrase Corpus: do two sentences say the same?"""

from pathlib import Path

from minbert import InputError
from multitask.data.readers import Examples, read_table
from multitask.tasks.generic import PairTask


class MRPC(PairTask):
    """Accuracy and F1; further paraphrase data beside Quora's. Ids are row numbers from 0."""

    def load(self, source: Path, split: str) -> Examples:
        """The pairs of a split. In these files a quote is a character like others and opens nothing."""
        config, name = self.config, self.file(split)
        if name is None:
            raise InputError(f"task {self.name} has no {split} split; set {self.name}.{split} to a file name")
        return read_table(
            Path(source) / name,
            texts=[config.text, config.text2],
            label=config.label,
            parse_label=self.parse_label,
            quoting=False,
        )
