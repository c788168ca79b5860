"""Reports: one HTML page for the folder of a run, an ablation or a search, to be opened from disk."""

from pathlib import Path
from typing import Any

from minbert import (
    AMOUNT,
    ANYTHING,
    FRACTION,
    NUMBER,
    TEXT,
    TRUTH,
    InputError,
    Rule,
    atomic_write,
    by_key,
    by_name,
    check_value,
    is_number,
    list_of,
    or_null,
    read_json_object,
    whole,
)
from multitask.experiments.report.ablation import ablation_page
from multitask.experiments.report.charts import require_matplotlib
from multitask.experiments.report.search import search_page

PAGE = "report.html"
_DIFFERENCE = {
    "mean": NUMBER,
    **dict.fromkeys(("low", "high"), or_null(NUMBER)),
    "significant": or_null(TRUTH),
    "why": ANYTHING,
}
_ROW = {
    "name": TEXT,
    "cells": list_of(by_key({"seed": whole(0), "state": TEXT, "error": or_null(TEXT)})),
    "scores": by_name(by_key({"mean": NUMBER, "sd": or_null(NUMBER)})),
    "differences": by_name(by_key(_DIFFERENCE)),
    "published": or_null(by_name(ANYTHING)),
}
TABLE = {
    **dict.fromkeys(("title", "about", "baseline", "command", "created"), TEXT),
    "seeds": list_of(whole(0)),
    "columns": list_of(TEXT),
    "rows": list_of(by_key(_ROW)),
    "notes": list_of(TEXT),
    "environment": by_name(ANYTHING),
    "level": FRACTION,
}
_STEP = Rule(
    lambda value: (
        isinstance(value, list)
        and len(value) == 2
        and whole(0).accepts(value[0])
        and (value[1] is None or is_number(value[1]))
    ),
    "a step and a value",
)
_TRIAL = {
    "number": whole(0),
    "state": TEXT,
    "value": or_null(NUMBER),
    "parameters": by_name(ANYTHING),
    "steps": list_of(_STEP),
}
_PARAMETER = {
    "kind": TEXT,
    "low": or_null(NUMBER),
    "high": or_null(NUMBER),
    "log": TRUTH,
    "choices": or_null(list_of(ANYTHING)),
}
SEARCH = {
    **dict.fromkeys(("title", "about", "metric", "sampler"), TEXT),
    "trials": list_of(by_key(_TRIAL)),
    "parameters": by_name(by_key(_PARAMETER)),
    "importance": or_null(by_name(AMOUNT)),
    "best": or_null(by_key({"number": whole(0), "value": NUMBER, "parameters": by_name(ANYTHING)})),
    "notes": list_of(TEXT),
}


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
        text = ablation_page(read_summary(folder / "table.json", "ablation", TABLE))
    elif (folder / "search.json").is_file():
        text = search_page(read_summary(folder / "search.json", "search", SEARCH))
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


def read_summary(path: Path, kind: str, rules: dict[str, Rule]) -> dict[str, Any]:
    """Reads the JSON object that describes an ablation or a search. Raises InputError for anything else."""
    again = "write it again with the command that made it"
    values = read_json_object(path, remedy=again)
    if values.get("kind") != kind:
        raise InputError(f'{path} does not describe {kind}: it needs "kind": "{kind}"; {again}')
    check_value("", values, by_key(rules), f"{path}: ", f"; {again}")
    return values
