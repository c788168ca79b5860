"""Reports: one HTML page for the folder of a run, an ablation or a search, to be opened from disk."""

import json
from pathlib import Path
from typing import Any

from minbert import InputError, atomic_write
from multitask.experiments.report.ablation import ablation_page
from multitask.experiments.report.charts import require_matplotlib
from multitask.experiments.report.search import search_page

PAGE = "report.html"


def write_report(
    folder: str | Path,
    out: str | Path | None = None,
    data: str | Path | None = None,
    split: str = "dev",
    with_texts: bool = True,
    device: str = "auto",
) -> Path:
    """Writes the page of a run, an ablation (table.json) or a search (search.json); -> its file.

    `out` is that file, FOLDER/report.html unless given. Of a run, `split` of the data in `data` (the run's
    own unless given) is predicted on `device`; without `with_texts` no sentence of it is in the page. Raises
    InputError for a folder of none of the three, and where matplotlib is not installed.
    """
    folder = Path(folder)
    require_matplotlib()
    if (folder / "table.json").is_file():
        text = ablation_page(_read(folder / "table.json", "ablation"))
    elif (folder / "search.json").is_file():
        text = search_page(_read(folder / "search.json", "search"))
    elif (folder / "config.json").is_file():
        from multitask.experiments.report.run import run_page

        text = run_page(folder, data, split, with_texts, device)
    else:
        kind = "has none of config.json, table.json, search.json" if folder.is_dir() else "does not exist"
        raise InputError(f"{folder} {kind}; give the folder of a run, an ablation or a search")
    path = Path(out) if out is not None else folder / PAGE
    with atomic_write(path) as file:
        file.write(text)
    return path


def _read(path: Path, kind: str) -> dict[str, Any]:
    """Reads the JSON object that describes an ablation or a search. Raises InputError for anything else."""
    again = "write it again with the command that made it"
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not JSON ({error}); {again}") from None
    if not isinstance(values, dict) or values.get("kind") != kind:
        raise InputError(f'{path} does not describe {kind}: it needs "kind": "{kind}"; {again}')
    return values
