"""TensorBoard and Weights & Biases, which get what metrics.jsonl gets.

A resumed run tells the whole of its metrics.jsonl anew, so that no point is missing, double, or of steps that
a kill undid.
"""

import math
import os
import shutil
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from minbert import InputError, atomic_write
from multitask.config.run_config import RunConfig
from multitask.metrics.scores import overall_scores
from multitask.runtime.callbacks import Callback, Scores
from multitask.runtime.messages import logger
from multitask.runtime.tracking import read_metrics, read_scores

TENSORBOARD_FOLDER, WANDB_ID = "tensorboard", "wandb-id"  # in a run's folder
_PACKAGES = {"tensorboard": "torch.utils.tensorboard", "wandb": "wandb"}


def check_trackers(names: Sequence[str]) -> None:
    """Raises InputError for a tracker whose package is missing, or that would ask for a key."""
    for name in names:
        try:
            package = import_module(_PACKAGES[name])
        except ImportError as error:
            raise InputError(
                f'--track {name} needs a package that is missing ({error}); pip install "minbert[tracking]"'
            ) from None
        if name == "wandb" and os.environ.get("WANDB_MODE") not in ("offline", "disabled", "dryrun"):
            try:
                has_key = package.login(prompt=False)
            except package.Error:  # a wrong key, or a server out of reach: for `wandb.init` to say
                continue
            if not has_key:
                ways = "set WANDB_API_KEY, run `wandb login`, or set WANDB_MODE=offline"
                raise InputError(f"--track wandb needs a key; {ways}")


class Trackers(Callback):
    """Passes records on to trackers. One that fails is left out from then on, with a message."""

    def __init__(self, names: Sequence[str], config: RunConfig):
        self.names = names
        self.config = config
        self.open: dict[str, TensorBoard | WeightsAndBiases] = {}
        self.seconds = 0.0  # of training, at the last record

    def on_start(self, step: int, total_steps: int) -> None:
        """Opens the trackers, and passes on what metrics.jsonl has already."""
        kinds = {"tensorboard": TensorBoard, "wandb": WeightsAndBiases}
        for name in self.names:
            self._try(name, lambda name=name: self.open.update({name: kinds[name](self.config)}))
        records = read_metrics(Path(self.config.out) / "metrics.jsonl") if self.open else []
        self.started = time.time() - max((record.get("seconds", 0.0) for record in records), default=0.0)
        for record in records:
            self.on_record(record.pop("kind"), record.pop("step"), record)

    def on_record(self, kind: str, step: int, values: Mapping[str, Any]) -> None:
        if not self.open:
            return
        self.seconds = values.get("seconds", self.seconds)
        numbers, when = flatten(kind, values), self.started + self.seconds
        for name, tracker in list(self.open.items()):
            self._try(name, lambda tracker=tracker: tracker.write(step, numbers, when))

    def on_end(self, scores: Scores | None) -> None:
        best = None if scores is None else flatten("evaluation", {"scores": scores})
        for name, tracker in list(self.open.items()):
            self._try(name, lambda tracker=tracker: tracker.close(best))
        self.open.clear()

    def _try(self, name: str, act: Callable[[], None]) -> None:
        try:
            act()
        except Exception as error:  # a full disk, a server that is gone: no reason to lose a run
            self.open.pop(name, None)
            logger.info(f"{name} stopped tracking: {' '.join(str(error).split()) or type(error).__name__}")


def flatten(kind: str, values: Mapping[str, Any]) -> dict[str, float]:
    """Returns a record's finite numbers by name: loss/sst, scores/sst/accuracy, conflict/overall/sst sts."""
    if kind == "conflict":
        values = {"conflict": values["cosines"]}
    elif kind == "evaluation":
        scores = read_scores(values["scores"])
        values = {"scores": scores, "overall": overall_scores(scores)}
    else:
        values = {key: value for key, value in values.items() if key != "seconds"}
    return dict(_numbers(values, ""))


def _numbers(values: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, float]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _numbers(value, f"{prefix}{key}/")
        elif value is not None and math.isfinite(value):
            yield f"{prefix}{key}", float(value)


class TensorBoard:
    """Writes event files into RUN/tensorboard, each record at once."""

    def __init__(self, config: RunConfig):
        from torch.utils.tensorboard import SummaryWriter

        folder = Path(config.out) / TENSORBOARD_FOLDER
        shutil.rmtree(folder, ignore_errors=True)
        # A TensorBoard that has read the old files drops what it knows from step 0 on.
        self.writer = SummaryWriter(str(folder), purge_step=0)

    def write(self, step: int, numbers: Mapping[str, float], when: float) -> None:
        """Adds numbers at a step; `when` is the clock's time in seconds."""
        for name, value in numbers.items():
            self.writer.add_scalar(name, value, step, walltime=when)
        self.writer.flush()

    def close(self, best: Mapping[str, float] | None) -> None:
        self.writer.close()


class WeightsAndBiases:
    """A run of Weights & Biases, its files in RUN/wandb; WANDB_MODE says whether it is sent to a server."""

    def __init__(self, config: RunConfig):
        import wandb

        out = Path(config.out).resolve()
        path = out / WANDB_ID  # drawn once
        if not path.is_file():
            with atomic_write(path) as file:
                file.write(uuid.uuid4().hex[:12] + "\n")
        id = path.read_text(encoding="utf-8").strip()
        self.run = wandb.init(
            project=os.environ.get("WANDB_PROJECT") or out.parent.name or "minbert",
            name=out.name,
            id=id,
            resume="allow",
            dir=str(out),  # in which wandb makes its folder `wandb`
            config=config.to_dict(),
            # Its own object in a process that trains several runs; nothing on standard output; no file of the
            # command line, which may hold a password.
            settings=wandb.Settings(
                reinit="create_new", silent=True, console="off", save_code=False, x_disable_meta=True
            ),
        )
        self.first = self.run.step  # what the server has of a resumed run is not told again
        if self.run.offline:  # all is told anew
            own = Path(self.run.dir).parent
            for folder in own.parent.glob(f"offline-run-*-{id}"):
                if folder != own:
                    shutil.rmtree(folder, ignore_errors=True)

    def write(self, step: int, numbers: Mapping[str, float], when: float) -> None:
        """Logs numbers at a step."""
        if step >= self.first:
            self.run.log(dict(numbers), step=step)

    def close(self, best: Mapping[str, float] | None) -> None:
        """Ends the run; the scores of the best checkpoint go into its summary under best/."""
        self.run.summary.update({f"best/{name}": value for name, value in (best or {}).items()})
        self.run.finish(exit_code=int(best is None))
