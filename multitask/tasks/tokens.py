"""A tag for each word of a sentence. B examples, N words that reached the model, C tags.

The first sub-word of a word stands for it (Devlin et al. 2018, section 5.3): only these rows go through the
head, and no other one carries a target, which would count long words several times. A word that truncation
cut off, or of which the tokenizer left nothing, is predicted as O and scored as such.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import chain
from pathlib import Path

import torch
from torch import Tensor

from minbert import Batch, BertConfig, InputError, Tokenizer, TokenSequence
from multitask.config.task_config import TaskConfig
from multitask.data.collate import TaskBatch, TokenizedExample
from multitask.data.conll import has_bare_types, read_tagged
from multitask.data.readers import Example, Examples, Reject
from multitask.losses.divergence import symmetric_kl
from multitask.metrics.entities import entity_scores, is_entity_tag, to_iob2
from multitask.metrics.scores import accuracy
from multitask.model.heads import MLPHead
from multitask.model.multitask_model import EncoderView
from multitask.tasks.base import ClassifierOutputs, ClassLabels, ScoredTask
from multitask.tasks.predictions import PredictionFormat, tag_format, write_tags

OUTSIDE = "O"
NO_TARGET = -100  # a tag that training never saw; it can only stand in a split to be scored


class TokensTask(ClassLabels, ScoredTask):
    """A tag a word, from CoNLL files, or JSON, Parquet or Arrow with lists of words and tags.

    Where all tags of train are O or a type behind a mark such as B- (see entities.py) they mark entities,
    which are scored as wholes; other tags (parts of speech, say) are scored word by word. Tags that are
    numbers are places in the configuration's `labels`.
    """

    reads = "words"
    defaults = {"text": "words", "label": "tags", "loss": "cross_entropy"}
    hub_task = "token-classification"
    architecture = "BertForTokenClassification"
    input_form = "words"
    label_options = ("labels",)
    demands_entities = False  # whether a tag that marks no entity makes a sentence a reject

    def __init__(self, name: str, config: TaskConfig):
        super().__init__(name, config)
        without_effect = {"text2": None, "pairs": None, "pooling": "mean", "normalize": None}
        without_effect |= {"projection": None, "negatives": (), "head": "mlp"}
        for key, value in without_effect.items():
            if getattr(config, key) != value:
                raise InputError(
                    f"{name}.{key} is {getattr(config, key)!r}, which has no effect where words are tagged; "
                    f"leave it out"
                )
        self.read_labels()
        self.tag_names = config.labels  # of the numbers 0, 1, ... in files
        if self.demands_entities and has_bare_types(self.labels):
            self.labels = _both_marks(f"I-{label}" if label != OUTSIDE else label for label in self.labels)
        elif self.entities and not all(label[0] in "BIO" for label in self.labels):
            self.labels = _both_marks(self.labels)

    @property
    def entities(self) -> bool:
        """True where the tags mark entities."""
        return self.demands_entities or all(map(is_entity_tag, self.labels))

    @property
    def primary_metric(self) -> str:
        return "f1" if self.entities else "accuracy"

    @property
    def format(self) -> PredictionFormat:
        return tag_format(self.name)

    def load(self, source: Path, split: str) -> Examples:
        """Reads the sentences of a split; where the configuration names no labels, those of train are taken.

        Of each entity type in train there are both B- and I-. A sentence of train with a tag outside the
        labels is a reject; in another split it stays, to count as missed.
        """
        path = self.path(source, split)
        if not self.labels and split != "train":
            self.load(source, "train")
        entities = self.entities if self.labels or self.demands_entities else None
        config = self.config
        examples = read_tagged(
            path, words=config.text, tags=config.label, entities=entities, names=self.tag_names
        )
        if not self.labels:
            self.labels = _labels(examples)
        return self._without_unknown_tags(examples) if split == "train" else examples

    def _without_unknown_tags(self, examples: Examples) -> Examples:
        known = set(self.labels)
        rows, rejects = [], list(examples.rejects)
        numbers = {(row.file, row.line): number for number, row in enumerate(examples.in_file_order())}
        for row in examples.rows:
            unknown = next((tag for tag in row.label or () if tag not in known), None)
            if unknown is None:
                rows.append(row)
                continue
            reason = f"tag {unknown!r} is not one of {', '.join(self.labels)}"
            place = numbers[row.file, row.line]
            rejects.append(Reject(row.id, row.texts, row.line, reason, place, row.file))
        return Examples(examples.path, tuple(rows), tuple(rejects), examples.columns, examples.labelled)

    def prepare_training(self, examples: Sequence[Example]) -> list[str]:
        return self.balance(Counter(tag for example in examples for tag in example.label))

    def tokenize(self, tokenizer: Tokenizer, examples: Sequence[Example]) -> list[TokenizedExample]:
        """Sets the word id of [CLS] to -1 minus the number of words, for `decode` to see what was cut off."""
        words = [words_of(example) for example in examples]
        sequences = tokenizer.encode(words, words=True, max_length=self.config.max_length)
        return [
            TokenizedExample(example, (sequence._replace(words=[-1 - len(own), *sequence.words[1:]]),))
            for example, own, sequence in zip(examples, words, sequences, strict=True)
        ]

    def collate(self, examples: Sequence[TokenizedExample]) -> TaskBatch:
        """Targets are (N,): the tags of the words that reached the model, example after example."""
        sequences = [entry.sides[0] for entry in examples]
        targets = [
            target
            for entry, sequence in zip(examples, sequences, strict=True)
            for target in self._targets(entry.example, sequence)
        ]
        batch = Batch.from_sequences(*(list(part) for part in zip(*(s[:3] for s in sequences), strict=True)))
        ids = tuple(entry.example.id for entry in examples)
        return TaskBatch(batch, torch.tensor(targets, dtype=torch.long), ids)

    def _targets(self, example: Example, sequence: TokenSequence) -> list[int]:
        words = sorted({word for word in sequence.words if word >= 0})
        if example.label is None:
            return [0] * len(words)
        numbers = {tag: number for number, tag in enumerate(self.labels)}
        return [numbers.get(example.label[word], NO_TARGET) for word in words]

    def loss_weights(self, examples: Sequence[TokenizedExample]) -> list[int]:
        """Returns the number of words of each example that reach the model."""
        return [len({word for word in entry.sides[0].words if word >= 0}) for entry in examples]

    def build_head(self, encoder: BertConfig) -> None:
        config = self.config
        self.head = MLPHead(
            *(encoder.hidden_size, self.class_count),
            *(config.hidden, config.activation, config.dropout, config.layer_norm),
        )

    def forward(self, encoder: EncoderView, inputs: Batch) -> Tensor:
        """Computes (N, C), in the order of the examples and of their words."""
        output = encoder(inputs)
        rows = output.batch.pad(torch.arange(len(output.packed), device=output.packed.device))  # (B, S)
        return self.head(output.packed[rows[first_subwords(inputs)]])

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Computes the mean over the batch's words, not its examples; 0 for a batch without any word."""
        return super().loss(outputs, targets) if len(targets) or len(outputs) else outputs.sum()

    def divergence(self, p: Tensor, q: Tensor) -> Tensor:
        return symmetric_kl(p, q)

    def decode(self, outputs: Tensor, inputs: Batch) -> list[list[str]]:
        """Returns the most probable tag of each word, a list an example.

        Entities come as valid IOB2: an I-X that continues no entity of type X becomes B-X, which is how
        `entity_scores` would read it.
        """
        word_ids = inputs.pad(inputs.word_ids, fill=-1)
        predicted = iter(outputs.argmax(dim=-1).tolist())
        decoded = []
        for ids, firsts in zip(word_ids.tolist(), first_subwords(inputs).tolist(), strict=True):
            tags = [OUTSIDE] * (-1 - ids[0])
            for word, first in zip(ids, firsts, strict=True):
                if first:
                    tags[word] = self.labels[next(predicted)]
            decoded.append(list(to_iob2(tags)) if self.entities else tags)
        return decoded

    def score(self, predictions: Sequence[Sequence[str]], examples: Sequence[Example]) -> dict[str, float]:
        """Entity `precision`, `recall`, `f1` where tags mark entities, and `accuracy`, the share of words."""
        labels = [example.label for example in examples]
        for tags, example in zip(predictions, examples, strict=True):
            if len(tags) != len(example.label):
                raise InputError(
                    f"{self.name}: {len(tags)} tags for the words of {example.id}; give one each"
                )
        scores = entity_scores(predictions, labels) if self.entities else {}
        words = accuracy(list(chain.from_iterable(predictions)), list(chain.from_iterable(labels)))
        return scores | {"accuracy": words}

    def majority_prediction(self, examples: Sequence[Example]) -> list[str]:
        """Returns no tags, which stands for O at every word."""
        return []

    def write(
        self, predictions: Sequence[Sequence[str]], rows: Sequence, path: Path, file_format: str = "code"
    ) -> None:
        """Writes a word and its predicted tag a line, a blank line between sentences; `rows` have words."""
        words = [words_of(row) for row in rows]
        tags = [given or [OUTSIDE] * len(own) for given, own in zip(predictions, words, strict=True)]
        write_tags(path, words, tags)

    def graph_outputs(self) -> dict[str, str]:
        return {
            "logits": "(B, S, C): for each token, zeros at padding; a word's tag is that of its first token",
            "probabilities": "(B, S, C): their softmax",
        }

    def graph(self, encoder: EncoderView, inputs: Batch) -> tuple[Tensor, ...]:
        logits = inputs.pad(self.head(encoder(inputs).packed))  # (B, S, C)
        return logits, logits.softmax(dim=-1)

    def classifier_misfit(self) -> str | None:
        return self._head_misfit(TokensTask)

    def classifier_outputs(self) -> ClassifierOutputs:
        about = (
            "Logits for each token. A word has the tag of its first sub-word; what the others, [CLS] and "
            '[SEP] get was never trained and means nothing: ask a pipeline for aggregation_strategy "first".'
        )
        return ClassifierOutputs(self.labels, about)


def words_of(row: Example | Reject) -> list[str]:
    """Returns the words of a row; plain text is split at white space."""
    words = getattr(row, "words", None)
    return list(words) if words is not None else " ".join(row.texts).split()


def first_subwords(inputs: Batch) -> Tensor:
    """(B, S) in the caller's order, True at the first sub-word of each word."""
    if inputs.word_ids is None:
        raise InputError("the batch does not say which word a token is from; tokenize with words=True")
    ids = inputs.pad(inputs.word_ids, fill=-1)
    return (ids >= 0) & (ids != ids.roll(1, dims=1))  # column 0 is [CLS], not a word


def _labels(examples: Examples) -> tuple[str, ...]:
    """Returns the tags of a split, sorted; of an entity type always both B- and I-."""
    tags = {tag for row in examples.rows for tag in row.label or ()}
    return _both_marks(tags) if all(map(is_entity_tag, tags)) else tuple(sorted(tags))


def _both_marks(tags: Iterable[str]) -> tuple[str, ...]:
    """Returns the tags in IOB2 that tags of any scheme become, sorted."""
    types = {tag.partition("-")[2] for tag in tags}
    return tuple(sorted({f"{mark}-{type}" if type else OUTSIDE for type in types for mark in "BI"}))
