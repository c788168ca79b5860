"""A starter's checkpoint as a folder of weights: the encoder and, where it is understood, the sentiment head.

The names of the encoder's tensors are the course's own. Heads are the student's, with names and shapes of
their own making: only a linear layer from a sentence vector to five classes is understood.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from torch import Tensor

from minbert import BertConfig, BertModel, InputError, Tokenizer, atomic_folder, find_folder, write_tensors
from multitask.config.task_config import task_config
from multitask.config.task_kinds import make_task
from multitask.course.starter_checkpoint import StarterCheckpoint, read_starter_checkpoint
from multitask.inference.checkpoint import save_model
from multitask.model.multitask_model import MultitaskModel

ENCODER = "bert."
CLASSES = 5


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
    encoder_tensors, others = split_encoder(saved.tensors, str(file))
    folder = find_folder(weights) if weights else None
    encoder = load_encoder(encoder_tensors, folder, str(file))
    tokenizer = Tokenizer.from_pretrained(folder) if folder else NoTokenizer()
    if folder and tokenizer.vocab_size != encoder.config.vocab_size:
        raise InputError(
            f"the tokenizer of {folder} has {tokenizer.vocab_size} tokens, the checkpoint "
            f"{encoder.config.vocab_size}; give the folder of the weights that training began with"
        )
    report.encoder = len(encoder_tensors)
    report.sentiment = find_sentiment(others, encoder.config.hidden_size)
    model, facts = make_model(encoder, saved, report.sentiment)
    taken = (f"{report.sentiment}.weight", f"{report.sentiment}.bias")
    report.left = {name: tuple(tensor.shape) for name, tensor in others.items() if name not in taken}
    report.notes = _notes(saved, folder, report)
    with atomic_folder(out) as partial:
        if facts:
            save_model(partial, model, tokenizer, facts)
        else:
            encoder.save_pretrained(partial)
            tokenizer.save_pretrained(partial)
    return report


def split_encoder(tensors: Mapping[str, Tensor], file: str) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Returns the encoder's tensors, without the name of the student's attribute, and all others."""
    prefix = "" if "word_embedding.weight" in tensors else ENCODER
    if f"{prefix}word_embedding.weight" not in tensors:
        raise InputError(
            f"{file} has no tensor {ENCODER}word_embedding.weight, and so no encoder of the course's; it "
            f"holds {', '.join(list(tensors)[:5])}, ..."
        )
    if not prefix:
        return dict(tensors), {}
    inside = {
        name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)
    }
    return inside, {name: tensor for name, tensor in tensors.items() if not name.startswith(prefix)}


def load_encoder(tensors: Mapping[str, Tensor], folder: Path | None, file: str) -> BertModel:
    """Loads the model as strictly as any other weights. Raises InputError with all that does not fit."""
    config = encoder_config(tensors, folder, file)
    with TemporaryDirectory(prefix="minbert-import-") as temporary:
        config.save(temporary)
        write_tensors(dict(tensors), Path(temporary) / "model.safetensors")
        try:
            return BertModel.from_pretrained(temporary)
        except InputError as error:
            message = str(error).replace(temporary, file).partition("; check the number of layers")[0]
            raise InputError(f"{message}; is the encoder the course's?") from None


def encoder_config(tensors: Mapping[str, Tensor], folder: Path | None, file: str) -> BertConfig:
    """Reads the sizes from the tensors' shapes, which do not tell the number of attention heads.

    They are read from the folder's config.json; without a folder from the hidden size of bert-base-uncased.
    """
    try:
        vocabulary, hidden = tensors["word_embedding.weight"].shape
        sizes = {
            "vocab_size": vocabulary,
            "hidden_size": hidden,
            "num_hidden_layers": len(
                {name.split(".")[1] for name in tensors if name.startswith("bert_layers.")}
            ),
            "intermediate_size": tensors["bert_layers.0.interm_dense.weight"].shape[0],
            "max_position_embeddings": tensors["pos_embedding.weight"].shape[0],
            "type_vocab_size": tensors["tk_type_embedding.weight"].shape[0],
        }
    except (KeyError, ValueError, IndexError) as error:
        raise InputError(f"{file} lacks tensors of the course's encoder: {error}; is it whole?") from None
    if folder is not None:
        found = BertConfig.from_folder(folder)
        if found.model_type != "bert":
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


def find_sentiment(tensors: Mapping[str, Tensor], hidden_size: int) -> str | None:
    """Returns the one linear layer from a sentence vector to five classes; None for none, or several."""
    found = [
        name.removesuffix(".weight")
        for name, tensor in tensors.items()
        if name.endswith(".weight") and tuple(tensor.shape) == (CLASSES, hidden_size)
    ]
    found = [name for name in found if tuple(getattr(tensors.get(f"{name}.bias"), "shape", ())) == (CLASSES,)]
    return found[0] if len(found) == 1 else None


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
