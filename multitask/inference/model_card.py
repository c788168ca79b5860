"""The model card: a README.md for a run's folder and for its best/, made of what the run measured, no more.

It begins with the YAML header that the Hugging Face Hub reads. No sentence of the data is in it.
"""

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from minbert import BertConfig, atomic_write
from multitask.config.run_config import RunConfig
from multitask.config.task_config import task_config
from multitask.config.task_kinds import find_kind
from multitask.runtime.tracking import read_metrics

CARD = "README.md"
Sizes = Mapping[str, Mapping[str, int]]  # split -> task -> examples
# Where a run lies and what it runs on, which decide nothing of its results and are nobody's business.
_PLACES = ("weights", "data", "out", "task_file", "track", "device", "threads", "cache", "tasks", "stages")
_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")


def write_model_card(config: RunConfig, scores: Mapping[str, Any], sizes: Sizes) -> None:
    """Writes RUN/README.md and RUN/best/README.md; `scores` is what scores.json will hold."""
    text = model_card(config, scores, sizes)
    for folder in (Path(config.out), Path(config.out) / "best"):
        with atomic_write(folder / CARD) as file:
            file.write(text)


def model_card(config: RunConfig, scores: Mapping[str, Any], sizes: Sizes) -> str:
    """The card of the run in `config.out`, whose best/ and environment.json stand already."""
    out = Path(config.out)
    bert = BertConfig.from_folder(out / "best")
    environment = json.loads((out / "environment.json").read_text(encoding="utf-8"))
    name = out.resolve().name
    header = _header(name, config, bert, scores)
    parts = [
        f"# {name}",
        _what_it_is(config, bert),
        "## Scores\n\n" + _scores(config, scores, sizes),
        "## Tasks\n\n" + _tasks(config),
        "## Data\n\n" + _data(config, environment["data"], sizes),
        "## Training\n\n" + _training(config, scores),
        "## Environment\n\n" + _environment(environment),
        "## How to load\n\n" + _how_to_load(config, bert, scores),
        "## Limits\n\n" + _limits(config, scores),
    ]
    return "\n".join(["---", *yaml_lines(header), "---", "", "\n\n".join(parts), ""])


def _header(name: str, config: RunConfig, bert: BertConfig, scores: Mapping[str, Any]) -> dict[str, Any]:
    header: dict[str, Any] = {"library_name": "minbert" if bert.is_variant else "transformers"}
    if is_hub_name(config.weights):
        header["base_model"] = config.weights
    header["tags"] = list(dict.fromkeys(["minbert", "bert", "multi-task", *config.tasks]))
    results = [
        {
            "task": {"type": find_kind(config.tasks[task].type).hub_task, "name": task},
            "dataset": {"type": config.tasks[task].type, "name": task, "split": scores["split"]},
            "metrics": _metrics(values),
        }
        for task, values in scores["scores"].items()
    ]
    if scores["overall"]:
        tasks = {"type": "multi-task", "name": "sst, paraphrase and sts", "split": scores["split"]}
        overall = {"type": "other", "name": "all tasks"}
        results.append({"task": overall, "dataset": tasks, "metrics": _metrics(scores["overall"])})
    results = [result for result in results if result["metrics"]]
    if results:
        found = (metric["type"] for result in results for metric in result["metrics"])
        header["metrics"] = list(dict.fromkeys(found))
        header["model-index"] = [{"name": name, "results": results}]
    return header


def _metrics(values: Mapping[str, float]) -> list[dict[str, Any]]:
    """The finite scores as the Hub lists them."""
    return [
        {"type": metric, "value": value, "name": metric}
        for metric, value in values.items()
        if math.isfinite(value)
    ]


def is_hub_name(weights: str) -> bool:
    """Whether weights are given by a name that may be a model's on the Hub, not by a folder's path."""
    return bool(_HUB_NAME.fullmatch(weights)) and weights != "scratch" and not Path(weights).is_dir()


def _what_it_is(config: RunConfig, bert: BertConfig) -> str:
    tasks = ", ".join(config.trained_tasks)
    return (
        f"A BERT encoder of {bert.num_hidden_layers} layers and hidden size {bert.hidden_size}, fine-tuned "
        f"with minBERT on {tasks}. {_base(config.weights)} Each task has a head of its own."
    )


def _base(weights: str) -> str:
    if weights == "scratch":
        return "It was trained from scratch: weights and vocabulary come from the training texts."
    path = Path(weights)
    is_checkpoint = path.name in ("best", "last") or path.name.startswith("best-")
    return f"Base weights: `{'/'.join(path.parts[-2:]) if is_checkpoint else path.name}`."


def _scores(config: RunConfig, scores: Mapping[str, Any], sizes: Sizes) -> str:
    rows = [
        (task, scores["split"], sizes["dev"].get(task, ""), metric, f"{value:.4f}")
        for task, values in scores["scores"].items()
        for metric, value in values.items()
    ]
    rows += [("all", scores["split"], "", name, f"{value:.4f}") for name, value in scores["overall"].items()]
    if not rows:
        return "There was no dev split to score."
    lines = [_table(("task", "split", "examples", "metric", "value"), rows)]
    if scores["overall"]:
        lines.append(
            "`overall_2024` is the mean of SST's accuracy, the paraphrase accuracy and (1 + r) / 2 of STS; "
            "`mean_raw` takes r as it is."
        )
    return "\n\n".join(lines)


def _tasks(config: RunConfig) -> str:
    rows = [
        (name, task.type, task.loss, task.head, ", ".join(map(str, task.hidden)) or "none", task.pooling)
        for name, task in config.tasks.items()
    ]
    return _table(("task", "kind", "loss", "head", "hidden layers", "pooling"), rows)


def _data(config: RunConfig, hashes: Mapping[str, str], sizes: Sizes) -> str:
    rows = [
        (task, split, sizes[split][task], f"`{file}`", f"`{hashes[file]}`")
        for task, of_task in config.tasks.items()
        for split, file in (("train", of_task.train), ("dev", of_task.dev))
        if task in sizes[split] and file in hashes
    ]
    return _table(("task", "split", "examples", "file", "SHA-256"), rows)


def _training(config: RunConfig, scores: Mapping[str, Any]) -> str:
    costs = scores["costs"]
    rows = [
        ("epochs", f"{costs['epochs']:,}"),
        ("seconds of training, without evaluations and checkpoints", f"{costs['training_seconds']:,.1f}"),
        ("seconds in all", f"{scores['seconds']:,.1f}"),
        ("tokens read", f"{costs['tokens']:,}"),
        ("trained parameters", f"{costs['trained_parameters']:,} of {costs['parameters']:,}"),
        ("peak memory", f"{costs['peak_memory'] / 2**20:,.0f} MiB"),
    ]
    changed = [(f"`{key}`", _shown(value), _shown(usual)) for key, value, usual in changed_keys(config)]
    settings = "All settings are at their defaults."
    if changed:
        settings = "Settings that differ from their defaults:\n\n" + _table(
            ("key", "value", "default"), changed
        )
    return _table(("cost", "value"), rows) + "\n\n" + settings


def changed_keys(config: RunConfig) -> list[tuple[str, Any, Any]]:
    """(key, value, default) for each setting of a run that is not at its default, places left out."""
    usual, given = RunConfig().to_dict(), config.to_dict()
    for key in _PLACES:
        usual.pop(key), given.pop(key)
    for name, task in config.tasks.items():
        defaults = task_config(name, {"type": task.type})
        usual[name], given[name] = dict(vars(defaults)), dict(vars(task))
    before, now = dict(_flat(usual, "")), dict(_flat(given, ""))
    return [(key, value, before.get(key)) for key, value in now.items() if value != before.get(key)]


def _flat(values: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _shown(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value)) or "none"
    return "none" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _environment(environment: Mapping[str, Any]) -> str:
    rows = [(key, _shown(value)) for key, value in environment.items() if key != "data"]
    return _table(("what", "value"), rows)


def _how_to_load(config: RunConfig, bert: BertConfig, scores: Mapping[str, Any]) -> str:
    calls = []
    for task in scores["scores"]:
        is_pair = config.tasks[task].text2 is not None
        calls.append(f'run.predict("{task}", ["a text"]' + (', ["its pair"])' if is_pair else ")"))
    lines = ["```python", "from multitask import load_run", "", 'run = load_run("RUN")  # the run\'s folder']
    text = "\n".join([*lines, *calls, "```"])
    text += (
        "\n\nThe checkpoint alone, the folder `best/`, is what `multitask evaluate --weights FOLDER` and "
        "`multitask train --weights FOLDER` take."
    )
    if bert.is_variant:
        return text + " Its encoder has parts that BERT has not, so only minBERT can load it."
    return text + (
        " Its encoder is a plain BERT, without the heads:\n\n```python\nfrom transformers import AutoModel, "
        'AutoTokenizer\n\nencoder = AutoModel.from_pretrained("FOLDER")\n'
        'tokenizer = AutoTokenizer.from_pretrained("FOLDER")\n```'
    )


def _limits(config: RunConfig, scores: Mapping[str, Any]) -> str:
    records = read_metrics(Path(config.out) / "metrics.jsonl")
    looks = sum(record["kind"] == "evaluation" for record in records)
    lines = []
    if scores["scores"]:
        lines.append(
            f"The checkpoint is the best of {looks} by its dev scores (step {scores['step']:,}), so these "
            f"are optimistic: unseen data will score lower."
            if looks > 1
            else f"The scores are of one evaluation on the dev split, at step {scores['step']:,}."
        )
    lines.append(
        f"It is one run with one seed ({config.train.seed}): how much scores vary from seed to seed was not "
        f"measured."
    )
    if config.limit is not None:
        lines.append(f"Only the first {config.limit:,} examples of each split were used.")
    lines.append("Language, bias, and use on other kinds of text were not measured.")
    return "\n".join(f"- {line}" for line in lines)


def _table(titles: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    cells = [titles, ["---"] * len(titles), *rows]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in row) + " |" for row in cells)


def yaml_lines(value: Any) -> Iterator[str]:
    """Nested mappings, lists, texts and numbers as lines of YAML."""
    if isinstance(value, Mapping):
        for key, entry in value.items():
            if isinstance(entry, Mapping | list):
                yield f"{key}:"
                yield from (f"  {line}" for line in yaml_lines(entry))
            else:
                yield f"{key}: {_scalar(entry)}"
        return
    for entry in value:
        lines = list(yaml_lines(entry)) if isinstance(entry, Mapping | list) else [_scalar(entry)]
        yield f"- {lines[0]}"
        yield from (f"  {line}" for line in lines[1:])


def _scalar(value: str | int | float) -> str:
    """A text in quotes, as JSON and YAML both read it; 1e-05 as 1.0e-05, since YAML 1.1 wants a point."""
    text = json.dumps(value, ensure_ascii=False)
    return text if isinstance(value, str) else re.sub(r"^(-?\d+)e", r"\1.0e", text)
