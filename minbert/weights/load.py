"""Weights between files and the model: the table of names, a strict load with a full report, and the save.

Only safetensors files are read; nothing in them can run code.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from minbert.errors import InputError
from minbert.files import atomic_write, damaged
from minbert.weights.course_names import COURSE
from minbert.weights.families.bert import BERT
from minbert.weights.families.family import Family
from minbert.weights.families.registry import WORD_EMBEDDINGS
from minbert.weights.files import WEIGHTS_FILE, weight_files

_ADAPTER = re.compile(r"\.adapters\.|\.head_layers\.")
_LORA = re.compile(r"(encoder\.layers\.\d+\..*|pooler\.dense)\.adapters\.")
_BUFFER = re.compile(r"(^|\.)(position_ids|token_type_ids)$")
_WORDS = (WORD_EMBEDDINGS, f"{COURSE['embeddings.word']}.weight")
SHOWN = 8  # names or problems in one message


@dataclass(frozen=True)
class LoadReport:
    """Report of a load, by tensor name: `renamed` from an older spelling, `ignored` as not the encoder's.

    `missing` is empty, or holds the pooler's tensors, the only ones that weights may lack. `fresh` are those
    that the caller's configuration has and the folder's has not: layers on top, parts of variants. `above`
    are those of layers that the file has above `num_hidden_layers`, `prefix` what stood before all names.
    """

    renamed: tuple[str, ...]
    ignored: tuple[str, ...]
    missing: tuple[str, ...]
    fresh: tuple[str, ...] = ()
    above: tuple[str, ...] = ()
    prefix: str = ""

    @property
    def notes(self) -> list[str]:
        """Notes for the user: the prefix, tensors and layers that were left out."""
        notes = []
        if self.above:
            notes.append(
                f"the weights have more layers than num_hidden_layers; {len(self.above)} tensors are left out"
            )
        if self.prefix:
            notes.append(f"the encoder is what the weights have under {self.prefix!r}")
        weights = [name for name in self.ignored if not _BUFFER.search(name)]
        if weights:
            notes.append(f"left out of the weights as not the encoder's: {listed(weights, shown=3)}")
        return notes


def listed(names: Sequence[str], shown: int = SHOWN, separator: str = ", ") -> str:
    """Returns the first names, and how many more there are."""
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return separator.join(names[:shown]) + more


def our_name(name: str, family: Family = BERT) -> str:
    """A tensor's name in this model, from its name in a file: with or without the family's prefix.

    Understands gamma and beta of old BERTs too.
    """
    name = name.removeprefix(f"{family.prefix}.")
    module, _, kind = name.rpartition(".")
    if module.rpartition(".")[2] == "LayerNorm":
        kind = {"gamma": "weight", "beta": "bias"}.get(kind, kind)
    table = {theirs: ours for ours, theirs in family.modules.items()}
    if family is BERT:
        table |= {theirs: ours for ours, theirs in COURSE.items()}
    return f"{_translate(module, table)}.{kind}" if module else name


def hugging_face_name(name: str, family: Family = BERT) -> str:
    """The name of one of our tensors in a file of transformers' base model of the family."""
    module, _, kind = name.rpartition(".")
    return f"{_translate(module, family.modules)}.{kind}"


def _translate(module: str, table: Mapping[str, str]) -> str:
    pattern = re.sub(r"\.\d+\.", ".{}.", module, count=1)
    number = re.search(r"\.(\d+)\.", module)
    translated = table.get(pattern, module)
    return translated.format(number[1]) if number and pattern in table else translated


def load_weights(
    model: nn.Module,
    folder: Path,
    added: Collection[str] | None = None,
    prefix: str | None = None,
    strict: bool = False,
) -> LoadReport:
    """Puts the tensors of a folder into a BertModel on the meta device; see `load_tensors`.

    If the model's configuration is not the folder's, `added` names the tensors that the folder need not
    have; these, like a pooler's, may stay on the meta device.
    """
    tensors = {name: tensor for path in weight_files(folder) for name, tensor in read_tensors(path).items()}
    described = "config.json" if added is None else "the given configuration"
    return load_tensors(model, tensors, str(folder), described, added or (), prefix, strict)


def load_hugging_face_state_dict(model: nn.Module, tensors: Mapping[str, Tensor]) -> LoadReport:
    """Copies tensors named as in transformers, with or without a head's prefix, into a BertModel.

    Raises InputError, and changes nothing, where one of the encoder is missing, unexpected or mis-shaped.
    """
    return load_tensors(model, tensors, "the state dict", "the model's configuration")


def hugging_face_state_dict(model: nn.Module) -> dict[str, Tensor]:
    """Returns a BertModel's state dict by the names of transformers' base model; adapters are left out."""
    family, tensors = model.config.family, model.state_dict()
    return {
        hugging_face_name(name, family): tensor
        for name, tensor in tensors.items()
        if not _ADAPTER.search(name)
    }


def load_tensors(
    model: nn.Module,
    tensors: Mapping[str, Tensor],
    source: str,
    described: str,
    added: Collection[str] = (),
    prefix: str | None = None,
    strict: bool = False,
) -> LoadReport:
    """Puts the tensors of a file into a BertModel, as fp32 copies that can be trained.

    The encoder's are those with the `prefix`, by default what stands before the name of the word embeddings;
    others, and those of its heads, are left out and reported, or with `strict` refused.
    Raises InputError that lists missing, unexpected and mis-shaped tensors, and for the tensors of several
    encoders without a `prefix`; nothing is loaded then.
    """
    family = model.config.family
    expected = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    prefix = _prefix(tensors, source, family, prefix)
    inside = {theirs.partition(".")[0] for theirs in family.modules.values()}
    inside |= {theirs.partition(".")[0] for theirs in COURSE.values()} if family is BERT else set()
    found: dict[str, Tensor] = {}
    renamed, ignored, above, problems = [], [], [], []
    for name, tensor in tensors.items():
        inner = name.removeprefix(prefix)
        ours = our_name(inner, family)
        if not name.startswith(prefix) or inner.partition(".")[0] not in inside or _BUFFER.search(inner):
            ignored.append(name)
        elif ours not in expected and _layer(ours) >= model.config.num_hidden_layers:
            above.append(name)
        elif ours not in expected:
            problems.append(f"unexpected {name} {tuple(tensor.shape)}")
        elif ours in found:
            problems.append(f"{name} stands for {ours}, which another tensor gave already")
        else:
            found[ours] = tensor
            problems += misfits(name, tensor, expected[ours], described)
            if hugging_face_name(ours, family) != inner:
                renamed.append(name)
    missing = [name for name in expected if name not in found and name not in added]
    problems += [
        f"missing {prefix}{hugging_face_name(name, family)}"
        for name in missing
        if not _may_lack(name, missing)
    ]
    if strict:
        problems += [f"{name} is not the encoder's" for name in ignored]
    if problems:
        under = f", under {prefix!r}," if prefix else ""
        raise InputError(
            f"{source} does not hold{under} the weights of the {family.name} that {described} describes: "
            f"{listed(problems, separator='; ')}; check the number of layers, the hidden size and the "
            f"vocabulary's, or fetch it again"
        )
    copies = {name: tensor.to(torch.float32, copy=True) for name, tensor in found.items()}
    on_meta = any(parameter.is_meta for parameter in model.parameters())
    model.load_state_dict(copies, strict=False, assign=on_meta)
    fresh = tuple(name for name in expected if name in added and name not in found)
    return LoadReport(tuple(renamed), tuple(ignored), tuple(missing), fresh, tuple(above), prefix)


def _prefix(tensors: Collection[str], source: str, family: Family, given: str | None) -> str:
    """Returns what stands before the names of the encoder's tensors; `given` may lack the last dot.

    Raises InputError for several encoders of which none is named, and for one that is not there.
    """
    found = sorted(
        {name.removesuffix(words) for name in tensors for words in _WORDS if f".{name}".endswith(f".{words}")}
    )
    if given is not None:
        for prefix in found:
            if given in (prefix, prefix.removesuffix(".")):
                return prefix
        there = listed([repr(prefix) for prefix in found if prefix])
        hint = f"give one of {there}" if there else "leave the prefix out"
        raise InputError(f"{source} holds no encoder under {given!r}; {hint}")
    if len(found) > 1:
        raise InputError(
            f"{source} holds {len(found)} encoders, under {' and '.join(map(repr, found))}; choose one by "
            f"--weights-prefix (weights_prefix in Python)"
        )
    usual = f"{family.prefix}."  # where the word embeddings are missing, to say so
    return next(iter(found), usual if any(name.startswith(usual) for name in tensors) else "")


def _layer(name: str) -> int:
    """Returns the number of the layer that one of our tensors belongs to; -1 for others."""
    match = re.match(r"encoder\.layers\.(\d+)\.", name)
    return int(match[1]) if match else -1


def misfits(name: str, tensor: Tensor, shape: tuple[int, ...], described: str) -> list[str]:
    """Lists what is wrong with a tensor that should have floating-point numbers of the described shape."""
    if tuple(tensor.shape) != shape:
        return [f"{name} has shape {tuple(tensor.shape)}; {described} says {shape}"]
    return [] if tensor.is_floating_point() else [f"{name} holds {tensor.dtype}, not floating-point numbers"]


def _may_lack(name: str, missing: list[str]) -> bool:
    """The pooler may be missing, but only as a whole."""
    return name.startswith("pooler.") and {"pooler.dense.weight", "pooler.dense.bias"} <= set(missing)


def save_weights(model: nn.Module, folder: Path, base_only: bool = False) -> None:
    """Writes model.safetensors as transformers' base model of the family does, in the parameters' types.

    Tensors of adapters within attention are left out.
    Raises InputError for a model with LoRA adapters, unless they are to be left out: `base_only`.
    """
    lora = [name for name in model.state_dict() if _LORA.match(name)]
    if lora and not base_only:
        raise InputError(
            f"the model has LoRA adapters ({lora[0]}, ...), which its weights do not include; merge_lora it "
            f"first, or save the rest with base_only=True and the adapters by save_lora"
        )
    write_tensors(hugging_face_state_dict(model), folder / WEIGHTS_FILE)


def write_tensors(tensors: dict[str, Tensor], path: Path) -> None:
    """Writes a safetensors file as transformers wants it (metadata `format: pt`), whole or not at all."""
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with atomic_write(path, "wb") as file:
        file.write(save(plain, metadata={"format": "pt"}))


def read_tensors(path: Path) -> dict[str, Tensor]:
    """All tensors of a safetensors file, memory-mapped. Raises InputError for a missing or damaged file."""
    if not path.is_file():
        raise InputError(f"there is no file {path}; fetch the folder again")
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}
    except (SafetensorError, OSError, RuntimeError) as error:
        raise damaged(path, f"is damaged ({error})") from None
