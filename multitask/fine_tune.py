"""train and resume: builds what the loop is handed from a configuration, and keeps the run's folder."""

import json
import math
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

import torch

from minbert import AdamW, InputError, atomic_folder, did_you_mean, restore_folder, schedule_factor
from multitask.config import RunConfig
from multitask.data.collate import TokenizedExample
from multitask.metrics import overall_scores
from multitask.model import MultitaskModel
from multitask.preparation import Prepared, prepare
from multitask.run import (
    SAMPLE_FOLDER,
    Evaluation,
    Run,
    find_device,
    load_run,
    read_run_config,
)
from multitask.splits import SAMPLE, open_data
from multitask.tasks.base import TrainingTask
from multitask.tracking import MetricsLog, environment, read_metrics, write_json
from multitask.training.checkpoint import RandomState, load_state, save_model, save_state
from multitask.training.gradients import Gradients
from multitask.training.groups import Assignment, assign, parameter_groups
from multitask.training.loop import train_loop
from multitask.training.methods import Plain
from multitask.training.plan import Plan, TaskData
from multitask.training.precision import Precision
from multitask.training.progress import Progress

Say = Callable[[str], None]


@dataclass
class Parts:
    """What the loop is handed, apart from what reports to the run's folder."""

    plan: Plan
    entries: list[Assignment]
    optimizer: AdamW
    gradients: Gradients
    precision: Precision


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
    if out.exists() and not out.is_dir():
        raise InputError(f"{out} is a file; give --out the name of a new folder")
    if out.exists() and any(out.iterdir()):
        raise InputError(
            f"{out} exists already; choose another --out, or continue it: multitask resume {out}"
        )
    device = set_up(config)
    with open_data(config.data) as folder:
        prepared = prepare(config, config.weights, folder, device)
        parts = assemble(config, prepared, device)
        _check_select(config, prepared)
        out.mkdir(parents=True, exist_ok=True)
        if config.data == SAMPLE:
            shutil.copytree(folder, out / SAMPLE_FOLDER)
    if config.task_file:  # to be found from another working folder too
        config = replace(config, task_file=str(Path(config.task_file).resolve()))
    write_json(out / "environment.json", environment(device, prepared.hashes))
    write_json(out / "config.json", config.to_dict())
    return _run(config, out, prepared, parts, None, say, quiet)


def resume(folder: str | Path, say: Say = lambda line: None, quiet: bool = True) -> Run:
    """Continues a run from its `last/`, or from the start where it has none yet; bit-equal on the CPU.

    Raises InputError for a folder that is no run, and where the data are no longer those of the run.
    """
    out = Path(folder)
    config = replace(read_run_config(out), out=str(out))
    threads, hashes = _read_environment(out)
    _clean_up(out)
    device = set_up(replace(config, threads=config.threads or threads))
    last = out / "last"
    data = out / SAMPLE_FOLDER if config.data == SAMPLE else config.data
    with open_data(data) as data_folder:
        prepared = prepare(config, last if last.is_dir() else config.weights, data_folder, device)
    changed = [name for name in hashes | prepared.hashes if prepared.hashes.get(name) != hashes.get(name)]
    if changed:
        raise InputError(
            f"{', '.join(changed)} changed since the run began; put the old file back, or train anew"
        )
    parts = assemble(config, prepared, device)
    state = load_state(last) if last.is_dir() else None
    return _run(config, out, prepared, parts, state, say, quiet)


def set_up(config: RunConfig) -> torch.device:
    """Threads, seed and device of a run."""
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    torch.manual_seed(config.train.seed)
    return find_device(config.device)


def assemble(config: RunConfig, prepared: Prepared, device: torch.device) -> Parts:
    """Optimizer, plan, precision and gradients. Raises InputError where there is nothing to train."""
    optim, model = config.optim, prepared.model
    entries = assignments(config, model)
    groups = parameter_groups(entries)
    optimizer = AdamW(groups, lr=optim.lr, eps=optim.eps, correct_bias=optim.correct_bias)
    plan = make_plan(config, model, prepared.train)
    warmup = round(optim.warmup * plan.total_steps)
    schedule = partial(schedule_factor, optim.schedule, total=plan.total_steps, warmup=warmup)
    precision = Precision(config.precision, device, schedule)
    model.autocast = precision.autocast
    trained = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    return Parts(plan, entries, optimizer, Gradients(trained, precision, optimizer, optim.clip), precision)


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
        values = overall | {f"{name}.{metric}": v for name, s in scores.items() for metric, v in s.items()}
        if config.select not in values:
            accepted = f"choose from {', '.join(values)}" if values else "there is no dev split to score"
            raise InputError(f"select is {config.select!r}; {accepted}{did_you_mean(config.select, values)}")
        return values[config.select]

    return value


def _check_select(config: RunConfig, prepared: Prepared) -> None:
    """Raises InputError for a `select` that no evaluation gives, which the scores of a few examples tell."""
    if config.select is not None:
        run = Run(prepared.model, prepared.tokenizer, {}, tuple(prepared.model.tasks), config)
        few = {name: examples[:2] for name, examples in prepared.dev.items()}
        selector(config, prepared.model.tasks)(run.score(few, quiet=True).scores)


def _run(config, out: Path, prepared: Prepared, parts: Parts, state, say: Say, quiet: bool) -> Run:
    model, plan, precision = prepared.model, parts.plan, parts.precision
    run = Run(model, prepared.tokenizer, {}, tuple(model.tasks), config, out)
    steps = (state["plan"]["step"], state["progress"]["evaluated_step"]) if state else (0, 0)
    log = MetricsLog(out / "metrics.jsonl", *steps)
    pieces: dict[str, Any] = {}
    progress = Progress(
        plan,
        evaluate=lambda: _say_scores(run.score(prepared.dev, quiet=quiet), plan, say),
        select=selector(config, model.tasks),
        save=lambda name: _save(out / name, prepared, plan.step, pieces if name == "last" else {}),
        log=log.write,
        rate=lambda: config.optim.lr * precision.schedule(precision.steps),
        evaluate_every=config.eval.every_steps,
        save_every=config.checkpoint.every_steps,
        patience=config.patience,
        quiet=quiet,
    )
    pieces |= dict(
        plan=plan,
        gradients=parts.gradients,
        precision=precision,
        optimizer=parts.optimizer,
        progress=progress,
        random=RandomState(),
    )
    for line in [*prepared.notes, *_describe(config, parts)]:
        say(line)
    if state:
        say(f"resumed after step {steps[0]} of {plan.total_steps}")
        for key, piece in pieces.items():
            piece.load_state_dict(state[key])
    model.train()
    with progress.interruption():
        progress.catch_up()
        train_loop(
            model,
            plan,
            Plain(),
            parts.gradients,
            precision,
            parts.optimizer,
            progress.report,
            progress.after_step,
        )
    return _finish(config, out, progress)


def _finish(config: RunConfig, out: Path, progress: Progress) -> Run:
    """The best checkpoint, with the scores that the log holds of it."""
    records = [record for record in read_metrics(out / "metrics.jsonl") if record["kind"] == "evaluation"]
    logged = next(record["scores"] for record in records if record["step"] == progress.best_step)
    scores = {
        task: {name: math.nan if value is None else value for name, value in values.items()}
        for task, values in logged.items()
    }
    best = load_run(out, config.device, config.precision)
    best.scores = Evaluation(scores).as_dict() | {
        "split": "dev",
        "step": progress.best_step,
        "seconds": progress.elapsed(),
    }
    write_json(out / "scores.json", best.scores)
    return best


def _save(path: Path, prepared: Prepared, step: int, pieces: Mapping[str, Any]) -> None:
    """Writes a checkpoint, whole or not at all, with the state of `pieces` where there are any."""
    _check_finite(prepared.model, step)
    with atomic_folder(path) as folder:
        save_model(folder, prepared.model, prepared.tokenizer, prepared.heads)
        if pieces:
            save_state(folder, {key: piece.state_dict() for key, piece in pieces.items()})


def _check_finite(model: MultitaskModel, step: int) -> None:
    """Raises InputError rather than let a checkpoint be overwritten with weights that are lost."""
    for name, parameter in model.named_parameters():
        if not bool(parameter.isfinite().all()):
            raise InputError(
                f"{name} is not finite after step {step}; lower --optim.lr; the last checkpoint stays"
            )


def _say_scores(evaluation: Evaluation, plan: Plan, say: Say) -> dict[str, dict[str, float]]:
    texts = [
        f"{name} {metric} {value:.3f}" for name, s in evaluation.scores.items() for metric, value in s.items()
    ]
    texts += [f"{name} {value:.4f}" for name, value in evaluation.overall.items()]
    say(f"step {plan.step}: {', '.join(texts) or 'no dev split to score'}")
    return evaluation.scores


def _describe(config: RunConfig, parts: Parts) -> list[str]:
    plan, precision = parts.plan, parts.precision
    lines = [
        f"{name}: {len(plan.data[name].lengths):,} examples, {sum(plan.data[name].lengths):,} tokens, "
        f"{steps[0]} steps an epoch"
        for name, steps in plan.steps_by_task().items()
    ]
    trained = sum(entry.parameter.numel() for entry in parts.entries if entry.state == "trained")
    lines.append(
        f"{plan.total_steps} steps in {plan.epochs} epochs, {config.sampling} order; {trained:,} parameters "
        f"trained in {precision.name} on {precision.device}, {torch.get_num_threads()} threads, "
        f"seed {config.train.seed}"
    )
    return lines


def _read_environment(out: Path) -> tuple[int | None, dict[str, str]]:
    """The threads and the data's hashes that a run began with."""
    try:
        values = json.loads((out / "environment.json").read_text(encoding="utf-8"))
        return values.get("threads"), dict(values["data"])
    except (json.JSONDecodeError, UnicodeDecodeError, AttributeError, KeyError, TypeError, ValueError):
        raise InputError(f"{out / 'environment.json'} is damaged; train anew") from None


def _clean_up(out: Path) -> None:
    """Puts right what a kill in the middle of saving left behind."""
    for name in ("best", "last"):
        restore_folder(out / name)
    for leftover in out.glob(".*.partial"):
        if leftover.is_dir():
            shutil.rmtree(leftover)
        else:
            leftover.unlink()
