"""Progress of a table: the table as it fills, drawn with rich on a terminal; else a line for each cell."""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from statistics import fmean

from tqdm import tqdm

from minbert import say, shown_line
from multitask.experiments.ablation.ablate import State
from multitask.experiments.ablation.cells import Cell
from multitask.experiments.ablation.compute_cell import RUNS
from multitask.experiments.ablation.summary import OVERALL, cell_scores
from multitask.runtime.tracking import read_metrics


@contextmanager
def live_table(cells: Sequence[Cell], out: Path) -> Iterator[Callable[[State], None]]:
    """Yields the function that shows a state: with rich on a terminal, else a line for each finished cell."""
    if find_spec("rich") is None or not sys.stderr.isatty():
        yield _Lines(cells)
        return
    from rich.console import Console
    from rich.live import Live

    with Live(console=Console(stderr=True), refresh_per_second=2) as live:
        yield lambda state: live.update(_screen(cells, state, out))


def cell_text(cell: Cell, state: State, out: Path) -> str:
    """Returns a cell of the live table: its score, its step and where it is computed, or its state."""
    if cell.key in state.records:
        record = state.records[cell.key]
        return score_line(record) if record["state"] == "finished" else "failed"
    place = (state.ours | state.others).get(cell.key)
    if place is None:
        return "·"
    step = _progress(out / RUNS / cell.folder_name / "metrics.jsonl")
    return f"{step} on {place}" if place else "waits"


def score_line(record: dict) -> str:
    """Returns the overall score, or the mean of the tasks' scores where there is none."""
    scores = cell_scores(record)
    return f"{scores.get(OVERALL[0], fmean(scores.values())):.4f}" if scores else "no score"


class _Lines:
    """Prints a line for each finished cell, and a bar."""

    def __init__(self, cells: Sequence[Cell]):
        self.cells = {cell.key: cell for cell in cells}
        self.seen: set[str] | None = None
        self.bar = tqdm(total=len(cells), unit=" cells", disable=None)

    def __call__(self, state: State) -> None:
        if self.seen is None:
            self.seen = set(state.records)
            if self.seen:
                print(f"{len(self.seen)} of {len(self.cells)} cells are done already", file=sys.stderr)
        for key in state.records.keys() - self.seen:
            record, cell = state.records[key], self.cells[key]
            text = score_line(record) if record["state"] == "finished" else f"failed: {record['error']}"
            say(f"{cell.row}, seed {cell.seed}: {text}")
        self.seen |= state.records.keys()
        self.bar.n = len(state.records)
        self.bar.refresh()


def _screen(cells: Sequence[Cell], state: State, out: Path):
    from rich.console import Group
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    seeds = list(dict.fromkeys(cell.seed for cell in cells))
    table = Table("row", *(f"seed {seed}" for seed in seeds), title="overall_2024, or the mean of the scores")
    for row in dict.fromkeys(cell.row for cell in cells):
        by_seed = {cell.seed: cell for cell in cells if cell.row == row}
        table.add_row(Text(shown_line(row)), *(cell_text(by_seed[seed], state, out) for seed in seeds))
    done = len(state.records)
    failed = sum(record["state"] == "failed" for record in state.records.values())
    text = f"{done} of {len(cells)} cells done" + (f", {failed} failed" if failed else "")
    return Group(table, Text(text), ProgressBar(len(cells), done, width=60))


def _progress(path: Path) -> str:
    """Returns the last step in a run's metrics.jsonl."""
    records = read_metrics(path)
    return f"step {records[-1]['step']}" if records else "begins"
