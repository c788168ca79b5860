"""Trainer, and `train` and `resume`: a run, stage by stage, from a configuration to its best checkpoint."""

import os
import shutil
import signal
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from minbert import InputError, WriteError, atomic_folder, hide_secrets, read_json_object, restore_folder
from multitask.config.option_types import checked
from multitask.config.run_config import RunConfig
from multitask.config.run_folder import ENVIRONMENT, MEMORY_FOLDER, SAMPLE_FOLDER
from multitask.config.stages import stage_configs
from multitask.config.task_file import record_task_file, task_file_hash
from multitask.data.collate import Joined
from multitask.data.given_rows import MEMORY, GivenRows, given_config, write_given
from multitask.inference.checkpoint import (
    STATE_FOLDER,
    RandomState,
    check_room,
    former_checkpoint,
    load_state,
    repair_last,
    save_model,
    save_state,
    size_of,
    write_checksums,
)
from multitask.inference.evaluation import score_examples
from multitask.inference.model_card import write_model_card
from multitask.inference.run import (
    Evaluation,
    Run,
    load_best,
    read_run_config,
)
from multitask.model.cache import check_folder, open_cache
from multitask.runtime.callbacks import Callback, Callbacks, ProgressBar, Scores
from multitask.runtime.device import find_device
from multitask.runtime.locks import one_writer
from multitask.runtime.memory import keep_freed_memory, named_memory_errors
from multitask.runtime.messages import logger
from multitask.runtime.process_group import ProcessGroup
from multitask.runtime.trackers import Trackers, check_trackers
from multitask.runtime.tracking import MetricsLog, environment, read_scores, write_json
from multitask.tasks.splits import SAMPLE, open_data
from multitask.training.components import TrainingComponents, build_components, make_plan
from multitask.training.dry_run import plan_lines
from multitask.training.inputs import RunInputs, check_weights, load_inputs
from multitask.training.loop import train_loop
from multitask.training.methods.standard import Backward
from multitask.training.parallel import Engine
from multitask.training.plan import MicroBatch, Step
from multitask.training.progress import SAVE_SIGNAL, Progress
from multitask.training.selection import check_select, selectors

CACHE_FOLDER = "cache"  # in the run's folder, while it trains


def train(
    config: RunConfig,
    callbacks: Sequence[Callback] = (),
    quiet: bool = True,
    data: GivenRows | None = None,
) -> Run:
    """Fine-tunes as the configuration says, into the new folder `config.out`; returns the best checkpoint.

    `data` gives rows in place of the folder `config.data`, as {"sst": {"train": rows, "dev": rows}}: lists of
    dictionaries, or tables of pandas, pyarrow or datasets. They are kept in the run's folder.
    `callbacks` get the records of metrics.jsonl and may end the run; `quiet` hides the progress bars.
    Messages go to the logger "multitask". Where torchrun starts the command again after a process was lost,
    the run goes on from its `last/`. Raises InputError for a configuration or data that cannot be used,
    before anything is written.
    """
    if not isinstance(config, RunConfig):
        raise InputError(f"config is {config!r}; give a RunConfig, such as RunConfig.from_dict makes")
    if data is not None:
        config = given_config(config, data)
    check_sources(config)
    if config.out is None:
        raise InputError("no folder for the run; give --out RUN")
    for stage in stage_configs(config):
        if stage.cache.folder is not None:
            check_folder(Path(stage.cache.folder))
    out = Path(config.out)
    if out.exists() and not out.is_dir():
        raise InputError(f"{out} is a file; give --out the name of a new folder")
    config = config.absolute()
    if config.task_file:
        task_file_hash(config.task_file)  # it has run, or may
    with one_writer(out):
        is_empty = not out.exists() or all(path.name.endswith(".partial") for path in out.iterdir())
        if is_empty:  # but for what a kill at the very beginning left
            return _train_stages(config, callbacks, quiet, data)
    if int(os.environ.get("TORCHELASTIC_RESTART_COUNT", 0)) and read_run_config(out) == config:
        return resume(out, callbacks, quiet)  # torchrun started the same command again
    raise InputError(f"{out} exists already; choose another --out, or continue it: multitask resume {out}")


def resume(
    folder: str | Path,
    callbacks: Sequence[Callback] = (),
    quiet: bool = True,
    task_file: str | Path | None = None,
    trust: bool = False,
    epochs: int | None = None,
    max_steps: int | None = None,
) -> Run:
    """Continues a run from its `last/`, or from the start where it has none yet; bit-equal on the CPU.

    `task_file` and `trust` are those of `read_run_config`. Writes nothing for a run that is finished, unless
    `epochs` or `max_steps` are more than it has: then it goes on from its last step to the new end, at the
    rates of a run of that length. Raises InputError for a folder that is not a run's, where the data are no
    longer those of the run, and for a length that is none or less than that of the run.
    """
    out = Path(folder)
    config = replace(read_run_config(out, task_file, trust), out=str(out))
    longer = _with_length(config, epochs, max_steps)
    if longer != config or not is_finished(out):
        with one_writer(out):
            if longer != config or not is_finished(out):
                return _train_stages(longer, callbacks, quiet, extends=longer != config)
    logger.info(f"{out} is finished; nothing is left to train")
    last = stage_configs(config)[-1]
    start_runtime(replace(last, threads=last.threads or read_environment(out)["threads"]))
    run = load_best(out, config, last.device, last.precision)
    scores = read_scores(run.scores["scores"])
    run.scores |= Evaluation(scores, run.scores.get("notes", [])).as_dict()
    return run


def _with_length(config: RunConfig, epochs: int | None, max_steps: int | None) -> RunConfig:
    """Returns a run's configuration with another length. Raises InputError for one that is not longer."""
    changed, now = {}, config.train
    for name, before, wanted in (("epochs", now.epochs, epochs), ("max_steps", now.max_steps, max_steps)):
        if checked(name, wanted, int | None) in (None, before):
            continue
        option = f"--train.{name.replace('_', '-')}"
        if before is None:
            raise InputError(
                f"{option} is {wanted}, and {config.out} has no such limit: it ends after {now.epochs} "
                f"epochs; give more --train.epochs"
            )
        if wanted < before:
            raise InputError(
                f"{option} is {wanted}, and {config.out} has {before}; give more, or leave it out"
            )
        changed[name] = wanted
    if changed and config.stages:
        raise InputError(
            f"{config.out} has stages, whose length cannot be changed; train on from its best checkpoint: "
            f"multitask train --weights {config.out}/best"
        )
    return replace(config, train=replace(now, **changed))


def is_finished(folder: str | Path) -> bool:
    """Returns True if the run in a folder, or a stage of one, has come to its end."""
    return (Path(folder) / "scores.json").is_file()


def check_sources(config: RunConfig) -> None:
    """Raises InputError for a configuration without weights or data."""
    check_weights(config)
    if config.data is None:
        raise InputError("no data folder; give --data DIR, or --data sample for the bundled corpus")


def start_runtime(config: RunConfig) -> tuple[torch.device, ProcessGroup]:
    """Sets threads and seed; returns the device and the processes of a run."""
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    torch.manual_seed(config.train.seed)
    device = find_device(config.device)
    if device.type == "cpu":
        keep_freed_memory()
    return device, ProcessGroup.start(device)


def plan_table(config: RunConfig) -> list[str]:
    """Returns the steps that each task of a run would get, stage by stage, as lines; trains nothing.

    A stage after the first is planned with the run's first weights, whose tokenizer it has too.
    """
    check_sources(config)
    lines, stages = [], stage_configs(config)
    for number, stage in enumerate(stages, start=1):
        lines += [f"stage {number} of {len(stages)}"] if len(stages) > 1 else []
        stage = replace(stage, weights=config.weights, model=config.model)
        device, group = start_runtime(stage)
        with open_data(stage.data) as folder:
            inputs = load_inputs(stage, folder, device)
        lines += inputs.notes
        lines += plan_lines(make_plan(stage, inputs.model, inputs.train, group))
    return lines


def _train_stages(
    config: RunConfig,
    callbacks: Sequence[Callback],
    quiet: bool,
    data: GivenRows | None = None,
    extends: bool = False,
) -> Run:
    """Begins or continues each stage that is not finished; `extends` lengthens one that has begun."""
    if config.task_file and int(os.environ.get("RANK", 0)) == 0:
        try:
            record_task_file(config.task_file)
        except (InputError, OSError) as error:
            logger.info(f"later commands need --task-file {config.task_file}: {error}")
    stages = stage_configs(config)
    for stage in stages:
        check_trackers(stage.track)
    for number, stage in enumerate(stages, start=1):
        out, is_last = Path(stage.out), number == len(stages)
        if not is_last and is_finished(out):
            continue
        if len(stages) > 1:
            logger.info(f"stage {number} of {len(stages)}: {', '.join(stage.trained_tasks)}")
        begun = (out / "environment.json").is_file() or (out / "last").is_dir()
        trainer = Trainer(stage, callbacks, quiet, read_environment(out)["threads"] if begun else None)
        # The data are where texts are read, as long as it trains.
        with _survive_save_signal(), _how_to_go_on(config), _open_stage_data(config, stage, data) as folder:
            if begun:
                trainer.load(folder)
                if extends:
                    trainer.extend()
            else:
                trainer.setup(folder)
                trainer.make_folder(config, folder)
            run = trainer.train()
    return run


@contextmanager
def _survive_save_signal() -> Iterator[None]:
    """Keeps the signal that asks for a checkpoint from ending the process before and after the steps."""
    before = signal.getsignal(SAVE_SIGNAL)
    try:
        if before == signal.SIG_DFL:
            signal.signal(SAVE_SIGNAL, lambda number, frame: None)
    except ValueError:  # not in the main thread, where signals cannot be handled
        before = None
    try:
        yield
    finally:
        if before == signal.SIG_DFL:
            signal.signal(SAVE_SIGNAL, before)


@contextmanager
def _how_to_go_on(config: RunConfig) -> Iterator[None]:
    """Adds to an error of a full disk, a quota or a missing right how the run goes on."""
    try:
        yield
    except WriteError as error:
        if (Path(config.out) / "config.json").is_file():
            error.strerror = f"{error}, then multitask resume {config.out}"
        raise


@contextmanager
def _open_stage_data(config: RunConfig, stage: RunConfig, data: GivenRows | None) -> Iterator[Path]:
    """Yields the data folder of a stage of the run `config`: what a run's folder keeps comes from there."""
    folders = {MEMORY: Path(config.out) / MEMORY_FOLDER, SAMPLE: Path(stage.out) / SAMPLE_FOLDER}
    kept = folders.get(config.data)
    if kept is not None and kept.is_dir():
        yield kept
    elif data is not None:
        with TemporaryDirectory(prefix="minbert-data-") as name:
            write_given(config, data, Path(name))
            yield Path(name)
    else:
        with open_data(stage.data) as folder:
            yield folder


class Trainer:
    """Trains one stage of a run into its folder, `config.out`.

    `setup` loads the inputs and builds what the loop is given; `load` does so for a run that was interrupted,
    and restores its state; `train` takes the steps, saves checkpoints by `save`, and returns the best one.
    `threads` is the number of CPU threads where the configuration does not say.
    """

    inputs: RunInputs
    components: TrainingComponents
    progress: Progress

    def __init__(
        self,
        config: RunConfig,
        callbacks: Sequence[Callback] = (),
        quiet: bool = True,
        threads: int | None = None,
    ):
        self.config = config
        self.quiet = quiet
        self.out = Path(config.out or ".")
        self.device, self.group = start_runtime(replace(config, threads=config.threads or threads))
        self.log = MetricsLog(self.out / "metrics.jsonl")
        own = [self.log, Trackers(config.track, config), *([] if quiet else [ProgressBar()])]
        self.callbacks = Callbacks([*own, *callbacks] if self.group.is_main else [])

    def setup(self, data: Path) -> None:
        """Loads the inputs from a folder with the data files, and builds the components."""
        with self.group.common_errors():
            self.inputs = load_inputs(self.config, data, self.device)
            check_select(self.config, self.inputs)
        self._build()

    def load(self, data: Path) -> None:
        """Sets up a run that was interrupted, from its `last/`; from the start where it has none yet.

        Raises InputError for data files that have changed.
        """
        with self.group.common_errors():
            if self.group.is_main:
                self._clean_up()
        last = self.out / "last" if (self.out / "last").is_dir() else None
        with self.group.common_errors():
            self.inputs = load_inputs(self.config, data, self.device, last)
            before, now = read_environment(self.out)["data"], self.inputs.hashes
            changed = [name for name in before | now if now.get(name) != before.get(name)]
            if changed:
                raise InputError(
                    f"{', '.join(changed)} changed since the run began; put the old file back, or train anew"
                )
        self._build()
        if last:
            state = load_state(last)
            try:
                for key, part in self._stateful().items():
                    part.load_state_dict(state[key])
            except KeyError as error:
                raise InputError(
                    f"{last / STATE_FOLDER} has no {error}, as one that another version of minBERT wrote; "
                    f"resume with that, or train anew from best/ with --weights"
                ) from None

    def _build(self) -> None:
        self.components = build_components(self.config, self.inputs, self.device, self.group)
        plan, precision = self.components.plan, self.components.precision
        select = selectors(self.config, self.inputs.model.tasks)
        self.progress = Progress(
            self.config, plan, precision, select, self.evaluate, self.save, self.callbacks, self.group
        )
        self.components.gradients.log = lambda cosines: self.callbacks.on_record(
            "conflict", plan.step, {"cosines": cosines}
        )
        if self.group.rank:
            torch.manual_seed(self.config.train.seed + self.group.rank)  # other dropout than on other ranks

    def _stateful(self) -> dict[str, Any]:
        """Returns everything whose states are the training state, by name."""
        return self.components.stateful() | {
            "progress": self.progress,
            "random": RandomState(self.device, self.group),
        }

    def make_folder(self, run: RunConfig, data: Path) -> None:
        """Makes the folder, from which `resume` can begin; `run` is the run of which this is a stage."""
        self.group.barrier()
        if self.group.is_main:
            self._remove_partial()
            for out, config in ({self.config.out: self.config} | {run.out: run}).items():
                Path(out).mkdir(parents=True, exist_ok=True)
                write_json(Path(out) / "config.json", config.to_dict())
            if self.config.data == SAMPLE:
                with atomic_folder(self.out / SAMPLE_FOLDER) as folder:
                    shutil.copytree(data, folder, dirs_exist_ok=True)
            elif self.config.data == MEMORY and data != Path(run.out) / MEMORY_FOLDER:
                with atomic_folder(Path(run.out) / MEMORY_FOLDER) as folder:
                    shutil.copytree(data, folder, dirs_exist_ok=True)
            write_json(self.out / "environment.json", environment(self.device, self.inputs.hashes))
        self.group.barrier()

    def extend(self) -> None:
        """Gives the run in the folder, which is loaded, the length of this configuration.

        Raises InputError, and leaves the folder as it is, where no step is left to take, and where a finished
        run has lost the state that it would go on from.
        """
        plan, epochs = self.components.plan, self.config.train.epochs
        if is_finished(self.out) and not (self.out / "last").is_dir():
            raise InputError(
                f"{self.out} has no last/ to go on from; train on from its best checkpoint: multitask train "
                f"--weights {self.out}/best"
            )
        if plan.total_steps <= plan.step:
            limit = self.config.train.max_steps
            what = f"{epochs} epochs" + ("" if limit is None else f" and --train.max-steps {limit}")
            raise InputError(
                f"{self.out} has taken {plan.step} steps, and {what} are {plan.total_steps}; give more "
                f"{'--train.epochs' if limit is None or limit > plan.total_steps else '--train.max-steps'}"
            )
        self.group.barrier()
        if self.group.is_main:
            # From here on the run is one that is not finished, first of its old length.
            (self.out / "scores.json").unlink(missing_ok=True)
            write_json(self.out / "config.json", self.config.to_dict())
        self.group.barrier()

    def _clean_up(self) -> None:
        """Undoes what a kill in the middle of saving left behind."""
        for previous in self.out.glob(".*.previous"):
            restore_folder(self.out / previous.name[1:].removesuffix(".previous"))
        repair_last(self.out / "last")
        for log in self.out.glob("rank-*.log"):
            log.unlink()
        self._remove_partial()

    def _remove_partial(self) -> None:
        for leftover in self.out.glob(".*.partial"):
            shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()

    def train(self) -> Run:
        """Takes the steps that are left; returns the best checkpoint, with its scores and the run's costs."""
        parts, model = self.components, self.inputs.model
        for line in [*self.inputs.notes, *self._description()]:
            logger.info(line)
        if parts.plan.step:
            logger.info(f"resumed after step {parts.plan.step} of {parts.plan.total_steps}")
        for line in self.progress.extensions():
            logger.info(line)
        if self.group.is_main:
            self.log.rewind(parts.plan.step, self.progress.evaluated_step)
        self.open_cache(self.out / CACHE_FOLDER)
        model.train()
        self.callbacks.on_start(parts.plan.step, parts.plan.total_steps)
        best = None
        try:
            with self.progress.interruption(), self._log_of_rank():
                self.progress.catch_up()
                with named_memory_errors(self._where_memory_ends):
                    train_loop(
                        parts.engine,
                        parts.steps(),
                        self._loss,
                        parts.gradients,
                        parts.precision,
                        parts.optimizer,
                        self.progress.report,
                        self._after_step,
                    )
            self._log_closing_notes()
            model.cache = {}
            best = self._finish()
        finally:
            self.callbacks.on_end(best.scores["scores"] if best else None)
        return best

    @contextmanager
    def _log_of_rank(self) -> Iterator[None]:
        """Writes an error of one of several processes into a file of its own; the terminal mixes them all."""
        try:
            yield
        except Exception:
            if self.group.size > 1:
                path = self.out / f"rank-{self.group.rank}.log"
                path.write_text(hide_secrets(traceback.format_exc()), encoding="utf-8")
            raise

    def _loss(self, engine: Engine, micro_batch: MicroBatch, backward: Backward) -> Tensor:
        """Computes as the method does, and keeps the micro-batch for an error's message."""
        self._micro_batch = micro_batch
        return self.components.method(engine, micro_batch, backward)

    def _where_memory_ends(self) -> str:
        """Returns the batch in hand, or the last one, and what to set for less memory."""
        task, batch, _, tokens, _ = self._micro_batch
        own, usual = self.config.tasks[task].batch_size, self.config.train.batch_size
        option = f"--train.batch-size (now {usual})" if own is None else f"--{task}.batch-size (now {own})"
        return (
            f"at step {self.components.plan.step}, with a batch of {len(batch.targets)} examples of {task}, "
            f"{tokens:,} tokens; lower {option} and raise --train.accumulation, or set "
            f"--train.checkpointing, --train.batch-tokens or --precision bf16"
        )

    def _after_step(self, step: Step) -> None:
        self.components.after_step(step)
        self.progress.after_step(step)

    def open_cache(self, folder: Path) -> None:
        """Caches activations of frozen layers in `folder`, unless the configuration names another.

        Does nothing where the layers are to be unfrozen or get noise, and where no sequence is seen in a
        second epoch or a later run.
        """
        config, inputs, settings = self.config, self.inputs, self.config.cache
        changes = config.unfreeze is not None or config.smart.weight > 0
        once = settings.folder is None and len(self.components.plan.steps_per_epoch()) < 2
        sharded = config.parallel == "fsdp"  # no layer computes outside of the whole model
        if settings.precision == "off" or changes or once or sharded:
            return
        tasks = inputs.model.tasks
        examples = {name: Joined(inputs.train.get(name, ()), inputs.dev.get(name, ())) for name in tasks}
        place = Path(settings.folder or folder)
        inputs.model.cache = open_cache(
            inputs.model, examples, place, settings.precision, self.group, self.quiet
        )

    def evaluate(self) -> Scores:
        """Scores the dev splits; returns the scores of each task, the same in every process."""
        dev, budget = self.inputs.dev, self.config.eval.batch_tokens
        total, hidden = sum(map(len, dev.values())), self.quiet or not self.group.is_main or None
        with tqdm(total=total, unit=" examples", desc="evaluate", leave=False, disable=hidden) as bar:
            found = score_examples(self.inputs.model, dev, budget, bar.update, self.group)
        evaluation = Evaluation(*self.group.broadcast_object(found))
        texts = [
            f"{name} {metric} {value:.3f}"
            for name, scores in evaluation.scores.items()
            for metric, value in scores.items()
        ]
        texts += [f"{name} {value:.4f}" for name, value in evaluation.overall.items()]
        summary = f"step {self.components.plan.step}: {', '.join(texts) or 'no dev split to score'}"
        for line in (summary, *evaluation.notes):
            logger.info(line)
        return evaluation.scores

    def save(self, name: str) -> None:
        """Writes a checkpoint, whole or not at all: `last` with the training state, `best` or `best-TASK`.

        Raises InputError, and leaves the old one, where a weight is not finite or the disk has no room.
        """
        inputs, path, is_main = self.inputs, self.out / name, self.group.is_main
        states = {key: part.state_dict() for key, part in self._stateful().items()} if name == "last" else {}
        keep = self.config.checkpoint.keep if states else 1
        with self.group.common_errors():
            if is_main:
                tensors = [*inputs.model.parameters(), *inputs.model.buffers()]
                check_room(path, size_of([tensors, states]), keep)
        for tensor, parameter in inputs.model.named_parameters():
            if not bool(parameter.isfinite().all()):
                raise InputError(
                    f"{tensor} is not finite after step {self.components.plan.step}; lower --optim.lr; "
                    f"the last checkpoint stays"
                )
        model, change = self.components.engine.whole_model(), None
        with atomic_folder(path, keep=keep > 1) if is_main else nullcontext() as folder:
            folder = self.group.broadcast_object(folder)
            if is_main:
                change = save_model(folder, model, inputs.tokenizer, inputs.heads, self.config.weights)
            if states:
                save_state(folder, states, self.group)
            self.group.barrier()
            if is_main:
                write_checksums(folder)
        if change is not None and not states:
            logger.info(f"merged the adapter into {path}: outputs change by at most {change:.1e}")
        self.group.barrier()

    def _finish(self) -> Run:
        """Loads the best checkpoint, and writes its scores and the card."""
        costs, counts = self.progress.costs(), self.components.count_parameters()
        memory = costs.pop("peak_memory")
        # A model that was sharded may not fit on one device.
        device = "cpu" if self.config.parallel == "fsdp" else self.config.device
        config = RunConfig.from_dict(read_json_object(self.out / "config.json"))  # its stages too
        best = load_best(self.out, config, device, self.config.precision)
        best.group = ProcessGroup()  # a process may use it without the others
        best.scores = Evaluation(self.progress.best_scores, self.progress.extensions()).as_dict() | {
            "split": "dev",
            "step": self.progress.best_step,
            "seconds": self.progress.elapsed(),
            "costs": costs | counts | {"peak_memory": memory},
        }
        if self.group.is_main:
            splits = {"train": self.inputs.train, "dev": self.inputs.dev}
            sizes = {split: {task: len(data[task]) for task in data} for split, data in splits.items()}
            write_model_card(self.config, best.scores, sizes)
            for folder in (self.out / CACHE_FOLDER, former_checkpoint(self.out / "last")):
                shutil.rmtree(folder, ignore_errors=True)
            write_json(self.out / "scores.json", best.scores)
        self.group.barrier()
        return best

    def _description(self) -> list[str]:
        """Returns lines on what is trained, how, and in which order."""
        parts = self.components
        trained, all = parts.count_parameters().values()
        notes = []
        if parts.touched is not None:
            count = f"{len(parts.touched.others):,} of {len(parts.touched.order):,}"
            notes = [f"{count} word embeddings stay as they are: no training text has these tokens"]
        return [
            *notes,
            *plan_lines(parts.plan),
            f"{trained:,} of {all:,} parameters ({trained / all:.2%}) trained in {parts.precision.name} on "
            f"{self.device}, {torch.get_num_threads()} threads, seed {self.config.train.seed}",
        ]

    def _log_closing_notes(self) -> None:
        if skipped := self.components.precision.skipped:
            logger.info(f"{skipped} steps were skipped because a gradient was not finite")
        for name, task in self.inputs.model.tasks.items():
            if share := getattr(task, "masked_share", None):
                logger.info(f"{name}: {share:.2%} of the negatives were known positives, left out")


def read_environment(out: Path) -> dict[str, Any]:
    """Returns the environment that a run began in, with `threads` and the hashes of its `data`."""
    return {"threads": None} | read_json_object(out / "environment.json", ENVIRONMENT, "train anew")
