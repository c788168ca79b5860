"""The commands on files, which need no weights: validate, doctor, tasks."""

import json
from argparse import Namespace
from collections.abc import Sequence

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
    from multitask.tasks.validation import validate_predictions

    found = validate_predictions(options.folder, options.data, names(options.tasks), options.split)
    if options.json:
        problems = [{**vars(problem)} for problem in found.problems]
        print(json.dumps({"checked": found.checked, "problems": problems, "notes": found.notes}))
    else:
        print("\n".join(found.lines()))
    return INVALID if found.errors else 0


def doctor_command(options: Namespace) -> None:
    from multitask.data.doctor import diagnose
    from multitask.tasks.splits import load_split, open_data
    from multitask.tasks.validation import tasks_with_data

    lengths = _token_counter(options.weights) if options.weights else None
    splits, notes = {}, []
    with open_data(options.data) as folder:
        for task in tasks_with_data(folder, names(options.tasks)):
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
    from multitask.config.task_kinds import KINDS, find_kind, load_task_file

    if options.task_file:
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


def names(text: str | None) -> list[str] | None:
    """What stands between commas."""
    return None if text is None else [name.strip() for name in text.split(",") if name.strip()]
