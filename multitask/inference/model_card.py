"""The model card of a run: a README.md for its folder and for its best/, of measured facts only.

It begins with the YAML header that the Hugging Face Hub reads. No sentence of the data is in it.
"""

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from minbert import BertConfig, atomic_write, markdown_text, read_json_object
from minbert.cli.page import number, score
from multitask.config.option_types import flat
from multitask.config.run_config import RunConfig
from multitask.config.run_folder import ENVIRONMENT
from multitask.config.task_config import task_config
from multitask.config.task_kinds import find_kind
from multitask.runtime.tracking import read_metrics
from multitask.text_table import markdown_table

CARD = "README.md"
TEMPLATE = Path(__file__).with_name("model_card.md.jinja")
Sizes = Mapping[str, Mapping[str, int]]  # split -> task -> examples
# Paths and devices, which do not decide a run's results and are private.
_PLACES = ("weights", "data", "out", "task_file", "track", "device", "threads", "cache", "tasks", "stages")
_NOT_IN_YAML = re.compile(r"[\x7f-\x9f\ud800-\udfff]")  # unless escaped
_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")


def write_model_card(config: RunConfig, scores: Mapping[str, Any], sizes: Sizes) -> None:
    """Writes RUN/README.md and RUN/best/README.md; `scores` is the content of scores.json."""
    text = model_card(config, scores, sizes)
    for folder in (Path(config.out), Path(config.out) / "best"):
        with atomic_write(folder / CARD) as file:
            file.write(text)


def model_card(config: RunConfig, scores: Mapping[str, Any], sizes: Sizes) -> str:
    """Renders the card of the run in `config.out`, which has its best/ and environment.json."""
    from jinja2 import Environment, StrictUndefined

    templates = Environment(
        trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True, undefined=StrictUndefined
    )
    templates.filters["yaml"] = yaml_scalar
    templates.filters["plain"] = markdown_text
    templates.tests["hub_name"] = is_hub_name
    templates.globals["table"] = markdown_table
    out = Path(config.out)
    environment = read_json_object(out / "environment.json", ENVIRONMENT, "train anew")
    weights = Path(config.weights)
    is_checkpoint = weights.name in ("best", "last") or weights.name.startswith("best-")
    return templates.from_string(TEMPLATE.read_text(encoding="utf-8")).render(
        name=out.resolve().name,
        bert=BertConfig.from_folder(out / "best"),
        config=config,
        scores=scores,
        base="/".join(weights.parts[-2:]) if is_checkpoint else weights.name,
        results=_results(config, scores),
        score_rows=_score_rows(scores, sizes),
        task_rows=[
            (name, task.type, task.loss, task.head, _shown(task.hidden), task.pooling)
            for name, task in config.tasks.items()
        ],
        data_rows=_data_rows(config, environment["data"], sizes),
        cost_rows=_cost_rows(scores),
        changed_rows=[(f"`{key}`", _shown(now), _shown(usual)) for key, now, usual in changed_keys(config)],
        environment_rows=[(key, _shown(value)) for key, value in environment.items() if key != "data"],
        evaluations=sum(record["kind"] == "evaluation" for record in read_metrics(out / "metrics.jsonl")),
    )


def _results(config: RunConfig, scores: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Returns the finite scores of each task and of all, with the Hub's names of task and data set."""
    found = []
    for task, values in scores["scores"].items():
        kind = config.tasks[task].type
        found.append((find_kind(kind).hub_task, task, kind, task, values))
    found.append(("other", "all tasks", "multi-task", "sst, paraphrase and sts", scores["overall"]))
    keys = ("task", "task_name", "dataset", "name", "metrics")
    finite = [(*names, {k: v for k, v in values.items() if math.isfinite(v)}) for *names, values in found]
    return [dict(zip(keys, result, strict=True)) for result in finite if result[-1]]


def _score_rows(scores: Mapping[str, Any], sizes: Sizes) -> list[tuple[Any, ...]]:
    return [
        (task, scores["split"], sizes["dev"].get(task, ""), metric, score(value))
        for task, values in [*scores["scores"].items(), ("all", scores["overall"])]
        for metric, value in values.items()
    ]


def _data_rows(config: RunConfig, hashes: Mapping[str, str], sizes: Sizes) -> list[tuple[Any, ...]]:
    return [
        (task, split, sizes[split][task], f"`{file}`", f"`{hashes[file]}`")
        for task, of_task in config.tasks.items()
        for split, file in (("train", of_task.train), ("dev", of_task.dev))
        if task in sizes[split] and file in hashes
    ]


def _cost_rows(scores: Mapping[str, Any]) -> list[tuple[str, str]]:
    costs = scores["costs"]
    return [
        ("epochs", number(costs["epochs"])),
        ("seconds of training, without evaluations and checkpoints", number(costs["training_seconds"])),
        ("seconds in all", number(scores["seconds"])),
        ("tokens read", f"{costs['tokens']:,}"),
        ("trained parameters", f"{costs['trained_parameters']:,} of {costs['parameters']:,}"),
        ("peak memory", f"{costs['peak_memory'] / 2**20:,.0f} MiB"),
    ]


def is_hub_name(weights: str) -> bool:
    """True for weights given by a name that may be a model's on the Hub, not by a folder's path."""
    return bool(_HUB_NAME.fullmatch(weights)) and weights != "scratch" and not Path(weights).is_dir()


def changed_keys(config: RunConfig) -> list[tuple[str, Any, Any]]:
    """Returns (key, value, default) of each setting that is not at its default, places left out."""
    usual, given = RunConfig().to_dict(), config.to_dict()
    for key in _PLACES:
        usual.pop(key), given.pop(key)
    for name, task in config.tasks.items():
        defaults = task_config(name, {"type": task.type})
        usual[name], given[name] = dict(vars(defaults)), dict(vars(task))
    before, now = flat(usual), flat(given)
    return [(key, value, before.get(key)) for key, value in now.items() if value != before.get(key)]


def _shown(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value)) or "none"
    return "none" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def yaml_scalar(value: str | int | float) -> str:
    """Formats text as JSON and YAML both read it; 1e-05 as 1.0e-05, since YAML 1.1 wants a point."""
    text = _NOT_IN_YAML.sub(lambda found: f"\\u{ord(found[0]):04x}", json.dumps(value, ensure_ascii=False))
    return text if isinstance(value, str) else re.sub(r"^(-?\d+)e", r"\1.0e", text)
