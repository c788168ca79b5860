"""The command `multitask search`. No torch here."""

from argparse import Namespace
from pathlib import Path

from minbert import CommandParser, InputError, say, says_how_to_go_on
from multitask.cli.option_groups import add_engine
from multitask.config.options import RunOptions, add_key_options
from multitask.config.task_file import load_task_file

# Options of a search that a continued one may be given; it has the others from its folder.
WHEN_CONTINUED = ("space", "trust", "trials", "storage", "jobs", "engine", "ray_address", "timeout", "json")


def add_search_options(parser: CommandParser) -> None:
    """Adds SPACE, what belongs to the search, and every option of a run."""
    parser.add_argument(
        "space",
        metavar="SPACE",
        help="TOML file, the name of a preset, or the folder of a search to continue",
    )
    parser.add_argument("--sampler", choices=("grid", "random", "tpe"), help="default tpe")
    parser.add_argument("--trials", type=int, metavar="N", help="of random and tpe; default 20")
    parser.add_argument(
        "--pruner",
        choices=("none", "median", "halving", "hyperband"),
        help="stops hopeless trials at an evaluation; default median, after 5 complete trials",
    )
    parser.add_argument("--sampler-seed", type=int, metavar="N", help="decides the points; default 0")
    parser.add_argument(
        "--storage",
        metavar="URL|FILE",
        help="of the trials: a file for SQLite, journal:FILE, or postgresql://... for several machines; "
        "default study.db in --out",
    )
    add_engine(parser, "trials")
    parser.add_argument("--timeout", type=float, metavar="SECONDS", help="begin no trial after so long")
    parser.add_json("print search.json's content")
    add_key_options(parser)


def search_command(options: RunOptions) -> int:
    """Begins a search, or continues one; status 1 where no trial is complete."""
    from multitask.experiments.executor.engine import Engine
    from multitask.experiments.search.results import table
    from multitask.experiments.search.search import Workers, continue_search, search
    from multitask.experiments.search.settings import Method, read_settings
    from multitask.experiments.search.space import read_space
    from multitask.experiments.search.storage import command_line

    given, out = options.given, options.value("out")
    engine = Engine(given.engine, given.jobs, given.ray_address)
    workers = Workers(engine, given.timeout, given.storage)
    if (folder := Path(given.space)).is_dir():
        settings = read_settings(folder)
        _refuse_when_continued(options)
        if given.trust:
            load_task_file(settings.base.get("task_file"))
        with says_how_to_go_on(lambda: f"multitask search {folder} goes on"):
            result = continue_search(folder, given.trials, workers, say)
    else:
        if out is None:
            raise InputError("no folder for the search; give --out FOLDER")
        chosen = {key: getattr(given, key) for key in ("sampler", "trials", "pruner", "sampler_seed")}
        method = Method(**{key: value for key, value in chosen.items() if value is not None})
        space = read_space(given.space)
        if space.seeds and vars(given)["key:train.seed"] is not None:
            raise InputError("the search names its seeds; leave out --seed")
        if space.metric is not None and vars(given)["key:select"] is not None:
            raise InputError("the search names its metric; leave out --select")
        line = command_line(options.words, given.storage)
        with says_how_to_go_on(lambda: f"multitask search {out} goes on"):
            result = search(space, out, method, workers, options.configure, say, command=line)
    if given.json:
        print((result.folder / "search.json").read_text(encoding="utf-8"), end="")
    else:
        print(table(result))
        if result.best is not None:
            print(f"multitask train {result.folder / 'best.toml'} takes the best configuration")
    return int(result.best is None)


def _refuse_when_continued(options: RunOptions) -> None:
    """Raises InputError for an option that would change the search in the folder."""
    given: Namespace = options.given
    changed = [
        key for key, value in vars(given).items() if value not in (None, False) and key not in WHEN_CONTINUED
    ]
    names = [key.removeprefix("key:").replace("_", "-") for key in changed]
    names += [option.removeprefix("--") for option, _ in options.dotted]
    if names:
        raise InputError(
            f"{given.space} has a search, which is continued as it began; leave out --{names[0]}"
        )
