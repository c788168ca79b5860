"""train and resume: a run, stage by stage, from a configuration to the best checkpoint."""

import math
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from minbert import InputError
from multitask.config.run_config import RunConfig
from multitask.config.stages import stage_configs
from multitask.inference.checkpoint import RandomState, load_state
from multitask.inference.model_card import write_model_card
from multitask.inference.run import (
    SAMPLE_FOLDER,
    Evaluation,
    Run,
    find_device,
    load_run,
    read_run_config,
)
from multitask.model.cache import check_folder
from multitask.runtime.distributed import Ranks
from multitask.runtime.memory import keep_freed_memory, peak_memory
from multitask.runtime.trackers import Trackers, check_trackers, tell_each
from multitask.runtime.tracking import MetricsLog, environment, read_metrics, write_json
from multitask.tasks.splits import SAMPLE, open_data
from multitask.training.assembly import (
    Parts,
    Say,
    assemble,
    cache_frozen_layers,
    closing_notes,
    count_parameters,
    describe,
    make_plan,
)
from multitask.training.loop import train_loop
from multitask.training.plan import Plan, Step
from multitask.training.preparation import Prepared, prepare
from multitask.training.progress import Progress
from multitask.training.run_folder import clean_up, make_folder, read_environment, save_checkpoint
from multitask.training.selection import check_select, selectors

CACHE_FOLDER = "cache"  # in the run's folder, while it trains
Log = Callable[..., None]  # (kind, step, **values), see MetricsLog.write


@dataclass(frozen=True)
class Audience:
    """Who hears of a run: `say` what a user wants to read, `listen` every record; `quiet` hides the bars."""

    say: Say = lambda line: None
    quiet: bool = True
    listen: Log | None = None


def train(
    config: RunConfig,
    say: Say = lambda line: None,
    quiet: bool = True,
    listen: Log | None = None,
) -> Run:
    """Fine-tunes as the configuration says, into the new folder `config.out`; -> the best checkpoint's Run.

    `say` hears what a user wants to read; `quiet` hides the progress bars; `listen(kind, step, **values)`
    hears every record of metrics.jsonl once it is written. Raises InputError for a configuration or data
    that cannot be used, before anything is written.
    """
    check_sources(config)
    if config.out is None:
        raise InputError("no folder for the run; give --out RUN")
    for stage in stage_configs(config):
        if stage.cache.folder is not None:
            check_folder(Path(stage.cache.folder))
    out = Path(config.out)
    if out.exists() and not out.is_dir():
        raise InputError(f"{out} is a file; give --out the name of a new folder")
    if out.exists() and any(out.iterdir()):
        raise InputError(
            f"{out} exists already; choose another --out, or continue it: multitask resume {out}"
        )
    if config.task_file:  # to be found from another working folder too
        config = replace(config, task_file=str(Path(config.task_file).resolve()))
    return _train_stages(config, Audience(say, quiet, listen))


def resume(
    folder: str | Path,
    say: Say = lambda line: None,
    quiet: bool = True,
    listen: Log | None = None,
) -> Run:
    """Continues a run from its `last/`, or from the start where it has none yet; bit-equal on the CPU.

    Raises InputError for a folder that is no run, and where the data are no longer those of the run.
    """
    out = Path(folder)
    return _train_stages(replace(read_run_config(out), out=str(out)), Audience(say, quiet, listen))


def check_sources(config: RunConfig) -> None:
    """Raises InputError for a configuration without weights or data."""
    if config.weights is None:
        raise InputError("no weights; give --weights with a folder of pretrained weights, or `scratch`")
    if config.data is None:
        raise InputError("no data folder; give --data DIR, or --data sample for the bundled corpus")


def plan_table(config: RunConfig) -> list[str]:
    """The steps that each task of a run would get, stage by stage, as lines to read; nothing is trained.

    A stage after the first is planned with the run's first weights, whose tokenizer it has too.
    """
    check_sources(config)
    lines = []
    stages = stage_configs(config)
    for number, stage in enumerate(stages, start=1):
        if len(stages) > 1:
            lines.append(f"stage {number} of {len(stages)}")
        stage = replace(stage, weights=config.weights, model=config.model)
        device, ranks = set_up(stage)
        with open_data(stage.data) as folder:
            prepared = prepare(stage, folder, device)
        lines += make_plan(stage, prepared.model, prepared.train, ranks).table()
    return lines


def _train_stages(config: RunConfig, audience: Audience) -> Run:
    """Each stage that is not finished: begun, or continued."""
    stages = stage_configs(config)
    for stage in stages:
        check_trackers(stage.track)
    for number, stage in enumerate(stages, start=1):
        out, last = Path(stage.out), number == len(stages)
        if not last and (out / "scores.json").is_file():
            continue
        if len(stages) > 1:
            audience.say(f"stage {number} of {len(stages)}: {', '.join(stage.trained_tasks)}")
        if (out / "environment.json").is_file() or (out / "last").is_dir():
            run = _continue(stage, audience)
        else:
            shown, whole = config if last else stage, config if number == 1 else None
            run = _begin(stage, shown, whole, audience)
    return run


def _begin(config: RunConfig, shown: RunConfig, whole: RunConfig | None, audience: Audience) -> Run:
    """Trains into a new folder, whose config.json is `shown`; `whole` is the run of which this is a stage."""
    device, ranks = set_up(config)
    out = Path(config.out)
    with open_data(config.data) as folder:
        prepared = prepare(config, folder, device)
        check_select(config, prepared)
        parts = assemble(config, prepared, device, ranks, audience.say)
        ranks.wait()
        if ranks.main:
            make_folder(out, config, shown, whole)
            if config.data == SAMPLE:
                shutil.copytree(folder, out / SAMPLE_FOLDER, dirs_exist_ok=True)
            write_json(out / "environment.json", environment(device, prepared.hashes))
    ranks.wait()
    return _run(config, prepared, parts, ranks, None, audience)


def _continue(config: RunConfig, audience: Audience) -> Run:
    """Goes on where a folder's run was interrupted."""
    out = Path(config.out)
    threads, hashes = read_environment(out)
    device, ranks = set_up(replace(config, threads=config.threads or threads))
    if ranks.main:
        clean_up(out)
    ranks.wait()
    last = out / "last" if (out / "last").is_dir() else None
    data = out / SAMPLE_FOLDER if config.data == SAMPLE else config.data
    with open_data(data) as data_folder:
        prepared = prepare(config, data_folder, device, last)
    changed = [name for name in hashes | prepared.hashes if prepared.hashes.get(name) != hashes.get(name)]
    if changed:
        raise InputError(
            f"{', '.join(changed)} changed since the run began; put the old file back, or train anew"
        )
    parts = assemble(config, prepared, device, ranks, audience.say)
    state = load_state(last) if last else None
    return _run(config, prepared, parts, ranks, state, audience)


def set_up(config: RunConfig) -> tuple[torch.device, Ranks]:
    """Threads, seed, device and processes of a run."""
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    torch.manual_seed(config.train.seed)
    device = find_device(config.device)
    if device.type == "cpu":
        keep_freed_memory()
    return device, Ranks.start(device.type)


def _run(
    config: RunConfig,
    prepared: Prepared,
    parts: Parts,
    ranks: Ranks,
    state: Mapping[str, Any] | None,
    audience: Audience,
) -> Run:
    out, model, plan = Path(config.out), prepared.model, parts.plan
    steps = (state["plan"]["step"], state["progress"]["evaluated_step"]) if state else (0, 0)
    if not ranks.main:
        audience = Audience()
    trackers = Trackers(config.track if ranks.main else (), config, audience.say)
    written = MetricsLog(out / "metrics.jsonl", *steps).write if ranks.main else None
    log = tell_each([written, trackers.write, audience.listen if ranks.main else None])
    parts.gradients.log = lambda cosines: log("conflict", plan.step, cosines=cosines)
    pieces = parts.stateful()
    progress = _progress(config, prepared, parts, pieces, ranks, log, audience)
    pieces |= {"progress": progress, "random": RandomState(ranks)}
    for line in [*prepared.notes, *describe(parts, config.train.seed)]:
        audience.say(line)
    if state:
        audience.say(f"resumed after step {steps[0]} of {plan.total_steps}")
        for key, piece in pieces.items():
            piece.load_state_dict(state[key])
    elif ranks.rank:
        torch.manual_seed(config.train.seed + ranks.rank)  # other dropout than the other processes
    if not (out / "scores.json").is_file():  # else nothing is left to do
        cache_frozen_layers(config, prepared, plan, out / CACHE_FOLDER, ranks, audience.say, audience.quiet)
    model.train()
    hooks = [part.after_step for part in parts.others.values()] + [progress.after_step]

    def after_step(step: Step) -> None:
        for hook in hooks:
            hook(step)

    with trackers, progress.interruption():
        progress.catch_up()
        train_loop(
            model,
            parts.rates.steps(plan) if parts.rates else plan,
            parts.method,
            parts.gradients,
            parts.precision,
            parts.optimizer,
            progress.report,
            after_step,
        )
    for line in closing_notes(model, parts.precision):
        audience.say(line)
    costs = progress.costs() | count_parameters(parts) | {"peak_memory": peak_memory(model.device)}
    best = _finish(config, out, progress, costs, ranks, prepared)
    trackers.close(best.scores["scores"])
    model.cache = None
    if ranks.main:
        shutil.rmtree(out / CACHE_FOLDER, ignore_errors=True)
    return best


def _progress(
    config: RunConfig,
    prepared: Prepared,
    parts: Parts,
    pieces: Mapping[str, Any],
    ranks: Ranks,
    log: Log,
    audience: Audience,
) -> Progress:
    """What happens between steps: rank 0 evaluates and writes, the others wait for what it finds."""
    say, quiet = audience.say, audience.quiet
    model, plan, precision = prepared.model, parts.plan, parts.precision
    run = Run(model, prepared.tokenizer, {}, tuple(model.tasks), config)

    def evaluate() -> dict[str, dict[str, float]]:
        scores = _say_scores(run.score(prepared.dev, quiet=quiet), plan, say) if ranks.main else None
        return ranks.agree(scores)

    def save(name: str) -> None:
        states = {key: piece.state_dict() for key, piece in pieces.items()} if name == "last" else {}
        if ranks.main:
            save_checkpoint(Path(config.out) / name, prepared, plan.step, states, config.weights, say)
        ranks.wait()

    return Progress(
        plan,
        evaluate=evaluate,
        select=selectors(config, model.tasks),
        save=save,
        log=log,
        rate=lambda: config.optim.lr * precision.schedule(precision.steps),
        evaluate_every=config.eval.every_steps,
        save_every=config.checkpoint.every_steps,
        patience=config.patience,
        quiet=quiet,
        skipped=lambda: precision.skipped,
    )


def _finish(
    config: RunConfig,
    out: Path,
    progress: Progress,
    costs: Mapping[str, float],
    ranks: Ranks,
    prepared: Prepared,
) -> Run:
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
        "costs": dict(costs),
    }
    if ranks.main:
        splits = {"train": prepared.train, "dev": prepared.dev}
        sizes = {split: {task: len(rows) for task, rows in data.items()} for split, data in splits.items()}
        write_model_card(config, best.scores, sizes)
        write_json(out / "scores.json", best.scores)
    ranks.wait()
    return best


def _say_scores(evaluation: Evaluation, plan: Plan, say: Say) -> dict[str, dict[str, float]]:
    texts = [
        f"{name} {metric} {value:.3f}" for name, s in evaluation.scores.items() for metric, value in s.items()
    ]
    texts += [f"{name} {value:.4f}" for name, value in evaluation.overall.items()]
    say(f"step {plan.step}: {', '.join(texts) or 'no dev split to score'}")
    for note in evaluation.notes:
        say(note)
    return evaluation.scores
