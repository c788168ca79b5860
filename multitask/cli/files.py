"""The commands on files, which need no weights: validate, doctor, tasks."""

import json
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

from minbert import CommandParser, InputError
from multitask.cli.option_groups import add_task_file, add_tasks, add_trust
from multitask.config.option_types import checked, table
from multitask.config.run_config import read_config
from multitask.config.task_file import load_recorded_task_file, load_task_file
from multitask.config.task_kinds import KINDS, find_kind
from multitask.course.submit import DATA_TO_CHECK_BY, INVALID, PREDICTIONS


def add_validate_options(parser: CommandParser) -> None:
    parser.add_argument("folder", metavar="FOLDER", help="folder of the prediction files, or a run's")
    parser.add_argument("--data", help=DATA_TO_CHECK_BY)
    add_tasks(parser, "the course's three, and cfimdb if predicted")
    parser.add_argument("--split", action="append", choices=("dev", "test"), help="default: dev and test")
    parser.add_json()


def add_doctor_options(parser: CommandParser) -> None:
    parser.add_argument("folder", metavar="DIR", nargs="?", help="folder with the data files, or `sample`")
    parser.add_argument("--data", metavar="DIR", help="the same, as the other commands have it")
    add_tasks(parser, "the course's tasks that have data, and your own")
    parser.add_argument("--config", metavar="FILE", help="TOML file whose [tasks.NAME] say what the data are")
    add_task_file(parser, more="; default: that of --config, if you trained with it")
    add_trust(parser)
    parser.add_argument("--weights", help="count tokens with the tokenizer of these weights")
    length = "with --weights: tokens, what counts as cut; default 512, or what there are positions for"
    parser.add_argument("--max-length", type=int, action="at_least_one", metavar="N", help=length)
    parser.add_json()


def add_tasks_options(parser: CommandParser) -> None:
    add_task_file(parser, more="")
    parser.add_json()


def validate_command(options: Namespace) -> int:
    from multitask.tasks.validation import validate_predictions

    folder = Path(options.folder)
    folder = folder / PREDICTIONS if (folder / PREDICTIONS).is_dir() else folder
    found = validate_predictions(folder, options.data, options.tasks, options.split)
    if options.json:
        problems = [vars(problem) for problem in found.problems]
        print(json.dumps({"checked": found.checked, "problems": problems, "notes": found.notes}))
    else:
        print("\n".join(found.lines()))
    return INVALID if found.errors else 0


def doctor_command(options: Namespace) -> None:
    from multitask.data.doctor import diagnose
    from multitask.tasks.splits import missing_split, open_data
    from multitask.tasks.validation import tasks_with_data

    if (options.folder is None) == (options.data is None):
        given = "neither is" if options.data is None else "both are"
        raise InputError(f"one folder is wanted, DIR or --data DIR, and {given} given; give one of them")
    values = read_config(options.config) if options.config else {}
    if options.task_file is None:
        named = checked("task_file", values.get("task_file"), str | None)
        load_recorded_task_file(named, options.config or "", options.trust)
    load_task_file(options.task_file)
    configured = table("tasks", values.get("tasks", {}))
    lengths, longest = None, None
    if options.weights:
        lengths, longest = _token_counter(options.weights, options.max_length)
    elif options.max_length is not None:
        raise InputError(
            f"--max-length is {options.max_length}, of tokens; give --weights too, which count them"
        )
    splits, notes = {}, []
    with open_data(options.data or options.folder) as folder:
        for task in tasks_with_data(folder, options.tasks, configured):
            for split in ("train", "dev", "test"):
                if missing := missing_split(task, folder, split):
                    notes.append(missing)
                else:
                    splits[task.name, split] = task.load(folder, split)
        report = diagnose(splits, lengths, longest)
    if options.json:
        print(json.dumps(report.as_dict() | {"notes": notes}))
    else:
        print("\n".join([*report.lines(), *notes]))


def _token_counter(weights: str, asked: int | None):
    """Returns the function that counts tokens, and the number of them at which texts are cut."""
    from minbert import BertConfig, Tokenizer, find_folder

    tokenizer = Tokenizer.from_pretrained(weights)
    most = BertConfig.from_folder(find_folder(weights)).max_length
    if asked is not None and asked > most:
        raise InputError(
            f"--max-length is {asked}, and {weights} has positions for {most} tokens; give at most that"
        )

    def count(rows: Sequence[tuple[str, ...]]) -> list[int]:
        sides = [list(side) for side in zip(*rows, strict=True)]
        return [len(sequence.ids) for sequence in tokenizer.encode(*sides, max_length=1_000_000)]

    return count, min(512, most) if asked is None else asked


def tasks_command(options: Namespace) -> None:
    load_task_file(options.task_file)
    kinds = {}
    for kind in KINDS:
        task = find_kind(kind)
        summary = (task.__doc__ or "").strip().split("\n")[0]
        kinds[kind] = {"about": summary, "losses": list(task.losses), "defaults": task.defaults}
    if options.json:
        print(json.dumps(kinds))
        return
    for kind, facts in kinds.items():
        print(f"{kind:16} {facts['about']}\n{'':16} losses: {', '.join(facts['losses'])}")
