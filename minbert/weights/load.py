"""Weights between files and the model: the table of names, a strict load with a full report, and the save.

Only safetensors files are read; nothing in them can run code.
"""

import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from minbert.errors import InputError
from minbert.files import atomic_write
from minbert.weights.hub import INDEX_FILE, PICKLE_FILE, WEIGHTS_FILE, read_shards

# A module's name in minbert, in Hugging Face's BertModel, in the CS224N starter code.
_LAYER_NAMES = (
    ("attention.query", "attention.self.query", "self_attention.query"),
    ("attention.key", "attention.self.key", "self_attention.key"),
    ("attention.value", "attention.self.value", "self_attention.value"),
    ("attention.output", "attention.output.dense", "attention_dense"),
    ("attention_norm", "attention.output.LayerNorm", "attention_layer_norm"),
    ("feed_forward.intermediate", "intermediate.dense", "interm_dense"),
    ("feed_forward.output", "output.dense", "out_dense"),
    ("feed_forward_norm", "output.LayerNorm", "out_layer_norm"),
)
MODULE_NAMES = (  # {} is the layer's number
    ("embeddings.word", "embeddings.word_embeddings", "word_embedding"),
    ("embeddings.position", "embeddings.position_embeddings", "pos_embedding"),
    ("embeddings.token_type", "embeddings.token_type_embeddings", "tk_type_embedding"),
    ("embeddings.norm", "embeddings.LayerNorm", "embed_layer_norm"),
    *(
        (f"encoder.layers.{{}}.{ours}", f"encoder.layer.{{}}.{hugging_face}", f"bert_layers.{{}}.{course}")
        for ours, hugging_face, course in _LAYER_NAMES
    ),
    ("pooler.dense", "pooler.dense", "pooler_dense"),
)
_TO_OURS = {theirs: ours for ours, *others in MODULE_NAMES for theirs in others}
_TO_HUGGING_FACE = {ours: hugging_face for ours, hugging_face, _ in MODULE_NAMES}
_ADAPTER = re.compile(r"\.adapters\.|\.head_layers\.")
_LORA = re.compile(r"encoder\.layers\.\d+\..*\.adapters\.")
# Parts of BERT checkpoints outside the encoder: pre-training and task heads, an old buffer.
_IGNORED = re.compile(r"(cls|classifier|qa_outputs)\..*|(embeddings\.)?position_ids")


@dataclass(frozen=True)
class LoadReport:
    """Report of a load, by tensor name: `renamed` from an older spelling, `ignored` as not the encoder's.

    `missing` is empty, or holds the pooler's tensors, the only ones that weights may lack. `fresh` are those
    that the caller's configuration has and the folder's has not: layers on top, parts of variants.
    """

    renamed: tuple[str, ...]
    ignored: tuple[str, ...]
    missing: tuple[str, ...]
    fresh: tuple[str, ...] = ()


def our_name(name: str) -> str:
    """A tensor's name in this model, from its name in a file: `bert.` prefixes, gamma and beta understood."""
    name = name.removeprefix("bert.")
    module, _, kind = name.rpartition(".")
    if module.rpartition(".")[2] == "LayerNorm":
        kind = {"gamma": "weight", "beta": "bias"}.get(kind, kind)
    return f"{_translate(module, _TO_OURS)}.{kind}" if module else name


def hugging_face_name(name: str) -> str:
    """The name of one of our tensors in a file of transformers' BertModel."""
    module, _, kind = name.rpartition(".")
    return f"{_translate(module, _TO_HUGGING_FACE)}.{kind}"


def _translate(module: str, table: dict[str, str]) -> str:
    pattern = re.sub(r"\.\d+\.", ".{}.", module, count=1)
    number = re.search(r"\.(\d+)\.", module)
    translated = table.get(pattern, module)
    return translated.format(number[1]) if number and pattern in table else translated


def load_weights(model: nn.Module, folder: Path, added: Collection[str] | None = None) -> LoadReport:
    """Puts the tensors of a folder into a BertModel on the meta device, as fp32 copies that can be trained.

    If the model's configuration is not the folder's, `added` names the tensors that the folder need not
    have; these, like a pooler's, may stay on the meta device.
    Raises InputError that lists all missing, unexpected and mis-shaped tensors; nothing is loaded then.
    """
    described = "config.json" if added is None else "the given configuration"
    added = added or ()
    expected = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    found: dict[str, Tensor] = {}
    renamed, ignored, problems = [], [], []
    for path in _weight_files(folder):
        for name, tensor in read_tensors(path).items():
            ours = our_name(name)
            if _IGNORED.fullmatch(name.removeprefix("bert.")):
                ignored.append(name)
            elif ours not in expected:
                problems.append(f"unexpected {name} {tuple(tensor.shape)}")
            elif ours in found:
                problems.append(f"{name} stands for {ours}, which another tensor gave already")
            else:
                found[ours] = tensor
                problems += misfits(name, tensor, expected[ours], described)
                if hugging_face_name(ours) != name.removeprefix("bert."):
                    renamed.append(name)
    missing = [name for name in expected if name not in found and name not in added]
    problems += [f"missing {hugging_face_name(name)}" for name in missing if not _may_lack(name, missing)]
    if problems:
        raise InputError(
            f"{folder} does not hold the weights that {described} describes: {'; '.join(problems)}; "
            f"check num_hidden_layers, hidden_size and vocab_size, or fetch the folder again"
        )
    copies = {name: tensor.to(torch.float32, copy=True) for name, tensor in found.items()}
    model.load_state_dict(copies, strict=False, assign=True)
    fresh = tuple(name for name in expected if name in added and name not in found)
    return LoadReport(tuple(renamed), tuple(ignored), tuple(missing), fresh)


def misfits(name: str, tensor: Tensor, shape: tuple[int, ...], described: str) -> list[str]:
    """Lists what is wrong with a tensor that should have floating-point numbers of the described shape."""
    if tuple(tensor.shape) != shape:
        return [f"{name} has shape {tuple(tensor.shape)}; {described} says {shape}"]
    return [] if tensor.is_floating_point() else [f"{name} holds {tensor.dtype}, not floating-point numbers"]


def _may_lack(name: str, missing: list[str]) -> bool:
    """The pooler may be missing, but only as a whole."""
    return name.startswith("pooler.") and {"pooler.dense.weight", "pooler.dense.bias"} <= set(missing)


def save_weights(model: nn.Module, folder: Path, base_only: bool = False) -> None:
    """Writes model.safetensors under Hugging Face's names, as fp32 or whatever the parameters are.

    Tensors of adapters within attention are left out.
    Raises InputError for a model with LoRA adapters, unless they are to be left out: `base_only`.
    """
    tensors = model.state_dict()
    lora = [name for name in tensors if _LORA.match(name)]
    if lora and not base_only:
        raise InputError(
            f"the model has LoRA adapters ({lora[0]}, ...), which its weights do not include; merge_lora it "
            f"first, or save the rest with base_only=True and the adapters by save_lora"
        )
    kept = {hugging_face_name(name): tensor for name, tensor in tensors.items() if not _ADAPTER.search(name)}
    write_tensors(kept, folder / WEIGHTS_FILE)


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
        raise InputError(f"{path} is damaged ({error}); fetch it again") from None


def _weight_files(folder: Path) -> list[Path]:
    """Returns model.safetensors, or the shards that its index names."""
    if (folder / WEIGHTS_FILE).is_file():
        return [folder / WEIGHTS_FILE]
    if (folder / INDEX_FILE).is_file():
        return [folder / name for name in read_shards(folder / INDEX_FILE)]
    pickled = f" ({PICKLE_FILE} is a pickle, which is not read)" if (folder / PICKLE_FILE).is_file() else ""
    raise InputError(f"{folder} holds no {WEIGHTS_FILE}{pickled}; fetch the folder with its safetensors file")
