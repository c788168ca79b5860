"""The command `multitask`: train, resume, evaluate, predict, validate, doctor, groups, tasks."""

import json
import os
import sys
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from minbert import CommandParser, InputError, run_command
from multitask.options import add_run_options, read_run_options

SPLITS = ("train", "dev", "test")
INVALID = 1  # exit status of `validate` where a file has errors


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    run_command(run, arguments)


def run(arguments: Sequence[str]) -> int | None:
    parser, run_parsers = build_parser()
    if arguments and arguments[0] in run_parsers:
        command, sub = run_parsers[arguments[0]]
        config, options = read_run_options(sub, arguments[1:])
        if options.print_config:
            print(json.dumps(config.to_dict(), indent=2))
            return None
        return command(config, options)
    options = parser.parse_args(arguments)
    return options.run(options)


def build_parser() -> tuple[CommandParser, dict]:
    """The parser of all commands; and name -> (command, parser) where the options are a configuration."""
    parser = CommandParser(prog="multitask", description="Fine-tunes one BERT on several tasks.")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    run_parsers = {}
    for name, command, help in (
        ("train", train_command, "fine-tune, into a new run folder"),
        ("groups", groups_command, "print every tensor's learning rate, decay, and whether it is trained"),
    ):
        sub = commands.add_parser(name, help=help)
        add_run_options(sub)
        run_parsers[name] = command, sub
    run_parsers["train"][1].add_argument(
        "--dry-run", action="store_true", help="print the steps that each task would get, and train nothing"
    )
    run_parsers["groups"][1].add_argument("--json", action="store_true", help="print one JSON object")

    sub = commands.add_parser("resume", help="continue an interrupted run")
    sub.add_argument("run_folder", metavar="RUN")
    sub.set_defaults(run=resume_command, parser=sub)

    sub = commands.add_parser("evaluate", help="print the scores of a run, or of weights, on a split")
    sub.add_argument("run_folder", metavar="RUN", nargs="?", help="the run's folder; or give --weights")
    sub.add_argument("--weights", help="pretrained weights or a checkpoint, instead of RUN")
    _add_data_options(sub)
    sub.add_argument("--limit", type=int, help="use the first N examples of each task only")
    sub.add_argument("--json", action="store_true", help="print one JSON object")
    sub.set_defaults(run=evaluate_command, parser=sub)

    sub = commands.add_parser("predict", help="write prediction files, or predict one text")
    sub.add_argument("run_folder", metavar="RUN")
    _add_data_options(sub)
    sub.add_argument("--out", help="folder for the files; default RUN/predictions")
    sub.add_argument("--dialect", choices=("code", "handout"), default="code", help="of the files")
    sub.add_argument("--task", help="with --text: the task to predict")
    sub.add_argument("--text", nargs="+", metavar="TEXT", help="a text, or the two of a pair")
    sub.set_defaults(run=predict_command, parser=sub)

    _add_file_commands(commands)
    return parser, run_parsers


def _add_file_commands(commands) -> None:
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


def _add_data_options(parser: CommandParser) -> None:
    parser.add_argument("--data", help="folder with the data files, or `sample`; default: the run's")
    parser.add_argument("--split", choices=SPLITS, default="dev")
    parser.add_argument("--tasks", help="comma-separated; default: all of the run's")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda[:n] or mps")
    parser.add_argument("--precision", default="auto", choices=("auto", "fp32", "bf16", "fp16"))
    parser.add_argument("--threads", type=int, help="CPU threads; default: all cores")
    parser.add_argument(
        "--task-file", help="Python file that registers kinds of your own; a RUN knows its own"
    )


def say(line: str) -> None:
    """Prints a line beside a progress bar."""
    from tqdm import tqdm

    tqdm.write(line, file=sys.stderr)


def train_command(config, options: Namespace) -> None:
    from multitask.fine_tune import plan_table, train

    if options.dry_run:
        print("\n".join(plan_table(config)))
        return
    _show_run(train(config, say, quiet=False))


def resume_command(options: Namespace) -> None:
    from multitask.fine_tune import resume

    _show_run(resume(options.run_folder, say, quiet=False))


def _show_run(run) -> None:
    from multitask.plots import write_plots

    if int(os.environ.get("RANK", 0)):
        return  # one of several processes; the first one shows the run
    print(score_table(run.scores["scores"], run.scores["overall"]))
    print(f"best step {run.scores['step']}, {run.scores['seconds'] / 60:.1f} minutes; {run.folder}")
    for line in write_plots(run):
        print(line)


def score_table(scores: dict, overall: dict, notes: Sequence[str] = ()) -> str:
    """One line a score; both overall scores by name, or why they are not there."""
    lines = [f"{'task':14} {'score':12} {'value':>7}"]
    lines += [
        f"{task:14} {name:12} {value:7.4f}" for task, all in scores.items() for name, value in all.items()
    ]
    lines += [f"{'all':14} {name:12} {value:7.4f}" for name, value in overall.items()]
    if not overall:
        lines.append("no overall score: it needs sst, paraphrase and sts")
    return "\n".join([*lines, *notes])


def evaluate_command(options: Namespace) -> None:
    from dataclasses import replace

    if (options.run_folder is None) == (options.weights is None):
        raise InputError("give either a run's folder or --weights")
    if options.limit is not None and options.limit < 1:
        raise InputError(f"--limit is {options.limit}; it must be at least 1")
    run = _open(options, options.run_folder or options.weights)
    run.config = replace(run.config, limit=options.limit)
    evaluation = run.evaluate(options.data, options.split, _names(options.tasks))
    if options.json:
        from multitask.tracking import strict

        print(json.dumps(strict(evaluation.as_dict()), allow_nan=False))
    else:
        print(score_table(evaluation.scores, evaluation.overall, evaluation.notes))


def _open(options: Namespace, source: str):
    import torch

    from multitask.run import open_source
    from multitask.tasks.registry import load_task_file

    if options.task_file:
        load_task_file(options.task_file)
    if options.threads is not None:
        if options.threads < 1:
            raise InputError(f"--threads is {options.threads}; it must be at least 1")
        torch.set_num_threads(options.threads)
    return open_source(source, _names(options.tasks), device=options.device, precision=options.precision)


def predict_command(options: Namespace) -> None:
    if (options.task is None) != (options.text is None):
        raise InputError("--task and --text go together")
    run = _open(options, options.run_folder)
    if options.task is not None:
        if len(options.text) > 2:
            raise InputError(f"{len(options.text)} texts; give one, or the two of a pair, each in quotes")
        sides = [[text] for text in options.text]
        print(run.predict(options.task, *sides)[0])
        return
    out = options.out or Path(options.run_folder) / "predictions"
    files, notes = run.write_predictions(
        out, options.data, options.split, _names(options.tasks), options.dialect
    )
    print("\n".join([*(f"wrote {path}" for path in files), *notes]))


def validate_command(options: Namespace) -> int:
    from multitask.predictions import validate_folder
    from multitask.splits import load_split, open_data
    from multitask.task_config import DEFAULT_TASKS

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


def _data_tasks(folder: Path, names: str | None) -> list:
    """The named tasks, else those of the course that have a file in the folder."""
    from multitask.task_config import task_config
    from multitask.tasks.registry import make_task

    chosen = _names(names) or ["sst", "paraphrase", "sts", "cfimdb"]
    tasks = [make_task(name, task_config(name, {})) for name in chosen]
    found = [task for task in tasks if names or any((folder / task.file(split)).exists() for split in SPLITS)]
    if not found:
        raise InputError(
            f"{folder} holds no file of the course's tasks; expected names such as ids-sst-train.csv"
        )
    return found


def doctor_command(options: Namespace) -> None:
    from multitask.data.doctor import diagnose
    from multitask.splits import load_split, open_data

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


def groups_command(config, options: Namespace) -> None:
    from multitask.assembly import assignments, start_unfreezing
    from multitask.preparation import untrained_model

    model = untrained_model(config)
    _, later = start_unfreezing(config, model)
    rows = [
        {
            "name": e.name,
            "size": e.parameter.numel(),
            "lr": e.lr,
            "weight_decay": e.weight_decay,
            "state": e.state,
        }
        for e in assignments(config, model, later)
    ]
    if options.json:
        print(json.dumps({"tensors": rows}))
        return
    print(f"{'tensor':58} {'size':>10} {'rate':>9} {'decay':>6}  state")
    for row in rows:
        print(
            f"{row['name']:58} {row['size']:10,} {row['lr']:9.2e} {row['weight_decay']:6.3f}  {row['state']}"
        )
    for state in dict.fromkeys(["trained", "frozen", "unused", *(row["state"] for row in rows)]):
        print(f"{state}: {sum(row['size'] for row in rows if row['state'] == state):,} parameters")


def tasks_command(options: Namespace) -> None:
    from multitask.task_config import TASK_DEFAULTS
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


def _names(text: str | None) -> list[str] | None:
    return None if text is None else [name.strip() for name in text.split(",") if name.strip()]
