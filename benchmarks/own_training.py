"""Our side of the training benchmarks: a run's parts and loop, without folder, evaluation and checkpoints.

A configuration takes the way of every run: RunConfig, Trainer.setup, train_loop.
"""

import math
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from torch import Tensor

from minbert import BertConfig
from multitask.config.run_config import RunConfig
from multitask.training.loop import train_loop
from multitask.training.plan import MicroBatch, Step
from multitask.training.trainer import Trainer

TASK = "sst"
MANY = 10**6  # epochs: max_steps decides how many steps there are


class Taken(NamedTuple):
    """What some steps trained on: the loss of each step, and the tokens of each sentence."""

    losses: list[float]
    lengths: list[int]


def settings(
    weights: str,
    data: Path,
    pooling: str,
    steps: int,
    precision: str = "fp32",
    dropout: float = 0.1,
    **changed: Any,
) -> dict[str, Any]:
    """The values of a RunConfig: SST, batches of 32, the default recipe but for what is named here."""
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


class OwnTraining:
    """A run that is ready for its first step; `take` goes on where the last one ended."""

    def __init__(self, values: dict[str, Any]):
        self.config = RunConfig.from_dict(values)
        self.trainer = Trainer(self.config)
        self.trainer.setup(Path(self.config.data))
        self.model = self.trainer.inputs.model
        self.parts = self.trainer.components
        self.examples = self.trainer.inputs.train[TASK]
        self.cache_is_open = False
        self.model.train()
        self._lengths = {entry.example.id: entry.length for entry in self.examples}
        self._steps = iter(self.parts.plan)

    @property
    def bert(self) -> BertConfig:
        return self.model.encoder.config

    @property
    def steps_an_epoch(self) -> int:
        return math.ceil(len(self.examples) / self.config.train.batch_size)

    def open_cache(self) -> None:
        """Computes what frozen parts make of the data, also where that was done before; as every run does."""
        self.model.cache = {}
        self.cache_is_open = True
        # The file goes with its last mapping, so that its folder is not needed any longer.
        with TemporaryDirectory(prefix="minbert-cache-", ignore_cleanup_errors=True) as folder:
            self.trainer.open_cache(Path(folder))

    def take(self, count: int) -> Taken:
        """The next `count` steps, by the loop of every run; opens the cache where it is not open yet."""
        if not self.cache_is_open:
            self.open_cache()
        losses: list[Tensor] = []
        ids: list[str] = []

        def report(step: Step, micro_batch: MicroBatch, loss: Tensor) -> None:
            losses.append(loss)
            ids.extend(micro_batch.batch.example_ids)

        parts = self.parts
        train_loop(
            self.model,
            islice(self._steps, count),
            parts.method,
            parts.gradients,
            parts.precision,
            parts.optimizer,
            report,
            after_step=lambda step: None,
        )
        assert len(losses) == count, f"the plan ended after {len(losses)} of {count} steps"
        return Taken([float(loss) for loss in losses], [self._lengths[name] for name in ids])


class OwnSteps:
    """A contender: each call takes the next steps of a training. `lengths` are the sentences of each call.

    With `cold`, a call computes the outputs of frozen parts anew.
    """

    def __init__(self, training: OwnTraining, steps: int, cold: bool = False):
        self.training = training
        self.steps = steps
        self.cold = cold
        self.lengths: list[list[int]] = []

    def __call__(self) -> None:
        if self.cold:
            self.training.open_cache()
        self.lengths.append(self.training.take(self.steps).lengths)
