"""TrainingComponents: plan, engine, method, gradients, precision and optimizer, from a configuration."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from minbert import AdamW, InputError, schedule_factor
from multitask.config.run_config import RunConfig
from multitask.data.collate import Chunks, TaskBatch, TokenizedExample, lengths_of
from multitask.model.multitask_model import MultitaskModel
from multitask.model.subset_embedding import SubsetEmbedding, train_touched_rows, with_whole_table
from multitask.runtime.messages import logger
from multitask.runtime.precision import Precision
from multitask.runtime.process_group import ProcessGroup
from multitask.tasks.base import TrainingTask
from multitask.training.gradients import Gradients
from multitask.training.inputs import RunInputs
from multitask.training.methods.grad_cache import GradCache
from multitask.training.methods.gradient_check import GradientCheck
from multitask.training.methods.separate_gradients import SeparateGradients
from multitask.training.methods.standard import RDrop, Smart, StandardLoss
from multitask.training.methods.surgery import find_surgery
from multitask.training.methods.teacher import MomentumTeacher
from multitask.training.parallel import Engine, Replicated, Sharded, ShardedOptimizerState
from multitask.training.parameters.groups import Assignment, assign, parameter_groups
from multitask.training.parameters.per_task_lr import PerTaskLR
from multitask.training.parameters.unfreezing import Unfreezing
from multitask.training.plan import BatchPlan, Step, TaskData
from multitask.training.sampling import Sampling


@dataclass
class TrainingComponents:
    """The arguments of the training loop, and what changes the model or the rates between its steps.

    `touched` are the word embeddings, where not all of their rows are trained.
    """

    plan: BatchPlan
    assignments: list[Assignment]
    optimizer: AdamW
    engine: Engine
    method: StandardLoss
    gradients: Gradients
    precision: Precision
    per_task_lr: PerTaskLR | None = None
    unfreezing: Unfreezing | None = None
    teacher: MomentumTeacher | None = None
    touched: SubsetEmbedding | None = None

    def steps(self) -> Iterable[Step]:
        """Returns the plan's steps, each with its rates set when it is taken."""
        return self.plan if self.per_task_lr is None else self.per_task_lr.steps(self.plan)

    def after_step(self, step: Step) -> None:
        """Unfreezes layers that are due, and lets the teacher follow."""
        for part in (self.unfreezing, self.teacher):
            if part is not None:
                part.after_step(step)

    def stateful(self) -> dict[str, Any]:
        """Returns the components with a state that resuming needs, by name."""
        names = ("plan", "gradients", "precision", "optimizer", "unfreezing", "teacher")
        parts = {name: part for name in names if (part := getattr(self, name)) is not None}
        if isinstance(self.engine, Sharded):
            parts["optimizer"] = ShardedOptimizerState(self.optimizer)
        return parts if self.touched is None else with_whole_table(parts, self.touched)

    def count_parameters(self) -> dict[str, int]:
        """Returns the numbers of trained parameters and of all."""
        trained = sum(entry.parameter.numel() for entry in self.assignments if entry.learns)
        all = sum(entry.parameter.numel() for entry in self.assignments)
        others = 0 if self.touched is None else self.touched.others.numel()
        return {"trained_parameters": trained, "parameters": all + others}


def build_components(
    config: RunConfig, inputs: RunInputs, device: torch.device, group: ProcessGroup
) -> TrainingComponents:
    """Builds what the training loop is given. Raises InputError where there is nothing to train."""
    optim, model = config.optim, inputs.model
    group.broadcast([*model.parameters(), *model.buffers()])
    sharded = config.parallel == "fsdp"
    if sharded and group.size == 1:
        raise InputError("parallel fsdp shares the model among processes; start several with torchrun")
    touched = None if sharded else train_touched_rows(model, inputs.train)
    engine = Sharded(model, device, group) if sharded else None  # before the optimizer takes the tensors
    unfreezing = None if config.unfreeze is None else Unfreezing(model, config.unfreeze)
    assigned = assignments(config, model, unfreezing)
    optimizer = AdamW(parameter_groups(assigned), lr=optim.lr, eps=optim.eps, correct_bias=optim.correct_bias)
    plan = make_plan(config, model, inputs.train, group)
    if unfreezing and (left := unfreezing.left_frozen(len(plan.steps_per_epoch()), plan.total_steps)):
        logger.info(f"gradual unfreezing: the run ends before {', '.join(left)} would train")
    warmup = round(optim.warmup * plan.total_steps)
    schedule = partial(schedule_factor, optim.schedule, total=plan.total_steps, warmup=warmup)
    precision = Precision(config.precision, device, schedule)
    model.autocast = precision.autocast
    model.gather = group.all_gather
    for layer in model.encoder.encoder.layers:
        layer.compiled = config.train.compile
    teacher = None
    if config.smart.bregman:
        teacher = MomentumTeacher(model, config.smart.momentum, lambda: precision.steps)
    finishing = {"clip": optim.clip, "check": GradientCheck(model)}
    settings = config.gradients
    separate = settings.surgery != "none" or settings.conflicts_every is not None
    if separate:
        surgery = find_surgery(settings.surgery, settings.target_decay, config.train.seed)
        every = settings.conflicts_every
        gradients = SeparateGradients(optimizer, precision, model, surgery, every, group, **finishing)
    else:
        gradients = Gradients(optimizer, precision, **finishing)
    own = {name: task.encoder_lr for name, task in config.tasks.items() if task.encoder_lr is not None}
    return TrainingComponents(
        plan,
        assigned,
        optimizer,
        engine or (Engine(model) if group.size == 1 or separate else Replicated(model)),
        make_method(config, teacher),
        gradients,
        precision,
        PerTaskLR(optimizer, optim.lr, own) if own else None,
        unfreezing,
        teacher,
        touched,
    )


def make_plan(
    config: RunConfig,
    model: MultitaskModel,
    data: Mapping[str, Sequence[TokenizedExample]],
    group: ProcessGroup | None = None,
) -> BatchPlan:
    """Returns the steps of a run over its tokenized training examples."""
    settings, group = config.train, group or ProcessGroup()

    def collate(task: TrainingTask, examples, indices: Sequence[int]) -> TaskBatch | Chunks:
        chosen, size = [examples[i] for i in indices], task.config.chunk_size
        if size is None:
            return model.collate(task.name, chosen)
        chunks = (chosen[start : start + size] for start in range(0, len(chosen), size))
        return Chunks(tuple(model.collate(task.name, chunk) for chunk in chunks))

    sources = {}
    for name, examples in data.items():
        task = model.tasks[name]
        sources[name] = TaskData(
            lengths_of(examples),
            partial(collate, task, examples),
            task.config.batch_size or settings.batch_size,
            settings.batch_tokens,
            accumulation=task.config.accumulation or settings.accumulation,
            start_epoch=task.config.start_epoch,
            uniform=task.uniform_batches,
            gathered=task.batch_level_loss,
            loss_weights=task.loss_weights(examples),
        )
    sampling = Sampling(config.sampling, config.unequal, config.sampling_cap)
    share = (group.rank, group.size)
    return BatchPlan(sources, sampling, settings.epochs, settings.seed, settings.max_steps, share)


def make_method(config: RunConfig, teacher: MomentumTeacher | None = None) -> StandardLoss:
    """Returns the method by which micro-batches become gradients."""
    if config.smart.weight or config.smart.bregman:
        return Smart(config.smart, teacher)
    if config.r_drop:
        return RDrop(config.r_drop)
    if any(task.chunk_size is not None for task in config.tasks.values()):
        return GradCache()
    return StandardLoss()


def assignments(
    config: RunConfig, model: MultitaskModel, unfreezing: Unfreezing | None = None
) -> list[Assignment]:
    """Returns the rate, decay and state of each tensor of the run's model."""
    rates = {name: task.lr for name, task in config.tasks.items()}
    later = frozenset() if unfreezing is None else unfreezing.names
    return assign(model, config.optim, rates, model.unused_parameters(), later)
