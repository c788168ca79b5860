"""A starter's checkpoint as a folder of weights: the encoder and, where it is understood, the sentiment head.

The names of the encoder's tensors are the course's own, ours, or those of transformers. Heads are the
student's, with names and shapes of their own making: only a linear layer from a sentence vector to five
classes is understood, where no other tensor can stand before or after it.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from minbert import (
    BertConfig,
    BertModel,
    InputError,
    Tokenizer,
    atomic_folder,
    find_folder,
    load_hugging_face_state_dict,
    our_name,
)
from multitask.config.task_config import task_config
from multitask.config.task_kinds import make_task
from multitask.course.starter_checkpoint import StarterCheckpoint, is_buffer, read_starter_checkpoint
from multitask.inference.checkpoint import save_model
from multitask.model.multitask_model import MultitaskModel

ENCODER = "bert."
CLASSES = 5
# The word embeddings as the course's encoder, ours and transformers' have them.
WORDS = ("word_embedding.weight", "embeddings.word.weight", "embeddings.word_embeddings.weight")
LAYERS = ("encoder.", "bert_layers.")  # what names of tensors in layers begin with
SHOWN = 3  # names in one line of the report


@dataclass
class Report:
    """Report on an imported checkpoint; `left` are the shapes of the tensors that were not imported."""

    out: str
    encoder: int = 0
    sentiment: str | None = None
    left: dict[str, tuple[int, ...]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        return {**vars(self), "left": {name: list(shape) for name, shape in self.left.items()}}

    def lines(self) -> list[str]:
        """Returns the report as text."""
        lines = [f"imported the encoder: {self.encoder} tensors"]
        if self.sentiment:
            lines.append(
                f"imported the head of sst: {self.sentiment}, as a linear layer on the pooler's output"
            )
        lines += [f"not imported: {name} {shape}" for name, shape in self.left.items()]
        return [*lines, *self.notes, f"wrote {self.out}"]


class NoTokenizer:
    """Stands for the tokenizer of a checkpoint without one; writes nothing."""

    def save_pretrained(self, folder: Path) -> None:
        pass


def convert(file: str | Path, out: str | Path, weights: str | None = None) -> Report:
    """Reads a starter's checkpoint and writes the folder `out`, whole or not at all.

    `weights` is a folder with tokenizer and config.json, that of the weights that training began with.
    Raises InputError for tensors that are not BERT's, with the whole list, and for a wrong folder.
    """
    out = Path(out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out} exists already; choose another folder")
    saved = read_starter_checkpoint(file)
    report = Report(str(out))
    prefix = find_encoder(saved, str(file))
    folder = find_folder(weights) if weights else None
    encoder, extra = load_encoder(saved, prefix, folder, str(file))
    tokenizer = Tokenizer.from_pretrained(folder) if folder else NoTokenizer()
    if folder and tokenizer.vocab_size != encoder.config.vocab_size:
        raise InputError(
            f"the tokenizer of {folder} has {tokenizer.vocab_size} tokens, the checkpoint "
            f"{encoder.config.vocab_size}; give the folder of the weights that training began with"
        )
    others = {
        name: tensor for name, tensor in saved.tensors.items() if name in extra or not name.startswith(prefix)
    }
    report.encoder = len(saved.tensors) - len(others)
    unused = [name for name in others if name in saved.untrained] if saved.trained(prefix) else []
    others = {name: tensor for name, tensor in others.items() if name not in unused}
    report.sentiment, report.notes = find_sentiment(others, encoder.config.hidden_size)
    model, facts = make_model(encoder, saved, report.sentiment)
    taken = (f"{report.sentiment}.weight", f"{report.sentiment}.bias")
    report.left = {name: tuple(tensor.shape) for name, tensor in others.items() if name not in taken}
    if unused:
        report.notes.append(f"left out as unused, since training gave them no gradient: {_listed(unused)}")
    report.notes += _notes(saved, folder, report)
    with atomic_folder(out) as partial:
        if facts:
            save_model(partial, model, tokenizer, facts)
        else:
            encoder.save_pretrained(partial)
            tokenizer.save_pretrained(partial)
    return report


def find_encoder(saved: StarterCheckpoint, file: str) -> str:
    """Returns what the names of the encoder's tensors begin with: of several, the trained one, or `bert.`."""
    found = sorted(
        {
            name.removesuffix(words)
            for name in saved.tensors
            for words in WORDS
            if f".{name}".endswith(f".{words}")
        }
    )
    if not found:
        raise InputError(
            f"{file} has no tensor {ENCODER}{WORDS[0]}, and so no encoder of the course's; it holds "
            f"{', '.join(list(saved.tensors)[:5])}, ..."
        )
    trained = [prefix for prefix in found if saved.trained(prefix)]
    if len(trained) == 1 or len(found) == 1:
        return (trained or found)[0]
    if ENCODER in found:
        return ENCODER
    raise InputError(
        f"{file} holds {len(found)} encoders, under {' and '.join(map(repr, found))}; save the one that is "
        f"wanted: torch.save(model.ATTRIBUTE.state_dict(), FILE)"
    )


def load_encoder(
    saved: StarterCheckpoint, prefix: str, folder: Path | None, file: str
) -> tuple[BertModel, list[str]]:
    """Loads the model as strictly as any other weights; returns it and the names of tensors that it has not.

    Raises InputError with all that does not fit, and for tensors in a layer that BERT's does not have, unless
    training gave them no gradient and the rest some.
    """
    names = {name: our_name(name.removeprefix(prefix)) for name in saved.tensors if name.startswith(prefix)}
    tensors = {ours: saved.tensors[name] for name, ours in names.items()}
    model = BertModel(encoder_config(tensors, folder, file, f"{prefix}{WORDS[0]}" in names))
    expected = model.state_dict().keys()
    extra = [name for name, ours in names.items() if ours not in expected and not is_buffer(name)]
    unused = saved.untrained if saved.trained(prefix) else ()
    unknown = [name for name in extra if names[name].startswith(LAYERS) and name not in unused]
    if unknown:
        raise InputError(
            f"{file}: layers of the encoder have what BERT's have not: {_listed(unknown)}; if forward does "
            f"not use them, delete them from the state_dict, else the encoder cannot be imported"
        )
    try:
        report = load_hugging_face_state_dict(model, {n: t for n, t in tensors.items() if n in expected})
    except InputError as error:
        message = str(error).replace("the state dict", file).partition("; check the number of layers")[0]
        raise InputError(f"{message}; is the encoder the course's?") from None
    if report.missing:
        model.pooler = None
    return model.eval(), extra


def encoder_config(
    tensors: Mapping[str, Tensor], folder: Path | None, file: str, course: bool = True
) -> BertConfig:
    """Reads the sizes from the tensors' shapes, which do not tell the number of attention heads.

    `tensors` have our names; with `course` they are of the course's code, and so BERT's. The heads' number is
    the folder's, in its config.json; without a folder it is that of bert-base-uncased, by the hidden size.
    """
    try:
        vocabulary, hidden = tensors["embeddings.word.weight"].shape
        sizes = {
            "vocab_size": vocabulary,
            "hidden_size": hidden,
            "num_hidden_layers": len(
                {name.split(".")[2] for name in tensors if name.startswith("encoder.layers.")}
            ),
            "intermediate_size": tensors["encoder.layers.0.feed_forward.intermediate.weight"].shape[0],
            "max_position_embeddings": tensors["embeddings.position.weight"].shape[0],
            "type_vocab_size": tensors["embeddings.token_type.weight"].shape[0],
        }
    except (KeyError, ValueError, IndexError) as error:
        raise InputError(f"{file} lacks tensors of the course's encoder: {error}; is it whole?") from None
    if folder is not None:
        found = BertConfig.from_folder(folder)
        if course and found.model_type != "bert":
            raise InputError(
                f"{folder} holds a {found.family.name}, and the checkpoint is of the course's BERT; give the "
                f"folder of the weights that training began with"
            )
        if found.hidden_size != hidden:
            raise InputError(
                f"the hidden size of {folder} is {found.hidden_size}, that of the checkpoint {hidden}; give "
                f"the folder of the weights that training began with"
            )
        return replace(found, **sizes)
    if hidden != BertConfig.hidden_size:
        raise InputError(
            f"{file} does not say how many attention heads it has, and its hidden size {hidden} is not "
            f"that of bert-base-uncased; give --tokenizer the folder of the weights that training began with"
        )
    return BertConfig(**sizes)


def find_sentiment(tensors: Mapping[str, Tensor], hidden_size: int) -> tuple[str | None, list[str]]:
    """Returns the one linear layer from a sentence vector to five classes, where it is sure to be the head.

    It is not where another tensor can stand before it, as of a second layer, or after it; a note says so.
    """
    found = [
        name.removesuffix(".weight")
        for name, tensor in tensors.items()
        if name.endswith(".weight")
        and tuple(tensor.shape) == (CLASSES, hidden_size)
        and tuple(getattr(tensors.get(f"{name.removesuffix('weight')}bias"), "shape", ())) == (CLASSES,)
    ]
    if not found:
        return None, []
    head = found[0]
    doubts = [
        f"{name} {tuple(tensor.shape)}"
        for name, tensor in tensors.items()
        if name not in (f"{head}.weight", f"{head}.bias")
        and (name.startswith(f"{head}.") or _may_touch(name, tensor, hidden_size))
    ]
    if not doubts:
        return head, []
    return None, [
        f"{head}, a linear layer to {CLASSES} classes, is not imported as the head of sst, which may have "
        f"more to it than this layer: {_listed(doubts)}"
    ]


def _may_touch(name: str, tensor: Tensor, hidden_size: int) -> bool:
    """True if a module with this tensor can give a sentence vector, or take five logits."""
    if not tensor.ndim:
        return False
    gives_vector = tensor.shape[0] % hidden_size == 0 or tensor.ndim > 2
    gives_vector |= tensor.ndim == 2 and name.rpartition(".")[2] != "weight"
    return gives_vector or tensor.shape[-1] == CLASSES


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def make_model(
    encoder: BertModel, saved: StarterCheckpoint, sentiment: str | None
) -> tuple[MultitaskModel, dict[str, dict[str, Any]]]:
    """Returns the encoder with the sentiment head, where one was found, and its facts for heads.json."""
    if sentiment is None:
        return MultitaskModel(encoder, {}), {}
    rate = saved.model_config.get("hidden_dropout_prob")
    dropout = {"dropout": float(rate)} if isinstance(rate, float) and 0 <= rate < 1 else {}
    task = make_task("sst", task_config("sst", {"pooling": "pooler", **dropout}))
    model = MultitaskModel(encoder, {"sst": task})
    linear = model.heads["sst"][-1]
    linear.load_state_dict({kind: saved.tensors[f"{sentiment}.{kind}"] for kind in ("weight", "bias")})
    return model, {"sst": {"config": vars(task.config), "labels": list(task.labels)}}


def _notes(saved: StarterCheckpoint, folder: Path | None, report: Report) -> list[str]:
    notes = []
    if saved.args:
        known = {name: value for name, value in saved.args.items() if isinstance(value, str | int | float)}
        notes.append(f"it was trained with {json.dumps(known)}")
    if folder is None:
        notes.append(
            f"{report.out} has no tokenizer, which encoding and training need; copy vocab.txt of the weights "
            f"that training began with into it, or import again with --tokenizer"
        )
    if report.left:
        notes.append("what was not imported starts anew: multitask train --weights " + report.out)
    return notes
