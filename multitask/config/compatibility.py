"""Checks that the parts of a configuration are compatible, before anything loads."""

from minbert import InputError
from multitask.config.option_types import one_of
from multitask.config.task_kinds import find_kind

SAMPLINGS = (
    "sequential",
    "round-robin",
    "uniform",
    "proportional",
    "square-root",
    "temperature",
    "annealed",
    "together",
)
# What may be changed of a pretrained model: nothing that its tensors' shapes decide.
CHANGEABLE = {
    "hidden_dropout_prob",
    "attention_probs_dropout_prob",
    "num_attention_heads",
    "attention_head_layers",
    "projected_attention_size",
    "projected_attention_heads",
}
FRESH = {"attention_head_layers", "projected_attention_size"}


def check_combinations(config) -> None:
    """Raises InputError, with the reason, for a RunConfig whose parts do not go together."""
    for check in (
        _sampling,
        _batches,
        _contrastive,
        _gradients,
        _methods,
        _lora,
        _model,
        _freezing,
        _parallel,
    ):
        check(config)


def _sampling(config) -> None:
    kind, _, argument = config.sampling.partition(":")
    one_of("sampling", kind, SAMPLINGS)
    trained = [name for name, task in config.tasks.items() if task.train is not None]
    if kind == "sequential" and argument and sorted(argument.split(",")) != sorted(trained):
        raise InputError(
            f"sampling {config.sampling!r} does not name each task once; the run's tasks are "
            f"{','.join(trained)}"
        )
    if kind == "temperature":
        try:
            good = 0 < float(argument) < float("inf")
        except ValueError:
            good = False
        if not good:
            raise InputError(f"sampling {config.sampling!r}: give a temperature above 0, as in temperature:5")
    elif argument and kind != "sequential":
        raise InputError(f"sampling {config.sampling!r}: {kind} takes no argument; write {kind}")
    if config.sampling_cap is not None and kind != "temperature":
        raise InputError(f"sampling-cap is for sampling temperature:T; sampling is {config.sampling!r}")
    for name, task in config.tasks.items():
        if task.encoder_lr is not None and kind == "together":
            raise InputError(
                f"{name}.encoder-lr needs one task a step, sampling is together: AdamW divides by the size "
                f"of the gradient, so a task's share in a summed one has no rate of its own"
            )
        if task.start_epoch > config.train.epochs:
            raise InputError(
                f"{name}.start-epoch is {task.start_epoch}, the run has {config.train.epochs} epochs; "
                f"start earlier, or train longer"
            )
    if trained and all(config.tasks[name].start_epoch > 1 for name in trained):
        raise InputError("every task has a start-epoch after 1; nothing is left to train in the first epoch")


def _batches(config) -> None:
    for name, task in config.tasks.items():
        contrastive = find_kind(task.type).contrastive
        accumulation = task.accumulation or config.train.accumulation
        if accumulation > 1 and task.loss == "pearson":
            raise InputError(
                f"{name}.loss is 'pearson', a correlation within one batch, which accumulation cuts into "
                f"{accumulation}; accumulate 1, or give {name}.batch-size"
            )
        if accumulation > 1 and (contrastive or task.loss in ("cosent", "angle")):
            raise InputError(
                f"{name}.loss is {task.loss!r}, which compares the examples of one batch; accumulation would "
                f"cut it into {accumulation} small ones, with fewer negatives: give {name}.batch-size, and "
                f"{name}.chunk-size for memory (GradCache), with {name}.accumulation 1"
            )
        if task.projection is not None and contrastive:
            raise InputError(
                f"{name}.projection stands between sentence vectors and a head; {task.type} trains the "
                f"encoder's own vectors: leave it out"
            )
        if task.chunk_size is not None and not contrastive:
            raise InputError(
                f"{name}.chunk-size is for losses over a batch's examples (simcse, nli, ranking); "
                f"use {name}.accumulation"
            )


def _contrastive(config) -> None:
    """Sentences are pooled in one way, and SimCSE's twins differ."""
    pooled = {name: (task.pooling, task.normalize) for name, task in config.tasks.items()}
    contrastive = [name for name, task in config.tasks.items() if find_kind(task.type).contrastive]
    zero_shot = [name for name, task in config.tasks.items() if task.head == "cosine" and task.train is None]
    for name in [*contrastive, *zero_shot] if contrastive else ():
        first = contrastive[0]
        if pooled[name][0] != pooled[first][0]:
            raise InputError(
                f"{name}.pooling is {pooled[name][0]!r}, {first}.pooling is {pooled[first][0]!r}: sentence "
                f"vectors are pooled as they were trained; give both the same"
            )
    rates = ("hidden_dropout_prob", "attention_probs_dropout_prob")
    without = all(config.model.get(rate) == 0 for rate in rates)
    frozen = "backbone" in config.freeze.split(",") and not (config.frozen_dropout or config.lora.rank)
    for name, task in config.tasks.items():
        if task.type == "simcse" and (without or frozen):
            reason = "its dropout rates are 0" if without else "it is frozen and runs without dropout"
            raise InputError(
                f"{name} needs dropout in the encoder, since its two views differ by nothing else; {reason}"
            )


def _gradients(config) -> None:
    surgery = config.gradients.surgery
    if surgery == "none" and config.gradients.conflicts_every is None:
        return
    wanted = "gradients.conflicts-every" if surgery == "none" else f"gradients.surgery {surgery}"
    if config.sampling != "together":
        raise InputError(
            f"{wanted} compares the tasks' gradients of one step; give --sampling together, sampling is "
            f"{config.sampling!r}"
        )
    if len(config.tasks) < 2:
        raise InputError(f"{wanted} compares tasks, and the run has one; name more with --tasks")


def _methods(config) -> None:
    smart = config.smart.weight or config.smart.bregman
    if smart and config.r_drop:
        raise InputError("smart and r-drop both regularize the outputs; choose one of them")
    for name, task in config.tasks.items():
        if (smart or config.r_drop) and task.chunk_size is not None:
            raise InputError(
                f"{name}.chunk-size cuts the forward pass into chunks, which smart and r-drop cannot take; "
                f"leave one of them out"
            )


def _lora(config) -> None:
    if config.adapter_per_task and not config.lora.rank:
        raise InputError("adapter-per-task needs LoRA; give --lora.rank")
    if not config.lora.rank:
        return
    if config.needs_scratch:
        raise InputError("lora adapts pretrained weights, which stay as they are; --weights is scratch")
    variants = {key for key in config.model if key in FRESH and config.model[key]}
    if config.extra_layers or variants:
        raise InputError(
            "lora freezes the encoder, the fresh parts with it (extra-layers, projected attention, layers of "
            "attention heads); train these in a stage of their own before, or leave one of them out"
        )
    if config.unfreeze:
        raise InputError("lora leaves the encoder frozen, and unfreeze would train it; choose one of them")


def _model(config) -> None:
    if config.needs_scratch:
        return
    for key in sorted(set(config.model) - CHANGEABLE):
        raise InputError(
            f"model.{key} is decided by the weights; only {', '.join(sorted(CHANGEABLE))} can be changed, "
            f"unless --weights is scratch"
        )


def _freezing(config) -> None:
    parts = [part.strip() for part in config.freeze.split(",")]
    if "all" in parts:
        raise InputError("freeze all leaves nothing to train; freeze backbone trains the heads")
    if len(parts) > 1 and "none" in parts:
        raise InputError(f"freeze is {config.freeze!r}; none goes with nothing else")
    for part in parts:
        kind, _, argument = part.partition(":")
        if kind == "head" and argument not in config.tasks:
            raise InputError(
                f"freeze {part!r} names no task of the run; its tasks are {', '.join(config.tasks)}"
            )
    if config.unfreeze is not None:
        good = config.unfreeze == "epoch" or (config.unfreeze.isdigit() and int(config.unfreeze) > 0)
        if not good:
            raise InputError(f"unfreeze is {config.unfreeze!r}; give epoch, or a number of steps")
        if config.freeze != "none":
            raise InputError(
                f"unfreeze begins with the whole encoder frozen; leave out freeze, which is {config.freeze!r}"
            )


def _parallel(config) -> None:
    """Sharded tensors go with one forward and one backward of the whole model."""
    if config.parallel != "fsdp":
        return
    reasons = {
        "gradients.surgery": config.gradients.surgery != "none",
        "gradients.conflicts-every": config.gradients.conflicts_every is not None,
        "smart": config.smart.weight or config.smart.bregman,
        "r-drop": config.r_drop,
        "unfreeze": config.unfreeze is not None,
        "adapter-per-task": config.adapter_per_task,
        "model.projected-attention-size": config.attention_adapters.get("projected_attention_size"),
        "model.attention-head-layers": config.attention_adapters.get("attention_head_layers"),
        "train.compile": config.train.compile,
        "precision fp16": config.precision == "fp16",
        "freeze backbone without LoRA": "backbone" in config.freeze and not config.lora.rank,
    }
    for name, task in config.tasks.items():
        reasons[f"{name}.chunk-size"] = task.chunk_size is not None
        reasons[f"type {task.type!r} of {name}, whose head reads the word embeddings"] = find_kind(
            task.type
        ).whole_vocabulary
    for reason, applies in reasons.items():
        if applies:
            raise InputError(f"parallel fsdp does not go with {reason}; leave it out, or take parallel ddp")
