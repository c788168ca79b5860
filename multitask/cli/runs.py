"""The commands on a run: train, groups, resume, evaluate, predict. No torch at import."""

import json
import os
import sys
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from minbert import CommandParser, InputError, say, says_how_to_go_on
from multitask.cli.option_groups import (
    add_device,
    add_file_format,
    add_task_file,
    add_tasks,
    add_trust,
    use_threads,
)
from multitask.config.options import add_run_options
from multitask.data.given_rows import SPLITS


def add_train_options(parser: CommandParser) -> None:
    add_run_options(parser)
    parser.add_argument(
        "--dry-run", action="store_true", help="print the steps that each task would get, and train nothing"
    )


def add_groups_options(parser: CommandParser) -> None:
    add_run_options(parser)
    parser.add_json()


def add_resume_options(parser: CommandParser) -> None:
    parser.add_argument("run_folder", metavar="RUN", help="the run's folder")
    more = {"type": int, "action": "at_least_one", "metavar": "N"}
    parser.add_argument(
        "--train.epochs", "--epochs", dest="epochs", **more, help="extend the run to N epochs"
    )
    parser.add_argument("--train.max-steps", dest="max_steps", **more, help="extend the run to N steps")
    parser.hint = "a run goes on with its own settings, and only its length can be changed"
    add_task_file(parser)
    add_trust(parser)


def add_evaluate_options(parser: CommandParser) -> None:
    parser.add_argument("run_folder", metavar="RUN", nargs="?", help="the run's folder; or give --weights")
    parser.add_argument("--weights", help="pretrained weights or a checkpoint, instead of RUN")
    _add_data_options(parser)
    parser.add_argument(
        "--limit", type=int, action="at_least_one", help="use N examples of each task only, a random part"
    )
    about = "share of a split's rows that may be rejected; 1: score what is left; default: the run's"
    parser.add_argument("--max-rejected", type=float, help=about)
    parser.add_json()


def add_predict_options(parser: CommandParser) -> None:
    parser.add_argument("run_folder", metavar="RUN", help="the run's folder, or a checkpoint of it")
    _add_data_options(parser)
    parser.add_argument("--out", help="folder for the files; default RUN/predictions")
    add_file_format(parser)
    parser.add_argument("--task", help="with --text: the task to predict")
    text = "a text, or the two of a pair; -: from standard input"
    parser.add_argument("--text", nargs="+", metavar="TEXT", help=text)
    parser.add_argument(
        "--probabilities",
        action="store_true",
        help="those of each class or label too: beside the prediction with --text, else in "
        "NAME-SPLIT-probabilities.csv",
    )
    parser.add_json("with --text: print one JSON object")


def _add_data_options(parser: CommandParser) -> None:
    parser.add_argument("--data", help="folder with the data files, or `sample`; default: the run's")
    about = "folder for tokenized data; default: the run's, else the user's cache folder"
    parser.add_argument("--data.cache", dest="data_cache", metavar="DIR", help=about)
    parser.add_argument("--split", choices=SPLITS, default="dev")
    add_tasks(parser, "all of the run's")
    add_device(parser)
    parser.add_argument("--precision", default="auto", choices=("auto", "fp32", "bf16", "fp16"))
    add_task_file(parser)
    add_trust(parser)


def train_command(config, options: Namespace) -> None:
    from multitask.runtime.messages import show_messages
    from multitask.training.trainer import plan_table, train

    if options.dry_run:
        print("\n".join(plan_table(config)))
        return
    with show_messages(say), says_how_to_go_on(lambda: _how_to_go_on(config.out)):
        run = train(config, quiet=False)
    _show_run(run)


def resume_command(options: Namespace) -> None:
    from multitask.runtime.messages import show_messages
    from multitask.training.trainer import is_finished, resume

    finished = is_finished(options.run_folder)
    keys = ("task_file", "trust", "epochs", "max_steps")
    given = {key: getattr(options, key) for key in keys}
    with show_messages(say), says_how_to_go_on(lambda: _how_to_go_on(options.run_folder)):
        run = resume(options.run_folder, quiet=False, **given)
    _show_run(run, plots=not finished or options.epochs or options.max_steps)


def _how_to_go_on(out: str) -> str:
    """Returns what is in the folder of a run that a signal has ended, and the command that goes on."""
    if not (Path(out) / "config.json").is_file():
        return "nothing was written, give the same command again"
    if not (Path(out) / "last").is_dir():
        return f"there is no checkpoint yet, multitask resume {out} begins anew"
    return f"multitask resume {out} goes on from {out}/last"


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
    from multitask.runtime.messages import show_messages

    if (options.run_folder is None) == (options.weights is None):
        given = "neither is" if options.weights is None else "both are"
        raise InputError(f"a run's folder or --weights is wanted, {given} given; give one of them")
    run = _open(options, options.weights if options.run_folder is None else options.run_folder)
    run.config = replace(run.config, limit=options.limit)
    if options.max_rejected is not None:
        run.config = replace(run.config, max_rejected=options.max_rejected)
    with show_messages(say):
        evaluation = run.evaluate(options.data, options.split, options.tasks)
    if options.json:
        from multitask.runtime.tracking import strict

        print(json.dumps(strict(evaluation.as_dict()), allow_nan=False))
    else:
        print(score_table(evaluation.scores, evaluation.overall, evaluation.notes))


def _open(options: Namespace, source: str):
    from multitask.inference.run import open_source, read_run_config

    use_threads(options)
    here = Path(source)
    if source == options.run_folder and not any(path.is_dir() for path in (here, "checkpoints" / here)):
        read_run_config(here)  # which says so; a missing run is no model of the hub
    run = open_source(
        source,
        options.tasks,
        options.task_file,
        options.trust,
        device=options.device,
        precision=options.precision,
    )
    if options.data_cache is not None:
        run.config = replace(run.config, data_cache=options.data_cache)
    return run


def predict_command(options: Namespace) -> None:
    if (options.task is None) != (options.text is None):
        missing = "--task NAME" if options.task is None else "--text TEXT"
        raise InputError(f"--task and --text go together; give {missing} too, or neither for files")
    if options.json and options.text is None:
        raise InputError("--json goes with --text; prediction files have formats of their own")
    run = _open(options, options.run_folder)
    if options.task is not None:
        _print_predictions(run, options)
        return
    out = options.out or Path(options.run_folder) / "predictions"
    files, notes = run.write_predictions(
        out, options.data, options.split, options.tasks, options.dialect, options.probabilities
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
    predicted = predict_lines(run, options.task, texts, at_once, options.probabilities)
    if options.json:
        print(as_json(options.task, predicted))
        return
    format = run.task(options.task).format
    for entry in predicted:
        print(as_line(entry, format), flush=True)


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
