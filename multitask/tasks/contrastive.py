"""Tasks whose loss compares the examples of a batch: the vectors of one example's texts against all others.

B examples of K texts each (an anchor, its positive, hard negatives), D hidden size.
"""

import hashlib
import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from minbert import Batch, InputError, Tokenizer, normalize
from multitask.config.task_config import TaskConfig
from multitask.data.collate import TaskBatch, TokenizedExample, pack_sides
from multitask.data.positives import find_groups
from multitask.data.readers import Example, Examples, read_table
from multitask.losses.contrastive import count_masked, info_nce
from multitask.losses.shapes import check_shapes
from multitask.model.multitask_model import Encode
from multitask.tasks.base import TrainingTask, check_loss_options

LOWEST_TEMPERATURE = (
    0.01  # of a learnt one: logits grow no larger than 100 (Radford et al. 2021, section 2.5)
)


class ContrastiveHead(nn.Module):
    """What stands between pooled vectors and the loss, in training only: (N, D) -> (N, D).

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


class MaskedCount:
    """Which share of the negatives was left out, over many batches; counts a hundred of them at once.

    Counting each at its step would make an accelerator wait.
    """

    def __init__(self):
        self._waiting: list[Tensor] = []
        self._masked = self._negatives = 0

    def add(self, groups: Tensor) -> None:
        """Takes note of a batch's groups (B, K)."""
        self._waiting.append(groups.detach())
        if len(self._waiting) == 100:
            self._count()

    @property
    def share(self) -> float:
        self._count()
        return self._masked / self._negatives if self._negatives else 0.0

    def _count(self) -> None:
        for groups in self._waiting:
            count, texts = groups.shape
            self._masked += count_masked(groups)
            self._negatives += count * (count * (texts - 1) - 1)
        self._waiting = []


class ContrastiveTask(TrainingTask):
    """K texts an example, from a table of pairs, which the loss pulls together: outputs (B, K, D).

    Known positives of the training split (texts that pairs connect, in several steps too) and equal texts
    are no negatives of one another; `masked_share` says how often that was so.
    """

    losses = {"info_nce": info_nce}
    batch_level_loss = True  # the loss needs the whole batch, over all processes
    uniform_batches = True  # negatives of like length would be told apart by their length

    def __init__(self, name: str, config: TaskConfig):
        super().__init__(name, config)
        self._check()
        self._positives: list[tuple[str, ...]] = []
        self._groups: dict[str, int] = {}
        self._masked = MaskedCount()

    def _check(self) -> None:
        name, config = self.name, self.config
        if config.loss not in self.losses:
            raise InputError(f"{name}.loss is {config.loss!r}; choose from {', '.join(self.losses)}")
        if config.pooling == "pooler":
            raise InputError(
                f"{name}.pooling is 'pooler', which no folder of sentence vectors can name; take cls with "
                f"{name}.training-head mlp"
            )
        if config.normalize == "l1":
            raise InputError(f"{name}.normalize is 'l1', and cosines are compared; choose l2 or none")
        if config.projection is not None:
            raise InputError(f"{name}.projection is not for {config.type}; leave it out")
        if config.learn_temperature and config.temperature < LOWEST_TEMPERATURE:
            raise InputError(
                f"{name}.temperature is {config.temperature}; one that is learnt begins at "
                f"{LOWEST_TEMPERATURE} or above"
            )
        check_loss_options(name, config)
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
        """The columns of an example's K texts: anchor, positive, hard negatives."""
        return (self.config.text, self.config.text2, *self.config.negatives)

    @property
    def sentence_pooling(self) -> tuple[str, str | None]:
        """(pooling, normalization) of the vectors that are trained; evaluation has to use the same."""
        return self.config.pooling, self.config.normalize

    @property
    def pooled_inputs(self) -> str:
        return self.config.pooling

    @property
    def masked_share(self) -> float:
        """Which share of the negatives that losses have seen were left out as known positives."""
        return self._masked.share

    def load(self, source: Path, split: str) -> Examples:
        path = self.path(source, split)
        return self._remember(split, read_table(path, texts=self.columns, label=None, parse_label=None))

    def path(self, source: Path, split: str) -> Path:
        """The split's file. Raises InputError where the task has none."""
        name = self.file(split)
        if name is None:
            raise InputError(f"task {self.name} has no {split} split; set {self.name}.{split} to a file name")
        return Path(source) / name

    def _remember(self, split: str, examples: Examples) -> Examples:
        """Keeps the whole file's positives: those beyond --limit connect texts too."""
        if split == "train":
            self._positives = [self.texts(example)[:2] for example in examples.rows]
        return examples

    def texts(self, example: Example) -> tuple[str, ...]:
        """The K texts of an example."""
        return example.texts

    def prepare_training(self, examples: Sequence[Example]) -> list[str]:
        """Finds which texts are known positives; -> a note on how many pairs that concerns."""
        pairs = [self.texts(example)[:2] for example in examples]
        self._groups = find_groups([*self._positives, *pairs])
        counts = Counter(self._groups[anchor] for anchor, _ in pairs)
        shared = sum(count for count in counts.values() if count > 1)
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
        numbers = [[self._number(text) for text in self.texts(entry.example)] for entry in examples]
        return TaskBatch(
            pack_sides([entry.sides for entry in examples]),
            torch.tensor(numbers),
            tuple(entry.example.id for entry in examples),
        )

    def _number(self, text: str) -> int:
        """The text's group, else a negative number of its own that is the same in every process."""
        group = self._groups.get(text)
        if group is not None:
            return group
        return -1 - int.from_bytes(hashlib.blake2b(text.encode(), digest_size=7).digest())

    def head(self, hidden_size: int) -> ContrastiveHead:
        config = self.config
        temperature = config.temperature if config.learn_temperature else None
        return ContrastiveHead(hidden_size, config.training_head == "mlp", temperature)

    def embed(self, encode: Encode, head: nn.Module, inputs: Batch) -> Tensor:
        """Sentence vectors (N, D) of N sequences as evaluation uses them: the training head left out."""
        pooling, normalization = self.sentence_pooling
        return normalize(encode.vectors(inputs, pooling), normalization)

    def forward(self, encode: Encode, head: nn.Module, inputs: Batch) -> Tensor:
        """-> (B, K, D) from one forward pass of all K * B texts"""
        vectors = head(self.embed(encode, head, inputs))  # (K * B, D)
        return vectors.unflatten(0, (self.texts_an_example, -1)).transpose(0, 1)  # (B, K, D)

    @property
    def texts_an_example(self) -> int:
        """K"""
        return len(self.columns)

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The mean over the anchors; outputs (B, K, D), targets (B, K) as from `collate`."""
        check_shapes(outputs[..., 0], targets)
        config = self.config
        if config.mask_false_negatives:
            self._masked.add(targets)
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
