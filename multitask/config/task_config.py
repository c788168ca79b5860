"""TaskConfig: everything that decides one task of a run. No torch here: a kind's class is imported on use."""

import math
from dataclasses import dataclass
from typing import Any

from minbert import InputError
from multitask.config.option_types import build, check_fields, checked, construct, one_of, option, within
from multitask.config.task_kinds import find_kind

_ACTIVATIONS = """CELU ELU GELU Hardshrink Hardsigmoid Hardswish Hardtanh Identity LeakyReLU LogSigmoid Mish
PReLU ReLU ReLU6 RReLU SELU Sigmoid SiLU Softplus Softshrink Softsign Tanh Tanhshrink"""
# The names of options, and the classes of torch.nn that they stand for: those without a needed argument.
ACTIVATIONS = {"leaky_relu" if name == "LeakyReLU" else name.lower(): name for name in _ACTIVATIONS.split()}
# Keys of TaskConfig that only some losses read; `losses` of a kind's class says which.
LOSS_OPTIONS = (
    *("label_smoothing", "class_weights", "focal_gamma", "temperature", "learn_temperature", "symmetric"),
    *("hard_negative_weight", "training_head", "mask_rate"),
)
# Keys of TaskConfig about labels and predictions; `label_options` of a kind's class says which it reads.
LABEL_OPTIONS = ("labels", "label_separator", "threshold", "low", "high", "label_scale")
DELIMITERS = {"comma": ",", "tab": "\t", "semicolon": ";", "pipe": "|"}
PAIR_FEATURES = ("u", "v", "difference", "product", "cosine")


@dataclass(frozen=True)
class TaskConfig:
    """One task of a run. Which values fit depends on its kind; `multitask tasks` lists the kinds."""

    type: str = option("", "kind of task, see `multitask tasks`")
    train: str | None = option(None, "file of the training split, in the data folder; none: scored only")
    dev: str | None = option(None, "file of the dev split")
    test: str | None = option(None, "file of the test split")
    text: str = option("text", "column of the text, or of the first of a pair")
    text2: str | None = option(None, "column of the second text of a pair")
    negatives: tuple[str, ...] = option((), "columns of hard negatives; ranking and nli only")
    label: str = option("label", "column of the label")
    delimiter: str | None = option(
        None, f"{', '.join(DELIMITERS)}: between the columns of CSV files; default: found in the header"
    )
    labels: tuple[str, ...] = option((), "label names of a classification; default: those in train, sorted")
    label_separator: str = option("|", "multilabel: between the labels of a row; a JSON list needs none")
    threshold: float = option(
        0.5, "two classes: probability above which the second one is predicted; multilabel: of each label"
    )
    low: float = option(0.0, "lowest score of a similarity or regression")
    high: float = option(1.0, "highest score of a similarity or regression")
    pairs: str | None = option(None, "bi (two towers) or cross (one joined input); pairs only")
    pooling: str = option("mean", "cls, pooler, mean or max")
    normalize: str | None = option(None, "l1, l2 or none: length of the pooled vectors")
    projection: int | None = option(None, "size of the sentence vectors, by a linear layer and tanh")
    features: tuple[str, ...] = option(("u", "v", "difference"), f"bi: of {', '.join(PAIR_FEATURES)}")
    head: str = option("mlp", "mlp (linear without hidden layers), or cosine (bi only, no parameters)")
    hidden: tuple[int, ...] = option((), "sizes of the head's hidden layers")
    activation: str = option("gelu", f"between the head's layers: {', '.join(ACTIVATIONS)}")
    layer_norm: bool = option(False, "a layer norm after each hidden layer of the head")
    dropout: float = option(0.1, "before each layer of the head")
    loss: str = option("cross_entropy", "see `multitask tasks`")
    label_smoothing: float = option(0.0, "cross_entropy: share of the target spread over all classes")
    class_weights: str | None = option(
        None, "balanced (by 1 / frequency in train), or a number a class: 1,2,1"
    )
    focal_gamma: float = option(2.0, "loss focal: how much less an example that is right already counts")
    label_scale: tuple[float, ...] = option(
        (0.0, 1.0), "what the lowest and highest score become in the loss"
    )
    temperature: float = option(0.05, "contrastive losses: cosines are divided by it; cosent and angle too")
    learn_temperature: bool = option(False, "contrastive losses: train the temperature too")
    symmetric: bool = option(False, "contrastive losses: from the second text to the first as well")
    hard_negative_weight: float = option(1.0, "contrastive losses: factor of each hard negative's term")
    mask_false_negatives: bool = option(
        True, "contrastive losses: leave known positives out of the negatives"
    )
    training_head: str = option(
        "none", "contrastive losses: mlp puts a layer over the vectors in training only"
    )
    chunk_size: int | None = option(None, "contrastive losses: examples held in memory at once (GradCache)")
    mask_rate: float = option(0.15, "masked_lm: share of the tokens to guess")
    weight: float = option(1.0, "factor of the loss")
    batch_size: int | None = option(None, "examples a batch; default: train.batch-size")
    accumulation: int | None = option(None, "batches a step; default: train.accumulation")
    start_epoch: int = option(1, "first epoch that trains the task (delayed start)")
    lr: float | None = option(None, "rate of this task's head; default: optim.head-lr")
    encoder_lr: float | None = option(
        None, "rate of the encoder in this task's steps; default: optim.lr; not with sampling together"
    )
    max_length: int = option(512, "tokens; longer inputs are cut")

    def __post_init__(self):
        check_fields(self)
        one_of("delimiter", self.delimiter, (None, *DELIMITERS, *DELIMITERS.values()))
        one_of("pairs", self.pairs, (None, "bi", "cross"))
        one_of("pooling", self.pooling, ("cls", "pooler", "mean", "max"))
        one_of("normalize", self.normalize, (None, "l1", "l2"))
        one_of("head", self.head, ("mlp", "cosine"))
        one_of("activation", self.activation, ACTIVATIONS)
        one_of("training_head", self.training_head, ("none", "mlp"))
        for name in self.features:
            one_of("features", name, PAIR_FEATURES)
        within("dropout", self.dropout, 0, 1, "a rate from 0 to below 1", self.dropout < 1)
        within("threshold", self.threshold, 0, 1, "above 0 and below 1", 0 < self.threshold < 1)
        if not self.label_separator:
            raise InputError("label_separator is empty; give the text that stands between two labels")
        within("label_smoothing", self.label_smoothing, 0, 1, "from 0 to below 1", self.label_smoothing < 1)
        within("mask_rate", self.mask_rate, 0, 1, "above 0 and below 1", 0 < self.mask_rate < 1)
        within("temperature", self.temperature, 0, math.inf, "above 0", self.temperature > 0)
        for name in ("weight", "lr", "encoder_lr", "focal_gamma", "hard_negative_weight"):
            within(name, getattr(self, name), 0, math.inf, "at least 0")
        for name in ("batch_size", "accumulation", "chunk_size", "start_epoch", "projection"):
            within(name, getattr(self, name), 1, math.inf, "at least 1")
        within("max_length", self.max_length, 5, math.inf, "at least 5")
        for size in self.hidden:
            within("hidden", size, 1, math.inf, "at least 1")
        self.class_factors()
        if not _ascending(self.low, self.high):
            raise InputError(f"low is {self.low}, high is {self.high}; low must be the smaller one")
        if not _ascending(*self.label_scale):
            raise InputError(
                f"label_scale is {list(self.label_scale)}; give two numbers, the smaller one first"
            )
        if self.head == "cosine" and self.pairs != "bi":
            loss = {"cosine_mse": "mse", "angle": "cosent"}.get(self.loss, self.loss)
            raise InputError(
                f"head is 'cosine', which compares the vectors of two towers, and pairs is {self.pairs!r}; "
                f"give pairs bi, or all three of pairs cross, head mlp and loss {loss}"
            )

    def class_factors(self) -> tuple[float, ...] | None:
        """Returns the numbers in `class_weights`; None where there are none, or they come from the data."""
        if self.class_weights in (None, "balanced"):
            return None
        try:
            factors = tuple(float(part) for part in self.class_weights.split(","))
        except ValueError:
            factors = ()
        if not factors or not all(math.isfinite(factor) and factor >= 0 for factor in factors):
            raise InputError(
                f"class_weights is {self.class_weights!r}; give balanced, or a number of at least 0 a class: "
                f"1,2,1"
            )
        return factors


def _ascending(*numbers: float) -> bool:
    """Returns True for two finite numbers, the smaller one first."""
    return len(numbers) == 2 and all(map(math.isfinite, numbers)) and numbers[0] < numbers[1]


DEFAULT_TASKS = ("sst", "paraphrase", "sts")


def task_config(name: str, values: dict[str, Any]) -> TaskConfig:
    """Returns the TaskConfig `name`: its kind's defaults, then `values`. Without `type`, `name` is the kind.

    Raises InputError for a name that cannot be one, an unknown kind or key, and a value that does not fit.
    """
    if not name.isidentifier():
        raise InputError(f"task name {name!r} is not a name; use letters, digits and _")
    kind = checked(f"{name}.type", values.get("type") or name, str)
    arguments = build(TaskConfig, find_kind(kind).defaults | values | {"type": kind}, f"{name}.")
    return construct(TaskConfig, arguments, f"{name}.")
