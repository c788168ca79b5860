"""Masked language modelling (Devlin et al. 2018, section 3.1 and appendix A.1).

Further pretraining on a task's own text (Gururangan et al. 2020). T tokens, N of them to guess, D hidden
size, V word pieces.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minbert import Batch, BertConfig, InputError, Tokenizer, activation
from multitask.config.task_config import TaskConfig
from multitask.data.collate import TaskBatch, TokenizedExample, pack_sides
from multitask.data.readers import Example, Examples, read_lines
from multitask.losses.classification import cross_entropy
from multitask.losses.divergence import symmetric_kl
from multitask.model.multitask_model import EncoderView
from multitask.tasks.base import Loss, TrainingTask

HIDDEN, RANDOM = 0.8, 0.1  # shares of the tokens to guess that become the mask, another one; the rest stays


class MaskedLMHead(nn.Module):
    """A dense layer, activation, norm, and a decoder whose weights are the word embeddings, plus a bias."""

    def __init__(self, encoder: BertConfig):
        super().__init__()
        kind, size = encoder.family.masked_lm_activation, encoder.hidden_size
        self.activation = encoder.activation if kind == "hidden_act" else kind
        self.dense = nn.Linear(size, size)
        self.norm = nn.LayerNorm(size, eps=encoder.layer_norm_eps)
        self.bias = nn.Parameter(torch.zeros(encoder.vocab_size))
        nn.init.normal_(self.dense.weight, std=0.02)
        nn.init.zeros_(self.dense.bias)

    def forward(self, rows: Tensor, word_embeddings: Tensor) -> Tensor:
        """(N, D), (V, D) -> (N, V)"""
        rows = self.norm(activation(self.activation)(self.dense(rows)))
        return F.linear(rows, word_embeddings, self.bias)


class MaskedLM(TrainingTask):
    """Plain text, a line an example; which tokens are hidden is drawn anew for each batch.

    Draws come from torch's own CPU generator, whose state belongs to the training state. `Batch.word_ids`
    numbers the tokens to guess from 0, with -1 at all others: only their rows go through the head.
    """

    reads = "lines"
    defaults = {"train": "mlm/sentences.txt", "loss": "masked_lm", "max_length": 128}
    losses = {"masked_lm": Loss(cross_entropy, "mask_rate")}
    label_options = ()
    random_inputs = True
    whole_vocabulary = True

    def __init__(self, name: str, config: TaskConfig):
        super().__init__(name, config)
        if config.text2 is not None or config.pairs is not None:
            raise InputError(f"{name} reads plain text, a line an example; leave out text2 and pairs")
        self._mask_id = -1
        self._special = self._pieces = torch.empty(0, dtype=torch.long)

    def load(self, source: Path, split: str) -> Examples:
        return read_lines(self.path(source, split))

    def tokenize(self, tokenizer: Tokenizer, examples: Sequence[Example]) -> list[TokenizedExample]:
        """Also remembers the tokenizer's mask, and which ids are word pieces."""
        if tokenizer.mask_token_id is None:
            raise InputError(
                f"{self.name} hides tokens behind a mask, and the tokenizer has no mask_token; take another"
            )
        special = set(tokenizer.all_special_ids)
        self._mask_id = tokenizer.mask_token_id
        self._special = torch.tensor(sorted(special))
        self._pieces = torch.tensor(sorted(set(tokenizer.vocab.values()) - special))
        texts = [example.texts[0] for example in examples]
        sequences = tokenizer.encode(texts, max_length=self.config.max_length)
        return [TokenizedExample(*entry) for entry in zip(examples, zip(sequences), strict=True)]

    def collate(self, examples: Sequence[TokenizedExample]) -> TaskBatch:
        """Hides tokens; the targets (N,) are those to guess, in the order of the rows."""
        batch = pack_sides([entry.sides for entry in examples])
        chosen = self._choose(batch.token_ids)
        inputs = replace(
            batch,
            token_ids=self._hide(batch.token_ids, chosen),
            word_ids=torch.where(chosen, chosen.cumsum(dim=0) - 1, -1),
        )
        return TaskBatch(inputs, batch.token_ids[chosen], tuple(entry.example.id for entry in examples))

    def _choose(self, ids: Tensor) -> Tensor:
        """(T,) -> True at the tokens to guess: each piece with the same chance, at least one a batch."""
        pieces = ~torch.isin(ids, self._special)
        chosen = pieces & (torch.rand(len(ids)) < self.config.mask_rate)
        if pieces.any() and not chosen.any():
            places = pieces.nonzero().flatten()
            chosen[places[torch.randint(len(places), (1,))]] = True
        return chosen

    def _hide(self, ids: Tensor, chosen: Tensor) -> Tensor:
        """(T,) -> what the model sees: 80 % of the chosen are the mask, 10 % any piece, 10 % themselves."""
        fate = torch.rand(len(ids))
        others = self._pieces[torch.randint(len(self._pieces), (len(ids),))]
        ids = torch.where(chosen & (fate < HIDDEN), self._mask_id, ids)
        return torch.where(chosen & (fate >= HIDDEN) & (fate < HIDDEN + RANDOM), others, ids)

    def build_head(self, encoder: BertConfig) -> None:
        if encoder.family.masked_lm_activation is None:
            raise InputError(
                f"{self.name} guesses hidden tokens, for which {encoder.family.name} has no head: its "
                f"discriminator never sees a mask; take weights of another family, or leave out {self.name}"
            )
        self.head = MaskedLMHead(encoder)

    def forward(self, encoder: EncoderView, inputs: Batch) -> Tensor:
        """Computes (N, V), a row for each token to guess."""
        rows = encoder(inputs).packed[inputs.word_ids >= 0]  # (N, D)
        return self.head(rows, encoder.word_embeddings)

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Computes the mean over the tokens to guess; 0 where the batch has special tokens only."""
        if not len(targets):
            return outputs.sum()
        return self.losses[self.config.loss](outputs, targets)

    def divergence(self, p: Tensor, q: Tensor) -> Tensor:
        """Mean symmetric KL of the guesses; both (N, V)."""
        return symmetric_kl(p, q) if len(p) else (p - q).sum()
