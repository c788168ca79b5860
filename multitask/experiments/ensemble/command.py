"""The command `multitask ensemble`. No torch at import."""

import json
from argparse import Namespace

from minbert import CommandParser, InputError


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
    parser.add_argument("--tasks", help="comma-separated; default: those that all runs have")
    parser.add_argument("--out", help="folder for the prediction files, or for the averaged checkpoint")
    parser.add_argument("--dialect", choices=("code", "handout"), default="code", help="of prediction files")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda[:n] or mps")
    parser.add_argument("--threads", type=int, help="CPU threads; default: all cores")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def ensemble_command(options: Namespace) -> None:
    """Averages predictions or weights, and prints the scores of each run and of the average on dev."""
    import torch

    if options.threads is not None:
        if options.threads < 1:
            raise InputError(f"--threads is {options.threads}; it must be at least 1")
        torch.set_num_threads(options.threads)
    names = [name.strip() for name in (options.tasks or "").split(",") if name.strip()] or None
    if options.average == "weights":
        _average_weights(options, names)
    else:
        _average_predictions(options, names)


def _average_predictions(options: Namespace, tasks: list[str] | None) -> None:
    from multitask.experiments.ensemble.ensemble import ensemble, score_lines

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
    if options.json:
        _print_json(result.as_dict())
        return
    columns = [*_numbered(result.single), ("ensemble", result.scores)]
    if result.fitted:
        columns.append(("cross-validated", result.cross_validated))
    lines = [*_legend(result.sources), *score_lines(columns)]
    if result.fitted:
        lines.append(
            "weights were fitted on these dev examples, so the column `ensemble` is optimistic; go by "
            "`cross-validated`"
        )
    for task, weights in result.weights.items():
        lines.append(f"weights of {task}: {', '.join(f'{weight:.3f}' for weight in weights)}")
    print("\n".join([*lines, *(f"wrote {path}" for path in result.files), *result.notes]))


def _average_weights(options: Namespace, tasks: list[str] | None) -> None:
    from multitask.experiments.ensemble.ensemble import data_of, score_lines
    from multitask.experiments.ensemble.weight_average import METHODS, average_weights

    if options.method not in METHODS:
        raise InputError(
            f"--method {options.method} is for predictions; with --average weights choose from "
            f"{', '.join(METHODS)}"
        )
    if options.out is None:
        raise InputError("no folder for the averaged checkpoint; give --out FOLDER")
    if options.split != "dev" or options.dialect != "code":
        raise InputError(
            f"--average weights writes no prediction files; afterwards: multitask predict {options.out} "
            f"--data DIR --split {options.split}"
        )
    result = average_weights(
        options.runs,
        options.out,
        options.method,
        data_of(options.runs[0], options.data),
        tasks,
        options.device,
    )
    if options.json:
        _print_json(result.as_dict())
        return
    lines = []
    if result.scores:
        lines += [
            *_legend(result.sources),
            *score_lines([*_numbered(result.single), ("average", result.scores)]),
        ]
    if result.method == "greedy":
        lines.append(
            f"kept {', '.join(result.kept)}; they were chosen on these dev examples, so the column `average` "
            f"is optimistic"
        )
    print("\n".join([*lines, f"wrote {result.folder}, which --weights takes"]))


def _numbered(single: list) -> list[tuple[str, dict]]:
    return [(f"run {number}", scores) for number, scores in enumerate(single, start=1)]


def _legend(sources: list[str]) -> list[str]:
    return [f"run {number}: {source}" for number, source in enumerate(sources, start=1)]


def _print_json(values: dict) -> None:
    from multitask.tracking import strict

    print(json.dumps(strict(values), allow_nan=False))
