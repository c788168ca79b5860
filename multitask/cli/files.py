"""The commands on files, which need no weights: validate, doctor, tasks."""

import json
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

from minbert import InputError

SPLITS = ("train", "dev", "test")
INVALID = 1  # exit status of `validate` where a file has errors


def add_file_commands(commands) -> None:
    """The commands that need no weights."""
    sub = commands.add_parser("validate", help="check prediction files; status 1 where one has errors")
    sub.add_argument("folder", metavar="FOLDER")
    sub.add_argument("--data", required=True, help="folder with the data files")
    sub.add_argument("--tasks", help="comma-separated; default: the course's three, and cfimdb if predicted")
    sub.add_argument("--split", action="append", choices=("dev", "test"), help="default: dev and test")
    sub.add_argument("--json", action="store_true", help="print one JSON object")
    sub.set_defaults(run=validate_command, parser=sub)

    sub = commands.add_parser("doctor", help="say what is odd in the data files")
    sub.add_argument("data", metavar="DIR", help="folder with the data files, or `sample`")
    sub.add_argument("--tasks", help="comma-separated; default: the course's tasks that have data")
    sub.add_argument("--weights", help="count tokens with the tokenizer of these weights")
    sub.add_argument("--max-length", type=int, default=512, help="tokens; what counts as cut; default 512")
    sub.add_argument("--json", action="store_true", help="print one JSON object")
    sub.set_defaults(run=doctor_command, parser=sub)

    sub = commands.add_parser("tasks", help="list the kinds of tasks")
    sub.add_argument("--task-file", help="Python file that registers kinds of your own")
    sub.add_argument("--json", action="store_true", help="print one JSON object")
    sub.set_defaults(run=tasks_command, parser=sub)


def validate_command(options: Namespace) -> int:
    from multitask.config.task_config import DEFAULT_TASKS
    from multitask.tasks.predictions import validate_folder
    from multitask.tasks.splits import load_split, open_data

    expected, optional, formats, lines = {}, {}, {}, []
    with open_data(options.data) as folder:
        for task in _data_tasks(folder, options.tasks):
            predicted = any(Path(options.folder).glob(f"{task.format.stem}-*.*"))
            if not (predicted or options.tasks or task.name in DEFAULT_TASKS):
                continue  # cfimdb belongs to the course's first part, which has predictions of its own
            formats[task.name] = task.format
            for split in options.split or ("dev", "test"):
                examples, notes = load_split(task, folder, split)
                if examples is None:
                    lines += notes
                    continue
                expected[task.name, split] = [e.id for e in examples.in_file_order() if e.id is not None]
                optional[task.name, split] = [e.id for e in examples.rejects if e.id is not None]
    problems, checked = validate_folder(options.folder, expected, formats, optional)
    errors = sum(problem.severity == "error" for problem in problems)
    if options.json:
        found = [{**vars(problem)} for problem in problems]
        print(json.dumps({"checked": [str(path) for path in checked], "problems": found, "notes": lines}))
    else:
        lines += [str(problem) for problem in problems]
        lines.append(f"{len(checked)} files checked, {errors} errors, {len(problems) - errors} warnings")
        print("\n".join(lines))
    return INVALID if errors else 0


def _data_tasks(folder: Path, given: str | None) -> list:
    """The named tasks, else those of the course that have a file in the folder."""
    from multitask.config.task_config import task_config
    from multitask.tasks.registry import make_task

    chosen = names(given) or ["sst", "paraphrase", "sts", "cfimdb"]
    tasks = [make_task(name, task_config(name, {})) for name in chosen]
    found = [task for task in tasks if given or any((folder / task.file(split)).exists() for split in SPLITS)]
    if not found:
        raise InputError(
            f"{folder} holds no file of the course's tasks; expected names such as ids-sst-train.csv"
        )
    return found


def doctor_command(options: Namespace) -> None:
    from multitask.data.doctor import diagnose
    from multitask.tasks.splits import load_split, open_data

    lengths = _token_counter(options.weights) if options.weights else None
    splits, notes = {}, []
    with open_data(options.data) as folder:
        for task in _data_tasks(folder, options.tasks):
            for split in SPLITS:
                examples, note = load_split(task, folder, split)
                if examples is None:
                    notes += note
                else:
                    splits[task.name, split] = examples
    report = diagnose(splits, lengths, options.max_length if lengths else None)
    if options.json:
        print(json.dumps(report.as_dict() | {"notes": notes}))
    else:
        print("\n".join([*report.lines(), *notes]))


def _token_counter(weights: str):
    from minbert import Tokenizer

    tokenizer = Tokenizer.from_pretrained(weights)

    def count(rows: Sequence[tuple[str, ...]]) -> list[int]:
        sides = [list(side) for side in zip(*rows, strict=True)]
        return [len(sequence.ids) for sequence in tokenizer.encode(*sides, max_length=1_000_000)]

    return count


def tasks_command(options: Namespace) -> None:
    from multitask.config.task_config import TASK_DEFAULTS
    from multitask.tasks.registry import KINDS, find_kind, load_task_file

    if options.task_file:
        load_task_file(options.task_file)
    kinds = {}
    for kind in KINDS:
        task = find_kind(kind)
        summary = (task.__doc__ or "").strip().split("\n")[0]
        losses = list(getattr(task, "losses", {}))
        kinds[kind] = {"about": summary, "losses": losses, "defaults": TASK_DEFAULTS[kind]}
    if options.json:
        print(json.dumps(kinds))
        return
    for kind, facts in kinds.items():
        print(f"{kind:16} {facts['about']}\n{'':16} losses: {', '.join(facts['losses'])}")


def names(text: str | None) -> list[str] | None:
    """What stands between commas."""
    return None if text is None else [name.strip() for name in text.split(",") if name.strip()]
