"""The command `multitask`: all subcommands, and those that work on a run."""

import json
import os
import sys
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from minbert import CommandParser, InputError, run_command, say
from multitask.cli.ablate import ablate_command, add_ablate_options
from multitask.cli.augment import add_augment_options, augment_command
from multitask.cli.check import add_check_options, check_command
from multitask.cli.download import add_download_options, download_command
from multitask.cli.ensemble import add_ensemble_options, ensemble_command
from multitask.cli.export import add_export_options, export_command
from multitask.cli.files import SPLITS, add_file_commands, names
from multitask.cli.import_checkpoint import add_import_checkpoint_options, import_checkpoint_command
from multitask.cli.report import add_report_options, report_command
from multitask.cli.search import add_search_options, search_command
from multitask.config.options import RunOptions, add_run_options, read_run_options
from multitask.course.submit import add_submit_options, submit_command


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    run_command(run, arguments)


def run(arguments: Sequence[str]) -> int | None:
    parser, run_parsers, many_runs = build_parser()
    if arguments and arguments[0] in many_runs:
        command, sub = many_runs[arguments[0]]
        return command(RunOptions(sub, arguments[1:]))
    if arguments and arguments[0] in run_parsers:
        command, sub = run_parsers[arguments[0]]
        config, options = read_run_options(sub, arguments[1:])
        if options.print_config:
            print(json.dumps(config.to_dict(), indent=2))
            return None
        return command(config, options)
    options = parser.parse_args(arguments)
    return options.run(options)


def build_parser() -> tuple[CommandParser, dict, dict]:
    """The parser of all commands; and by name (command, parser) of those whose options make a configuration.

    First of those that make one, then of those that make many.
    """
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
    sub.add_argument(
        "--text",
        nargs="+",
        metavar="TEXT",
        help="a text, or the two of a pair; -: from standard input",
    )
    sub.add_argument("--json", action="store_true", help="with --text: print one JSON object")
    sub.set_defaults(run=predict_command, parser=sub)

    add_file_commands(commands)
    _add_course_and_exports(commands)
    return parser, run_parsers, _add_experiments(commands)


def _add_course_and_exports(commands) -> None:
    for name, command, add_options, help in (
        ("submit", submit_command, add_submit_options, "check the predictions, and make the zip to hand in"),
        ("download", download_command, add_download_options, "fetch the course's data files, and check them"),
        (
            "import-checkpoint",
            import_checkpoint_command,
            add_import_checkpoint_options,
            "make a folder of weights from a .pt file of the course's starter code",
        ),
        ("export", export_command, add_export_options, "write a task, or the encoder, for other software"),
        ("check", check_command, add_check_options, "compare losses and metrics with references"),
    ):
        _add_command(commands, name, command, add_options, help)


def _add_command(commands, name: str, command, add_options, help: str) -> None:
    sub = commands.add_parser(name, help=help)
    add_options(sub)
    sub.set_defaults(run=command, parser=sub)


def _add_experiments(commands) -> dict:
    """The commands over many runs; -> name -> (command, parser) of those with a run's options."""
    many_runs = {}
    for name, command, add_options, help in (
        ("ablate", ablate_command, add_ablate_options, "compute a table of experiments, over seeds"),
        ("search", search_command, add_search_options, "search for the best hyper-parameters"),
    ):
        sub = commands.add_parser(name, help=help)
        add_options(sub)
        many_runs[name] = command, sub
    for name, command, add_options, help in (
        ("report", report_command, add_report_options, "write one HTML page of a run, a table or a search"),
        ("augment", augment_command, add_augment_options, "make training texts for small classes"),
        ("ensemble", ensemble_command, add_ensemble_options, "average predictions or weights of runs"),
    ):
        _add_command(commands, name, command, add_options, help)
    return many_runs


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


def train_command(config, options: Namespace) -> None:
    from multitask.runtime.messages import show_messages
    from multitask.training.trainer import plan_table, train

    if options.dry_run:
        print("\n".join(plan_table(config)))
        return
    with show_messages(say):
        run = train(config, quiet=False)
    _show_run(run)


def resume_command(options: Namespace) -> None:
    from multitask.runtime.messages import show_messages
    from multitask.training.trainer import is_finished, resume

    finished = is_finished(options.run_folder)
    with show_messages(say):
        run = resume(options.run_folder, quiet=False)
    _show_run(run, plots=not finished)


def _show_run(run, plots: bool = True) -> None:
    from multitask.inference.plots import write_plots

    if int(os.environ.get("RANK", 0)):
        return  # one of several processes; the first one shows the run
    print(score_table(run.scores["scores"], run.scores["overall"]))
    print(f"best step {run.scores['step']}, {run.scores['seconds'] / 60:.1f} minutes; {run.folder}")
    for line in write_plots(run) if plots else ():
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
    evaluation = run.evaluate(options.data, options.split, names(options.tasks))
    if options.json:
        from multitask.runtime.tracking import strict

        print(json.dumps(strict(evaluation.as_dict()), allow_nan=False))
    else:
        print(score_table(evaluation.scores, evaluation.overall, evaluation.notes))


def _open(options: Namespace, source: str):
    import torch

    from multitask.config.task_kinds import load_task_file
    from multitask.inference.run import open_source

    if options.task_file:
        load_task_file(options.task_file)
    if options.threads is not None:
        if options.threads < 1:
            raise InputError(f"--threads is {options.threads}; it must be at least 1")
        torch.set_num_threads(options.threads)
    return open_source(source, names(options.tasks), device=options.device, precision=options.precision)


def predict_command(options: Namespace) -> None:
    if (options.task is None) != (options.text is None):
        raise InputError("--task and --text go together")
    if options.json and options.text is None:
        raise InputError("--json goes with --text; prediction files have formats of their own")
    run = _open(options, options.run_folder)
    if options.task is not None:
        _print_predictions(run, options)
        return
    out = options.out or Path(options.run_folder) / "predictions"
    files, notes = run.write_predictions(
        out, options.data, options.split, names(options.tasks), options.dialect
    )
    print("\n".join([*(f"wrote {path}" for path in files), *notes]))


def _print_predictions(run, options: Namespace) -> None:
    from multitask.inference.text_prediction import (
        LINES_AT_ONCE,
        STANDARD_INPUT,
        as_json,
        as_line,
        given_texts,
        predict_lines,
        texts_of,
    )

    at_once = LINES_AT_ONCE
    if options.text == [STANDARD_INPUT]:
        at_once = 1 if sys.stdin.isatty() else LINES_AT_ONCE
        texts = texts_of(run, options.task, sys.stdin.buffer)
    else:
        texts = [given_texts(run, options.task, options.text)]
    predicted = predict_lines(run, options.task, texts, at_once)
    if options.json:
        print(as_json(options.task, predicted))
        return
    for _, value in predicted:
        print(as_line(value), flush=True)


def groups_command(config, options: Namespace) -> None:
    from multitask.training.components import assignments
    from multitask.training.inputs import untrained_model
    from multitask.training.parameters.unfreezing import Unfreezing

    model = untrained_model(config)
    unfreezing = None if config.unfreeze is None else Unfreezing(model, config.unfreeze)
    rows = [
        {
            "name": e.name,
            "size": e.parameter.numel(),
            "lr": e.lr,
            "weight_decay": e.weight_decay,
            "state": e.state,
        }
        for e in assignments(config, model, unfreezing)
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
