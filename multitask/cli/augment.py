"""The command `multitask augment`: new training texts for the classes that have fewer than others."""

import json
from argparse import Namespace
from dataclasses import fields
from pathlib import Path
from typing import Any

from minbert import CommandParser, InputError, parse_json
from multitask.cli.option_groups import add_task_file, add_trust, trust_folders
from multitask.config.task_file import load_task_file

METHODS = ("paraphrase", "words", "resample")
INCOMPLETE = 1  # exit status where the limits stopped it before all texts were there
# Options that one method alone reads: name -> type, help. Defaults stand in Endpoint, Limits, WordEdits.
OF_METHOD: dict[str, dict[str, tuple[type, str]]] = {
    "paraphrase": {
        "endpoint": (str, "URL of an OpenAI-compatible API, such as http://localhost:8000/v1"),
        "model": (str, "the model's name there; the key comes from the environment: OPENAI_API_KEY"),
        "template": (str, "file with a prompt of your own; {text} and {label} are filled in"),
        "cache": (str, "file that keeps every reply; default FILE.cache.jsonl"),
        "temperature": (float, "of the model's draws; default 0.8"),
        "max_tokens": (int, "longest reply; default 256"),
        "body": (str, "JSON object with more fields for each request; null takes one out"),
        "concurrency": (int, "requests at a time; default 8"),
        "timeout": (float, "seconds without an answer, after which a request has failed; default 60"),
        "retries": (int, "of a request that failed; default 6"),
        "backoff": (float, "seconds before the first retry, doubled for each further one; default 1"),
        "max_cost": (float, "most that the cache's requests may cost in all, in the prices' currency"),
        "max_requests": (int, "most requests in all, over all runs on the cache"),
        "price_in": (float, "price of a million tokens of prompts"),
        "price_out": (float, "price of a million tokens of replies"),
    },
    "words": {
        "synonyms": (str, "words: file with a word and its synonyms a line, separated by tabs"),
        "share": (float, "words: share of a text's words that are changed; default 0.1"),
    },
    "resample": {},
}


def add_augment_options(parser: CommandParser) -> None:
    """Adds the options of `multitask augment`."""
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
    add_task_file(parser, more="")
    add_trust(parser)
    add("--method", choices=METHODS, default=METHODS[0], help="default paraphrase, by a language model")
    add("--per-class", type=int, metavar="N", help="rows of each class; default: as many as the largest has")
    add("--attempts", type=int, default=3, help="tries at a text until one is kept; default 3")
    add("--near", type=float, help="closeness to a training text, from which a text is dropped; default 0.5")
    add("--check", metavar="RUN", help="keep only texts whose label this trained run predicts")
    add("--check-distance", type=int, default=0, metavar="N", help="levels that it may be off; default 0")
    add("--seed", type=int, default=0, help="decides sources, examples in the prompt, and edits; default 0")
    parser.add_json()
    # Without a default here, so that an option that the method does not read is seen.
    for name, (kind, text) in {**OF_METHOD["paraphrase"], **OF_METHOD["words"]}.items():
        add(f"--{name.replace('_', '-')}", type=kind, help=text)
    add("--dry-run", action="store_true", help="say how many requests, show one, and ask nothing")


def augment_command(options: Namespace) -> int | None:
    settings = method_settings(options)
    load_task_file(options.task_file)
    if options.trust and options.check:
        trust_folders([options.check])
    from multitask.experiments.augmentation.augment import augment

    config = _task_config(options)
    method = _method(options, settings)
    if options.dry_run:
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
    """Returns the method's own options that are given. Raises InputError for one of another method."""
    own = OF_METHOD[options.method]
    for method, names in OF_METHOD.items():
        given = [name for name in names if name not in own and getattr(options, name) is not None]
        given += ["dry_run"] if options.dry_run and method == "paraphrase" != options.method else []
        if given:
            raise InputError(
                f"--{given[0].replace('_', '-')} is for --method {method}, and the method is "
                f"{options.method}; leave it out, or change the method"
            )
    if options.method == "resample" and (options.near is not None or options.check is not None):
        raise InputError("--near and --check judge new texts, and resample makes none; leave them out")
    if options.check_distance and options.check is None:
        raise InputError("--check-distance says how far --check RUN may be off; give --check too")
    return {name: getattr(options, name) for name in own if getattr(options, name) is not None}


def _task_config(options: Namespace):
    """Reads the task from --config; None where its name is enough."""
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
    from multitask.experiments.augmentation.client import Endpoint, Limits
    from multitask.experiments.augmentation.generators import Copies, Paraphrases, WordEdits

    near = {} if options.near is None else {"near": options.near}
    if options.method == "resample":
        return Copies()
    if options.method == "words":
        synonyms = settings.pop("synonyms", None)
        return WordEdits(Path(synonyms) if synonyms else None, **settings, **near)
    for name in ("endpoint", "model"):
        if not settings.get(name):
            raise InputError(
                f"--{name} is missing: paraphrases come from a language model; give --endpoint URL and "
                f"--model NAME, or take --method words or resample"
            )
    places = ("endpoint", "template", "cache", "body")
    url, template, cache, body = (settings.pop(name, None) for name in places)
    limits = {f.name: settings.pop(f.name) for f in fields(Limits) if f.name in settings}
    endpoint = Endpoint(url, body=_body(body), **settings)
    cache = Path(cache or f"{options.out}.cache.jsonl")
    return Paraphrases(endpoint, cache, Limits(**limits), Path(template) if template else None, **near)


def _body(text: str | None) -> dict[str, Any]:
    if text is None:
        return {}
    try:
        body = parse_json(text)
    except ValueError:
        body = None
    if not isinstance(body, dict):
        raise InputError(f"--body is {text!r}; give a JSON object, such as '{{\"top_p\": 0.9}}'")
    return body


def _show_preview(options: Namespace, config, method) -> None:
    from multitask.experiments.augmentation.augment import draw_requests, missing_texts, opened_table

    with opened_table(options.task, options.data, config) as table:
        requests = draw_requests(table, missing_texts(table, options.per_class), options.seed)
        preview = method.preview(table, requests, options.seed)
    if options.json:
        print(json.dumps(preview))
        return
    cost = f", which cost {preview['cost_at_most']:.4f} at most" if preview["cost_at_most"] else ""
    print(
        f"{preview['requests']} requests{cost}, and {preview['cached']} replies from the cache; "
        f"a text that is rejected takes more; one of the prompts:\n\n{preview['prompt']}"
    )


def _lines(summary) -> list[str]:
    """Formats the summary."""
    lines = [f"{'class':14} {'before':>7} {'after':>7} {'missing':>8}"]
    for label, count in summary.classes.items():
        lines.append(f"{label:14} {count.before:7} {count.after:7} {count.missing:8}")
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
