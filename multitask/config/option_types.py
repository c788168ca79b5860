"""Values of a configuration: checked against the types of dataclass fields, parsed, merged. No torch here."""

import math
import types
import typing
from collections.abc import Iterable
from dataclasses import field, fields, is_dataclass
from pathlib import Path
from typing import Any

from minbert import InputError, did_you_mean

_NOUNS = {int: "a whole number", float: "a number", str: "a text", bool: "true or false"}
_NOUNS |= {dict: "a table of keys", list: "a list"}


def option(default: Any, help: str) -> Any:
    """Returns a dataclass field whose help text stands in the command line's --help."""
    return field(default=default, metadata={"help": help})


def merge(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Returns nested values with the changes on top; neither argument is altered."""
    merged = dict(base)
    for key, value in changes.items():
        old = merged.get(key)
        merged[key] = merge(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return merged


def comma_list(text: str) -> list[str]:
    """Splits at commas; white space and empty entries are dropped."""
    return [part.strip() for part in text.split(",") if part.strip()]


def parse(name: str, text: str, hint: Any) -> Any:
    """Parses a value of the command line by its field's type; `none` is None where that is accepted."""
    kind, optional = _kind(hint)
    if optional and text.lower() == "none":
        return None
    if typing.get_origin(kind) is tuple:
        inner = typing.get_args(kind)[0]
        return tuple(parse(name, part, inner) for part in comma_list(text))
    if typing.get_origin(kind) is dict:
        inner = typing.get_args(kind)[1]
        pairs = [part.partition("=") for part in comma_list(text)]
        if not all(key.strip() and equals for key, equals, _ in pairs):
            raise InputError(f"{name} is {text!r}; give KEY=VALUE, several of them with commas between")
        return {key.strip(): parse(name, value.strip(), inner) for key, _, value in pairs}
    if kind is bool:
        if text.lower() not in ("true", "false"):
            raise InputError(f"{name} is {text!r}; give true or false")
        return text.lower() == "true"
    if not text:
        raise InputError(f"{name} is empty; give {_NOUNS[kind]}, or leave it out")
    try:
        return kind(text)
    except ValueError:
        raise InputError(f"{name} is {text!r}; give {_NOUNS[kind]}") from None


def checked(name: str, value: Any, hint: Any) -> Any:
    """Returns a value of the field's type; whole numbers pass as floats, lists as tuples."""
    kind, optional = _kind(hint)
    if optional and (value is None or value == "none"):  # TOML has no null
        return None
    if typing.get_origin(kind) is tuple:
        if not isinstance(value, list | tuple):
            raise InputError(f"{name} is {value!r}; give a list")
        return tuple(checked(name, part, typing.get_args(kind)[0]) for part in value)
    if typing.get_origin(kind) is dict:
        inner = typing.get_args(kind)[1]
        return {key: checked(f"{name}.{key}", part, inner) for key, part in table(name, value).items()}
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if kind is Any:
        return value
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        noun = _NOUNS.get(kind) or f"a {kind.__name__}; RunConfig.from_dict makes one of plain values"
        raise InputError(f"{name} is {value!r}; give {noun}")
    return value


def check_fields(config: Any) -> None:
    """Puts values of the fields' types into a configuration that Python code makes; a path becomes a text.

    Raises InputError for a value of another type.
    """
    for name, hint in typing.get_type_hints(type(config)).items():
        value = getattr(config, name)
        object.__setattr__(
            config, name, checked(name, str(value) if isinstance(value, Path) else value, hint)
        )


def table(name: str, value: Any) -> dict[str, Any]:
    """Returns a copy of a table of keys. Raises InputError for any other value."""
    if not isinstance(value, dict):
        raise InputError(f"{name} is {value!r}; it is a table of keys")
    return dict(value)


def listed(name: str, value: Any) -> list:
    """Returns a list. Raises InputError for any other value."""
    if not isinstance(value, list | tuple):
        raise InputError(f"{name} is {value!r}; give a list")
    return list(value)


def build(cls: type, values: dict[str, Any], prefix: str) -> dict[str, Any]:
    """Returns keyword arguments for a configuration class, each value checked, nested classes built."""
    hints = typing.get_type_hints(cls)
    known = [f.name for f in fields(cls)]
    arguments = {}
    for key, value in values.items():
        name = key.replace("-", "_")
        if name not in known:
            sections = {one: fields(hints[one]) for one in known if is_dataclass(hints[one])}
            inner = [f"{section}.{part.name}" for section, parts in sections.items() for part in parts]
            raise InputError(
                f"there is no key {prefix}{key}{did_you_mean(name, [*known, *inner])}; known: "
                f"{', '.join(known)}"
            )
        hint = hints[name]
        if is_dataclass(hint):
            inner = build(hint, table(f"{prefix}{key}", value), f"{prefix}{key}.")
            arguments[name] = construct(hint, inner, f"{prefix}{key}.")
        else:
            arguments[name] = checked(f"{prefix}{key}", value, hint)
    return arguments


def construct(cls: type, arguments: dict[str, Any], prefix: str) -> Any:
    """Returns the configuration object; errors of its own checks get the prefix in front."""
    try:
        return cls(**arguments)
    except InputError as error:
        raise InputError(f"{prefix}{error}") from None


def plain(value: Any) -> Any:
    """Converts nested values to those of JSON and TOML: tuples become lists."""
    if isinstance(value, dict):
        return {key: plain(entry) for key, entry in value.items()}
    return [plain(entry) for entry in value] if isinstance(value, tuple | list) else value


def one_of(name: str, value: Any, accepted: Iterable) -> None:
    """Raises InputError, with the nearest name, unless `value` is one of `accepted`."""
    accepted = list(accepted)
    if value not in accepted:
        names = [str(entry).lower() if entry is None else str(entry) for entry in accepted]
        raise InputError(
            f"{name} is {value!r}; choose from {', '.join(names)}{did_you_mean(str(value), names)}"
        )


def within(name: str, value: float | None, low: float, high: float, accepted: str, also: bool = True) -> None:
    """Raises InputError unless `value` is None, or finite, between the bounds and `also` holds."""
    if isinstance(value, float) and not math.isfinite(value):
        raise InputError(f"{name} is {value}; it must be a finite number, {accepted}")
    if value is not None and not (low <= value <= high and also):
        raise InputError(f"{name} is {value}; it must be {accepted}")


def _kind(hint: Any) -> tuple[Any, bool]:
    """Returns the type that a field's hint names, and True if None is accepted too."""
    options = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    return next(option for option in options if option is not type(None)), type(None) in options


def flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Flattens nested values to dotted names."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        name = f"{prefix}{key}"
        found |= flat(value, f"{name}.") if isinstance(value, dict) and value else {name: value}
    return found
