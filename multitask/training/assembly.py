"""From a configuration to what the training loop is handed: plan, method, gradients, precision, optimizer."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch

from minbert import AdamW, schedule_factor
from multitask.config.run_config import RunConfig
from multitask.data.collate import Chunks, TaskBatch, TokenizedExample
from multitask.model.cache import open_cache
from multitask.model.multitask_model import MultitaskModel, adapter_of
from multitask.model.subset_embedding import SubsetEmbedding, train_touched_rows, with_whole_table
from multitask.runtime.distributed import Ranks
from multitask.runtime.precision import Precision
from multitask.training.gradients import Gradients
from multitask.training.methods.grad_cache import GradCache
from multitask.training.methods.gradient_check import GradientCheck
from multitask.training.methods.separate_gradients import SeparateGradients, shared_parameters
from multitask.training.methods.standard import Plain, RDrop, Smart
from multitask.training.methods.surgery import find_surgery
from multitask.training.methods.teacher import MomentumTeacher
from multitask.training.parameters.groups import Assignment, assign, parameter_groups
from multitask.training.parameters.task_rates import TaskRates
from multitask.training.parameters.unfreezing import Unfreezing
from multitask.training.plan import Plan, TaskData
from multitask.training.preparation import Prepared
from multitask.training.sampling import Sampling

Say = Callable[[str], None]


@dataclass
class Parts:
    """What the loop is handed, apart from what reports to the run's folder.

    `others` are further stateful parts by name; those with `after_step` hear of each step once it is done.
    `touched` are the word embeddings, where not all of their rows are trained.
    """

    plan: Plan
    entries: list[Assignment]
    optimizer: AdamW
    method: Plain
    gradients: Gradients
    precision: Precision
    rates: TaskRates | None = None
    others: dict[str, Any] = field(default_factory=dict)
    touched: SubsetEmbedding | None = None

    def stateful(self) -> dict[str, Any]:
        """Everything whose state belongs to the training state, by name."""
        parts = {
            "plan": self.plan,
            "gradients": self.gradients,
            "precision": self.precision,
            "optimizer": self.optimizer,
            **self.others,
        }
        return parts if self.touched is None else with_whole_table(parts, self.touched)


def assemble(
    config: RunConfig,
    prepared: Prepared,
    device: torch.device,
    ranks: Ranks,
    say: Say,
) -> Parts:
    """Raises InputError where there is nothing to train."""
    say = say if ranks.main else _unheard
    optim, model = config.optim, prepared.model
    ranks.share([*model.parameters(), *model.buffers()])
    touched = train_touched_rows(model, prepared.train)
    unfreezing, later = start_unfreezing(config, model, say)
    entries = assignments(config, model, later)
    optimizer = AdamW(parameter_groups(entries), lr=optim.lr, eps=optim.eps, correct_bias=optim.correct_bias)
    plan = make_plan(config, model, prepared.train, ranks)
    if unfreezing:
        epochs = max(map(len, plan.steps_by_task().values()))
        if left := unfreezing.left_frozen(epochs, plan.total_steps):
            say(f"gradual unfreezing: the run ends before {', '.join(left)} would train")
    warmup = round(optim.warmup * plan.total_steps)
    schedule = partial(schedule_factor, optim.schedule, total=plan.total_steps, warmup=warmup)
    precision = Precision(config.precision, device, schedule)
    model.autocast = precision.autocast
    model.gather = ranks.gather
    for layer in model.encoder.encoder.layers:
        layer.compiled = config.train.compile
    others: dict[str, Any] = {}
    if unfreezing:
        others["unfreezing"] = unfreezing
    if config.smart.bregman:
        others["teacher"] = MomentumTeacher(model, config.smart.momentum, lambda: precision.steps)
    check = GradientCheck(partial(used_parameters, model), say)
    trained = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    gradients = make_gradients(config, model, trained, precision, optimizer, ranks, check)
    own = {name: task.encoder_lr for name, task in config.tasks.items() if task.encoder_lr is not None}
    rates = TaskRates(optimizer, optim.lr, own) if own else None
    method = make_method(config, others.get("teacher"))
    return Parts(plan, entries, optimizer, method, gradients, precision, rates, others, touched)


def _unheard(line: str) -> None:
    """In place of what the first of several processes says."""


def make_plan(
    config: RunConfig,
    model: MultitaskModel,
    data: Mapping[str, Sequence[TokenizedExample]],
    ranks: Ranks | None = None,
) -> Plan:
    """The steps of a run over its tokenized training examples."""
    settings, ranks = config.train, ranks or Ranks()
    sources = {}
    for name, examples in data.items():
        task = model.tasks[name]
        sources[name] = TaskData(
            [example.length for example in examples],
            partial(_collate, model, name, examples),
            task.config.batch_size or settings.batch_size,
            settings.batch_tokens,
            accumulation=task.config.accumulation or settings.accumulation,
            start_epoch=task.config.start_epoch,
            uniform=getattr(task, "uniform_batches", False),
            gathered=task.batch_level_loss,
            units=task.loss_weights(examples),
        )
    sampling = Sampling(config.sampling, config.unequal, config.sampling_cap)
    share = (ranks.rank, ranks.count)
    return Plan(sources, sampling, settings.epochs, settings.seed, settings.max_steps, share)


def _collate(
    model: MultitaskModel, task: str, examples: Sequence[TokenizedExample], indices: Sequence[int]
) -> TaskBatch | Chunks:
    """One batch, in chunks where the task wants them."""
    size = model.tasks[task].config.chunk_size
    if size is None:
        return model.collate(task, [examples[i] for i in indices])
    return Chunks(
        tuple(
            model.collate(task, [examples[i] for i in indices[start : start + size]])
            for start in range(0, len(indices), size)
        )
    )


def cache_frozen_layers(
    config: RunConfig,
    prepared: Prepared,
    plan: Plan,
    folder: Path,
    ranks: Ranks,
    say: Say,
    quiet: bool = True,
) -> None:
    """Lets the model read what its frozen layers make of the data, from a file that is computed here.

    `folder` is where it lies unless the configuration names another. Does nothing where the layers are to be
    unfrozen or get noise, and where no sequence is seen in a second epoch or a later run.
    """
    settings, model = config.cache, prepared.model
    changes = config.unfreeze is not None or config.smart.weight > 0
    once = settings.folder is None and max(map(len, plan.steps_by_task().values())) < 2
    if settings.precision == "off" or changes or once:
        return
    examples = {name: [*prepared.train.get(name, ()), *prepared.dev.get(name, ())] for name in model.tasks}
    where = Path(settings.folder or folder)
    model.cache = open_cache(settings, model, examples, where, ranks, say if ranks.main else _unheard, quiet)


def make_method(config: RunConfig, teacher: MomentumTeacher | None = None) -> Plain:
    """What is done with each piece of a step."""
    if config.smart.weight or config.smart.bregman:
        return Smart(config.smart, teacher)
    if config.r_drop:
        return RDrop(config.r_drop)
    if any(task.chunk_size is not None for task in config.tasks.values()):
        return GradCache(Plain())
    return Plain()


def make_gradients(
    config: RunConfig,
    model: MultitaskModel,
    trained: Sequence[torch.nn.Parameter],
    precision: Precision,
    optimizer: AdamW,
    ranks: Ranks,
    check: GradientCheck,
) -> Gradients:
    """One gradient for all tasks, or one a task where they are compared or changed before they are summed."""
    settings, clip = config.gradients, config.optim.clip
    if settings.surgery == "none" and settings.conflicts_every is None:
        return Gradients(trained, precision, optimizer, clip, ranks.reduce, check)
    return SeparateGradients(
        trained,
        precision,
        optimizer,
        list(model.tasks),
        shared_parameters(model.encoder, list(model.tasks)),
        find_surgery(settings.surgery, settings.target_decay, config.train.seed),
        clip,
        ranks.reduce,
        ranks.sum,
        check,
        settings.conflicts_every,
    )


def start_unfreezing(
    config: RunConfig, model: MultitaskModel, say: Say = lambda line: None
) -> tuple[Unfreezing | None, set[str]]:
    """Freezes the encoder where it is to be unfrozen layer by layer; -> who does that, and what is frozen."""
    if config.unfreeze is None:
        return None, set()
    before = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    unfreezing = Unfreezing(model, config.unfreeze, say)
    return unfreezing, {
        name for name, parameter in model.named_parameters() if name in before and not parameter.requires_grad
    }


def assignments(config: RunConfig, model: MultitaskModel, later: set[str] = frozenset()) -> list[Assignment]:
    """What happens to each tensor of the run's model; `later` names those that are unfrozen on the way."""
    rates = {name: task.lr for name, task in config.tasks.items()}
    return assign(model, config.optim, rates, model.unused_parameters(), later)


def used_parameters(model: MultitaskModel, task: str) -> dict[str, torch.nn.Parameter]:
    """The trainable tensors that a task's loss depends on, by name."""
    unused = model.unused_parameters()
    pools = model.tasks[task].config.pooling == "pooler"
    used = {}
    for name, parameter in model.named_parameters():
        part, _, rest = name.partition(".")
        owner = rest.partition(".")[0] if part == "heads" else adapter_of(name)
        elsewhere = owner is not None and owner in model.tasks and owner != task
        reads = name not in unused and (pools or not name.startswith("encoder.pooler."))
        if parameter.requires_grad and reads and not elsewhere:
            used[name] = parameter
    return used


def count_parameters(parts: Parts) -> dict[str, int]:
    """Numbers that are trained, and numbers in all."""
    trained = sum(entry.parameter.numel() for entry in parts.entries if entry.learns)
    all = sum(entry.parameter.numel() for entry in parts.entries)
    if parts.touched is not None:
        all += parts.touched.others.numel()
    return {"trained_parameters": trained, "parameters": all}


def describe(parts: Parts, seed: int) -> list[str]:
    """Lines on what is trained, how, and in which order."""
    precision = parts.precision
    trained, all = count_parameters(parts).values()
    notes = []
    if parts.touched is not None:
        others, words = parts.touched.others, parts.touched.order
        notes = [
            f"{len(others):,} of {len(words):,} word embeddings stay as they are: no training text has these "
            f"tokens"
        ]
    return [
        *notes,
        *parts.plan.table(),
        f"{trained:,} of {all:,} parameters ({trained / all:.2%}) trained in {precision.name} on "
        f"{precision.device}, {torch.get_num_threads()} threads, seed {seed}",
    ]


def closing_notes(model: MultitaskModel, precision: Precision) -> list[str]:
    """What happened on the way that a user should know of."""
    notes = []
    if precision.skipped:
        notes.append(f"{precision.skipped} steps were skipped because a gradient was not finite")
    for name, task in model.tasks.items():
        if getattr(task, "masked_share", None):
            notes.append(f"{name}: {task.masked_share:.2%} of the negatives were known positives, left out")
    return notes
