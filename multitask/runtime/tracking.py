"""What a run writes down: `metrics.jsonl`, one JSON object a line, and the environment that it ran in."""

import json
import math
import platform
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from minbert import __version__, atomic_write


class MetricsLog:
    """Appends records to a file; a resumed run first drops what was written after its checkpoint.

    `step` is the checkpoint's step, `evaluated_step` the last one whose evaluation the checkpoint knows of.
    """

    def __init__(self, path: Path, step: int = 0, evaluated_step: int = 0):
        self.path = path
        last = {"evaluation": evaluated_step}
        kept = [record for record in read_metrics(path) if record["step"] <= last.get(record["kind"], step)]
        with atomic_write(path) as file:
            file.writelines(json.dumps(record) + "\n" for record in kept)

    def write(self, kind: str, step: int, **values: Any) -> None:
        """Adds one record: its kind ("train", "evaluation" or "conflict"), the step, and the values."""
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(json.dumps(strict({"kind": kind, "step": step, **values}), allow_nan=False) + "\n")


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The records of a metrics.jsonl; a last line that was cut off by a kill is left out."""
    if not path.is_file():
        return []
    records = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            records.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return records


def strict(value: Any) -> Any:
    """Nested values with None in place of NaN and the infinities, which JSON does not have."""
    if isinstance(value, Mapping):
        return {key: strict(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [strict(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def write_json(path: Path, value: Any) -> None:
    """Writes a JSON file, whole or not at all."""
    with atomic_write(path) as file:
        file.write(json.dumps(strict(value), indent=2, allow_nan=False) + "\n")


def environment(device: torch.device, hashes: Mapping[str, str]) -> dict[str, Any]:
    """What a run's results depend on beside its configuration; `hashes` are those of its data files."""
    return {
        "minbert": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "platform": platform.platform(),
        "device": str(device) if device.type != "cuda" else torch.cuda.get_device_name(device),
        "threads": torch.get_num_threads(),
        "git": _git_revision(),
        "data": dict(hashes),
    }


def _git_revision() -> str | None:
    """The commit that the code was run from, with "+" where files differ from it; None outside a checkout."""
    here = Path(__file__)

    def git(*words: str) -> str:
        return subprocess.run(
            ["git", *words], cwd=here.parent, capture_output=True, text=True, check=True
        ).stdout.strip()

    try:
        git("ls-files", "--error-unmatch", here.name)  # not some repository that we were installed into
        return git("rev-parse", "HEAD") + ("+" if git("status", "--porcelain") else "")
    except (OSError, subprocess.CalledProcessError):
        return None
