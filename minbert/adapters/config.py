"""LoRAConfig and AttentionAdapterConfig: which adapters an encoder gets, and how large. No torch here."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from minbert.errors import POSITIVE, RATE, TRUTH, InputError, Rule, by_name, check, did_you_mean, whole

TARGETS = {  # the linear layers of an encoder layer by the names that users write
    "query": "attention.query",
    "key": "attention.key",
    "value": "attention.value",
    "attention_output": "attention.output",
    "intermediate": "feed_forward.intermediate",
    "output": "feed_forward.output",
}
ALL_LINEAR = "all-linear"
_LORA_RULES = {
    "rank": Rule(whole(0).accepts, "a whole number of at least 1 (0: no adapters)"),
    "alpha": POSITIVE,
    "dropout": RATE,
    "targets": Rule(
        lambda value: isinstance(value, list | tuple) and all(isinstance(name, str) for name in value),
        f"a list of names, as ('query', 'value'), of {', '.join(TARGETS)}, {ALL_LINEAR}",
    ),
    "rslora": TRUTH,
    "dora": TRUTH,
    "rank_pattern": by_name(whole(1)),
    "alpha_pattern": by_name(POSITIVE),
}
_LAYERS = re.compile(r"all|(first|mid|last):[1-9]\d*|\d+(-\d+)?(,\d+(-\d+)?)*")


def _option(default: Any, help: str) -> Any:
    if isinstance(default, dict):
        return field(default_factory=dict, metadata={"help": help})
    return field(default=default, metadata={"help": help})


@dataclass(frozen=True)
class LoRAConfig:
    """Low-rank adapters (Hu et al. 2021): W x + scale B A x, where scale is alpha / rank.

    `targets` are linear layers of an encoder layer: query, key, value, attention_output, intermediate and
    output (the two of the feed-forward part), or `all-linear` for these six; never the pooler.
    `layers` is `all`, `first:4`, `mid:4`, `last:4`, or numbers and ranges from 0: `0-3,5`.
    `rank_pattern` and `alpha_pattern` map a part of a module's name, whole words between its dots, as
    `layers.5` or `query`, to another rank or alpha; the longest part that occurs decides.
    Raises InputError for values that cannot be.
    """

    rank: int = _option(8, "rank of the adapters; 0 for none")
    alpha: float = _option(16.0, "scale of the adapters is alpha / rank")
    dropout: float = _option(0.0, "dropout on what enters an adapter")
    targets: tuple[str, ...] = _option(
        ("query", "value"), f"of {', '.join(TARGETS)}, or {ALL_LINEAR} for these six"
    )
    layers: str = _option("all", "all, first:K, mid:K, last:K, or numbers from 0 as 0-3,5")
    rslora: bool = _option(False, "scale alpha / sqrt(rank) (Kalajdzievski 2023)")
    dora: bool = _option(False, "learn each row's length apart from its direction (Liu et al. 2024)")
    rank_pattern: dict[str, int] = _option({}, "other ranks by part of a module's name: layers.5=16,query=4")
    alpha_pattern: dict[str, float] = _option({}, "other alphas by part of a module's name")

    def __post_init__(self):
        check(vars(self), _LORA_RULES)
        object.__setattr__(self, "targets", tuple(self.targets))
        if not self.targets:
            raise InputError(f"targets is empty; choose from {', '.join(TARGETS)}, {ALL_LINEAR}")
        for name in self.targets:
            if name not in (*TARGETS, ALL_LINEAR):
                raise InputError(
                    f"target {name!r} does not exist; choose from {', '.join(TARGETS)}, {ALL_LINEAR}"
                    f"{did_you_mean(name, (*TARGETS, ALL_LINEAR))}"
                )
        if not isinstance(self.layers, str) or not _LAYERS.fullmatch(self.layers.replace(" ", "")):
            raise InputError(
                f"layers is {self.layers!r}; give all, first:K, mid:K, last:K with K of at least 1, or "
                f"numbers and ranges from 0, as 0-3,5"
            )

    @property
    def chosen(self) -> tuple[str, ...]:
        """The targets, each once, `all-linear` spelt out."""
        return tuple(TARGETS) if ALL_LINEAR in self.targets else tuple(dict.fromkeys(self.targets))

    def layer_numbers(self, count: int) -> list[int]:
        """The chosen ones of `count` layers, from 0, ascending; `mid` leaves the odd one over at the end.

        Raises InputError, with what exists, for layers that the model does not have.
        """
        kind, _, argument = self.layers.replace(" ", "").partition(":")
        chosen: list[int] = []
        if kind == "all":
            chosen = list(range(count))
        elif argument:
            size = min(int(argument), count + 1)
            start = {"first": 0, "mid": (count - size) // 2, "last": count - size}[kind]
            chosen = list(range(start, start + size))
        else:
            for part in kind.split(","):
                low, _, high = part.partition("-")
                chosen += range(int(low), min(int(high or low), count) + 1) or [-1]  # [-1]: runs backwards
        if min(chosen) < 0 or max(chosen) >= count:
            raise InputError(
                f"layers is {self.layers!r}; the model has {count}, numbered 0 to {count - 1}: give all, "
                f"first:K, mid:K or last:K with K up to {count}, or numbers as 0-{count - 1}"
            )
        return sorted(set(chosen))

    def sizes(self, names: Iterable[str]) -> dict[str, tuple[int, float]]:
        """Rank and alpha of each module by its name (`encoder.layers.5.attention.query`).

        Raises InputError for a pattern that occurs in none of the names.
        """
        names = list(names)
        ranks = _by_pattern("rank_pattern", self.rank_pattern, self.rank, names)
        alphas = _by_pattern("alpha_pattern", self.alpha_pattern, self.alpha, names)
        return {name: (ranks[name], alphas[name]) for name in names}


def _by_pattern(option: str, pattern: Mapping[str, Any], default: Any, names: list[str]) -> dict[str, Any]:
    """Each name's value: that of the longest key that occurs in it (the first of equals), or the default."""
    # Whole words only: `layers.1` is not meant to be found in `layers.10`.
    found = {name: [key for key in pattern if f".{key.strip('.')}." in f".{name}."] for name in names}
    used = {key for keys in found.values() for key in keys}
    for key in pattern:
        if key not in used:
            layers = ", ".join(dict.fromkeys(name.split(".")[2] for name in names))
            kinds = ", ".join(dict.fromkeys(name.split(".", 3)[3] for name in names))
            raise InputError(
                f"{option} gives {key!r}, which occurs in no adapted module's name; adapted are {kinds} "
                f"of encoder.layers {layers}"
            )
    return {name: pattern[max(keys, key=len)] if keys else default for name, keys in found.items()}


def _are_adapter_names(names: Any) -> bool:
    return isinstance(names, list | tuple) and all(
        isinstance(name, str) and name and not {".", "/"} & set(name) and names.count(name) == 1
        for name in names
    )


PROJECTED, HEAD_LAYERS = "projected_attention", "attention_head_layers"
ADAPTER_FOLDER = "adapter"  # of a folder of weights
ATTENTION_RULES = {
    "attention_head_layers": whole(0),
    "projected_attention_size": whole(0),
    "projected_attention_heads": whole(1),
    "projected_attention_names": Rule(_are_adapter_names, "a list of different names without dots"),
}


@dataclass(frozen=True)
class AttentionAdapterConfig:
    """Sizes of the adapters within attention; by default there are none.

    `attention_head_layers` hidden layers on each attention head's context (attention_head_layers.py), and for
    each of `projected_attention_names` projected attention of a size (projected_attention.py).
    Raises InputError for sizes that do not fit.
    """

    attention_head_layers: int = 0
    projected_attention_size: int = 0
    projected_attention_heads: int = 12
    projected_attention_names: tuple[str, ...] = ()

    def __post_init__(self):
        check(vars(self), ATTENTION_RULES)
        if self.projected_attention_size % self.projected_attention_heads:
            raise InputError(
                f"projected_attention_size {self.projected_attention_size} cannot be split among "
                f"{self.projected_attention_heads} heads; choose projected_attention_heads that divides it"
            )
        names = self.projected_attention_names
        if names and not self.projected_attention_size:
            raise InputError(
                f"projected_attention_names is {names!r}, and projected_attention_size is 0; give both"
            )
        object.__setattr__(self, "projected_attention_names", tuple(names))

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of adapters that there are. A projected size without names adds none."""
        head_layers = (HEAD_LAYERS,) if self.attention_head_layers else ()
        return head_layers + ((PROJECTED,) if self.projected_attention_names else ())
