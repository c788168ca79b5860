"""The folder of a run while it trains: begun, put right after a kill, its checkpoints written."""

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from minbert import InputError, atomic_folder, restore_folder
from multitask.config.run_config import RunConfig
from multitask.inference.checkpoint import save_model, save_state
from multitask.model.multitask_model import MultitaskModel
from multitask.runtime.tracking import write_json
from multitask.training.preparation import Prepared


def make_folder(out: Path, config: RunConfig, shown: RunConfig, whole: RunConfig | None) -> None:
    """A run's folder with its configuration, from which `resume` can begin; that of the stages' run too."""
    if whole is not None and whole.out != config.out:
        Path(whole.out).mkdir(parents=True, exist_ok=True)
        write_json(Path(whole.out) / "config.json", whole.to_dict())
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / "config.json", shown.to_dict())


def read_environment(out: Path) -> tuple[int | None, dict[str, str]]:
    """The threads and the data's hashes that a run began with."""
    try:
        values = json.loads((out / "environment.json").read_text(encoding="utf-8"))
        return values.get("threads"), dict(values["data"])
    except (json.JSONDecodeError, UnicodeDecodeError, AttributeError, KeyError, TypeError, ValueError):
        raise InputError(f"{out / 'environment.json'} is damaged; train anew") from None


def clean_up(out: Path) -> None:
    """Puts right what a kill in the middle of saving left behind."""
    for name in ("best", "last", *(path.name for path in out.glob("best-*"))):
        restore_folder(out / name)
    for leftover in out.glob(".*.partial"):
        if leftover.is_dir():
            shutil.rmtree(leftover)
        else:
            leftover.unlink()


def save_checkpoint(
    path: Path,
    prepared: Prepared,
    step: int,
    states: Mapping[str, Any],
    base: str | None,
    say: Callable[[str], None],
) -> None:
    """Writes a checkpoint, whole or not at all; `states` are those of the training's parts, for last/."""
    _check_finite(prepared.model, step)
    with atomic_folder(path) as folder:
        change = save_model(folder, prepared.model, prepared.tokenizer, prepared.heads, base)
        if states:
            save_state(folder, states)
    if change is not None and not states:
        say(f"merged the adapter into {path}: outputs change by at most {change:.1e}")


def _check_finite(model: MultitaskModel, step: int) -> None:
    """Raises InputError rather than let a checkpoint be overwritten with weights that are lost."""
    for name, parameter in model.named_parameters():
        if not bool(parameter.isfinite().all()):
            raise InputError(
                f"{name} is not finite after step {step}; lower --optim.lr; the last checkpoint stays"
            )
