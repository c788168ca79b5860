"""A table of experiments: named rows of overrides on one base configuration, crossed with seeds.

title = "What the learning rate does"
baseline = "5e-5"                 # the row that the others are compared with; default: the first
seeds = [1, 2]
preset = "lora"                   # optional: a preset of `multitask train` below the base

[base.train]                      # keys of a run's configuration
epochs = 2

[[rows]]
name = "5e-5"

[[rows]]
name = "1e-4"
about = "Twice the default."
set.optim.lr = 1e-4               # what the row changes
published = { overall = 0.683, sst = 0.529, paraphrase = 0.738, sts = 0.782, note = "..." }
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from minbert import InputError
from multitask.config.option_types import build, merge, one_of, table
from multitask.config.options import RunOptions
from multitask.config.run_config import RunConfig, read_config
from multitask.metrics.scores import overall_scores

COURSE = {"sst": "sst.accuracy", "paraphrase": "paraphrase.accuracy", "sts": "sts.pearson"}
ROUNDING = 1e-3  # published numbers have three or four digits, some of them cut off


@dataclass(frozen=True)
class TableFile:
    """Keys of a table's file."""

    title: str | None = None
    about: str = ""
    baseline: str | None = None
    seeds: tuple[int, ...] = (1, 2, 3)
    preset: str | None = None
    base: dict = field(default_factory=dict)
    rows: list = field(default_factory=list)


@dataclass(frozen=True)
class RowEntry:
    """Keys of one of its rows."""

    name: str = ""
    about: str = ""
    set: dict = field(default_factory=dict)
    published: dict | None = None


@dataclass(frozen=True)
class Published:
    """Keys of the numbers that were published for a row."""

    overall: float | None = None
    sst: float | None = None
    paraphrase: float | None = None
    sts: float | None = None
    note: str = ""


@dataclass(frozen=True)
class Row:
    """A row of the table; `config` still lacks the seed."""

    name: str
    about: str
    changes: dict[str, Any]
    published: dict[str, Any] | None
    config: RunConfig


@dataclass(frozen=True)
class Ablation:
    """A table as its file and the command line define it."""

    title: str
    about: str
    baseline: str
    seeds: tuple[int, ...]
    rows: tuple[Row, ...] = field(repr=False)


def read_ablation(name: str, options: RunOptions, seeds: Sequence[int] | None = None) -> Ablation:
    """A table from a TOML file, or the preset of that name; options of a run win over all rows.

    Raises InputError for unknown keys, rows without a name or with the same one, and whatever no run could
    be made from, with the row's name.
    """
    file = TableFile(**build(TableFile, read_config(name, "presets/tables"), ""))
    if options.value("train.seed") is not None:
        raise InputError("a table has several seeds; give --seeds 1,2,3 in place of --train.seed")
    if not file.rows:
        raise InputError(f"{name} has no rows; give [[rows]], each with a name")
    base = merge(read_config(file.preset) if file.preset else {}, file.base)
    rows = tuple(_row(table("rows", row), base, options) for row in file.rows)
    names = [row.name for row in rows]
    for twice in {name for name in names if names.count(name) > 1}:
        raise InputError(f"two rows are called {twice!r}; give each row a name of its own")
    unknown = options.tasks - {task for row in rows for task in row.config.tasks}
    if unknown:
        raise InputError(f"no row has the task {min(unknown)} that an option names; leave the option out")
    baseline = names[0] if file.baseline is None else _one_line(file.baseline)
    one_of("baseline", baseline, names)
    seeds = file.seeds if seeds is None else tuple(seeds)
    if not seeds or len(set(seeds)) < len(seeds) or min(seeds) < 0:
        raise InputError(f"seeds are {list(seeds)}; give whole numbers from 0, each once")
    return Ablation(name if file.title is None else file.title, file.about, baseline, seeds, rows)


def _row(values: dict[str, Any], base: dict[str, Any], options: RunOptions) -> Row:
    entry = RowEntry(**build(RowEntry, values, "rows."))
    if not entry.name.strip():
        raise InputError("a row has no name; give each of [[rows]] a name")
    if "seed" in entry.set.get("train", {}):
        raise InputError(f"row {entry.name!r} sets train.seed; give seeds = [1, 2, ...] for the whole table")
    try:
        config = options.configure(merge(base, entry.set), strict=False)
    except InputError as error:
        raise InputError(f"row {entry.name!r}: {error}") from None
    published = None if entry.published is None else published_scores(entry.published)
    return Row(_one_line(entry.name), entry.about, entry.set, published, config)


def _one_line(name: str) -> str:
    """A name as all outputs can show it: without line ends."""
    return " ".join(name.split())


def published_scores(values: dict[str, Any]) -> dict[str, Any]:
    """Published numbers, both overall scores computed from their parts, and which one was printed."""
    given = Published(**build(Published, values, "published."))
    parts = {name: getattr(given, task) for task, name in COURSE.items()}
    scores = {name: number for name, number in parts.items() if number is not None}
    both, printed = overall_of(scores), given.overall
    fits = [name for name, value in both.items() if printed is not None and abs(value - printed) < ROUNDING]
    formula = fits[0] if fits else "neither"
    return {"overall": printed, "formula": formula, "scores": scores, **both, "note": given.note}


def overall_of(scores: Mapping[str, Any]) -> dict[str, Any]:
    """Computes both overall scores from scores, or arrays of them, by column; empty where one is missing."""
    parts = {task: {name.partition(".")[2]: scores[name]} for task, name in COURSE.items() if name in scores}
    return overall_scores(parts)
