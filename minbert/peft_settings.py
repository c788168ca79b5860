"""What an `adapter_config.json` of peft says, which linear layers it means, and what of it is refused."""

import math
import re
from collections.abc import Callable, Mapping
from typing import Any

from minbert.errors import InputError

ALL_LINEAR = "all-linear"
# Where an adapter comes from, what is decided elsewhere, or sizes of parts that are refused anyway.
_DESCRIPTIVE = {
    "auto_mapping",
    "base_model_name_or_path",
    "inference_mode",
    "megatron_core",
    "peft_version",
    "qalora_group_size",
    "revision",
    "runtime_config",
    "task_type",
}
# With these an adapter is no W x + scale B A x of linear layers any more; None, false and empty are fine.
_UNSUPPORTED = {
    "alora_invocation_tokens",
    "arrow_config",
    "corda_config",
    "ensure_weight_tying",
    "eva_config",
    "fan_in_fan_out",
    "kasa_config",
    "layer_replication",
    "loftq_config",
    "lora_bias",
    "lora_ga_config",
    "megatron_config",
    "monteclora_config",
    "target_parameters",
    "trainable_token_indices",
    "use_bdlora",
    "use_qalora",
    "velora_config",
}
# The others (pissa, olora, loftq, corda, eva, ...) change the base, or how A and B are made and trained.
_INITIALIZATIONS = (True, False, "gaussian", "orthogonal")


class PeftSettings:
    """The settings of an adapter; modules go by their whole names in transformers' model.

    `notes` lists settings that are set but not known. Raises InputError, by name, for what is not supported,
    missing, or no value that the setting can have; `source` is the file, for the message.
    """

    def __init__(self, values: Mapping[str, Any], source: str):
        if refused := _refused(values):
            raise InputError(
                f"{source} says {', '.join(refused)}, which is not supported; merge the adapter with peft "
                f"and load the whole model, or train one without"
            )
        for key, (is_good, accepted) in _ACCEPTED.items():
            value = values.get(key)
            if not (is_good(value) if value is not None else key not in _REQUIRED):
                raise InputError(
                    f"{source} says {key} {value!r}; it must be {accepted}: save the adapter again"
                )
        if isinstance(values["target_modules"], str) and values.get("layers_to_transform") is not None:
            raise InputError(
                f"{source} gives layers_to_transform beside one target_modules for whole names; "
                f"put the layers into that expression"
            )
        known = _DESCRIPTIVE | _UNSUPPORTED | _ACCEPTED.keys() | _CHECKED
        self.notes = tuple(
            f"{key} {value!r} is not known here"
            for key, value in values.items()
            if key not in known and value
        )
        self.values = {key: value for key, value in values.items() if value is not None}
        self.dropout = float(self.values.get("lora_dropout", 0.0))
        self.rslora = bool(self.values.get("use_rslora"))
        self.dora = bool(self.values.get("use_dora"))

    def is_target(self, name: str) -> bool:
        """Whether a linear layer has an adapter: what peft's check_target_module_exists says."""
        targets = self.values["target_modules"]
        if _meant(self.values.get("exclude_modules"), name):
            return False
        if any(
            re.match(rf"(^|.*\.){saved}($|\..*)", name) for saved in self.values.get("modules_to_save", ())
        ):
            return False
        if isinstance(targets, str):
            return targets.lower() == ALL_LINEAR or _meant(targets, name)
        return name in targets or (_meant(targets, name) and self._has_layer(name))

    def _has_layer(self, name: str) -> bool:
        layers = self.values.get("layers_to_transform")
        if layers is None or layers == []:
            return True
        layers = [layers] if isinstance(layers, int) else layers
        patterns = self.values.get("layers_pattern") or [r"[^.]*"]
        for pattern in [patterns] if isinstance(patterns, str) else patterns:
            if match := re.match(rf"(?:^|.*?\.){pattern}\.(\d+)\.", name):
                return int(match[1]) in layers
        return False

    def rank(self, name: str) -> int:
        """The rank of a layer's adapter."""
        return self._by_pattern("rank_pattern", "r", name)

    def alpha(self, name: str) -> float:
        """The alpha of a layer's adapter."""
        return self._by_pattern("alpha_pattern", "lora_alpha", name)

    def _by_pattern(self, pattern: str, default: str, name: str) -> Any:
        for key, value in self.values.get(pattern, {}).items():
            if re.match(rf"(.*\.)?({key})$", name):  # as peft: the first in the file that the name ends with
                return value
        return self.values[default]


def _refused(values: Mapping[str, Any]) -> list[str]:
    """The settings that are not supported, with their values."""
    refused = [f"{key} {values[key]!r}" for key in sorted(_UNSUPPORTED & values.keys()) if values[key]]
    if values.get("peft_type") != "LORA":
        refused.insert(0, f"peft_type {values.get('peft_type')!r}")
    if values.get("bias") not in (None, "none"):
        refused.append(f"bias {values['bias']!r}")
    if values.get("init_lora_weights") not in (None, *_INITIALIZATIONS):
        refused.append(f"init_lora_weights {values['init_lora_weights']!r}")
    return refused


def _meant(names: str | list[str] | None, name: str) -> bool:
    """Whether a name ends with one of those in a list, or matches the one expression for whole names."""
    if isinstance(names, str):
        return bool(names) and re.fullmatch(names, name) is not None
    return any(f".{name}".endswith(f".{end}") for end in names or ())


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_rank(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _is_rate(value: Any) -> bool:
    return _is_number(value) and 0 <= value < 1


def _is_expression(value: Any) -> bool:
    try:
        return isinstance(value, str) and re.compile(value) is not None
    except re.error:
        return False


def _list_of(is_good: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, list) and all(map(is_good, value))


def _one_or_list_of(is_good: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: is_good(value) or _list_of(is_good)(value)


def _pattern_of(is_good: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: (
        isinstance(value, dict) and all(map(_is_expression, value)) and all(map(is_good, value.values()))
    )


_TEXTS = (_one_or_list_of(_is_expression), "a regular expression or a list of names")
_ACCEPTED: dict[str, tuple[Callable[[Any], bool], str]] = {
    "r": (_is_rank, "a whole number of at least 1"),
    "lora_alpha": (_is_number, "a number"),
    "lora_dropout": (_is_rate, "a rate from 0 to below 1"),
    "target_modules": _TEXTS,
    "exclude_modules": _TEXTS,
    "modules_to_save": (_list_of(_is_expression), "a list of names"),
    "layers_to_transform": (_one_or_list_of(lambda value: type(value) is int), "whole numbers"),
    "layers_pattern": _TEXTS,
    "rank_pattern": (_pattern_of(_is_rank), "whole numbers of at least 1 by regular expressions"),
    "alpha_pattern": (_pattern_of(_is_number), "numbers by regular expressions"),
    "use_rslora": (lambda value: isinstance(value, bool), "true or false"),
    "use_dora": (lambda value: isinstance(value, bool), "true or false"),
}
_REQUIRED = {"r", "lora_alpha", "target_modules"}
_CHECKED = {"bias", "init_lora_weights", "peft_type"}
