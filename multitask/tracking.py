"""What a run writes down while it goes: `metrics.jsonl`, one JSON object a line."""

import json
from pathlib import Path
from typing import Any

from minbert import atomic_write


class MetricsLog:
    """Appends records to a file; a resumed run first drops what was written after its checkpoint."""

    def __init__(self, path: Path, step: int = 0):
        self.path = path
        kept = [record for record in read_metrics(path) if record["step"] <= step] if step else []
        with atomic_write(path) as file:
            file.writelines(json.dumps(record) + "\n" for record in kept)

    def write(self, kind: str, step: int, **values: Any) -> None:
        """Adds one record: its kind ("train" or "evaluation"), the step, and the values."""
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(json.dumps({"kind": kind, "step": step, **values}) + "\n")


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
