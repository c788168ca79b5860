"""The command `multitask ablate`. No torch at import."""

import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from minbert import CommandParser, InputError, hide_secrets, says_how_to_go_on
from multitask.cli.option_groups import add_engine
from multitask.config.option_types import parse
from multitask.config.options import RunOptions, add_key_options

if TYPE_CHECKING:
    from multitask.experiments.ablation.definition import Ablation


def add_ablate_options(parser: CommandParser) -> None:
    """Adds TABLE, its own options, and every option of a run."""
    parser.add_argument(
        "table", metavar="TABLE", help="TOML file, or the name of a preset: paper, methods, ..."
    )
    parser.add_argument("--seeds", help="comma-separated; default: the table's")
    add_engine(parser, "cells")
    parser.add_argument("--keep-weights", action="store_true", help="keep best/ and last/ of each cell's run")
    parser.add_argument("--retry-failed", action="store_true", help="compute cells anew that failed before")
    parser.add_argument("--dry-run", action="store_true", help="print the rows and what they change")
    parser.add_json("print table.json's content")
    add_key_options(parser)


def ablate_command(options: RunOptions) -> int:
    """Runs the command; status 1 where a cell failed."""
    from multitask.experiments.ablation.ablate import ablate, make_cells
    from multitask.experiments.ablation.formats import markdown
    from multitask.experiments.ablation.live import live_table
    from multitask.experiments.ablation.summary import describe_row
    from multitask.experiments.executor.engine import Engine
    from multitask.experiments.report.report import write_report

    given = options.given
    ablation = read_options(options)
    if given.dry_run:
        print("\n".join(f"{row.name}: {describe_row(row)}" for row in ablation.rows))
        return 0
    out = options.value("out")
    if out is None:
        raise InputError("no folder for the table; give --out FOLDER")
    engine = Engine(given.engine, given.jobs, given.ray_address)
    go_on = says_how_to_go_on(lambda: "the same command computes the cells that are left")
    with go_on, live_table(make_cells(ablation), Path(out)) as watch:
        command = shlex.join(["multitask", "ablate", *map(hide_secrets, options.words)])
        summary = ablate(ablation, out, engine, given.keep_weights, given.retry_failed, command, watch)
    page = write_report(out)
    print(json.dumps(summary, allow_nan=False) if given.json else markdown(summary))
    if not given.json:
        print(f"wrote {page} and the table as Markdown, CSV and LaTeX beside it")
    return int(any(cell["state"] == "failed" for row in summary["rows"] for cell in row["cells"]))


def read_options(options: RunOptions) -> "Ablation":
    """Returns the table that the command line asks for."""
    from multitask.experiments.ablation.definition import read_ablation

    text = options.given.seeds
    seeds = None if text is None else list(parse("--seeds", text, tuple[int, ...]))
    return read_ablation(options.given.table, options, seeds)
