"""RunConfig: everything that decides a run, with its defaults. No torch here.

A configuration is built from nested values (a preset, a TOML file, the command line; later ones win) by
`RunConfig.from_dict`, which refuses unknown keys and wrong types by name. `to_dict` repeats it whole.
"""

import json
import math
import tomllib
import typing
from dataclasses import asdict, dataclass, field, fields
from importlib import resources
from pathlib import Path
from typing import Any

from minbert import BertConfig, InputError, did_you_mean
from multitask.values import build, checked, construct, one_of, plain, table, within


def option(default: Any, help: str) -> Any:
    """A dataclass field whose help text stands in the command line's --help."""
    return field(default=default, metadata={"help": help})


@dataclass(frozen=True)
class TaskConfig:
    """One task of a run. Which values fit depends on its kind; `multitask tasks` lists the kinds."""

    type: str = option("", "kind of task, see `multitask tasks`")
    train: str | None = option(None, "file of the training split, in the data folder")
    dev: str | None = option(None, "file of the dev split")
    test: str | None = option(None, "file of the test split")
    text: str = option("text", "column of the text, or of the first of a pair")
    text2: str | None = option(None, "column of the second text of a pair")
    label: str = option("label", "column of the label")
    labels: tuple[str, ...] = option((), "label names of a classification; default: those in train, sorted")
    low: float = option(0.0, "lowest score of a similarity")
    high: float = option(1.0, "highest score of a similarity")
    pairs: str | None = option(None, "bi (two towers) or cross (one joined input); pairs only")
    pooling: str = option("mean", "cls, pooler, mean or max")
    normalize: str | None = option(None, "l1, l2 or none: length of the pooled vectors")
    features: tuple[str, ...] = option(("u", "v", "difference"), "bi: of u, v, difference, product, cosine")
    head: str = option("mlp", "mlp (linear without hidden layers), or cosine (bi only, no parameters)")
    hidden: tuple[int, ...] = option((), "sizes of the head's hidden layers")
    activation: str = option("gelu", "between the head's layers")
    dropout: float = option(0.1, "before each layer of the head")
    loss: str = option("cross_entropy", "see `multitask tasks`")
    label_scale: tuple[float, ...] = option(
        (0.0, 1.0), "what the lowest and highest score become in the loss"
    )
    weight: float = option(1.0, "factor of the loss")
    batch_size: int | None = option(None, "examples a batch; default: train.batch-size")
    lr: float | None = option(None, "rate of this task's head; default: optim.head-lr")
    max_length: int = option(512, "tokens; longer inputs are cut")

    def __post_init__(self):
        one_of("pairs", self.pairs, (None, "bi", "cross"))
        one_of("pooling", self.pooling, ("cls", "pooler", "mean", "max"))
        one_of("normalize", self.normalize, (None, "l1", "l2"))
        one_of("head", self.head, ("mlp", "cosine"))
        one_of("activation", self.activation, ("gelu", "relu", "leaky_relu", "selu", "tanh", "identity"))
        for name in self.features:
            one_of("features", name, ("u", "v", "difference", "product", "cosine"))
        within("dropout", self.dropout, 0, 1, "a rate from 0 to below 1", self.dropout < 1)
        within("weight", self.weight, 0, float("inf"), "at least 0")
        within("batch_size", self.batch_size, 1, float("inf"), "at least 1")
        within("lr", self.lr, 0, float("inf"), "at least 0")
        within("max_length", self.max_length, 5, float("inf"), "at least 5")
        if not _ascending(self.low, self.high):
            raise InputError(f"low is {self.low}, high is {self.high}; low must be the smaller one")
        if not _ascending(*self.label_scale):
            raise InputError(
                f"label_scale is {list(self.label_scale)}; give two numbers, the smaller one first"
            )
        if self.head == "cosine" and self.pairs != "bi":
            raise InputError("head is 'cosine', which compares two vectors; it needs pairs = \"bi\"")


def _ascending(*numbers: float) -> bool:
    """Whether these are two finite numbers, the smaller one first."""
    return len(numbers) == 2 and all(map(math.isfinite, numbers)) and numbers[0] < numbers[1]


@dataclass(frozen=True)
class TrainConfig:
    epochs: int = option(3, "passes over the training data")
    max_steps: int | None = option(None, "stop after so many steps")
    batch_size: int = option(32, "examples a batch")
    batch_tokens: int | None = option(None, "tokens a batch, in place of examples")
    accumulation: int = option(1, "batches whose gradients make one step")
    seed: int = option(11711, "decides heads, order and dropout")

    def __post_init__(self):
        for name in ("epochs", "max_steps", "batch_size", "batch_tokens", "accumulation"):
            within(name, getattr(self, name), 1, float("inf"), "at least 1")
        within("seed", self.seed, 0, 2**63 - 1, "from 0 to 2^63 - 1")


@dataclass(frozen=True)
class OptimConfig:
    lr: float = option(5e-5, "rate of the encoder")
    head_lr: float = option(3e-4, "rate of the heads")
    layer_decay: float = option(1.0, "factor on the rate from each layer to the one below")
    weight_decay: float = option(0.01, "decoupled decay of weights; none on biases, norms and embeddings")
    eps: float = option(1e-6, "AdamW's epsilon")
    correct_bias: bool = option(True, "AdamW's bias correction")
    schedule: str = option("linear", "constant, linear or cosine")
    warmup: float = option(0.1, "share of the steps in which the rate rises")
    clip: float = option(1.0, "largest norm of the gradient; 0 for no limit")

    def __post_init__(self):
        for name in ("lr", "head_lr", "weight_decay", "eps", "clip"):
            within(name, getattr(self, name), 0, float("inf"), "at least 0")
        within("layer_decay", self.layer_decay, 0, 1, "above 0 and at most 1", self.layer_decay > 0)
        within("warmup", self.warmup, 0, 1, "a share from 0 to 1")
        one_of("schedule", self.schedule, ("constant", "linear", "cosine"))


@dataclass(frozen=True)
class EvalConfig:
    every_steps: int | None = option(None, "evaluate after so many steps too, not only after each epoch")
    batch_tokens: int = option(4096, "tokens a batch")

    def __post_init__(self):
        within("every_steps", self.every_steps, 1, float("inf"), "at least 1")
        within("batch_tokens", self.batch_tokens, 1, float("inf"), "at least 1")


@dataclass(frozen=True)
class CheckpointConfig:
    every_steps: int | None = option(None, "save last/ after so many steps too, not only after each epoch")

    def __post_init__(self):
        within("every_steps", self.every_steps, 1, float("inf"), "at least 1")


# What a kind of task changes of TaskConfig's defaults. The three course tasks hold the default recipe,
# chosen by the experiments in docs/results.md.
TASK_DEFAULTS: dict[str, dict[str, Any]] = {
    "classification": {},
    "pair": {"text": "sentence1", "text2": "sentence2", "pairs": "cross", "loss": "binary_cross_entropy"},
    "similarity": {
        "text": "sentence1",
        "text2": "sentence2",
        "pairs": "bi",
        "head": "cosine",
        "loss": "cosine_mse",
    },
    "sst": {
        "train": "ids-sst-train.csv",
        "dev": "ids-sst-dev.csv",
        "test": "ids-sst-test-student.csv",
        "text": "sentence",
        "label": "sentiment",
        "labels": ("0", "1", "2", "3", "4"),
    },
    "cfimdb": {
        "train": "ids-cfimdb-train.csv",
        "dev": "ids-cfimdb-dev.csv",
        "test": "ids-cfimdb-test-student.csv",
        "text": "sentence",
        "label": "sentiment",
        "labels": ("0", "1"),
    },
    "paraphrase": {
        "train": "quora-train.csv",
        "dev": "quora-dev.csv",
        "test": "quora-test-student.csv",
        "text": "sentence1",
        "text2": "sentence2",
        "label": "is_duplicate",
        "pairs": "cross",
        "loss": "binary_cross_entropy",
    },
    "sts": {
        "train": "sts-train.csv",
        "dev": "sts-dev.csv",
        "test": "sts-test-student.csv",
        "text": "sentence1",
        "text2": "sentence2",
        "label": "similarity",
        "high": 5.0,
        "pairs": "bi",
        "head": "cosine",
        "loss": "cosine_mse",
        "weight": 5.0,  # its gradients are the smallest, and all tasks share one AdamW
    },
}
DEFAULT_TASKS = ("sst", "paraphrase", "sts")


@dataclass(frozen=True)
class RunConfig:
    """A whole run. `tasks` maps the name of each task to its TaskConfig, in the order of --tasks."""

    weights: str | None = option(None, "pretrained folder, RUN/best, or `scratch` for a fresh BERT")
    data: str | None = option(None, "folder with the data files, or `sample` for the bundled corpus")
    out: str | None = option(None, "folder of the run; must not exist")
    limit: int | None = option(None, "use the first N examples of each split only")
    sampling: str = option("proportional", "proportional, round-robin, or sequential[:TASK,TASK,...]")
    freeze: str = option("none", "none, or backbone: train the heads alone")
    precision: str = option("auto", "auto, fp32, bf16 or fp16")
    device: str = option("auto", "auto, cpu, cuda[:n] or mps")
    threads: int | None = option(None, "CPU threads; default: all cores")
    select: str | None = option(None, "which checkpoint is best: overall_2024, mean_raw or TASK.METRIC")
    patience: int | None = option(None, "stop after so many evaluations without a better one")
    task_file: str | None = option(None, "Python file that registers kinds of tasks of your own")
    vocab_size: int = option(8000, "scratch: size of the vocabulary that is learnt from the training texts")
    train: TrainConfig = field(default_factory=TrainConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    eval: EvalConfig = field(default_factory=EvalConfig)
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)
    model: dict[str, Any] = field(default_factory=dict)  # BertConfig's fields that differ from the weights'
    tasks: dict[str, TaskConfig] = field(default_factory=dict)

    def __post_init__(self):
        if not self.tasks:
            object.__setattr__(self, "tasks", {name: task_config(name, {}) for name in DEFAULT_TASKS})
        within("limit", self.limit, 1, float("inf"), "at least 1")
        within("threads", self.threads, 1, float("inf"), "at least 1")
        within("patience", self.patience, 1, float("inf"), "at least 1")
        one_of("precision", self.precision, ("auto", "fp32", "bf16", "fp16"))
        one_of("freeze", self.freeze, ("none", "backbone"))
        kind, _, order = self.sampling.partition(":")
        one_of("sampling", kind, ("proportional", "round-robin", "sequential"))
        if order and (kind != "sequential" or sorted(order.split(",")) != sorted(self.tasks)):
            raise InputError(
                f"sampling {self.sampling!r} does not name each task once; the run's tasks are "
                f"{','.join(self.tasks)}"
            )
        for name, task in self.tasks.items():
            if task.loss == "pearson" and self.train.accumulation > 1:
                raise InputError(
                    f"{name}.loss is 'pearson', a correlation within one batch, which train.accumulation "
                    f"cuts into {self.train.accumulation}; accumulate 1, or give {name}.batch-size"
                )
        if not self.needs_scratch and set(self.model) - _DROPOUTS:
            raise InputError(
                f"model.{min(set(self.model) - _DROPOUTS)} is decided by the weights; only the dropout rates "
                f"can be changed, unless --weights is scratch"
            )
        construct(BertConfig, self.model, "model.")

    @property
    def needs_scratch(self) -> bool:
        return self.weights == "scratch"

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "RunConfig":
        """From nested values such as {"train": {"epochs": 1}, "tasks": {"sst": {"pooling": "cls"}}}.

        Raises InputError for an unknown key (with the nearest one), a wrong type, an impossible value.
        """
        values = table("the configuration", values)
        tasks = table("tasks", values.pop("tasks", {}))
        model = {
            key.replace("-", "_"): value for key, value in table("model", values.pop("model", {})).items()
        }
        hints = typing.get_type_hints(BertConfig)
        for key in model:
            one_of("model key", key, MODEL_KEYS)
            model[key] = checked(f"model.{key}", model[key], hints[key])
        built = build(cls, values, "")
        configs = {name: task_config(name, table(f"tasks.{name}", task)) for name, task in tasks.items()}
        return cls(**built, model=model, tasks=configs)

    def to_dict(self) -> dict[str, Any]:
        """Nested plain values that `from_dict` turns into an equal configuration."""
        return plain(asdict(self))


_DROPOUTS = {"hidden_dropout_prob", "attention_probs_dropout_prob"}
# The keys under `model`; how large the vocabulary of `scratch` is, its texts and vocab_size decide.
MODEL_KEYS = tuple(f.name for f in fields(BertConfig) if f.name not in ("extra", "vocab_size"))
_SECTIONS = {f.name for f in fields(RunConfig)}


def task_config(name: str, values: dict[str, Any]) -> TaskConfig:
    """The TaskConfig called `name`: its kind's defaults, then `values`. Without `type`, the name is the kind.

    Raises InputError for a name that cannot be one, an unknown kind or key, and a value that does not fit.
    """
    if not name.isidentifier():
        raise InputError(f"task name {name!r} is no name; use letters, digits and _")
    if name in _SECTIONS:
        raise InputError(f"task name {name!r} is taken by the options --{name}...; choose another")
    kind = checked(f"{name}.type", values.get("type") or name, str)
    defaults = TASK_DEFAULTS.get(kind)
    if defaults is None:
        raise InputError(
            f"there is no task {kind!r}{did_you_mean(kind, TASK_DEFAULTS)}; choose from "
            f"{', '.join(TASK_DEFAULTS)}, or load your own with --task-file"
        )
    arguments = build(TaskConfig, defaults | values | {"type": kind}, f"{name}.")
    return construct(TaskConfig, arguments, f"{name}.")


def read_config(name: str) -> dict[str, Any]:
    """Nested values of a TOML file, of a run's config.json, or of the preset of that name.

    Raises InputError for none of them, and for a file that is not TOML or JSON.
    """
    path = Path(name)
    presets = resources.files("multitask") / "experiments" / "presets"
    if not path.is_file():
        known = sorted(
            entry.name.removesuffix(".toml") for entry in presets.iterdir() if entry.name.endswith(".toml")
        )
        if name not in known:
            raise InputError(
                f"there is no file {name} and no preset of that name; presets: {', '.join(known)}"
                f"{did_you_mean(name, known)}"
            )
        path = presets / f"{name}.toml"
    kind, loads = ("JSON", json.loads) if path.suffix == ".json" else ("TOML", tomllib.loads)
    try:
        values = table(str(path), loads(path.read_text(encoding="utf-8")))
    except (tomllib.TOMLDecodeError, json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(f"{path} is not {kind}: {error}") from None
    return {key.replace("-", "_"): value for key, value in values.items()}
