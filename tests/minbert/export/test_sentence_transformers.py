"""Export to sentence-transformers: `encode` gives our vectors; what is read back is bit-equal.

Run: pytest tests/minbert/export/test_sentence_transformers.py
"""

import json

import numpy as np
import pytest
import torch
from torch import nn

from minbert import InputError, Projection, SentenceEncoder, SentenceModules, Tokenizer, read_sentence_folder
from minbert.export.sentence_transformers import write_sentence_encoder

sentence_transformers = pytest.importorskip("sentence_transformers")
# Of an old name that the library itself still uses.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:sentence_transformers")


def their_vectors(folder, texts: list[str]) -> tuple[np.ndarray, object]:
    model = sentence_transformers.SentenceTransformer(str(folder), device="cpu")
    return model.encode(texts), model


def assert_same_encoder(a: SentenceEncoder, b: SentenceEncoder, texts: list[str]) -> None:
    """The same settings, the same bits in every tensor, the same bits in the vectors."""
    assert repr(a) == repr(b)
    for first, second in ((a.model, b.model), (a.modules, b.modules)):
        x, y = first.state_dict(), second.state_dict()
        assert x.keys() == y.keys() and all(torch.equal(x[name], y[name]) for name in x)
    np.testing.assert_array_equal(a.encode(texts), b.encode(texts))


@pytest.mark.parametrize(
    ("pooling", "normalize", "activation"),
    [("mean", "l2", None), ("cls", None, nn.Tanh), ("max", "l2", nn.Identity), ("mean", None, None)],
)
def test_their_encode_gives_our_vectors(tiny, tiny_folder, tmp_path, texts, pooling, normalize, activation):
    torch.manual_seed(0)
    projection = None if activation is None else Projection(24, 10, activation, bias=activation is nn.Tanh)
    tokenizer = Tokenizer.from_pretrained(tiny_folder)
    modules = SentenceModules.of(24, pooling, normalize, projection)
    ours = SentenceEncoder(tiny, tokenizer, modules, max_length=20)
    assert write_sentence_encoder(tmp_path, ours) == []
    found, model = their_vectors(tmp_path, texts)
    np.testing.assert_allclose(found, ours.encode(texts), rtol=0, atol=1e-5)
    assert found.shape[1] == (24 if projection is None else 10)
    assert model.max_seq_length == 20 and model.similarity_fn_name == "cosine"
    assert_same_encoder(SentenceEncoder.from_pretrained(tmp_path), ours, texts)


def test_the_dialect_is_the_old_one(tiny, tiny_folder, tmp_path):
    """Names of classes and keys that version 2 knows; the library's later versions understand them too."""
    projection = Projection(24, 10)
    modules = SentenceModules.of(24, "mean", "l2", projection)
    ours = SentenceEncoder(tiny, Tokenizer.from_pretrained(tiny_folder), modules)
    write_sentence_encoder(tmp_path, ours)
    modules = json.loads((tmp_path / "modules.json").read_text())
    kinds = ("Transformer", "Pooling", "Dense", "Normalize")
    assert [entry["type"] for entry in modules] == [f"sentence_transformers.models.{kind}" for kind in kinds]
    assert [entry["path"] for entry in modules] == ["", "1_Pooling", "2_Dense", "3_Normalize"]
    assert [(entry["idx"], entry["name"]) for entry in modules] == [(i, str(i)) for i in range(4)]
    assert json.loads((tmp_path / "1_Pooling" / "config.json").read_text()) == {
        "word_embedding_dimension": 24,
        "pooling_mode_cls_token": False,
        "pooling_mode_mean_tokens": True,
        "pooling_mode_max_tokens": False,
        "pooling_mode_mean_sqrt_len_tokens": False,
    }
    assert json.loads((tmp_path / "2_Dense" / "config.json").read_text()) == {
        "in_features": 24,
        "out_features": 10,
        "bias": True,
        "activation_function": "torch.nn.modules.activation.Tanh",
    }
    assert (tmp_path / "3_Normalize").is_dir()
    length = {"max_seq_length": 64, "do_lower_case": False}
    assert json.loads((tmp_path / "sentence_bert_config.json").read_text()) == length
    settings = json.loads((tmp_path / "config_sentence_transformers.json").read_text())
    assert settings["similarity_fn_name"] == "cosine"
    assert int(settings["__version__"]["sentence_transformers"][0]) <= 2  # a newer one makes version 2 warn


def test_the_command_takes_the_folders_settings_or_the_options(export, tiny_folder, tmp_path, texts):
    [note] = export(tiny_folder, tmp_path / "a", "--format", "sentence-transformers")["notes"]
    assert "tiny does not say how sentences are pooled; mean is assumed, see --pooling" in note
    assert read_sentence_folder(tmp_path / "a").modules.describe() == ["Pooling(24, mean)"]
    words = ["--format", "sentence-transformers", "--pooling", "cls", "--normalize", "l2"]
    export(tiny_folder, tmp_path / "b", *words)
    assert not export(tmp_path / "b", tmp_path / "c", "--format", "sentence-transformers")["notes"]
    again = SentenceEncoder.from_pretrained(tmp_path / "c")
    assert again.modules.describe() == ["Pooling(24, cls)", "Normalize(l2)"] and again.max_length == 64
    assert_same_encoder(again, SentenceEncoder.from_pretrained(tiny_folder, "cls", "l2"), texts)
    export(tmp_path / "b", tmp_path / "d", "--format", "sentence-transformers", "--normalize", "none")
    assert read_sentence_folder(tmp_path / "d").modules.describe() == ["Pooling(24, cls)"]


def test_an_adapter_is_merged(export, with_adapters, tmp_path, texts):
    export(with_adapters, tmp_path / "out", "--format", "sentence-transformers", "--adapter", "sst")
    ours = SentenceEncoder.from_pretrained(with_adapters, adapter="sst").encode(texts)
    np.testing.assert_allclose(their_vectors(tmp_path / "out", texts)[0], ours, rtol=0, atol=1e-5)
    other = SentenceEncoder.from_pretrained(with_adapters, adapter="sts").encode(texts)
    assert abs(other - ours).max() > 1e-2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["--pooling", "pooler"],
            "no module for BERT's pooler; take --format onnx, or pool by cls, mean or max",
        ),
        (["--normalize", "l1"], "divides by the L2 length; take --format onnx, or normalize by l2 or none"),
        (["--opset", "18"], "--opset is for --format onnx, not sentence-transformers"),
    ],
)
def test_what_has_no_module_is_refused(export, tiny_folder, tmp_path, words, message):
    with pytest.raises(InputError, match=message):
        export(tiny_folder, tmp_path / "out", "--format", "sentence-transformers", *words)
    assert not (tmp_path / "out").exists()


def test_real_weights(export, minilm, tmp_path):
    export(minilm, tmp_path / "out", "--format", "sentence-transformers")
    texts = ["Is this a café, or a naïve 咖啡馆?", "", "word " * 300, "A shorter one!"]
    found, model = their_vectors(tmp_path / "out", texts)
    ours = SentenceEncoder.from_pretrained(minilm)
    np.testing.assert_allclose(found, ours.encode(texts), rtol=0, atol=1e-5)
    np.testing.assert_allclose(found, their_vectors(minilm, texts)[0], rtol=0, atol=1e-5)
    assert model.max_seq_length == 256
    assert_same_encoder(SentenceEncoder.from_pretrained(tmp_path / "out"), ours, texts)
