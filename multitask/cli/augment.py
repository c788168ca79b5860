"""The command `multitask augment`: new training texts for the classes that have fewer than others."""

import json
from argparse import Namespace
from pathlib import Path
from typing import Any

from minbert import CommandParser, InputError

METHODS = ("paraphrase", "words", "resample")
INCOMPLETE = 1  # exit status where the limits stopped it before all texts were there
# Options that one method alone reads, with their defaults.
OF_METHOD: dict[str, dict[str, Any]] = {
    "paraphrase": {
        "endpoint": None,
        "model": None,
        "template": None,
        "cache": None,
        "temperature": 0.8,
        "max_tokens": 256,
        "body": None,
        "concurrency": 8,
        "timeout": 60.0,
        "retries": 6,
        "backoff": 1.0,
        "max_cost": None,
        "max_requests": None,
        "price_in": None,
        "price_out": None,
        "dry_run": False,
    },
    "words": {"synonyms": None, "share": 0.1},
    "resample": {},
}


def add_augment_options(parser: CommandParser) -> None:
    """The options of `multitask augment`."""
    add = parser.add_argument
    add("--task", default="sst", help="a classification of single texts; default sst")
    add("--data", required=True, help="folder with the data files, or `sample`")
    add(
        "--out",
        required=True,
        metavar="FILE",
        help="the training file with the new rows; FILE.json beside it",
    )
    add("--config", help="configuration or preset that describes the task, where its name does not")
    add("--task-file", help="Python file that registers kinds of your own")
    add("--method", choices=METHODS, default=METHODS[0], help="default paraphrase, by a language model")
    add("--per-class", type=int, metavar="N", help="rows of each class; default: as many as the largest has")
    add("--attempts", type=int, default=3, help="tries at a text until one is kept; default 3")
    add("--near", type=float, help="closeness to a training text, from which a text is dropped; default 0.5")
    add("--check", metavar="RUN", help="keep only texts whose label this trained run predicts")
    add("--check-distance", type=int, default=0, metavar="N", help="levels that it may be off; default 0")
    add("--seed", type=int, default=0, help="decides sources, examples in the prompt, and edits; default 0")
    add("--json", action="store_true", help="print one JSON object")
    _add_method_options(parser)


def _add_method_options(parser: CommandParser) -> None:
    """Options without a default here, so that one that the method does not read is seen."""
    defaults = {name: value for options in OF_METHOD.values() for name, value in options.items()}
    for name, kind, help in (
        ("endpoint", str, "URL of an OpenAI-compatible API, such as http://localhost:8000/v1"),
        ("model", str, "the model's name there; the key comes from the environment: OPENAI_API_KEY"),
        ("template", str, "file with a prompt of your own; {text} and {label} are filled in"),
        ("cache", str, "file that keeps every reply; default FILE.cache.jsonl"),
        ("temperature", float, "of the model's draws"),
        ("max-tokens", int, "longest reply"),
        ("body", str, "JSON object with more fields for each request; null takes one out"),
        ("concurrency", int, "requests at a time"),
        ("timeout", float, "seconds without an answer, after which a request has failed"),
        ("retries", int, "of a request that failed"),
        ("backoff", float, "seconds before the first retry, doubled for each further one"),
        ("max-cost", float, "most that the cache's requests may cost in all, in the prices' currency"),
        ("max-requests", int, "most requests in all, over all runs on the cache"),
        ("price-in", float, "price of a million tokens of prompts"),
        ("price-out", float, "price of a million tokens of replies"),
        ("synonyms", str, "words: file with a word and its synonyms a line, separated by tabs"),
        ("share", float, "words: share of a text's words that are changed"),
    ):
        value = defaults[name.replace("-", "_")]
        default = "" if value is None else f"; default {value:g}"
        parser.add_argument(f"--{name}", type=kind, help=help + default)
    parser.add_argument(
        "--dry-run", action="store_const", const=True, help="say how many requests, show one, and ask nothing"
    )


def augment_command(options: Namespace) -> int | None:
    settings = method_settings(options)
    if options.task_file:
        from multitask.config.task_kinds import load_task_file

        load_task_file(options.task_file)
    from multitask.experiments.augmentation.augment import augment

    config = _task_config(options)
    method = _method(options, settings)
    if settings.get("dry_run"):
        _show_preview(options, config, method)
        return None
    summary = augment(
        options.task,
        options.data,
        options.out,
        method,
        config=config,
        per_class=options.per_class,
        attempts=options.attempts,
        seed=options.seed,
        check=options.check,
        check_distance=options.check_distance,
        quiet=False,
    )
    print(json.dumps(summary.as_dict()) if options.json else "\n".join(_lines(summary)))
    return INCOMPLETE if summary.stopped else None


def method_settings(options: Namespace) -> dict[str, Any]:
    """The values of the method's own options. Raises InputError for one that belongs to another method."""
    own = OF_METHOD[options.method]
    for method, names in OF_METHOD.items():
        for name in names:
            if name not in own and getattr(options, name) is not None:
                raise InputError(
                    f"--{name.replace('_', '-')} is for --method {method}, and the method is "
                    f"{options.method}; leave it out, or change the method"
                )
    if options.method == "resample" and (options.near is not None or options.check is not None):
        raise InputError("--near and --check judge new texts, and resample makes none; leave them out")
    if options.check_distance and options.check is None:
        raise InputError("--check-distance says how far --check RUN may be off; give --check too")
    given = {name: getattr(options, name) for name in own}
    return {name: own[name] if value is None else value for name, value in given.items()}


def _task_config(options: Namespace):
    """What --config says of the task; None where its name says it all."""
    if not options.config:
        return None
    from multitask.config.option_types import table
    from multitask.config.run_config import read_config
    from multitask.config.task_config import task_config

    tasks = table("tasks", read_config(options.config).get("tasks", {}))
    if options.task not in tasks:
        raise InputError(
            f"{options.config} has no task {options.task!r}; it has {', '.join(tasks) or 'none'}"
        )
    values = table(f"tasks.{options.task}", tasks[options.task])
    return task_config(options.task, values)


def _method(options: Namespace, settings: dict[str, Any]):
    from multitask.experiments.augmentation.writers import Copies, Paraphrases, WordEdits

    near = {} if options.near is None else {"near": options.near}
    if options.method == "resample":
        return Copies()
    if options.method == "words":
        synonyms = settings["synonyms"]
        return WordEdits(Path(synonyms) if synonyms else None, settings["share"], **near)
    from multitask.experiments.augmentation.client import Endpoint, Limits

    for name in ("endpoint", "model"):
        if not settings[name]:
            raise InputError(
                f"--{name} is missing: paraphrases come from a language model; give --endpoint URL and "
                f"--model NAME, or take --method words or resample"
            )
    names = ("model", "temperature", "max_tokens", "concurrency", "timeout", "retries", "backoff")
    endpoint = Endpoint(
        settings["endpoint"], body=_body(settings["body"]), **{name: settings[name] for name in names}
    )
    limits = Limits(
        **{name: settings[name] for name in ("max_cost", "max_requests", "price_in", "price_out")}
    )
    cache = Path(settings["cache"] or f"{options.out}.cache.jsonl")
    template = Path(settings["template"]) if settings["template"] else None
    return Paraphrases(endpoint, cache, limits, template, **near)


def _body(text: str | None) -> dict[str, Any]:
    if text is None:
        return {}
    try:
        body = json.loads(text)
    except ValueError:
        body = None
    if not isinstance(body, dict):
        raise InputError(f"--body is {text!r}; give a JSON object, such as '{{\"top_p\": 0.9}}'")
    return body


def _show_preview(options: Namespace, config, method) -> None:
    from multitask.experiments.augmentation.augment import draw_slots, missing_texts, opened_table

    with opened_table(options.task, options.data, config) as table:
        slots = draw_slots(table, missing_texts(table, options.per_class), options.seed)
        preview = method.preview(table, slots, options.seed)
    if options.json:
        print(json.dumps(preview))
        return
    cost = f", which cost {preview['cost_at_most']:.4f} at most" if preview["cost_at_most"] else ""
    print(
        f"{preview['requests']} requests{cost}, and {preview['cached']} replies from the cache; "
        f"a text that is rejected takes more; one of the prompts:\n\n{preview['prompt']}"
    )


def _lines(summary) -> list[str]:
    """The summary as text."""
    lines = [f"{'class':14} {'before':>7} {'after':>7} {'missing':>8}"]
    lines += [
        f"{label:14} {count.before:7} {count.after:7} {count.missing:8}"
        for label, count in summary.classes.items()
    ]
    lines += [f"rejected {count}: {reason}" for reason, count in summary.rejected.items()]
    method = summary.method
    if "requests" in method:
        cost = "" if method["cost"] is None else f"; the cache has cost {method['cost']:.4f} so far"
        lines.append(f"{method['requests']} requests in this run{cost}")
    lines += summary.notes
    if summary.stopped:
        lines.append(f"stopped: {summary.stopped}; raise the limit and run the same command again to go on")
    lines.append(
        f"wrote {summary.out} with {summary.added} new rows; train on it with "
        f"--{summary.task}.train {Path(summary.out).resolve()}"
    )
    return lines
