"""The peers of the training benchmarks: transformers and peft, used the way their documentation does it.

Inputs are padded to the longest sentence of the batch. "As users have it" means random batches and AdamW as
torch makes it; "at its best" the batches of our plan, of like lengths, and the fused AdamW. The tokens are
those of our tokenizer, and batches stand ready before the clock runs: tokenizing and collating cost a peer
nothing. B sentences, S tokens of the longest one, D hidden size, C classes.
"""

from collections.abc import Iterator, Sequence
from itertools import islice
from types import SimpleNamespace
from typing import NamedTuple

import torch
import torch.nn.functional as F
from own_training import TASK, OwnTraining
from torch import Tensor, nn

from multitask.data.collate import TaskBatch
from multitask.training.components import make_plan

BATCH, CLASSES, CLIP, RATE, SEED = 32, 5, 1.0, 5e-5, 11711


class Peer(NamedTuple):
    """One way to train a peer."""

    library: str
    precision: str
    best: bool

    def __str__(self) -> str:
        return f"{self.library} {self.precision}, {'at its best' if self.best else 'as users have it'}"


class PaddedBatch(NamedTuple):
    """`inputs` are input_ids, attention_mask and token_type_ids, (B, S) each; `labels` (B,)."""

    inputs: dict[str, Tensor]
    labels: Tensor
    ids: tuple[str, ...]

    @property
    def lengths(self) -> list[int]:
        """Real tokens of each sentence."""
        return self.inputs["attention_mask"].sum(dim=1).tolist()


def padded(batch: TaskBatch) -> PaddedBatch:
    return PaddedBatch(batch.inputs.padded(), batch.targets, batch.example_ids)


def planned_batches(training: OwnTraining) -> Iterator[PaddedBatch]:
    """The batches that `training` takes from its first step on."""
    for step in make_plan(training.config, training.model, training.trainer.inputs.train):
        for piece in step.micro_batches:
            yield padded(piece.batch)


def batches_in_order(training: OwnTraining, order: Sequence[int]) -> Iterator[PaddedBatch]:
    """Batches of 32, the last one of what is left."""
    collate = training.model.tasks[TASK].collate
    for start in range(0, len(order), BATCH):
        yield padded(collate([training.examples[i] for i in order[start : start + BATCH]]))


def random_batches(training: OwnTraining) -> Iterator[PaddedBatch]:
    """Epoch after epoch, each freshly shuffled, without an end."""
    generator = torch.Generator().manual_seed(SEED)
    while True:
        order = torch.randperm(len(training.examples), generator=generator).tolist()
        yield from batches_in_order(training, order)


class MeanClassifier(nn.Module):
    """transformers' BertModel with the default recipe's head: mean of real tokens, dropout, linear layer."""

    def __init__(self, bert: nn.Module, dropout: float):
        super().__init__()
        self.bert, self.config = bert, bert.config
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(bert.config.hidden_size, CLASSES)

    def forward(self, labels: Tensor, **inputs: Tensor) -> SimpleNamespace:
        logits = self.classifier(self.dropout(sentence_vectors(self, inputs)))
        return SimpleNamespace(loss=F.cross_entropy(logits, labels), logits=logits)


def sentence_vectors(model: nn.Module, inputs: dict[str, Tensor]) -> Tensor:
    """What a classifier's head reads, (B, D): the pooler's output, or the mean where there is no pooler."""
    output = model.bert(**inputs)
    if output.pooler_output is not None:
        return output.pooler_output
    mask = inputs["attention_mask"].unsqueeze(-1)  # (B, S, 1)
    return (output.last_hidden_state * mask).sum(dim=1) / mask.sum(dim=1)


def peer_of(training: OwnTraining) -> nn.Module:
    """The peer of a training that has not begun: same weights, head, dropout, adapters, frozen parts.

    What is frozen of a peer runs without dropout under `freeze backbone`, as ours does, and with dropout
    under LoRA, as peft has it.
    """
    config = training.config
    task = config.tasks[TASK]
    model = _classifier(config.weights, task.pooling, task.dropout).train()
    model.classifier.load_state_dict(training.model.heads[TASK][-1].state_dict())
    if config.freeze == "backbone":
        model.bert.requires_grad_(False)  # so that autograd records nothing of it
        model.bert.eval()
    if config.lora.rank:
        model = _with_lora(model, training)
    return model


def _classifier(weights: str, pooling: str, dropout: float) -> nn.Module:
    import transformers

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    rates = dict(hidden_dropout_prob=dropout, attention_probs_dropout_prob=dropout)
    if pooling == "mean":
        bert = transformers.BertModel.from_pretrained(weights, add_pooling_layer=False, **rates)
        return MeanClassifier(bert, dropout).float()
    classifier = transformers.AutoModelForSequenceClassification
    return classifier.from_pretrained(weights, num_labels=CLASSES, **rates).float()


def _with_lora(model: nn.Module, training: OwnTraining) -> nn.Module:
    """peft's model, with the adapters' values of ours."""
    from peft import LoraConfig, get_peft_model

    lora = training.config.lora
    everywhere = lora.layers == "all"
    adapted = get_peft_model(
        model,
        LoraConfig(
            r=lora.rank,
            lora_alpha=lora.alpha,
            target_modules=list(lora.targets),
            layers_to_transform=None if everywhere else lora.layer_numbers(training.bert.num_hidden_layers),
            modules_to_save=["classifier"],
        ),
    ).train()
    theirs = dict(adapted.named_parameters())
    with torch.no_grad():
        for name, ours in training.model.encoder.named_parameters():
            if ".adapters." in name:
                layer, kind = name.split(".")[2], name.rpartition(".")[2]  # ... A or B
                target = name.split(".")[4]
                path = f"base_model.model.bert.encoder.layer.{layer}.attention.self.{target}"
                theirs[f"{path}.lora_{kind}.default.weight"].copy_(ours)
    return adapted


def adamw(
    model: nn.Module, fused: bool | None = None, rate: float = RATE, weight_decay: float = 0.01
) -> torch.optim.AdamW:
    """Over what is trained; torch's defaults but for what is given."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return torch.optim.AdamW(trained, lr=rate, weight_decay=weight_decay, fused=fused)


class PaddedSteps:
    """A contender: each call trains on the next `steps` batches. `lengths` are the sentences of each call."""

    def __init__(
        self,
        model: nn.Module,
        batches: Sequence[PaddedBatch],
        steps: int,
        precision: str,
        optimizer: torch.optim.Optimizer,
    ):
        self.model = model
        self.steps = steps
        self.precision = precision
        self.optimizer = optimizer
        self.lengths: list[list[int]] = []
        self._batches = iter(batches)

    def __call__(self) -> None:
        taken = list(islice(self._batches, self.steps))
        for batch in taken:
            self.step(batch)
        assert len(taken) == self.steps, f"there were {len(taken)} batches for {self.steps} steps"
        self.lengths.append([length for batch in taken for length in batch.lengths])

    def step(self, batch: PaddedBatch) -> Tensor:
        """-> the loss before the step"""
        with torch.autocast("cpu", torch.bfloat16, enabled=self.precision == "bf16"):
            loss = self.model(**batch.inputs, labels=batch.labels).loss
        return _descend(loss, self.optimizer)


def padded_steps(peer: Peer, training: OwnTraining, steps: int, calls: int) -> PaddedSteps:
    """The peer of a training that has not begun, with batches for so many calls of so many steps."""
    batches = planned_batches(training) if peer.best else random_batches(training)
    model = peer_of(training)
    optimizer = adamw(model, fused=True if peer.best else None)
    return PaddedSteps(model, list(islice(batches, steps * calls)), steps, peer.precision, optimizer)


class VectorEpochs:
    """A contender: a call computes each sentence's vector once, then trains the head for `epochs` epochs.

    The encoder takes the sentences in file order; the head takes random batches of 32 vectors.
    """

    def __init__(
        self,
        model: nn.Module,
        batches: Sequence[PaddedBatch],
        epochs: int,
        optimizer: torch.optim.Optimizer,
    ):
        self.model = model
        self.batches = batches
        self.epochs = epochs
        self.optimizer = optimizer
        self.labels = torch.cat([batch.labels for batch in batches])
        self.lengths: list[list[int]] = []

    def __call__(self) -> None:
        vectors = self.vectors()
        for _ in range(self.epochs):
            for chosen in torch.randperm(len(vectors)).split(BATCH):
                self.step(vectors[chosen], self.labels[chosen])
        self.lengths.append([length for batch in self.batches for length in batch.lengths] * self.epochs)

    def vectors(self) -> Tensor:
        """(N, D) of all sentences, in the order of the batches."""
        with torch.no_grad():
            return torch.cat([sentence_vectors(self.model, batch.inputs) for batch in self.batches])

    def step(self, vectors: Tensor, labels: Tensor) -> Tensor:
        """vectors (B, D), labels (B,) -> the loss before the step"""
        logits = self.model.classifier(self.model.dropout(vectors))
        return _descend(F.cross_entropy(logits, labels), self.optimizer)


def _descend(loss: Tensor, optimizer: torch.optim.Optimizer) -> Tensor:
    loss.backward()
    trained = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    nn.utils.clip_grad_norm_(trained, CLIP)
    optimizer.step()
    optimizer.zero_grad()
    return loss.detach()
