"""The starter's checkpoints, made from transformers' BERT under the course's names; and files that do harm.

Run: pytest tests/multitask/cli/test_import_checkpoint.py
"""

import argparse
import collections
import json
import os
import random
import re
import types
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from transformers import BertConfig as ReferenceConfig
from transformers import BertModel as Reference

from minbert import (
    AdamW,
    BertConfig,
    BertModel,
    CommandParser,
    InputError,
    SentenceEncoder,
    Tokenizer,
)
from multitask import RunConfig, train
from multitask.cli.import_checkpoint import add_import_checkpoint_options, import_checkpoint_command
from multitask.course.conversion import encoder_config
from multitask.inference.run import open_source

# From transformers' names to the course's.
NAMES = {
    "embeddings.word_embeddings": "word_embedding",
    "embeddings.position_embeddings": "pos_embedding",
    "embeddings.token_type_embeddings": "tk_type_embedding",
    "embeddings.LayerNorm": "embed_layer_norm",
    "attention.self": "self_attention",
    "attention.output.dense": "attention_dense",
    "attention.output.LayerNorm": "attention_layer_norm",
    "intermediate.dense": "interm_dense",
    "output.dense": "out_dense",
    "output.LayerNorm": "out_layer_norm",
    "encoder.layer": "bert_layers",
    "pooler.dense": "pooler_dense",
}


def course_names(tensors):
    renamed = {}
    for name, tensor in tensors.items():
        for theirs, ours in NAMES.items():
            name = re.sub(rf"(^|\.){re.escape(theirs)}\.", rf"\1{ours}.", name)
        renamed[f"bert.{name}"] = tensor
    return renamed


@pytest.fixture(scope="module")
def reference(vocabulary, randomize):
    config = ReferenceConfig(
        vocab_size=len(vocabulary),
        hidden_size=24,
        num_hidden_layers=2,
        num_attention_heads=3,
        intermediate_size=40,
        max_position_embeddings=64,
    )
    model = Reference(config).eval()
    randomize(model)
    return model


@pytest.fixture
def saved(reference):
    """What the starter's save_model writes, with heads of a student's making."""
    torch.manual_seed(1)
    heads = {
        "sentiment_linear": nn.Linear(24, 5),
        "para": nn.Linear(48, 1),
        "sts": nn.Linear(48, 1, bias=False),
    }
    tensors = collections.OrderedDict(course_names(reference.state_dict()))
    tensors["bert.position_ids"] = torch.arange(64)[None]
    for name, head in heads.items():
        tensors |= {f"{name}.{kind}": value for kind, value in head.state_dict().items()}
    optimizer = torch.optim.AdamW(heads["para"].parameters())
    heads["para"](torch.ones(1, 48)).sum().backward()
    optimizer.step()
    return {
        "model": tensors,
        "optim": optimizer.state_dict(),
        "args": argparse.Namespace(lr=1e-5, option="finetune", epochs=10, use_gpu=False, sst_train="x.csv"),
        "model_config": types.SimpleNamespace(hidden_dropout_prob=0.3, hidden_size=24, num_labels={0: 0}),
        "system_rng": random.getstate(),
        "numpy_rng": np.random.RandomState(3).get_state(),
        "torch_rng": torch.random.get_rng_state(),
    }


def command(*words):
    parser = CommandParser(prog="multitask import-checkpoint")
    add_import_checkpoint_options(parser)
    return import_checkpoint_command(parser.parse_args([str(word) for word in words]))


def save(values, path, new_format=True):
    torch.save(values, path, _use_new_zipfile_serialization=new_format)
    return path


def test_encoder_and_sentiment_head_are_the_checkpoints(
    saved, reference, texts, tiny_folder, tiny_config, tmp_path, capsys
):
    file = save(saved, tmp_path / "finetune-10-1e-05-multitask.pt")
    words = ("--trust", "--tokenizer", tiny_folder)
    command(file, tmp_path / "out", *words, "--json")
    report = json.loads(capsys.readouterr().out)
    encoder = [name for name in saved["model"] if name.startswith("bert.")]
    assert (report["encoder"], report["sentiment"]) == (len(encoder), "sentiment_linear")
    assert report["out"] == str(tmp_path / "out")
    assert report["left"] == {"para.weight": [1, 48], "para.bias": [1], "sts.weight": [1, 48]}
    run = open_source(tmp_path / "out", ["sst"], device="cpu", precision="fp32")
    padded = run.tokenizer(texts).padded()
    with torch.no_grad():
        expected, found = reference(**padded), run.model.encoder(**padded)
    keep = padded["attention_mask"].bool()
    torch.testing.assert_close(
        found.last_hidden_state[keep], expected.last_hidden_state[keep], atol=1e-5, rtol=1e-5
    )
    torch.testing.assert_close(found.pooler_output, expected.pooler_output, atol=1e-5, rtol=1e-5)
    assert run.trained == ("sst",) and run.model.tasks["sst"].config.dropout == 0.3
    head = saved["model"]
    logits = expected.pooler_output @ head["sentiment_linear.weight"].T + head["sentiment_linear.bias"]
    predicted = run.predict("sst", texts)
    assert predicted == logits.argmax(dim=-1).tolist() and len(set(predicted)) > 1
    # The report as text, and training that goes on from the folder.
    command(file, tmp_path / "again", *words)
    lines = capsys.readouterr().out.splitlines()
    assert "imported the head of sst: sentiment_linear, as a linear layer on the pooler's output" in lines
    assert "not imported: para.weight (1, 48)" in lines
    assert any('"lr": 1e-05, "option": "finetune"' in line for line in lines)
    assert lines[-1] == f"wrote {tmp_path / 'again'}"
    assert SentenceEncoder.from_pretrained(tmp_path / "out").encode(["good", "dull"]).shape == (2, 24)
    values = tiny_config(train={"max_steps": 1}, tasks={"sst": {"pooling": "pooler"}}).to_dict()
    run = train(RunConfig.from_dict(values | {"weights": str(tmp_path / "out")}))
    assert set(run.scores["scores"]) == {"sst"}


@pytest.mark.parametrize("new_format", [True, False])
def test_both_of_torchs_formats_and_a_bare_state_dict(saved, tiny_folder, tmp_path, new_format, capsys):
    for name, values in (("whole", saved), ("bare", saved["model"]), ("encoder", None)):
        if values is None:
            tensors = saved["model"].items()
            values = {k.removeprefix("bert."): v for k, v in tensors if k.startswith("bert.")}
        file = save(values, tmp_path / f"{name}.pt", new_format)
        command(file, tmp_path / name, "--trust", "--tokenizer", tiny_folder)
    weights = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("whole", "bare", "encoder")]
    assert weights[0] == weights[1] == weights[2]
    assert (tmp_path / "bare" / "heads.safetensors").is_file()
    assert not (tmp_path / "encoder" / "heads.json").exists()
    with pytest.raises(Exception, match="argparse.Namespace"):  # allowed for this reading only
        torch.load(save({"args": argparse.Namespace(lr=1)}, tmp_path / "a.pt"), weights_only=True)
    if new_format:
        return
    # NumPy before its version 2 has another name, as in checkpoints of 2023.
    content = (tmp_path / "whole.pt").read_bytes()
    assert content.count(b"numpy._core.multiarray\n") == 1
    old = content.replace(b"numpy._core.multiarray\n", b"numpy.core.multiarray\n")
    (tmp_path / "old.pt").write_bytes(old)
    command(tmp_path / "old.pt", tmp_path / "old", "--trust", "--tokenizer", tiny_folder)
    assert (tmp_path / "old" / "model.safetensors").read_bytes() == weights[0]


class Harm:
    def __init__(self, function, *arguments):
        self.function, self.arguments = function, arguments

    def __reduce__(self):
        return self.function, self.arguments


@pytest.mark.parametrize(
    ("place", "new_format"), [("args", True), ("model_config", False), ("optim", True), ("model", False)]
)
def test_a_pickle_that_does_harm_runs_nothing(saved, tmp_path, place, new_format):
    for number, (function, arguments) in enumerate(
        [
            (os.system, (f"touch {tmp_path}/harm",)),
            (os.mkdir, (f"{tmp_path}/harm",)),
            (eval, (f"open('{tmp_path}/harm', 'w')",)),
            (exec, (f"open('{tmp_path}/harm', 'w')",)),
            (Path.touch, (tmp_path / "harm",)),
            (np.save, (f"{tmp_path}/harm", 1)),
        ]
    ):
        file = save(saved | {place: Harm(function, *arguments)}, tmp_path / f"{number}.pt", new_format)
        with pytest.raises(InputError, match=r"it names [\w.]+; nothing in it was run"):
            command(file, tmp_path / "out", "--trust")
        assert not (tmp_path / "harm").exists() and not (tmp_path / "out").exists()
    file = save(saved | {place: Harm(os.mkdir, f"{tmp_path}/harm")}, tmp_path / "proof.pt", new_format)
    torch.load(file, weights_only=False)
    assert (tmp_path / "harm").exists()  # it does do harm, read otherwise


def test_damaged_files_and_files_that_are_not_trusted(saved, tmp_path):
    content = save(saved, tmp_path / "a.pt").read_bytes()
    cut = [content[: int(len(content) * share)] for share in (0.1, 0.5, 0.9, 0.99)]
    for damaged in (b"", b"abc", b"PK\3\4..", b"\x80\x02}q\0.", b"\x80\x04\x95", b"\x80\x02]q", *cut):
        (tmp_path / "a.pt").write_bytes(damaged)
        with pytest.raises(InputError, match="damaged|not a checkpoint|has no model"):
            command(tmp_path / "a.pt", tmp_path / "out", "--trust")
    with pytest.raises(InputError, match="is a pickle, a format that can name any program .* with --trust"):
        command(tmp_path / "a.pt", tmp_path / "out")
    with pytest.raises(InputError, match="there is no file .*not-there.pt; give the .pt file"):
        command(tmp_path / "not-there.pt", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_what_does_not_fit(saved, tiny_folder, tmp_path):
    def refused(changes, message, *words, drop=()):
        tensors = {k: v for k, v in saved["model"].items() if k not in drop} | changes
        file = save(saved | {"model": tensors}, tmp_path / "a.pt")
        with pytest.raises(InputError, match=message):
            command(file, tmp_path / "out", "--trust", *words)
        assert not (tmp_path / "out").exists()

    tokenizer = ("--tokenizer", tiny_folder)
    layer = "bert.bert_layers.1"
    refused({}, "missing encoder.layer.1.output.dense.bias", *tokenizer, drop=[f"{layer}.out_dense.bias"])
    message = "what BERT's have not: bert.bert_layers.1.extra.weight; if forward does not use them, delete"
    refused({f"{layer}.extra.weight": torch.ones(2)}, message, *tokenizer)
    refused({f"{layer}.out_dense.bias": torch.ones(9)}, r"has shape \(9,\)", *tokenizer)
    refused({}, "has no tensor bert.word_embedding.weight", drop=["bert.word_embedding.weight"])
    refused({}, "lacks tensors of the course's encoder", drop=["bert.pos_embedding.weight"])
    refused({}, "does not say how many attention heads it has, and its hidden size 24")
    refused({"bert.word_embedding.weight": torch.ones(7, 24)}, "tokens, the checkpoint 7", *tokenizer)
    file = save({"model": {"epoch": 3}}, tmp_path / "b.pt")
    with pytest.raises(InputError, match="has no model"):
        command(file, tmp_path / "out", "--trust")
    with pytest.raises(InputError, match="there is no file"):
        command(tmp_path / "none.pt", tmp_path / "out", "--trust")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").touch()
    with pytest.raises(InputError, match="exists already"):
        command(file, tmp_path / "full", "--trust")


def test_a_head_that_is_not_sure_is_not_guessed(saved, tiny_folder, tmp_path, capsys):
    two = {"other.weight": torch.ones(5, 24), "other.bias": torch.ones(5)}
    cases = {
        "two": saved["model"] | two,
        "no-bias": {k: v for k, v in saved["model"].items() if k != "sentiment_linear.bias"},
    }
    for name, tensors in cases.items():
        file = save(saved | {"model": tensors}, tmp_path / f"{name}.pt")
        command(file, tmp_path / name, "--trust", "--tokenizer", tiny_folder, "--json")
        report = json.loads(capsys.readouterr().out)
        assert report["sentiment"] is None and report["left"]["sentiment_linear.weight"] == [5, 24]
        assert not (tmp_path / name / "heads.json").exists()


def modules(prefix="", **parts):
    """The tensors of modules by their names in a student's model."""
    return {f"{prefix}{name}": tensor for name, tensor in nn.ModuleDict(parts).state_dict().items()}


SENTIMENT = nn.Linear(24, 5)


@pytest.mark.parametrize(
    ("tensors", "named"),
    [
        (modules(sst=nn.Sequential(nn.Linear(24, 24), nn.ReLU(), nn.Linear(24, 5))), "sst.0.weight (24, 24)"),
        (modules(hidden=nn.Linear(24, 24), sst=SENTIMENT), "hidden.weight (24, 24)"),
        (modules(down=nn.Linear(24, 8), up=nn.Linear(8, 24), sst=SENTIMENT), "up.weight (24, 8)"),
        (modules(norm=nn.LayerNorm(24), sst=SENTIMENT), "norm.weight (24,)"),
        (modules(norm=nn.BatchNorm1d(24, affine=False), sst=SENTIMENT), "norm.running_mean (24,)"),
        (modules(lstm=nn.LSTM(24, 12, bidirectional=True), sst=SENTIMENT), "lstm.weight_ih_l0 (48, 24)"),
        (modules(lstm=nn.LSTM(24, 7, proj_size=3), sst=SENTIMENT), "lstm.weight_ih_l0 (28, 24)"),
        (modules(attention=nn.MultiheadAttention(24, 2), sst=SENTIMENT), "attention.in_proj_weight (72, 24)"),
        (modules(convolution=nn.Conv1d(24, 7, 3), sst=SENTIMENT), "convolution.weight (7, 24, 3)"),
        (modules(sst=SENTIMENT, after=nn.Linear(5, 5)), "after.weight (5, 5)"),
        (modules(sst=SENTIMENT, norm=nn.BatchNorm1d(5)), "norm.weight (5,)"),
        (modules(sst=SENTIMENT, after=nn.Linear(5, 3)), "after.weight (3, 5)"),
        (
            modules(sst=SENTIMENT) | {"sst.lora_a": torch.ones(2, 24), "sst.lora_b": torch.ones(5, 2)},
            "sst.lora_a",
        ),
        (modules(sst=SENTIMENT) | {"bert.gate.weight": torch.ones(24, 24)}, "bert.gate.weight (24, 24)"),
        (
            modules(shared=nn.Linear(24, 24, bias=False), sst=SENTIMENT, para=nn.Linear(48, 1)),
            "shared.weight",
        ),
    ],
)
def test_a_head_of_more_than_one_layer_is_refused_by_name(
    saved, tiny_folder, tmp_path, capsys, tensors, named
):
    encoder = {name: value for name, value in saved["model"].items() if name.startswith("bert.")}
    file = save({"model": encoder | tensors}, tmp_path / "a.pt")
    command(file, tmp_path / "out", "--trust", "--tokenizer", tiny_folder, "--json")
    report = json.loads(capsys.readouterr().out)
    assert report["sentiment"] is None and not (tmp_path / "out" / "heads.json").exists()
    [note] = [note for note in report["notes"] if "is not imported as the head of sst" in note]
    assert named in note and note.startswith("sst")
    assert report["left"].keys() == tensors.keys()


class Student(nn.Module):
    """The starter's MultitaskBERT around a BertModel of ours, with parts that nothing runs."""

    def __init__(self, folder):
        super().__init__()
        self.bert = BertModel.from_pretrained(folder)
        self.sst = nn.Linear(24, 5)
        self.para = nn.Linear(48, 1)
        self.never = nn.Linear(24, 24)
        self.classifier = nn.ModuleDict({"bert": BertModel.from_pretrained(folder), "sst": nn.Linear(24, 5)})

    def forward(self, ids, mask):
        return self.sst(self.bert(ids, mask)["pooler_output"])


@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod."])
def test_what_the_starter_saves_around_our_model(tiny_folder, texts, tmp_path, capsys, prefix):
    """One step of training shows what is unused: a whole second encoder, a layer, and one in a layer."""
    student = Student(tiny_folder)
    student.bert.encoder.layers[1].spare = nn.Linear(24, 24)
    optimizer = AdamW(student.parameters(), lr=1e-3)
    inputs = Tokenizer.from_pretrained(tiny_folder)(texts, return_tensors="pt", padding=True)
    ids, mask = inputs["input_ids"], inputs["attention_mask"]
    (student(ids, mask).square().sum() + student.para(torch.ones(48))).backward()
    optimizer.step()
    tensors = {f"{prefix}{name}": tensor for name, tensor in student.state_dict().items()}
    file = save(
        {"model": tensors, "optim": optimizer.state_dict(), "args": argparse.Namespace(lr=1e-3)},
        tmp_path / "a.pt",
    )
    command(file, tmp_path / "out", "--trust", "--tokenizer", tiny_folder, "--json")
    report = json.loads(capsys.readouterr().out)
    assert report["encoder"] == len(BertModel.from_pretrained(tiny_folder).state_dict())
    assert report["sentiment"] == f"{prefix}sst"
    assert report["left"] == {f"{prefix}para.weight": [1, 48], f"{prefix}para.bias": [1]}
    [note] = [note for note in report["notes"] if "training gave them no gradient" in note]
    assert f"{prefix}bert.encoder.layers.1.spare.weight, " in note and re.search(r" and \d+ more$", note)
    run = open_source(tmp_path / "out", ["sst"], device="cpu", precision="fp32")
    logits = student.eval()(ids, mask)
    assert run.predict("sst", texts) == logits.argmax(dim=-1).tolist()
    # Where the optimizer does not tell, tensors in a layer that BERT's does not have are refused.
    parameters = list(student.parameters())
    groups = AdamW([{"params": parameters[1:]}, {"params": parameters[:1]}]).state_dict()
    for optim in ({}, None, groups, optimizer.state_dict() | {"state": {0: {"exp_avg": torch.ones(3)}}}):
        file = save({"model": student.state_dict(), "optim": optim}, tmp_path / "b.pt")
        with pytest.raises(InputError, match="what BERT's have not: bert.encoder.layers.1.spare.weight"):
            command(file, tmp_path / "b", "--trust", "--tokenizer", tiny_folder)


def test_several_encoders_are_not_chosen_between(tiny_folder, tmp_path):
    tensors = modules(
        first=BertModel.from_pretrained(tiny_folder), second=BertModel.from_pretrained(tiny_folder)
    )
    with pytest.raises(InputError, match="holds 2 encoders, under 'first.' and 'second.'; save the one that"):
        command(save({"model": tensors}, tmp_path / "a.pt"), tmp_path / "out", "--trust")


def test_without_a_tokenizer_it_is_said(saved, vocabulary, tmp_path, capsys, randomize):
    """A model as wide as bert-base-uncased needs no folder beside it; its vocabulary can come later."""
    config = ReferenceConfig(vocab_size=len(vocabulary), num_hidden_layers=1, intermediate_size=8)
    model = Reference(config).eval()
    randomize(model)
    tensors = course_names(model.state_dict())
    tensors |= {"linear.weight": torch.randn(5, 768), "linear.bias": torch.zeros(5)}
    command(save({"model": tensors}, tmp_path / "a.pt"), tmp_path / "out", "--trust")
    assert "has no tokenizer, which encoding and training need" in capsys.readouterr().out
    with pytest.raises(InputError, match="vocab.txt"):
        open_source(tmp_path / "out", ["sst"])
    (tmp_path / "out" / "vocab.txt").write_text("\n".join(vocabulary) + "\n", encoding="utf-8")
    run = open_source(tmp_path / "out", ["sst"], device="cpu", precision="fp32")
    assert run.model.encoder.config.num_attention_heads == 12
    padded = run.tokenizer(["good movie"]).padded()
    with torch.no_grad():
        expected, found = model.double()(**padded), run.model.encoder.double()(**padded)
    torch.testing.assert_close(found.pooler_output, expected.pooler_output, atol=1e-10, rtol=0)


def test_the_folder_of_another_family_is_refused(tmp_path):
    BertConfig(hidden_size=24, num_attention_heads=3, model_type="roberta").save(tmp_path)
    names = [f"embeddings.{name}" for name in ("word", "position", "token_type")]
    names.append("encoder.layers.0.feed_forward.intermediate")
    tensors = {f"{name}.weight": torch.ones(5, 24) for name in names}
    with pytest.raises(InputError, match="holds a RoBERTa, and the checkpoint is of the course's BERT"):
        encoder_config(tensors, tmp_path, "model.pt")
