"""Export to transformers: its BertModel and its tokenizer give our numbers; what is read back is bit-equal.

Run: pytest tests/minbert/export/test_hf.py
"""

import json
import shutil
import sys
from pathlib import Path

import pytest
import torch

from minbert import (
    BertConfig,
    BertModel,
    CommandParser,
    InputError,
    SentenceModules,
    Tokenizer,
    adapter_names,
    merge_lora,
    write_modules,
)
from minbert.cli.export import add_export_options, export_command
from minbert.export.hf import merged_encoder

transformers = pytest.importorskip("transformers")


def compare_outputs(folder, ours: BertModel, texts: list[str], max_length: int) -> None:
    """transformers' BertModel and AutoTokenizer on the folder beside ours, on one padded batch."""
    theirs = transformers.BertModel.from_pretrained(folder).eval()
    cut = {"padding": True, "truncation": True, "return_tensors": "pt"}
    inputs = transformers.AutoTokenizer.from_pretrained(folder)(texts, **cut)
    padded = Tokenizer.from_pretrained(folder)(texts, max_length=max_length).padded()
    assert all(torch.equal(inputs[name], padded[name]) for name in padded)
    with torch.no_grad():
        found, expected = theirs(**inputs), ours(**padded)
    mask = padded["attention_mask"].bool()
    for name in ("last_hidden_state", "pooler_output"):
        a, b = (
            output[name][mask] if name == "last_hidden_state" else output[name]
            for output in (found, expected)
        )
        torch.testing.assert_close(a, b, rtol=0, atol=1e-5)


def test_transformers_gives_our_numbers(export, tiny, tiny_folder, tmp_path, texts, same_tensors):
    report = export(tiny_folder, tmp_path / "out", "--format", "hf")
    files = ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "vocab.txt"]
    assert report["files"] == files == sorted(path.name for path in (tmp_path / "out").iterdir())
    assert 0 < report["largest_difference"] < 1e-5 and report["notes"] == []
    longer = " ".join(["running"] * 80)  # than the 64 tokens that the model takes
    compare_outputs(tmp_path / "out", tiny, [*texts, longer], 64)
    again = BertModel.from_pretrained(tmp_path / "out")
    assert same_tensors(again, tiny) and again.load_report.renamed == again.load_report.missing == ()
    whole = torch.cat(
        [p.flatten() for p in transformers.BertModel.from_pretrained(tmp_path / "out").parameters()]
    )
    assert len(whole) == sum(p.numel() for p in tiny.parameters())  # nothing fresh, nothing left out


def test_real_weights(export, minilm, tmp_path, same_tensors):
    report = export(minilm, tmp_path / "out", "--format", "hf")
    assert "pooling and normalisation are not in" in report["notes"][0]
    ours = BertModel.from_pretrained(minilm)
    texts = ["Is this a café, or a naïve 咖啡馆?", "", "word " * 600, "A shorter one!"]
    compare_outputs(tmp_path / "out", ours, texts, 512)
    assert same_tensors(BertModel.from_pretrained(tmp_path / "out"), ours)
    baked = json.loads((minilm / "tokenizer.json").read_text("utf-8"))
    written = json.loads((tmp_path / "out" / "tokenizer.json").read_text("utf-8"))
    assert baked["padding"] and baked["truncation"]  # what has to go
    assert written["padding"] is written["truncation"] is None


@pytest.mark.parametrize(
    ("lowercase", "strip_accents", "chinese"), [(False, None, True), (True, False, True), (True, None, False)]
)
def test_letters_are_treated_alike(
    tiny_folder, export, vocabulary, tmp_path, lowercase, strip_accents, chinese
):
    """transformers builds the tokenizer from the vocabulary and the settings, not from tokenizer.json."""
    folder = tmp_path / "source"
    shutil.copytree(tiny_folder, folder)
    (folder / "vocab.txt").write_text("\n".join([*vocabulary, "é", "##é", "C", "咖", "##咖"]) + "\n", "utf-8")
    settings = {"do_lower_case": lowercase, "strip_accents": strip_accents, "tokenize_chinese_chars": chinese}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    (folder / "tokenizer.json").unlink()
    values = json.loads((folder / "config.json").read_text()) | {"vocab_size": len(vocabulary) + 5}
    (folder / "config.json").write_text(json.dumps(values))
    config = BertConfig.from_folder(folder)
    BertModel(config).save_pretrained(folder)
    texts = ["é cafe café", "Cat C", "a咖b"]
    expected = [sequence.ids for sequence in Tokenizer.from_pretrained(folder).encode(texts)]
    export(folder, tmp_path / "out", "--format", "hf")
    assert transformers.AutoTokenizer.from_pretrained(tmp_path / "out")(texts)["input_ids"] == expected
    assert [s.ids for s in Tokenizer.from_pretrained(tmp_path / "out").encode(texts)] == expected


@pytest.fixture
def other_normalizer(tiny_folder, tmp_path) -> Path:
    """A folder whose tokenizer keeps capitals and reads cats as dogs, as no setting of BertTokenizer does."""
    folder = tmp_path / "source"
    shutil.copytree(tiny_folder, folder)
    values = json.loads((folder / "tokenizer.json").read_text("utf-8"))
    cats = {"type": "Replace", "pattern": {"String": "cat"}, "content": "dog"}
    values["normalizer"] = {"type": "Sequence", "normalizers": [{"type": "NFC"}, cats]}
    (folder / "tokenizer.json").write_text(json.dumps(values), "utf-8")
    settings = json.loads((folder / "tokenizer_config.json").read_text("utf-8"))
    settings["tokenizer_class"] = "PreTrainedTokenizerFast"
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return folder


@pytest.mark.parametrize("format", ["hf", "sentence-transformers"])
def test_any_normalizer_is_exported_as_it_is(other_normalizer, export, tmp_path, format):
    texts = ["a cat", "a dog", "A Cat"]
    expected = [sequence.ids for sequence in Tokenizer.from_pretrained(other_normalizer).encode(texts)]
    assert expected[0] == expected[1] != expected[2]
    report = export(other_normalizer, tmp_path / "out", "--format", format)
    assert report["largest_difference"] < 1e-5
    assert transformers.AutoTokenizer.from_pretrained(tmp_path / "out")(texts)["input_ids"] == expected


@pytest.mark.parametrize("installed", [True, False])
@pytest.mark.parametrize("format", ["hf", "sentence-transformers"])
def test_a_folder_with_other_vectors_is_not_written(
    export, tiny_folder, tmp_path, monkeypatch, format, installed
):
    """By transformers or sentence-transformers, and without these as this package reads the folder."""
    if not installed:
        monkeypatch.setitem(sys.modules, "transformers", None)
        monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    export(tiny_folder, tmp_path / "right", "--format", format)
    save = Tokenizer.save_pretrained

    def save_another(tokenizer, folder, max_length):
        tokens = sorted(tokenizer.vocab, key=lambda token: (tokenizer.vocab[token] > 4, token))
        save(
            Tokenizer.from_vocabulary({token: number for number, token in enumerate(tokens)}),
            folder,
            max_length,
        )

    monkeypatch.setattr(Tokenizer, "save_pretrained", save_another)
    with pytest.raises(
        InputError, match="gives other vectors than ours for .A short text.*nothing was written"
    ):
        export(tiny_folder, tmp_path / "wrong", "--format", format)
    assert not (tmp_path / "wrong").exists()


def test_an_adapter_is_merged(export, with_adapters, tmp_path, texts, same_tensors):
    export(with_adapters, tmp_path / "out", "--format", "hf", "--adapter", "sts")
    adapted = BertModel.from_pretrained(with_adapters, adapter="sts")
    compare_outputs(tmp_path / "out", adapted, texts, 64)
    merged_encoder(adapted, "sts")
    assert adapter_names(adapted) == ("sts",)  # a copy is merged
    merge_lora(adapted, "sts")
    assert same_tensors(BertModel.from_pretrained(tmp_path / "out"), adapted)
    export(with_adapters, tmp_path / "base", "--format", "hf", "--adapter", "none")
    base = with_adapters / "model.safetensors"
    assert same_tensors(tmp_path / "base" / "model.safetensors", base)
    assert not same_tensors(tmp_path / "out" / "model.safetensors", base)
    with pytest.raises(InputError, match="an adapter for each of sst, sts, and none was named"):
        export(with_adapters, tmp_path / "third", "--format", "hf")
    assert not (tmp_path / "third").exists()


def test_weights_without_a_pooler(export, tiny, tiny_folder, tmp_path, same_tensors):
    source = tmp_path / "source"
    shutil.copytree(tiny_folder, source)
    tiny.pooler = None
    tiny.save_pretrained(source)
    [note] = export(source, tmp_path / "out", "--format", "hf")["notes"]
    assert "no pooler; load them with BertModel.from_pretrained(..., add_pooling_layer=False)" in note
    theirs = transformers.BertModel.from_pretrained(tmp_path / "out", add_pooling_layer=False)
    assert len(theirs.state_dict()) == len(tiny.state_dict())
    assert same_tensors(BertModel.from_pretrained(tmp_path / "out"), tiny)


def test_unknown_keys_of_the_configuration_are_kept(export, tiny_folder, tmp_path):
    source = tmp_path / "source"
    shutil.copytree(tiny_folder, source)
    path = source / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"their_own": [1, 2]}))
    export(source, tmp_path / "out", "--format", "hf")
    written = json.loads((tmp_path / "out" / "config.json").read_text())
    assert written["their_own"] == [1, 2] and written["architectures"] == ["BertModel"]


VARIANTS = {
    "projected_attention": {"projected_attention_size": 12, "projected_attention_names": ("sst",)},
    "attention_head_layers": {"attention_head_layers": 1},
}


@pytest.mark.parametrize("part", VARIANTS)
@pytest.mark.parametrize("format", ["hf", "sentence-transformers"])
def test_adapters_within_attention_are_refused(export, load, tiny_folder, tmp_path, part, format):
    source = tmp_path / "source"
    shutil.copytree(tiny_folder, source)
    load(**VARIANTS[part]).save_pretrained(source)
    with pytest.raises(InputError, match=f"the encoder has {part}, which transformers' BertModel does not"):
        export(source, tmp_path / "out", "--format", format)
    assert not (tmp_path / "out").exists()


# --- the folder ---------------------------------------------------------------------------------------------


def test_a_runs_folder_stands_for_its_best(export, tiny_folder, tmp_path, same_tensors):
    run = tmp_path / "run"
    shutil.copytree(tiny_folder, run / "best")
    (run / "environment.json").write_text("{}")
    export(run, tmp_path / "out", "--format", "hf")
    assert same_tensors(tmp_path / "out" / "model.safetensors", tiny_folder / "model.safetensors")
    export(run, run / "hf", "--format", "hf")  # beside best/ is fine
    with pytest.raises(InputError, match="holds .*best, which is to be exported"):
        export(run, run, "--format", "hf", "--force")
    assert (run / "best" / "model.safetensors").is_file()


def test_a_folder_that_holds_something_is_replaced_by_force_alone(export, tiny_folder, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    export(tiny_folder, out, "--format", "hf")  # an empty one is fine
    (out / "mine.txt").write_text("mine")
    with pytest.raises(
        InputError, match="out is not empty; choose another folder, or replace it with --force"
    ):
        export(tiny_folder, out, "--format", "hf")
    assert (out / "mine.txt").read_text() == "mine"
    export(tiny_folder, out, "--format", "hf", "--force")
    assert not (out / "mine.txt").exists() and (out / "config.json").is_file()
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="file is a file; give the name of a folder"):
        export(tiny_folder, tmp_path / "file", "--format", "hf")


def test_what_fails_on_the_way_leaves_nothing(export, tiny_folder, tmp_path, monkeypatch):
    def fail(*arguments):
        raise OSError("no room left")

    monkeypatch.setattr(Tokenizer, "save_pretrained", fail)
    with pytest.raises(OSError, match="no room left"):
        export(tiny_folder, tmp_path / "out", "--format", "hf")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--format", "gguf"], "--format is 'gguf'; choose from hf, sent"),
        (["--format", "hf", "--pooling", "mean"], "pools nothing; leave out --pooling and --normalize"),
        (["--format", "hf", "--normalize", "none"], "pools nothing; leave out --pooling and --normalize"),
        (["--format", "hf", "--opset", "18"], "--opset is for --format onnx, not hf"),
        (["--format", "hf", "--adapter", "sst"], "has no adapters for single tasks, adapter is 'sst'"),
    ],
)
def test_options_that_do_not_fit(export, tiny_folder, tmp_path, words, message):
    with pytest.raises(InputError, match=message):
        export(tiny_folder, tmp_path / "out", *words)
    assert not (tmp_path / "out").exists()


def test_a_source_that_is_none(export, tmp_path):
    with pytest.raises(InputError, match="there is no folder"):
        export(tmp_path / "nothing", tmp_path / "out", "--format", "hf")
    with pytest.raises(InputError, match="holds no config.json"):
        export(Path(__file__).parent, tmp_path / "out", "--format", "hf")
    assert not (tmp_path / "out").exists()


def test_lines_for_people(tiny_folder, tmp_path, capsys):
    parser = CommandParser()
    add_export_options(parser)
    source = tmp_path / "source"
    shutil.copytree(tiny_folder, source)
    write_modules(source, SentenceModules.of(24))
    assert export_command(parser.parse_args([str(source), str(tmp_path / "out"), "--format", "hf"])) is None
    printed = capsys.readouterr()
    assert printed.out.startswith(f"wrote {tmp_path / 'out'}: config.json, model.safetensors, ")
    assert (
        printed.err == "note: pooling and normalisation are not in a transformers folder; "
        "sentence-transformers has them\n"
    )
