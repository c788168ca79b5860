"""train and resume: builds what the loop is handed from a configuration, and keeps the run's folder."""

import hashlib
import json
import platform
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

import torch

import minbert
from minbert import (
    AdamW,
    BertConfig,
    BertModel,
    InputError,
    Tokenizer,
    atomic_folder,
    atomic_write,
    did_you_mean,
    restore_folder,
    schedule_factor,
)
from multitask.config import RunConfig
from multitask.data.collate import TokenizedExample
from multitask.data.readers import Examples
from multitask.data.sample import write_sample
from multitask.metrics import overall_scores
from multitask.model import MultitaskModel
from multitask.run import (
    SAMPLE,
    SAMPLE_FOLDER,
    Evaluation,
    Run,
    find_device,
    load_run,
    load_split,
    load_trained_heads,
    make_tasks,
    open_data,
    read_run_config,
)
from multitask.tasks.base import ScoredTask, TrainingTask
from multitask.tracking import MetricsLog
from multitask.training.checkpoint import RandomState, load_state, save_model, save_state
from multitask.training.freezing import freeze
from multitask.training.gradients import Gradients
from multitask.training.groups import Assignment, assign, parameter_groups
from multitask.training.loop import train_loop
from multitask.training.methods import Plain
from multitask.training.plan import Plan, TaskData
from multitask.training.precision import Precision
from multitask.training.progress import Progress

Say = Callable[[str], None]


@dataclass
class Prepared:
    """What stands ready before the first step."""

    tokenizer: Tokenizer
    model: MultitaskModel
    train: dict[str, list[TokenizedExample]]
    dev: dict[str, list[TokenizedExample]]
    heads: dict[str, dict[str, Any]]
    hashes: dict[str, str]
    notes: list[str]


def train(config: RunConfig, say: Say = lambda line: None, quiet: bool = True) -> Run:
    """Fine-tunes as the configuration says, into the new folder `config.out`; -> the best checkpoint's Run.

    `say` hears what a user wants to read; `quiet` hides the progress bars. Raises InputError for a
    configuration or data that cannot be used, before anything is written.
    """
    if config.weights is None:
        raise InputError("no weights; give --weights with a folder of pretrained weights, or `scratch`")
    if config.data is None:
        raise InputError("no data folder; give --data DIR, or --data sample for the bundled corpus")
    if config.out is None:
        raise InputError("no folder for the run; give --out RUN")
    out = Path(config.out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(
            f"{out} exists already; choose another --out, or continue it: multitask resume {out}"
        )
    device = set_up(config)
    with open_data(config.data) as folder:
        prepared = prepare(config, config.weights, folder, device)
        _write_run_folder(out, config, prepared, device)
    return _run(config, out, prepared, device, None, say, quiet)


def resume(folder: str | Path, say: Say = lambda line: None, quiet: bool = True) -> Run:
    """Continues a run from its `last/`, or from the start where it has none yet; bit-equal on the CPU.

    Raises InputError for a folder that is no run, and where the data are no longer those of the run.
    """
    out = Path(folder)
    config = replace(read_run_config(out), out=str(out))
    for name in ("best", "last"):
        restore_folder(out / name)
    device = set_up(config)
    last = out / "last"
    data = out / SAMPLE_FOLDER if config.data == SAMPLE else config.data
    with open_data(data) as data_folder:
        prepared = prepare(config, last if last.is_dir() else config.weights, data_folder, device)
    known = json.loads((out / "environment.json").read_text(encoding="utf-8"))["data"]
    changed = [name for name in known if prepared.hashes.get(name) != known[name]]
    if changed:
        raise InputError(
            f"{', '.join(changed)} changed since the run began; put the old file back, or train anew"
        )
    state = load_state(last) if last.is_dir() else None
    return _run(config, out, prepared, device, state, say, quiet)


def set_up(config: RunConfig) -> torch.device:
    """Threads, seed and device of a run."""
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    torch.manual_seed(config.train.seed)
    return find_device(config.device)


def prepare(config: RunConfig, weights: str | Path, data: Path, device: torch.device) -> Prepared:
    """Reads the data, makes tokenizer, encoder and heads. `weights` is a folder or `scratch`."""
    scratch = str(weights) == "scratch"
    bert = BertConfig(**config.model) if scratch else _bert_config(config, weights)
    tasks = make_tasks(config.tasks, bert)
    splits: dict[str, dict[str, Examples]] = {"train": {}, "dev": {}}
    notes = []
    for split, loaded in splits.items():
        for name, task in tasks.items():
            examples, note = load_split(task, data, split, config.limit)
            notes += note
            if examples is not None and examples.rows:
                loaded[name] = examples
            elif split == "train":
                file = data / (task.file("train") or "")
                raise InputError(f"{name} has nothing to train on: {file} is missing or holds no usable row")
    unlabelled = [
        name for name, examples in splits["train"].items() if any(e.label is None for e in examples.rows)
    ]
    if unlabelled:
        raise InputError(
            f"the training split of {unlabelled[0]} has no labels; set {unlabelled[0]}.label to its column"
        )
    if scratch:
        texts = (text for examples in splits["train"].values() for row in examples.rows for text in row.texts)
        tokenizer = Tokenizer.train(texts, config.vocab_size)
        encoder = BertModel(replace(bert, vocab_size=tokenizer.vocab_size))
    else:
        tokenizer = Tokenizer.from_pretrained(weights)
        wants_pooler = any(task.config.pooling == "pooler" for task in tasks.values())
        encoder = BertModel.from_pretrained(weights, config=bert, pooler="random" if wants_pooler else None)
        if wants_pooler and encoder.load_report.missing:
            notes.append("the weights hold no pooler; a random one is trained")
    freeze(encoder, config.freeze)
    model = MultitaskModel(encoder, tasks)
    if not scratch:
        load_trained_heads(model, Path(weights))
    tokenized = {
        split: {name: tasks[name].tokenize(tokenizer, examples.rows) for name, examples in loaded.items()}
        for split, loaded in splits.items()
    }
    for name, examples in tokenized["train"].items():
        cut = sum(any(side.truncated for side in entry.sides) for entry in examples)
        if cut:
            notes.append(
                f"{name}: {cut / len(examples):.1%} of the training inputs are cut to the longest input"
            )
    heads = {name: _head_facts(task, splits["train"][name]) for name, task in tasks.items()}
    hashes = {Path(e.path).name: _sha256(Path(e.path)) for loaded in splits.values() for e in loaded.values()}
    dev = {
        name: examples for name, examples in tokenized["dev"].items() if isinstance(tasks[name], ScoredTask)
    }
    return Prepared(tokenizer, model.to(device), tokenized["train"], dev, heads, hashes, notes)


def make_plan(config: RunConfig, model: MultitaskModel, data: Mapping[str, list[TokenizedExample]]) -> Plan:
    """The steps of a run over its tokenized training examples."""

    def collate(name: str, indices):
        return model.tasks[name].collate([data[name][i] for i in indices])

    sources = {
        name: TaskData(
            [example.length for example in examples],
            partial(collate, name),
            model.tasks[name].config.batch_size or config.train.batch_size,
            config.train.batch_tokens,
        )
        for name, examples in data.items()
    }
    settings = config.train
    return Plan(
        sources, config.sampling, settings.epochs, settings.seed, settings.accumulation, settings.max_steps
    )


def assignments(config: RunConfig, model: MultitaskModel) -> list[Assignment]:
    """What happens to each tensor of the run's model."""
    rates = {name: task.lr for name, task in config.tasks.items()}
    return assign(model, config.optim, rates, model.unused_parameters())


def selector(config: RunConfig, tasks: Mapping[str, TrainingTask]) -> Callable[[Mapping], float | None]:
    """Scores -> the number by which the best checkpoint is chosen; None where nothing was scored.

    `config.select`, else overall_2024, else the mean of the tasks' primary metrics.
    """

    def value(scores: Mapping[str, Mapping[str, float]]) -> float | None:
        overall = overall_scores(scores)
        if config.select is None:
            primary = [scores[name][tasks[name].primary_metric] for name in scores]
            return overall.get("overall_2024", fmean(primary) if primary else None)
        if config.select in overall:
            return overall[config.select]
        task, _, metric = config.select.partition(".")
        accepted = [*overall, *(f"{name}.{metric}" for name in scores for metric in scores[name])]
        if metric not in scores.get(task, {}):
            raise InputError(
                f"select is {config.select!r}{did_you_mean(config.select, accepted)}; choose from {', '.join(accepted)}"
            )
        return scores[task][metric]

    return value


def _run(config, out, prepared, device, state, say: Say, quiet: bool) -> Run:
    model, plan = prepared.model, make_plan(config, prepared.model, prepared.train)
    entries = assignments(config, model)
    warmup = round(config.optim.warmup * plan.total_steps)
    schedule = partial(schedule_factor, config.optim.schedule, total=plan.total_steps, warmup=warmup)
    precision = Precision(config.precision, device, schedule)
    model.autocast = precision.autocast
    optim = config.optim
    optimizer = AdamW(parameter_groups(entries), lr=optim.lr, eps=optim.eps, correct_bias=optim.correct_bias)
    trained = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    gradients = Gradients(trained, precision, optimizer, optim.clip)
    run = Run(model, prepared.tokenizer, {}, tuple(model.tasks), config, out)
    log = MetricsLog(out / "metrics.jsonl", state["plan"]["step"] if state else 0)
    pieces: dict[str, Any] = {}

    def save(name: str) -> None:
        with atomic_folder(out / name) as folder:
            save_model(folder, model, prepared.tokenizer, prepared.heads)
            if name == "last":
                save_state(folder, {key: piece.state_dict() for key, piece in pieces.items()})

    choose = selector(config, model.tasks)
    progress = Progress(
        plan,
        evaluate=lambda: _say_scores(run.score(prepared.dev, quiet=quiet), plan, say),
        select=choose,
        save=save,
        log=log.write,
        rate=lambda: optim.lr * schedule(precision.steps),
        evaluate_every=config.eval.every_steps,
        save_every=config.checkpoint.every_steps,
        patience=config.patience,
        quiet=quiet,
    )
    pieces |= dict(
        plan=plan,
        gradients=gradients,
        precision=precision,
        optimizer=optimizer,
        progress=progress,
        random=RandomState(),
    )
    for line in [*prepared.notes, *_describe(config, plan, entries, precision)]:
        say(line)
    if state:
        say(f"resumed after step {state['plan']['step']} of {plan.total_steps}")
        for key, piece in pieces.items():
            piece.load_state_dict(state[key])
    model.train()
    with progress.interruption():
        progress.catch_up()
        train_loop(
            model, plan, Plain(), gradients, precision, optimizer, progress.report, progress.after_step
        )
    best = load_run(out, config.device, config.precision)
    evaluation = best.score(prepared.dev, quiet=quiet)
    best.scores = evaluation.as_dict() | {
        "split": "dev",
        "step": progress.best_step,
        "seconds": progress.elapsed(),
    }
    with atomic_write(out / "scores.json") as file:
        file.write(json.dumps(best.scores, indent=2) + "\n")
    return best


def _say_scores(evaluation: Evaluation, plan: Plan, say: Say) -> dict[str, dict[str, float]]:
    texts = [
        f"{name} {metric} {value:.3f}" for name, s in evaluation.scores.items() for metric, value in s.items()
    ]
    texts += [f"{name} {value:.4f}" for name, value in evaluation.overall.items()]
    say(f"step {plan.step}: {', '.join(texts) or 'no dev split to score'}")
    return evaluation.scores


def _describe(config: RunConfig, plan: Plan, entries: list[Assignment], precision: Precision) -> list[str]:
    lines = [
        f"{name}: {len(plan.data[name].lengths):,} examples, {sum(plan.data[name].lengths):,} tokens, "
        f"{steps[0]} steps an epoch"
        for name, steps in plan.steps_by_task().items()
    ]
    trained = sum(entry.parameter.numel() for entry in entries if entry.state == "trained")
    lines.append(
        f"{plan.total_steps} steps in {plan.epochs} epochs, {config.sampling} order; {trained:,} parameters trained "
        f"in {precision.name} on {precision.device}, {torch.get_num_threads()} threads, seed {config.train.seed}"
    )
    return lines


def _bert_config(config: RunConfig, weights: str | Path) -> BertConfig:
    return replace(BertConfig.from_folder(minbert.find_folder(weights)), **config.model)


def _head_facts(task: TrainingTask, examples: Examples) -> dict[str, Any]:
    facts: dict[str, Any] = {"config": task.config.__dict__, "labels": list(getattr(task, "labels", ()))}
    if isinstance(task, ScoredTask):
        facts["fallback"] = task.fallback(examples.rows)
    return facts


def _write_run_folder(out: Path, config: RunConfig, prepared: Prepared, device: torch.device) -> None:
    out.mkdir(parents=True, exist_ok=True)
    if config.data == SAMPLE:
        write_sample(out / SAMPLE_FOLDER)
    environment = {
        "minbert": minbert.__version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "platform": platform.platform(),
        "device": str(device) if device.type != "cuda" else torch.cuda.get_device_name(device),
        "threads": torch.get_num_threads(),
        "git": _git_revision(),
        "data": prepared.hashes,
    }
    for name, values in (("environment", environment), ("config", config.to_dict())):
        with atomic_write(out / f"{name}.json") as file:
            file.write(json.dumps(values, indent=2) + "\n")


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _git_revision() -> str | None:
    """The commit that the code was run from, with "+" where files differ from it; None outside a checkout."""
    here = Path(__file__).parent

    def git(*words: str) -> str:
        return subprocess.run(
            ["git", *words], cwd=here, capture_output=True, text=True, check=True
        ).stdout.strip()

    try:
        return git("rev-parse", "HEAD") + ("+" if git("status", "--porcelain") else "")
    except (OSError, subprocess.CalledProcessError):
        return None
