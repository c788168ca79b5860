"""Contenders of the training benchmarks: ours, transformers and peft as their documentation uses them.

Ours is a run's parts and loop, without folder, evaluation and checkpoints. The peers' inputs are padded to
the longest sentence. "As users have it" means random batches and AdamW as torch makes it; "at its
best" the batches of our plan, of like lengths, and the fused AdamW. The tokens are those of our tokenizer,
and batches stand ready before the clock runs: tokenizing and collating cost a peer nothing. Random and sorted
batches hold different sentences, so seconds are divided by real tokens. Without dropout and decay both must
give the same losses: same start, same batches, same AdamW.

B sentences, S tokens of the longest one, D hidden size, C classes.
"""

import argparse
import math
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from comparison import SEED, WARMUP, Contender, Measured, Question, measure
from torch import Tensor, nn

from minbert import BertConfig
from multitask.config.run_config import RunConfig
from multitask.data.collate import TaskBatch
from multitask.training.components import TrainingComponents, make_plan
from multitask.training.loop import train_loop
from multitask.training.plan import MicroBatch, Step
from multitask.training.trainer import Trainer

TASK = "sst"
BATCH, CLASSES, CLIP, RATE = 32, 5, 1.0, 5e-5
MANY = 10**6  # epochs: max_steps decides how many steps there are
HEADS = {"pooler": "[CLS] head", "mean": "mean head"}  # by the name of the pooling
STEPS = 5  # whose losses are compared
FEW = 2 * BATCH  # sentences of these steps where epochs are compared: the steps reach the third epoch
BETA2 = 0.999  # of AdamW, here and there
EPS = 1e-6  # added to the root of the second moment before the correction of its bias, see minbert/optim.py

# Ours -------------------------------------------------------------------------------------------------------


def settings(
    weights: str | Path,
    data: str | Path,
    pooling: str,
    steps: int,
    precision: str = "fp32",
    dropout: float = 0.1,
    **changed: Any,
) -> dict[str, Any]:
    """Returns values of a RunConfig: SST, batches of 32, the default recipe but for what is named here."""
    return {
        "weights": str(weights),
        "data": str(data),
        "device": "cpu",
        "precision": precision,
        "model": {"hidden_dropout_prob": dropout, "attention_probs_dropout_prob": dropout},
        "tasks": {TASK: {"pooling": pooling, "dropout": dropout, "dev": None}},
        "train": {"epochs": MANY, "max_steps": steps},
        **changed,
    }


def take_steps(
    parts: TrainingComponents,
    steps: Iterator[Step],
    report: Callable[[Step, MicroBatch, Tensor], None] = lambda step, micro_batch, loss: None,
) -> None:
    """Takes steps by the loop of every run, and nothing between them."""
    given = (parts.method, parts.gradients, parts.precision, parts.optimizer)
    train_loop(parts.engine, steps, *given, report, after_step=lambda step: None)


class OwnTraining:
    """A run that is ready for its first step; `take` goes on where the last one ended."""

    def __init__(self, values: dict[str, Any]):
        self.config = RunConfig.from_dict(values)
        self.trainer = Trainer(self.config)
        self.trainer.setup(Path(self.config.data))
        self.model = self.trainer.inputs.model
        self.examples = self.trainer.inputs.train[TASK]
        self.bert: BertConfig = self.model.encoder.config
        self.steps_an_epoch = math.ceil(len(self.examples) / self.config.train.batch_size)
        self.cache_is_open = False
        self.model.train()
        self._lengths = {entry.example.id: entry.length for entry in self.examples}
        self._steps = iter(self.trainer.components.plan)

    def open_cache(self) -> None:
        """Computes the activations of frozen parts, also where that was done before; as every run does."""
        self.model.cache = {}
        self.cache_is_open = True
        # The file goes with its last mapping, so that its folder is not needed any longer.
        with TemporaryDirectory(prefix="minbert-cache-", ignore_cleanup_errors=True) as folder:
            self.trainer.open_cache(Path(folder))

    def take(self, count: int) -> tuple[list[float], list[int]]:
        """Takes the next `count` steps; returns the loss of each, and the tokens of each sentence.

        Opens the cache where it is not open yet.
        """
        if not self.cache_is_open:
            self.open_cache()
        losses: list[Tensor] = []
        ids: list[str] = []

        def report(step: Step, micro_batch: MicroBatch, loss: Tensor) -> None:
            losses.append(loss)
            ids.extend(micro_batch.batch.example_ids)

        take_steps(self.trainer.components, islice(self._steps, count), report)
        assert len(losses) == count, f"the plan ended after {len(losses)} of {count} steps"
        return [float(loss) for loss in losses], [self._lengths[name] for name in ids]


def own_steps(training: OwnTraining, steps: int, cold: bool = False) -> Contender:
    """Each call takes the next steps; with `cold` it computes the frozen parts' outputs anew."""

    def call() -> list[int]:
        if cold:
            training.open_cache()
        return training.take(steps)[1]

    return call


# Peers ------------------------------------------------------------------------------------------------------


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
    """Yields the batches that `training` takes from its first step on."""
    for step in make_plan(training.config, training.model, training.trainer.inputs.train):
        for micro_batch in step.micro_batches:
            yield padded(micro_batch.batch)


def batches_in_order(training: OwnTraining, order: Sequence[int]) -> Iterator[PaddedBatch]:
    """Yields batches of the training's size, the last one of what is left."""
    collate, size = training.model.tasks[TASK].collate, training.config.train.batch_size
    for start in range(0, len(order), size):
        yield padded(collate([training.examples[i] for i in order[start : start + size]]))


def random_batches(training: OwnTraining) -> Iterator[PaddedBatch]:
    """Yields batches epoch after epoch, each freshly shuffled, without an end."""
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
    """Returns a classifier's features, (B, D): the pooler's output, or the mean where there is no pooler."""
    output = model.bert(**inputs)
    if output.pooler_output is not None:
        return output.pooler_output
    mask = inputs["attention_mask"].unsqueeze(-1)  # (B, S, 1)
    return (output.last_hidden_state * mask).sum(dim=1) / mask.sum(dim=1)


def peer_of(training: OwnTraining) -> nn.Module:
    """Returns the peer of a training that has not begun: same weights, head, dropout, adapters, frozen parts.

    Frozen parts of a peer run without dropout under `freeze backbone`, as ours do, and with dropout under
    LoRA, as peft has it.
    """
    import transformers

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    config = training.config
    task, weights = config.tasks[TASK], config.weights
    rates = dict(hidden_dropout_prob=task.dropout, attention_probs_dropout_prob=task.dropout)
    if task.pooling == "mean":
        bert = transformers.BertModel.from_pretrained(weights, add_pooling_layer=False, **rates)
        model = MeanClassifier(bert, task.dropout)
    else:
        classifier = transformers.AutoModelForSequenceClassification
        model = classifier.from_pretrained(weights, num_labels=CLASSES, **rates)
    model = model.float().train()
    model.classifier.load_state_dict(training.model.heads[TASK][-1].state_dict())
    if config.freeze == "backbone":
        model.bert.requires_grad_(False)  # so that autograd records nothing of it
        model.bert.eval()
    return _with_lora(model, training) if config.lora.rank else model


def _with_lora(model: nn.Module, training: OwnTraining) -> nn.Module:
    """Returns peft's model, with the adapters' values of ours."""
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
    """Returns an AdamW over the trained parameters; torch's defaults but for what is given."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return torch.optim.AdamW(trained, lr=rate, weight_decay=weight_decay, fused=fused)


class PaddedSteps:
    """A contender: each call trains on the next `steps` batches."""

    def __init__(
        self,
        model: nn.Module,
        batches: Sequence[PaddedBatch],
        steps: int,
        precision: str,
        optimizer: torch.optim.Optimizer,
    ):
        self.model, self.steps, self.precision, self.optimizer = model, steps, precision, optimizer
        self._batches = iter(batches)

    def __call__(self) -> list[int]:
        taken = list(islice(self._batches, self.steps))
        for batch in taken:
            self.step(batch)
        assert len(taken) == self.steps, f"there were {len(taken)} batches for {self.steps} steps"
        return [length for batch in taken for length in batch.lengths]

    def step(self, batch: PaddedBatch) -> Tensor:
        """Returns the loss before the step."""
        device = batch.labels.device.type
        with torch.autocast(device, torch.bfloat16, enabled=self.precision == "bf16"):
            loss = self.model(**batch.inputs, labels=batch.labels).loss
        return descend(loss, self.optimizer)


def padded_steps(peer: Peer, training: OwnTraining, steps: int, calls: int) -> PaddedSteps:
    """Returns the peer of a training that has not begun, with batches for so many calls of so many steps."""
    batches = planned_batches(training) if peer.best else random_batches(training)
    model = peer_of(training)
    optimizer = adamw(model, fused=True if peer.best else None)
    return PaddedSteps(model, list(islice(batches, steps * calls)), steps, peer.precision, optimizer)


def descend(loss: Tensor, optimizer: torch.optim.Optimizer) -> Tensor:
    """Takes a step of a peer, with its gradients clipped; returns the loss."""
    loss.backward()
    trained = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    nn.utils.clip_grad_norm_(trained, CLIP)
    optimizer.step()
    optimizer.zero_grad()
    return loss.detach()


# The same losses --------------------------------------------------------------------------------------------


def exact(rate: float) -> dict[str, Any]:
    """Returns `optim` of a run whose steps torch's AdamW can repeat: one rate for all, and no decay."""
    rates = {"lr": rate, "head_lr": rate}
    return {"optim": {**rates, "weight_decay": 0.0, "eps": EPS, "schedule": "constant", "warmup": 0.0}}


def losses(
    step: Callable[[Any], Tensor], optimizer: torch.optim.Optimizer, inputs: Sequence[Any]
) -> list[float]:
    """Returns the losses of a peer's steps, from its first on, with the optimizer's eps where ours has it."""
    found = []
    for count, given in enumerate(inputs, start=1):
        for group in optimizer.param_groups:
            group["eps"] = EPS / math.sqrt(1 - BETA2**count)
        found.append(float(step(given)))
    return found


def curves(values: dict[str, Any]) -> tuple[list[float], list[float]]:
    """Returns the losses of a run's first steps with `exact` settings, of ours and of the peer that pads."""
    training = OwnTraining(values)
    model = peer_of(training)
    optimizer = adamw(model, rate=training.config.optim.lr, weight_decay=0.0)
    batches = list(islice(planned_batches(training), STEPS))
    peer = PaddedSteps(model, batches, STEPS, training.config.precision, optimizer)
    return training.take(STEPS)[0], losses(peer.step, optimizer, batches)


def differences(
    questions: Sequence[Question], values: Callable[[str], dict[str, Any]]
) -> dict[Question, str]:
    """For each question, ours against its peer, each in its precision; `values(precision)` are exact ones."""
    both = cache(lambda precision: curves(values(precision)))
    return {q: difference(both(q.precision)[0], both(q.peer.precision)[1]) for q in questions}


def difference(ours: Sequence[float], peer: Sequence[float]) -> str:
    """Says how far two curves are apart."""
    most = max(abs(a - b) / abs(b) for a, b in zip(ours, peer, strict=True))
    return f"{len(ours)} losses, {most:.1e} relative"


def compare_batches(
    group: str,
    questions: Sequence[Question],
    values: Callable[..., dict[str, Any]],
    rate: float,
    options: argparse.Namespace,
) -> Measured:
    """Compares ours and peers that pad, --batches batches a round, in the precisions of the questions.

    `values(precision, steps, **changed)` are those of a run; `rate` is for the losses that are compared.
    """
    calls = WARMUP + options.repetitions
    apart = differences(questions, lambda precision: values(precision, STEPS, dropout=0.0, **exact(rate)))
    precisions = {question.ours: question.precision for question in questions}
    trainings = {
        name: OwnTraining(values(precision, options.batches * calls))
        for name, precision in precisions.items()
    }
    contenders: dict[str, Contender] = {
        name: own_steps(training, options.batches) for name, training in trainings.items()
    }
    first = trainings[questions[0].ours]
    for peer in dict.fromkeys(question.peer for question in questions):
        contenders[str(peer)] = padded_steps(peer, first, options.batches, calls)
    return measure(group, questions, contenders, apart, first.bert, options.repetitions)
