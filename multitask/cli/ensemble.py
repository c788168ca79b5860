"""The command `multitask ensemble`. No torch at import."""

import json
from argparse import Namespace

from minbert import CommandParser, InputError
from multitask.cli.option_groups import (
    add_device,
    add_file_format,
    add_tasks,
    add_trust,
    trust_folders,
    use_threads,
)


def add_ensemble_options(parser: CommandParser) -> None:
    """Adds RUN ... and the options of both averages."""
    parser.add_argument("runs", metavar="RUN", nargs="+", help="folder of a run, or a checkpoint's")
    parser.add_argument(
        "--average",
        choices=("predictions", "weights"),
        default="predictions",
        help="of what; the average of weights is one model, and needs runs of one form; default predictions",
    )
    parser.add_argument(
        "--method",
        choices=("plain", "weighted", "greedy"),
        default="plain",
        help="plain: all alike; weighted: weights fitted on dev; greedy: one after another while dev scores "
        "rise; default plain",
    )
    parser.add_argument("--data", help="folder with the data files, or `sample`; default: the first run's")
    parser.add_argument("--split", choices=("dev", "test"), default="dev", help="to predict; default dev")
    add_tasks(parser, "those that all runs have")
    parser.add_argument("--out", help="folder for the prediction files, or for the averaged checkpoint")
    add_file_format(parser)
    add_device(parser)
    add_trust(parser)
    parser.add_json()


def ensemble_command(options: Namespace) -> None:
    """Averages predictions or weights, and prints the scores of each run and of the average on dev."""
    use_threads(options)
    if options.trust:
        trust_folders(options.runs)
    average = _average_weights if options.average == "weights" else _average_predictions
    result, lines = average(options, options.tasks or None)
    if options.json:
        from multitask.runtime.tracking import strict

        print(json.dumps(strict(result.as_dict()), allow_nan=False))
    else:
        print("\n".join(lines))


def _average_predictions(options: Namespace, tasks: list[str] | None):
    from multitask.experiments.ensemble.ensemble import ensemble

    result = ensemble(
        options.runs,
        options.data,
        options.split,
        tasks,
        options.method,
        options.out,
        options.dialect,
        options.device,
    )
    columns = [("ensemble", result.scores)]
    if result.fitted:
        columns.append(("cross-validated", result.cross_validated))
    lines = _table(result, columns)
    if result.fitted:
        lines.append(
            "weights were fitted on these dev examples, so the column `ensemble` is optimistic; go by "
            "`cross-validated`"
        )
    for task, weights in result.weights.items():
        lines.append(f"weights of {task}: {', '.join(f'{weight:.3f}' for weight in weights)}")
    return result, [*lines, *(f"wrote {path}" for path in result.files), *result.notes]


def _average_weights(options: Namespace, tasks: list[str] | None):
    from multitask.experiments.ensemble.ensemble import data_of
    from multitask.experiments.ensemble.weight_average import METHODS, average_weights

    if options.method not in METHODS:
        raise InputError(
            f"--method {options.method} is for predictions; with --average weights choose from "
            f"{', '.join(METHODS)}"
        )
    if options.out is None:
        raise InputError("the folder for the averaged checkpoint is missing; give --out FOLDER")
    if options.split != "dev" or options.dialect != "code":
        raise InputError(
            f"--average weights writes no prediction files; afterwards: multitask predict {options.out} "
            f"--data DIR --split {options.split}"
        )
    data = data_of(options.runs[0], options.data)
    result = average_weights(options.runs, options.out, options.method, data, tasks, options.device)
    lines = _table(result, [("average", result.scores)]) if result.scores else []
    if result.method == "greedy":
        lines.append(
            f"kept {', '.join(result.kept)}; they were chosen on these dev examples, so the column `average` "
            f"is optimistic"
        )
    return result, [*lines, f"wrote {result.folder}, which --weights takes"]


def _table(result, columns: list[tuple[str, dict]]) -> list[str]:
    """Formats a legend of the runs, and the scores of each run and of the average."""
    from multitask.experiments.ensemble.ensemble import score_lines

    titles = [f"run {number}" for number in range(1, len(result.sources) + 1)]
    legend = [f"{title}: {source}" for title, source in zip(titles, result.sources, strict=True)]
    return [*legend, *score_lines([*zip(titles, result.single, strict=True), *columns])]
