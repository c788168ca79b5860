"""Contrastive tasks: the loss compares the vectors of an example's texts with those of the whole batch.

B examples of K texts each (an anchor, its positive, hard negatives), D hidden size.
"""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from minbert import Batch, BertConfig, InputError, Tokenizer, normalize
from multitask.config.task_config import TaskConfig
from multitask.data.collate import TaskBatch, TokenizedExample, pack_sides
from multitask.data.positives import Groups
from multitask.data.readers import (
    Example,
    Examples,
    Row,
    hashes_of,
    integer_label,
    read_lines,
    read_table,
)
from multitask.losses.contrastive import count_masked, info_nce
from multitask.losses.shapes import check_shapes
from multitask.model.multitask_model import EncoderView
from multitask.tasks.base import Loss, SentenceVectors, TrainingTask

# Of a temperature that is learnt: logits grow no larger than 100 (Radford et al. 2021, section 2.5).
LOWEST_TEMPERATURE = 0.01


class ContrastiveHead(nn.Module):
    """Head between pooled vectors and the loss, in training only: (N, D) -> (N, D).

    `layer` is SimCSE's, linear and tanh. With a `temperature` to learn, vectors come out divided by the root
    of it and their length, so that their dot products are cosines / temperature, wherever they are computed.
    """

    def __init__(self, hidden_size: int, layer: bool = False, temperature: float | None = None):
        super().__init__()
        self.dense = nn.Linear(hidden_size, hidden_size) if layer else None
        self.log_temperature = None if temperature is None else nn.Parameter(torch.tensor(temperature).log())
        if self.dense is not None:
            nn.init.normal_(self.dense.weight, std=0.02)
            nn.init.zeros_(self.dense.bias)

    def forward(self, vectors: Tensor) -> Tensor:
        if self.dense is not None:
            vectors = torch.tanh(self.dense(vectors))
        if self.log_temperature is None:
            return vectors
        if self.training:
            # The value is cut, not the result: beyond the bound a cut result would have no gradient back.
            with torch.no_grad():
                self.log_temperature.clamp_(min=math.log(LOWEST_TEMPERATURE))
        return normalize(vectors, "l2") * torch.exp(-self.log_temperature / 2)


class ContrastiveTask(TrainingTask):
    """K texts an example, from a table of pairs, which the loss pulls together: outputs (B, K, D).

    Known positives of the training split (texts that pairs connect, in several steps too) and equal texts
    are no negatives of one another; `masked_share` says how often that was so.
    """

    losses = {
        "info_nce": Loss(
            info_nce,
            *("temperature", "learn_temperature", "symmetric", "hard_negative_weight", "training_head"),
        )
    }
    batch_level_loss = True
    contrastive = True
    label_options = ()
    uniform_batches = True  # negatives of like length would be told apart by their length

    def __init__(self, name: str, config: TaskConfig):
        super().__init__(name, config)
        self._check()
        self._train: Examples | None = None
        self._groups = Groups(np.zeros((0, 2), np.uint64))
        self._masked: Tensor | int = 0  # summed where the groups are: nothing waits for an accelerator
        self._negatives = 0

    def _check(self) -> None:
        name, config = self.name, self.config
        if config.pooling == "pooler":
            raise InputError(
                f"{name}.pooling is 'pooler', which no folder of sentence vectors can name; take cls with "
                f"{name}.training-head mlp"
            )
        if config.normalize == "l1":
            raise InputError(f"{name}.normalize is 'l1', and cosines are compared; choose l2 or none")
        if config.learn_temperature and config.temperature < LOWEST_TEMPERATURE:
            raise InputError(
                f"{name}.temperature is {config.temperature}; one that is learnt begins at "
                f"{LOWEST_TEMPERATURE} or above"
            )
        self.check_columns()

    def check_columns(self) -> None:
        """Raises InputError where the columns that the configuration names are not those of the kind."""
        if self.config.text2 is None:
            raise InputError(
                f"{self.name} needs pairs; set {self.name}.text2 to the column of the second text"
            )
        if self.config.pairs != "bi":
            raise InputError(
                f"{self.name}.pairs is {self.config.pairs!r}; every text gets a vector of its own: give bi"
            )

    @property
    def columns(self) -> tuple[str, ...]:
        """Returns the columns of an example's K texts: anchor, positive, hard negatives."""
        return (self.config.text, self.config.text2, *self.config.negatives)

    @property
    def sentence_pooling(self) -> tuple[str, str | None]:
        return self.config.pooling, self.config.normalize

    @property
    def pooled_inputs(self) -> str:
        return self.config.pooling

    @property
    def masked_share(self) -> float:
        """Share of the negatives that losses have seen and left out as known positives."""
        return int(self._masked) / self._negatives if self._negatives else 0.0

    def load(self, source: Path, split: str) -> Examples:
        path, delimiter = self.path(source, split), self.config.delimiter
        read = read_table(path, texts=self.columns, label=None, parse_label=None, delimiter=delimiter)
        return self._remember(split, read)

    def _remember(self, split: str, examples: Examples) -> Examples:
        """Keeps the whole file's positives: those beyond --limit connect texts too."""
        if split == "train":
            self._train = examples
        return examples

    def texts(self, example: Example) -> tuple[str, ...]:
        """Returns the K texts of an example."""
        return example.texts

    def hashes(self, example: Example) -> Sequence[int]:
        """Returns 8 bytes for each of `texts`; whoever changes those has to change these."""
        return example.text_hashes

    def prepare_training(self, examples: Sequence[Example]) -> list[str]:
        """Finds which texts are known positives; returns a note on how many pairs that concerns."""
        every = getattr(examples, "all_text_hashes", None)  # of a token store
        if every is None:
            every = hashes_of(examples if self._train is None else [*self._train.rows, *examples])
        self._groups = Groups(every[:, :2])
        pairs = hashes_of(examples)
        _, counts = np.unique(self._groups.of(pairs[:, 0]), return_counts=True)
        shared = int(counts[counts > 1].sum())
        if not shared:
            return []
        masks = self.config.mask_false_negatives
        verdict = "left out of each other's negatives" if masks else "negatives all the same, as configured"
        return [f"{shared:,} of {len(pairs):,} pairs are known positives of another; {verdict}"]

    def tokenize(self, tokenizer: Tokenizer, examples: Sequence[Example]) -> list[TokenizedExample]:
        sides = zip(*(self.texts(example) for example in examples), strict=True)
        encoded = [tokenizer.encode(side, max_length=self.config.max_length) for side in sides]
        return [
            TokenizedExample(example, tuple(sequences))
            for example, *sequences in zip(examples, *encoded, strict=True)
        ]

    def collate(self, examples: Sequence[TokenizedExample]) -> TaskBatch:
        """K * B sequences, all anchors first; the targets (B, K) are numbers, equal for known positives."""
        hashes = np.array([self.hashes(entry.example) for entry in examples], dtype=np.uint64)
        groups = self._groups.of(hashes)
        # A text without a group has a negative number of its own, the same in every process.
        numbers = np.where(groups < 0, -1 - (hashes >> np.uint64(8)).astype(np.int64), groups)
        return TaskBatch(
            pack_sides([entry.sides for entry in examples]),
            torch.from_numpy(numbers),
            tuple(entry.example.id for entry in examples),
        )

    def build_head(self, encoder: BertConfig) -> None:
        config = self.config
        temperature = config.temperature if config.learn_temperature else None
        self.head = ContrastiveHead(encoder.hidden_size, config.training_head == "mlp", temperature)

    def embed(self, encoder: EncoderView, inputs: Batch) -> Tensor:
        """Computes sentence vectors (N, D) of N sequences as evaluation uses them, without the head."""
        pooling, normalization = self.sentence_pooling
        return normalize(encoder.vectors(inputs, pooling), normalization)

    def forward(self, encoder: EncoderView, inputs: Batch) -> Tensor:
        """Computes (B, K, D) in one forward pass of all K * B texts."""
        vectors = self.head(self.embed(encoder, inputs))  # (K * B, D)
        return vectors.unflatten(0, (self.texts_an_example, -1)).transpose(0, 1)  # (B, K, D)

    @property
    def texts_an_example(self) -> int:
        """K"""
        return len(self.columns)

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Computes the mean over the anchors; outputs (B, K, D), targets (B, K) as from `collate`."""
        if self.config.loss != "info_nce":
            return super().loss(outputs, targets)
        check_shapes(outputs[..., 0], targets)
        config = self.config
        if config.mask_false_negatives:
            count, texts = targets.shape
            self._masked = self._masked + count_masked(targets)
            self._negatives += count * (count * (texts - 1) - 1)
        return info_nce(
            outputs,
            targets if config.mask_false_negatives else None,
            None if config.learn_temperature else config.temperature,
            config.symmetric,
            config.hard_negative_weight,
        )

    def divergence(self, p: Tensor, q: Tensor) -> Tensor:
        """Mean squared distance of the unit vectors, which are all that the loss sees; both (B, K, D)."""
        check_shapes(p, q)
        return (normalize(p, "l2") - normalize(q, "l2")).square().sum(dim=-1).mean()

    @property
    def input_form(self) -> str:
        return "text"

    def graph_outputs(self) -> dict[str, str]:
        pooling, normalization = self.sentence_pooling
        length = f"{normalization.upper()} length 1" if normalization else "not normalised"
        return {"sentence_embedding": f"(B, D): {pooling} pooling, {length}"}

    def graph(self, encoder: EncoderView, inputs: Batch) -> tuple[Tensor, ...]:
        return (self.embed(encoder, inputs),)

    def sentence_vector_parts(self) -> SentenceVectors:
        return SentenceVectors(*self.sentence_pooling, None)


class SimCSE(ContrastiveTask):
    """Unsupervised SimCSE (Gao et al. 2021, section 3): a sentence of a text file is its own positive.

    Both copies run in one forward pass of 2 B rows. Without dropout they would be equal, and nothing learnt.
    """

    reads = "lines"
    defaults = {"train": "mlm/sentences.txt", "loss": "info_nce", "max_length": 32, "batch_size": 64}
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

    def hashes(self, example: Example) -> Sequence[int]:
        return [*example.text_hashes] * 2

    def prepare_training(self, examples: Sequence[Example]) -> list[str]:
        """Returns a note on repeated sentences, which are not each other's negatives."""
        _, counts = np.unique(hashes_of(examples), return_counts=True)
        repeated = int(counts[counts > 1].sum())
        return [f"{repeated:,} sentences stand there more than once"] if repeated else []

    def tokenize(self, tokenizer: Tokenizer, examples: Sequence[Example]) -> list[TokenizedExample]:
        texts = [example.texts[0] for example in examples]
        sequences = tokenizer.encode(texts, max_length=self.config.max_length)
        return [
            TokenizedExample(example, (sequence, sequence))
            for example, sequence in zip(examples, sequences, strict=True)
        ]


class NLI(ContrastiveTask):
    """Supervised SimCSE (Gao et al. 2021, section 4): triplets of natural language inference.

    The positive of a premise is a sentence that it entails, the hard negative one that contradicts it.

    `text`, `text2` and `negatives` name the columns; there may be several of the last, or none.
    """

    defaults = {
        "train": "nli/nli_for_simcse.csv",
        "text": "sent0",
        "text2": "sent1",
        "negatives": ("hard_neg",),
        "pairs": "bi",
        "loss": "info_nce",
        "max_length": 32,
        "batch_size": 64,
    }


class Ranking(ContrastiveTask):
    """Multiple negatives ranking (Henderson et al. 2017, section 4.4) of the positive pairs of any table.

    Rows whose label is 0 are read, counted, and used for nothing.

    A file without the label column holds positive pairs only. `negatives` names columns of hard negatives.
    """

    defaults = {
        "train": "quora-train.csv",
        "text": "sentence1",
        "text2": "sentence2",
        "label": "is_duplicate",
        "pairs": "bi",
        "loss": "info_nce",
        "max_length": 64,
        "batch_size": 64,
    }

    def __init__(self, name, config):
        super().__init__(name, config)
        self._unlabelled_note: str | None = None

    def load(self, source: Path, split: str) -> Examples:
        """Reads the rows with label 1, or all of them from a file without labels."""
        path, label, delimiter = self.path(source, split), self.config.label, self.config.delimiter
        parse = integer_label(0, 1)
        examples = read_table(path, texts=self.columns, label=label, parse_label=parse, delimiter=delimiter)
        if examples.labelled:
            examples = examples.changed(_positive)
        elif split == "train":
            self._unlabelled_note = f"{path} has no column {label!r}; every row is a positive pair"
        return self._remember(split, examples)

    def prepare_training(self, examples: Sequence[Example]) -> list[str]:
        """Also notes how many rows of the file are not positive pairs."""
        notes = [] if self._unlabelled_note is None else [self._unlabelled_note]
        if self._train is not None and self._train.labelled and self._train.source is not None:
            read = self._train.source.summary
            notes.append(
                f"{read.dropped:,} of {read.rows + read.dropped:,} rows are not positive pairs, and not used"
            )
        return [*notes, *super().prepare_training(examples)]


def _positive(row: Row) -> Row | None:
    """Leaves out rows whose label is 0."""
    return None if isinstance(row, Example) and row.label != 1 else row
