"""Unsupervised SimCSE (Gao et al. 2021, section 3): a sentence is its own positive, dropout apart."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from minbert import InputError, Tokenizer
from multitask.data.collate import TokenizedExample
from multitask.data.readers import Example, Examples, read_lines
from multitask.tasks.contrastive import ContrastiveTask


class SimCSE(ContrastiveTask):
    """Sentences of a plain text file, one a line; each is told from the others of its batch.

    Both copies run in one forward pass of 2 B rows. Without dropout they would be equal, and nothing learnt.
    """

    texts_an_example = 2

    def check_columns(self) -> None:
        if self.config.text2 is not None or self.config.negatives:
            raise InputError(
                f"{self.name} reads plain text, one sentence a line; leave out text2 and negatives, or take "
                f"type nli or ranking"
            )

    def load(self, source: Path, split: str) -> Examples:
        return read_lines(self.path(source, split))

    def texts(self, example: Example) -> tuple[str, str]:
        return example.texts * 2

    def prepare_training(self, examples: Sequence[Example]) -> list[str]:
        """A note on sentences that stand there more than once: they are not each other's negatives."""
        counts = Counter(example.texts[0] for example in examples)
        repeated = sum(count for count in counts.values() if count > 1)
        return [f"{repeated:,} sentences stand there more than once"] if repeated else []

    def tokenize(self, tokenizer: Tokenizer, examples: Sequence[Example]) -> list[TokenizedExample]:
        texts = [example.texts[0] for example in examples]
        sequences = tokenizer.encode(texts, max_length=self.config.max_length)
        return [
            TokenizedExample(example, (sequence, sequence))
            for example, sequence in zip(examples, sequences, strict=True)
        ]
