"""Outcomes as files between two processes: arrays as safetensors, texts as their metadata."""

from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from minbert.check.stage import Outcome
from minbert.files import atomic_write

TEXT = 4000  # characters of a problem's description


def write_outcome(path: Path, outcome: Outcome) -> None:
    """Writes a safetensors file, whole or not at all."""
    arrays = {name: np.asarray(value, order="C") for name, value in (outcome.outputs or {}).items()}
    texts = {"problem": outcome.problem, "detail": outcome.detail[-TEXT:], "printed": outcome.printed}
    metadata = {name: text.encode("utf-8", "replace").decode() for name, text in texts.items()}
    with atomic_write(path, "wb") as file:
        file.write(save(arrays, metadata))


def read_outcome(path: Path, limit: int) -> Outcome | None:
    """The outcome in a file; None where there is no file yet. `limit`: bytes that we are ready to read."""
    try:
        size = path.stat().st_size
        if size > limit:
            return Outcome(
                problem="memory", detail=f"its outputs take {size:,} bytes; the limit is {limit:,}"
            )
        with safe_open(path, framework="numpy") as file:
            texts = file.metadata()
            outputs = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except FileNotFoundError:
        return None
    except (SafetensorError, OSError) as error:
        return Outcome(problem="crashed", detail=f"its outputs cannot be read: {error}")
    return Outcome(None if texts["problem"] else outputs, **texts)
