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

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from minbert import InputError, did_you_mean
from multitask.config.option_types import checked, listed, merge, table
from multitask.config.options import RunOptions
from multitask.config.run_config import RunConfig, read_config
from multitask.metrics.scores import overall_scores

KEYS = ("title", "about", "baseline", "seeds", "preset", "base", "rows")
ROW_KEYS = ("name", "about", "set", "published")
PUBLISHED_KEYS = ("overall", "sst", "paraphrase", "sts", "note")
DEFAULT_SEEDS = (1, 2, 3)
ROUNDING = 1e-3  # published numbers have three or four digits, some of them cut off


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
    values = read_config(name, "presets/tables")
    if options.value("train.seed") is not None:
        raise InputError("a table has several seeds; give --seeds 1,2,3 in place of --train.seed")
    _known("key", values, KEYS)
    preset = values.get("preset")
    base = read_config(checked("preset", preset, str)) if preset else {}
    base = merge(base, table("base", values.get("base", {})))
    entries = [table("rows", row) for row in listed("rows", values.get("rows", []))]
    if not entries:
        raise InputError(f"{name} has no rows; give [[rows]], each with a name")
    rows = tuple(_row(entry, base, options) for entry in entries)
    names = [row.name for row in rows]
    for twice in {name for name in names if names.count(name) > 1}:
        raise InputError(f"two rows are called {twice!r}; give each row a name of its own")
    unknown = options.tasks - {task for row in rows for task in row.config.tasks}
    if unknown:
        raise InputError(f"no row has the task {min(unknown)} that an option names; leave the option out")
    baseline = checked("baseline", values.get("baseline", names[0]), str)
    if baseline not in names:
        raise InputError(f"baseline is {baseline!r}, which is not a row{did_you_mean(baseline, names)}")
    if seeds is None:
        seeds = [checked("seeds", s, int) for s in listed("seeds", values.get("seeds", DEFAULT_SEEDS))]
    if not seeds or len(set(seeds)) < len(seeds) or min(seeds) < 0:
        raise InputError(f"seeds are {list(seeds)}; give whole numbers from 0, each once")
    title = checked("title", values.get("title", name), str)
    return Ablation(title, checked("about", values.get("about", ""), str), baseline, tuple(seeds), rows)


def _row(entry: dict[str, Any], base: dict[str, Any], options: RunOptions) -> Row:
    _known("key of a row", entry, ROW_KEYS)
    name = checked("name", entry.get("name", ""), str)
    if not name.strip():
        raise InputError("a row has no name; give each of [[rows]] a name")
    changes = table(f"rows.{name}.set", entry.get("set", {}))
    if "seed" in changes.get("train", {}):
        raise InputError(f"row {name!r} sets train.seed; give seeds = [1, 2, ...] for the whole table")
    try:
        config = options.configure(merge(base, changes), strict=False)
    except InputError as error:
        raise InputError(f"row {name!r}: {error}") from None
    published = entry.get("published")
    return Row(
        name,
        checked("about", entry.get("about", ""), str),
        changes,
        None if published is None else published_scores(table("published", published)),
        config,
    )


def published_scores(values: dict[str, Any]) -> dict[str, Any]:
    """Published numbers, both overall scores computed from their parts, and which one was printed."""
    _known("key of published", values, PUBLISHED_KEYS)
    numbers = {key: checked(f"published.{key}", values[key], float) for key in values if key != "note"}
    names = {"sst": "sst.accuracy", "paraphrase": "paraphrase.accuracy", "sts": "sts.pearson"}
    scores = {names[key]: number for key, number in numbers.items() if key in names}
    nested = {name.split(".")[0]: {name.split(".")[1]: number} for name, number in scores.items()}
    both = overall_scores(nested)
    printed = numbers.get("overall")
    fits = [name for name, value in both.items() if printed is not None and abs(value - printed) < ROUNDING]
    return {
        "overall": printed,
        "formula": fits[0] if fits else "neither",
        "scores": scores,
        **both,
        "note": checked("published.note", values.get("note", ""), str),
    }


def _known(what: str, values: dict[str, Any], accepted: Sequence[str]) -> None:
    for key in values:
        if key not in accepted:
            raise InputError(
                f"there is no {what} {key!r}{did_you_mean(key, accepted)}; known: {', '.join(accepted)}"
            )
