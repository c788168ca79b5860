"""TensorBoard and Weights & Biases, where a run asks for them: they get what metrics.jsonl gets.

Their packages are imported for a run that asks. A resumed run tells the whole of its metrics.jsonl anew, so
that no point is missing, double, or of steps that a kill undid.
"""

import math
import netrc
import os
import shutil
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from minbert import InputError, atomic_write
from multitask.config.run_config import RunConfig
from multitask.metrics.scores import overall_scores
from multitask.runtime.tracking import read_metrics

TENSORBOARD_FOLDER, WANDB_ID = "tensorboard", "wandb-id"  # in a run's folder
_PACKAGES = {"tensorboard": "torch.utils.tensorboard", "wandb": "wandb"}
_ONLINE = ("online", "shared")
Say = Callable[[str], None]


def check_trackers(names: Sequence[str]) -> None:
    """Raises InputError for a tracker whose package is missing, or that would ask for a key."""
    for name in names:
        try:
            import_module(_PACKAGES[name])
        except ImportError as error:
            raise InputError(
                f'--track {name} needs a package that is missing ({error}); pip install "minbert[tracking]"'
            ) from None
    if "wandb" in names and os.environ.get("WANDB_MODE") in _ONLINE and not _has_key():
        raise InputError(
            f"WANDB_MODE is {os.environ['WANDB_MODE']}, and there is no key; set WANDB_API_KEY, run `wandb "
            f"login`, or set WANDB_MODE to offline"
        )


class Trackers:
    """The trackers of a run, which `with` opens: write(kind, step, **values), then close(scores).

    A tracker that fails is left out from then on, which is said once; the run goes on.
    """

    def __init__(self, names: Sequence[str], config: RunConfig, say: Say):
        self.names = names
        self.config = config
        self.say = say
        self.open: dict[str, TensorBoard | WeightsAndBiases] = {}
        self.seconds = 0.0  # of training, at the last record

    def __enter__(self) -> "Trackers":
        kinds = {"tensorboard": TensorBoard, "wandb": WeightsAndBiases}
        for name in self.names:
            self._try(name, lambda name=name: self.open.update({name: kinds[name](self.config, self.say)}))
        records = read_metrics(Path(self.config.out) / "metrics.jsonl") if self.open else []
        self.started = time.time() - max((record.get("seconds", 0.0) for record in records), default=0.0)
        for record in records:
            self.write(**record)
        return self

    def __exit__(self, kind, error, traceback) -> None:
        if kind is not None:
            self.close()

    def write(self, kind: str, step: int, **values: Any) -> None:
        """Passes on a record of metrics.jsonl."""
        if not self.open:
            return
        self.seconds = values.get("seconds", self.seconds)
        numbers, when = flatten(kind, values), self.started + self.seconds
        for name, tracker in list(self.open.items()):
            self._try(name, lambda tracker=tracker: tracker.write(step, numbers, when))

    def close(self, scores: Mapping[str, Mapping[str, float]] | None = None) -> None:
        """Ends all; `scores` are those of the best checkpoint by task, None where the run was interrupted."""
        best = None if scores is None else flatten("evaluation", {"scores": scores})
        for name, tracker in list(self.open.items()):
            self._try(name, lambda tracker=tracker: tracker.close(best))
        self.open.clear()

    def _try(self, name: str, act: Callable[[], None]) -> None:
        try:
            act()
        except Exception as error:  # a full disk, a server that is gone: nothing to lose a run for
            self.open.pop(name, None)
            self.say(f"{name} stopped tracking: {' '.join(str(error).split()) or type(error).__name__}")


def tell_each(listeners: Sequence[Callable[..., None] | None]) -> Callable[..., None]:
    """One function (kind, step, **values) that passes a record on to every listener there is."""

    def tell(kind: str, step: int, **values: Any) -> None:
        for listener in filter(None, listeners):
            listener(kind, step, **values)

    return tell


def flatten(kind: str, values: Mapping[str, Any]) -> dict[str, float]:
    """The finite numbers of a record by name: loss/sst, rate, scores/sst/accuracy, overall/mean_raw,
    conflict/overall/sst sts."""
    if kind == "conflict":
        values = {"conflict": values["cosines"]}
    elif kind == "evaluation":
        scores = {
            task: {name: math.nan if value is None else value for name, value in given.items()}
            for task, given in values["scores"].items()
        }
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

    def __init__(self, config: RunConfig, say: Say):
        from torch.utils.tensorboard import SummaryWriter

        folder = Path(config.out) / TENSORBOARD_FOLDER
        shutil.rmtree(folder, ignore_errors=True)
        # A TensorBoard that has read the old files drops what it knows from step 0 on.
        self.writer = SummaryWriter(str(folder), purge_step=0)

    def write(self, step: int, numbers: Mapping[str, float], when: float) -> None:
        """Adds numbers at a step; `when` is the clock's time, in seconds."""
        for name, value in numbers.items():
            self.writer.add_scalar(name, value, step, walltime=when)
        self.writer.flush()

    def close(self, best: Mapping[str, float] | None) -> None:
        self.writer.close()


class WeightsAndBiases:
    """A run of Weights & Biases, its files in RUN/wandb: as WANDB_MODE says, else offline without a key."""

    def __init__(self, config: RunConfig, say: Say):
        import wandb

        out, mode = Path(config.out).resolve(), None  # None: as WANDB_MODE says
        if not os.environ.get("WANDB_MODE"):
            mode = "online" if _has_key() else "offline"
        if mode == "offline":
            say(
                f"wandb: there is no key, so the run is tracked offline; later: wandb sync {out}/wandb/*run-*"
            )
        id = _read_id(out)
        self.run = wandb.init(
            project=os.environ.get("WANDB_PROJECT") or out.parent.name or "minbert",
            name=out.name,
            id=id,
            resume="allow",
            dir=str(out),  # in which wandb makes its folder `wandb`
            config=config.to_dict(),
            mode=mode,
            # Its own object in a process that trains several runs; nothing on standard output.
            settings=wandb.Settings(reinit="create_new", silent=True, console="off", save_code=False),
        )
        self.first = self.run.step  # what the server has of a resumed run is not told again
        if self.run.offline:
            own = Path(self.run.dir).parent
            for folder in own.parent.glob(f"offline-run-*-{id}"):
                if folder != own:
                    shutil.rmtree(folder, ignore_errors=True)

    def write(self, step: int, numbers: Mapping[str, float], when: float) -> None:
        """Logs numbers at a step."""
        if step >= self.first:
            self.run.log(dict(numbers), step=step)

    def close(self, best: Mapping[str, float] | None) -> None:
        """Ends the run; what the best checkpoint scored goes into its summary under best/."""
        self.run.summary.update({f"best/{name}": value for name, value in (best or {}).items()})
        self.run.finish(exit_code=int(best is None))


def _read_id(out: Path) -> str:
    """The id of a run's folder, drawn once and kept there."""
    path = out / WANDB_ID
    if not path.is_file():
        with atomic_write(path) as file:
            file.write(uuid.uuid4().hex[:12] + "\n")
    return path.read_text(encoding="utf-8").strip()


def _has_key() -> bool:
    """Whether Weights & Biases knows who the user is, without asking."""
    if os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return True
    host = urlsplit(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")).hostname or ""
    files = [os.environ.get("NETRC"), Path.home() / ".netrc", Path.home() / "_netrc"]
    for file in filter(None, files):
        try:
            if netrc.netrc(str(file)).authenticators(host):
                return True
        except (OSError, netrc.NetrcParseError):
            continue
    return False
