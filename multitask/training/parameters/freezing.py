"""Freezing of tensors by the names of policies; frozen modules have no dropout."""

import re
from collections.abc import Iterable, Iterator

from torch import nn

from minbert import InputError, did_you_mean

POLICIES = ("none", "backbone", "embeddings", "pooler", "first", "last", "below", "layers", "head")
FORMS = "none, backbone, embeddings, pooler, first:K, last:K, below:K, layers:0-2+5 or head:TASK"


def is_added(name: str) -> bool:
    """Returns True for tensors that are added to BERT's: LoRA, projected attention, head layers."""
    return name.startswith("encoder.") and (".adapters." in name or ".head_layers." in name)


def freeze(model: nn.Module, policy: str) -> list[str]:
    """Freezes tensors of a MultitaskModel by name; returns warnings for the user.

    `policy` is one of these, or several with commas between; frozen tensors stay frozen:

    | none        | nothing                                                                  |
    | backbone    | the whole encoder                                                        |
    | embeddings  | words, positions, token types and their norm                             |
    | first:K     | the lowest K layers, without the embeddings                              |
    | last:K      | the highest K layers, without the pooler                                 |
    | below:K     | the embeddings and all layers but the highest K                          |
    | layers:0-2+5| layers by numbers and ranges from 0                                      |
    | pooler      | the pooler                                                               |
    | head:TASK   | a task's head                                                            |

    Tensors that are added to BERT's, see `is_added`, stay as they are. Raises InputError, before it freezes
    anything, for another policy, and for layers or a pooler that the encoder lacks.
    """
    parts = [part.strip() for part in policy.split(",")]
    prefixes = tuple(prefix for part in parts for prefix in _prefixes(model, part))
    names = [name for name, _ in model.named_parameters() if name.startswith(prefixes)]
    chosen = [name for name in names if not is_added(name)]
    for name in chosen:
        model.get_parameter(name).requires_grad_(False)
    return [*_drift_notes(model, parts), *_fresh_notes(model, policy, chosen)]


def _prefixes(model: nn.Module, part: str) -> list[str]:
    """Returns the beginnings of the names of tensors that one policy freezes."""
    kind, colon, argument = part.partition(":")
    kind, argument = kind.strip(), argument.strip()
    takes_argument = kind in ("first", "last", "below", "layers", "head")
    if kind not in POLICIES or takes_argument != bool(colon):
        hint = did_you_mean(kind, POLICIES) if kind not in POLICIES else ""
        raise InputError(f"freeze {part!r} is not a policy; choose from {FORMS}{hint}")
    if kind == "none":
        return []
    if kind == "head":
        return [f"heads.{argument}."]
    if not takes_argument:
        if kind == "pooler" and model.encoder.pooler is None:
            raise InputError("freeze pooler: the weights have no pooler; leave it out")
        return ["encoder."] if kind == "backbone" else [f"encoder.{kind}."]
    numbers = _layer_numbers(part, kind, argument, len(model.encoder.encoder.layers))
    below = ["encoder.embeddings."] if kind == "below" else []
    return below + [f"encoder.encoder.layers.{number}." for number in numbers]


def _layer_numbers(part: str, kind: str, argument: str, count: int) -> list[int]:
    """Returns the layers of `count`, from 0, that first:K, last:K, below:K or layers:... names."""
    numbers: list[int] = []
    if kind == "layers":
        for text in argument.split("+"):
            match = re.fullmatch(r"\s*([0-9]+)\s*(?:-\s*([0-9]+)\s*)?", text)
            low, high = (int(match[1]), int(match[2] or match[1])) if match else (-1, -1)
            numbers += range(low, min(high, count) + 1) or [-1]  # [-1]: it runs backwards
    elif re.fullmatch("[0-9]+", argument):
        size = min(int(argument), count + 1)
        numbers = list(range(size) if kind == "first" else range(count - size, count))
    if not numbers or min(numbers) < 0 or max(numbers) >= count:
        form = "numbers and ranges of these, as layers:0-2+5" if kind == "layers" else f"K from 1 to {count}"
        raise InputError(
            f"freeze {part!r}: the model has {count} layers, numbered 0 to {count - 1}; give {form}"
        )
    return list(range(min(numbers))) if kind == "below" else numbers


def _drift_notes(model: nn.Module, parts: list[str]) -> Iterator[str]:
    """Warns of each frozen head over features that go on changing."""
    for task in dict.fromkeys(part.partition(":")[2].strip() for part in parts if part.startswith("head")):
        features = (
            model.get_parameter(name)
            for name in model.read_by(task) - model.unused_parameters()
            if name.startswith("encoder.")
        )
        if [*model.heads[task].parameters()] and any(parameter.requires_grad for parameter in features):
            yield (
                f"freeze head:{task}: the encoder below goes on training, so the head's features drift away "
                f"from it and {task} may get worse; to keep {task} as it is, freeze backbone,head:{task}"
            )


def _fresh_notes(model: nn.Module, policy: str, frozen: Iterable[str]) -> Iterator[str]:
    """Warns where tensors of the encoder are frozen that are not in the pretrained weights."""
    report = model.encoder.load_report
    random = None if report is None else {*report.fresh, *report.missing}
    modules: dict[str, None] = {}  # a layer or the pooler, not each of its tensors
    for whole in frozen:
        part, _, name = whole.partition(".")
        if part == "encoder" and (random is None or name in random):
            words = name.split(".")
            modules[".".join(words[:3] if words[1] == "layers" else words[:1])] = None
    if modules:
        yield (
            f"freeze {policy}: {', '.join(modules)} is random, not from pretrained weights, and would stay "
            f"so; freeze less"
        )
