"""RunConfig: everything that decides a run, with its defaults. No torch here.

A configuration is built from nested values (a preset, a TOML file, the command line; later ones win) by
`RunConfig.from_dict`, which refuses unknown keys and wrong types by name. `to_dict` repeats it whole.
"""

import typing
from dataclasses import asdict, dataclass, field, fields, replace
from importlib import resources
from pathlib import Path
from typing import Any

from minbert import (
    AttentionAdapterConfig,
    BertConfig,
    InputError,
    LoRAConfig,
    did_you_mean,
    read_json,
    read_toml,
)
from multitask.config.compatibility import check_combinations
from multitask.config.option_types import (
    build,
    check_fields,
    checked,
    construct,
    listed,
    one_of,
    option,
    plain,
    table,
    within,
)
from multitask.config.task_config import DEFAULT_TASKS, TaskConfig, task_config


@dataclass(frozen=True)
class TrainConfig:
    epochs: int = option(3, "passes over the training data")
    max_steps: int | None = option(None, "stop after so many steps")
    batch_size: int = option(32, "examples a batch")
    batch_tokens: int | None = option(None, "tokens a batch, in place of examples")
    accumulation: int = option(1, "batches whose gradients make one step")
    seed: int = option(11711, "decides heads, order and dropout")
    checkpointing: bool = option(False, "compute each layer again in the backward pass, to save memory")
    compile: bool = option(
        False, "torch.compile what layers do row by row: for long runs on CUDA, a minute or so at the start"
    )

    def __post_init__(self):
        check_fields(self)
        for name in ("epochs", "max_steps", "batch_size", "batch_tokens", "accumulation"):
            within(name, getattr(self, name), 1, float("inf"), "at least 1")
        within("seed", self.seed, 0, 2**63 - 1, "from 0 to 2^63 - 1")


@dataclass(frozen=True)
class OptimConfig:
    lr: float = option(5e-5, "rate of the encoder")
    head_lr: float = option(3e-4, "rate of the heads")
    adapter_lr: float | None = option(
        None,
        "rate of what is added to the encoder: LoRA, projected attention, layers of attention heads; "
        "default: optim.head-lr",
    )
    embeddings_lr: float | None = option(None, "rate of the embeddings; default: optim.lr and layer-decay")
    pooler_lr: float | None = option(None, "rate of the pooler; default: optim.lr")
    layer_decay: float = option(1.0, "factor on the rate from each layer to the one below")
    weight_decay: float = option(0.01, "decoupled decay of weights; none on biases, norms and embeddings")
    eps: float = option(1e-6, "AdamW's epsilon")
    correct_bias: bool = option(True, "AdamW's bias correction")
    schedule: str = option("linear", "constant, linear or cosine")
    warmup: float = option(0.1, "share of the steps in which the rate rises")
    clip: float = option(1.0, "largest norm of the gradient; 0 for no limit")

    def __post_init__(self):
        check_fields(self)
        rates = ("lr", "head_lr", "adapter_lr", "embeddings_lr", "pooler_lr")
        for name in (*rates, "weight_decay", "eps", "clip"):
            within(name, getattr(self, name), 0, float("inf"), "at least 0")
        within("layer_decay", self.layer_decay, 0, 1, "above 0 and at most 1", self.layer_decay > 0)
        within("warmup", self.warmup, 0, 1, "a share from 0 to 1")
        one_of("schedule", self.schedule, ("constant", "linear", "cosine"))


@dataclass(frozen=True)
class GradientsConfig:
    surgery: str = option(
        "none", "none, pcgrad or gradvac: what is done where tasks pull apart; needs together"
    )
    target_decay: float = option(0.01, "gradvac: how fast the target of the cosines follows them")
    conflicts_every: int | None = option(
        None,
        "log the cosine of each two tasks' gradients, layer by layer, every so many steps; needs together",
    )

    def __post_init__(self):
        check_fields(self)
        one_of("surgery", self.surgery, ("none", "pcgrad", "gradvac"))
        within("target_decay", self.target_decay, 0, 1, "from 0 to 1")
        within("conflicts_every", self.conflicts_every, 1, float("inf"), "at least 1")


@dataclass(frozen=True)
class SmartConfig:
    """SMART (Jiang et al. 2020): smoothness around the inputs, and steps that stay near a slow teacher."""

    weight: float = option(0.0, "factor of the smoothness-inducing regularizer; 0: off")
    steps: int = option(1, "steps of gradient ascent to the worst noise")
    step_size: float = option(1e-3, "size of these steps")
    noise: float = option(1e-5, "deviation of the noise that they start from")
    radius: float = option(1e-5, "largest entry of the noise")
    bregman: float = option(0.0, "factor of the distance to the teacher's outputs; 0: off")
    momentum: float = option(0.99, "how slowly the teacher follows the weights")

    def __post_init__(self):
        check_fields(self)
        for name in ("weight", "step_size", "noise", "radius", "bregman"):
            within(name, getattr(self, name), 0, float("inf"), "at least 0")
        within("steps", self.steps, 1, float("inf"), "at least 1")
        within("momentum", self.momentum, 0, 1, "from 0 to below 1", self.momentum < 1)


@dataclass(frozen=True)
class EvalConfig:
    every_steps: int | None = option(None, "evaluate after so many steps too, not only after each epoch")
    batch_tokens: int = option(4096, "tokens a batch")

    def __post_init__(self):
        check_fields(self)
        within("every_steps", self.every_steps, 1, float("inf"), "at least 1")
        within("batch_tokens", self.batch_tokens, 1, float("inf"), "at least 1")


@dataclass(frozen=True)
class CheckpointConfig:
    every_steps: int | None = option(None, "save last/ after so many steps too, not only after each epoch")
    every_minutes: float = option(10.0, "save last/ whenever so many minutes have passed since; 0: never")
    keep: int = option(2, "2: the former last/ stays as last.previous/ while the run goes on; 1: it does not")
    best_per_task: bool = option(False, "keep best-TASK/ too, by each task's primary metric")

    def __post_init__(self):
        check_fields(self)
        within("every_steps", self.every_steps, 1, float("inf"), "at least 1")
        within("every_minutes", self.every_minutes, 0, float("inf"), "at least 0")
        one_of("keep", self.keep, (1, 2))


@dataclass(frozen=True)
class CacheConfig:
    """Activations of frozen layers, which are computed once; see multitask/model/cache.py."""

    precision: str = option(
        "fp32",
        "fp32 or fp16: numbers in which outputs of frozen layers are kept; off: computed in each epoch",
    )
    folder: str | None = option(
        None, "where they are kept for later runs too; default: in the run's folder, while it trains"
    )

    def __post_init__(self):
        check_fields(self)
        one_of("precision", self.precision, ("fp32", "fp16", "off"))
        if self.precision == "off" and self.folder is not None:
            raise InputError(
                f"folder is {self.folder!r}, and precision off keeps nothing; leave one of them out"
            )


@dataclass(frozen=True)
class RunConfig:
    """A whole run. `tasks` maps the name of each task to its TaskConfig, in the order of --tasks."""

    weights: str | None = option(None, "pretrained folder, RUN/best, or `scratch` for a fresh BERT")
    weights_prefix: str | None = option(
        None, "which encoder, of weights that hold several: what its tensors' names begin with"
    )
    data: str | None = option(None, "folder with the data files, or `sample` for the bundled corpus")
    data_cache: str | None = option(
        None, "folder for tokenized data of this run and later ones; default: the user's cache folder"
    )
    out: str | None = option(None, "folder of the run; must not exist")
    limit: int | None = option(
        None, "use N examples of each split only: a random part, the same for every seed and command"
    )
    max_rejected: float = option(
        0.1, "share of a split's rows that may be rejected before the run stops; 1: go on with what is left"
    )
    sampling: str = option(
        "proportional",
        "order of the tasks: sequential[:TASK,TASK,...], round-robin, uniform, proportional, square-root, "
        "temperature:T, annealed, or together (all tasks in each step)",
    )
    sampling_cap: int | None = option(None, "temperature: a task counts as at most so many batches")
    unequal: str | None = option(
        None,
        "tasks of unequal size: smallest (the epoch ends with the smallest), cycle (small ones repeat) or "
        "exhaust (each batch once); default: exhaust for sequential, round-robin, proportional, else cycle",
    )
    freeze: str = option(
        "none",
        "none, all, backbone, embeddings, pooler, first:K, last:K, below:K, layers:0-2+5, head:TASK, several "
        "with commas between",
    )
    frozen_dropout: bool = option(False, "dropout in frozen parts too")
    unfreeze: str | None = option(
        None, "gradual unfreezing from the top: epoch, or a number of steps, between one layer and the next"
    )
    extra_layers: int = option(0, "fresh layers on top of the encoder, 1 to 5")
    adapter_per_task: bool = option(False, "a LoRA adapter for each task, switched per batch")
    r_drop: float = option(0.0, "factor of R-Drop's distance between two dropout masks; 0: off")
    precision: str = option("auto", "auto, fp32, bf16 or fp16")
    device: str = option("auto", "auto, cpu, cuda[:n] or mps")
    parallel: str = option(
        "ddp", "with torchrun: ddp, the whole model in each process, or fsdp, a part of each tensor in each"
    )
    threads: int | None = option(None, "CPU threads; default: all cores")
    select: str | None = option(None, "which checkpoint is best: overall_2024, mean_raw or TASK.METRIC")
    patience: int | None = option(None, "stop after so many evaluations without a better one")
    track: tuple[str, ...] = option((), "tensorboard, wandb: who hears of the run beside metrics.jsonl")
    task_file: str | None = option(None, "Python file that registers kinds of tasks of your own")
    vocab_size: int = option(8000, "scratch: size of the vocabulary that is learnt from the training texts")
    train: TrainConfig = field(default_factory=TrainConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    lora: LoRAConfig = field(default_factory=lambda: LoRAConfig(rank=0))
    smart: SmartConfig = field(default_factory=SmartConfig)
    gradients: GradientsConfig = field(default_factory=GradientsConfig)
    eval: EvalConfig = field(default_factory=EvalConfig)
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)
    cache: CacheConfig = field(default_factory=CacheConfig)
    model: dict[str, Any] = field(default_factory=dict)  # BertConfig's fields that differ from the weights'
    tasks: dict[str, TaskConfig] = field(default_factory=dict)
    stages: tuple[dict[str, Any], ...] = ()  # what each stage changes of the run

    def __post_init__(self):
        check_fields(self)
        if not self.tasks:
            object.__setattr__(self, "tasks", {name: task_config(name, {}) for name in DEFAULT_TASKS})
        within("limit", self.limit, 1, float("inf"), "at least 1")
        within("max_rejected", self.max_rejected, 0, 1, "a share from 0 to 1")
        within("threads", self.threads, 1, float("inf"), "at least 1")
        within("patience", self.patience, 1, float("inf"), "at least 1")
        one_of("precision", self.precision, ("auto", "fp32", "bf16", "fp16"))
        within("extra_layers", self.extra_layers, 0, 5, "from 0 to 5")
        within("sampling_cap", self.sampling_cap, 1, float("inf"), "at least 1")
        within("r_drop", self.r_drop, 0, float("inf"), "at least 0")
        one_of("parallel", self.parallel, ("ddp", "fsdp"))
        one_of("unequal", self.unequal, (None, "exhaust", "smallest", "cycle"))
        for name in self.track:
            one_of("track", name, ("tensorboard", "wandb"))
        for name in self.tasks:
            if name in _SECTIONS:
                raise InputError(f"task name {name!r} is taken by the options --{name}...; choose another")
        construct(BertConfig, self.encoder_changes, "model.")
        construct(AttentionAdapterConfig, self.attention_adapters, "model.")
        check_combinations(self)

    @property
    def encoder_changes(self) -> dict[str, Any]:
        """Returns the keys under `model` that are BertConfig's."""
        return {key: value for key, value in self.model.items() if key not in ATTENTION_ADAPTER_KEYS}

    @property
    def attention_adapters(self) -> dict[str, Any]:
        """Returns the keys under `model` that are AttentionAdapterConfig's."""
        return {key: value for key, value in self.model.items() if key in ATTENTION_ADAPTER_KEYS}

    @property
    def needs_scratch(self) -> bool:
        return self.weights == "scratch"

    @property
    def trained_tasks(self) -> tuple[str, ...]:
        """Returns the names of the tasks that have training data; the others are scored only."""
        return tuple(name for name, task in self.tasks.items() if task.train is not None)

    def absolute(self) -> "RunConfig":
        """Returns the configuration with absolute paths, which other working folders find too."""
        own = {"data_cache": self.data_cache, "folder": self.cache.folder}
        for name in ("weights", "data", "task_file"):
            value = getattr(self, name)
            if value not in (None, "sample", "scratch") and Path(value).exists():  # else a name
                own[name] = value
        paths = {name: str(Path(path).absolute()) for name, path in own.items() if path is not None}
        return replace(self, cache=replace(self.cache, folder=paths.pop("folder", None)), **paths)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "RunConfig":
        """Reads nested values such as {"train": {"epochs": 1}, "tasks": {"sst": {"pooling": "cls"}}}.

        Raises InputError for an unknown key (with the nearest one), a wrong type, an impossible value.
        """
        values = table("the configuration", values)
        tasks = table("tasks", values.pop("tasks", {}))
        model = {
            key.replace("-", "_"): value for key, value in table("model", values.pop("model", {})).items()
        }
        for key in model:
            one_of("model key", key, MODEL_KEYS)
            model[key] = checked(f"model.{key}", model[key], MODEL_KEYS[key])
        stages = tuple(table("stages", stage) for stage in listed("stages", values.pop("stages", [])))
        built = build(cls, values, "")
        configs = {name: task_config(name, table(f"tasks.{name}", task)) for name, task in tasks.items()}
        return cls(**built, model=model, tasks=configs, stages=stages)

    def to_dict(self) -> dict[str, Any]:
        """Returns nested plain values that `from_dict` turns into an equal configuration."""
        return plain(asdict(self))


# The keys under `model`; how large the vocabulary of `scratch` is, its texts and vocab_size decide.
ATTENTION_ADAPTER_KEYS = ("attention_head_layers", "projected_attention_size", "projected_attention_heads")
MODEL_KEYS = {  # -> their types
    key: hint
    for config in (BertConfig, AttentionAdapterConfig)
    for key, hint in typing.get_type_hints(config).items()
    if key not in ("extra", "vocab_size", "projected_attention_names")
}
_SECTIONS = {f.name for f in fields(RunConfig)}


def read_config(name: str, folder: str = "presets") -> dict[str, Any]:
    """Reads nested values from a TOML file, a run's config.json, or the preset of that name.

    `folder` holds the presets: "presets" those of runs, "presets/tables" and "presets/searches" the others.
    Raises InputError for none of them, and for a file that is not TOML or JSON.
    """
    path = Path(name)
    presets = resources.files("multitask") / "config" / folder
    if not path.is_file():
        known = sorted(
            entry.name.removesuffix(".toml") for entry in presets.iterdir() if entry.name.endswith(".toml")
        )
        if name not in known:
            if path.is_dir():
                raise InputError(
                    f"{name} is a folder; give a TOML file or a preset ({', '.join(known)}); folders are "
                    f"given by options: --weights W --data DIR --out RUN"
                )
            raise InputError(
                f"there is no file {name} and no preset of that name; presets: {', '.join(known)}"
                f"{did_you_mean(name, known)}"
            )
        path = presets / f"{name}.toml"
    read = read_json if path.suffix == ".json" else read_toml
    values = table(str(path), read(Path(path), remedy="mend the file"))
    return {key.replace("-", "_"): value for key, value in values.items()}
