"""The records of a run: metrics.jsonl, one JSON object a line, and the environment that it ran in."""

import json
import math
import platform
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from minbert import TEXT, __version__, atomic_write, by_key, check_value, parse_json, whole, writing
from minbert import write_json as write_plain_json
from multitask.runtime.callbacks import Callback
from multitask.runtime.messages import logger

RECORD = by_key({"kind": TEXT, "step": whole(0)})


class MetricsLog(Callback):
    """Appends the records of a run to metrics.jsonl."""

    def __init__(self, path: Path):
        self.path = path

    def rewind(self, step: int, evaluated_step: int) -> None:
        """Drops what was written after a checkpoint; for a new run, makes an empty file.

        `step` is the checkpoint's step, `evaluated_step` the last one whose evaluation it has. What follows
        the last whole line is set aside, and a message says so.
        """
        last = {"evaluation": evaluated_step}
        records, rest = _whole_lines(self.path)
        if rest:
            aside = self.path.with_name(f"{self.path.name}.damaged")
            with atomic_write(aside, "wb") as file:
                file.write(rest)
            logger.warning(
                f"{self.path} is damaged at its end: {len(rest)} bytes are set aside in {aside.name}"
            )
        kept = [record for record in records if record["step"] <= last.get(record["kind"], step)]
        with atomic_write(self.path) as file:
            file.writelines(json.dumps(record) + "\n" for record in kept)

    def on_record(self, kind: str, step: int, values: Mapping[str, Any]) -> None:
        with writing(self.path), open(self.path, "a", encoding="utf-8") as file:
            file.write(json.dumps(strict({"kind": kind, "step": step, **values}), allow_nan=False) + "\n")


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Reads the records of a metrics.jsonl, up to its last whole line; none where it is missing."""
    return _whole_lines(path)[0]


def _whole_lines(path: Path) -> tuple[list[dict[str, Any]], bytes]:
    """Returns the records of a metrics.jsonl, and what follows the first line that is not one."""
    records: list[dict[str, Any]] = []
    content = path.read_bytes() if path.is_file() else b""
    start = 0
    while end := content.find(b"\n", start) + 1:
        try:
            record = parse_json(content[start:end].decode("utf-8"))
            check_value("", record, RECORD)
        except ValueError:
            break
        records.append(record)
        start = end
    return records, content[start:]


def read_scores(logged: Mapping[str, Mapping[str, float | None]]) -> dict[str, dict[str, float]]:
    """Returns scores as they were before JSON made null of NaN."""
    return {
        task: {name: math.nan if value is None else value for name, value in values.items()}
        for task, values in logged.items()
    }


def strict(value: Any) -> Any:
    """Returns nested values with None in place of NaN and the infinities, which JSON does not have."""
    if isinstance(value, Mapping):
        return {key: strict(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [strict(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def write_json(path: Path, value: Any) -> None:
    """Writes a JSON file, whole or not at all; NaN and the infinities become null."""
    write_plain_json(path, strict(value))


def environment(device: torch.device, hashes: Mapping[str, str]) -> dict[str, Any]:
    """Returns what results depend on beside the configuration; `hashes` are those of the data files."""
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
    """Returns the commit of the code, with "+" where files differ from it; None outside a checkout."""
    here = Path(__file__)

    def git(*words: str) -> str:
        return subprocess.check_output(["git", *words], cwd=here.parent, text=True, stderr=subprocess.DEVNULL)

    try:
        git("ls-files", "--error-unmatch", here.name)  # not some repository that we were installed into
        return git("rev-parse", "HEAD").strip() + ("+" if git("status", "--porcelain") else "")
    except (OSError, subprocess.CalledProcessError):
        return None
