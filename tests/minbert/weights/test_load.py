"""Weights: every spelling that BERT files come in, a full report of what does not fit, copies that train.

Run: pytest tests/minbert/weights/test_load.py
"""

import json
import re

import pytest
import torch
from safetensors.torch import load_file, save_file

from minbert import (
    AdamW,
    BertConfig,
    BertModel,
    InputError,
    hugging_face_state_dict,
    load_hugging_face_state_dict,
)


@pytest.fixture
def tensors(tiny_folder) -> dict[str, torch.Tensor]:
    return load_file(tiny_folder / "model.safetensors")


@pytest.fixture
def write(tiny_folder, tmp_path):
    """Writes tensors as a folder of weights, the config values given changed."""

    def write_folder(tensors, **config):
        values = json.loads((tiny_folder / "config.json").read_text()) | config
        (tmp_path / "config.json").write_text(json.dumps(values))
        save_file({k: v.clone() for k, v in tensors.items()}, tmp_path / "model.safetensors")
        return tmp_path

    return write_folder


def assert_same_model(model, expected, rtol=0.0):
    ours, theirs = model.state_dict(), expected.state_dict()
    assert ours.keys() == theirs.keys()
    for name, tensor in theirs.items():
        assert ours[name].dtype == torch.float32
        torch.testing.assert_close(ours[name], tensor, rtol=rtol, atol=0, msg=name)


COURSE_LAYER = {
    "self_attention.query": "attention.self.query",
    "self_attention.key": "attention.self.key",
    "self_attention.value": "attention.self.value",
    "attention_dense": "attention.output.dense",
    "attention_layer_norm": "attention.output.LayerNorm",
    "interm_dense": "intermediate.dense",
    "out_dense": "output.dense",
    "out_layer_norm": "output.LayerNorm",
}
COURSE = {
    "word_embedding": "embeddings.word_embeddings",
    "pos_embedding": "embeddings.position_embeddings",
    "tk_type_embedding": "embeddings.token_type_embeddings",
    "embed_layer_norm": "embeddings.LayerNorm",
    "pooler_dense": "pooler.dense",
} | {
    f"bert_layers.{n}.{ours}": f"encoder.layer.{n}.{theirs}"
    for n in range(2)
    for ours, theirs in COURSE_LAYER.items()
}
OLD = {"LayerNorm.weight": "LayerNorm.gamma", "LayerNorm.bias": "LayerNorm.beta"}


def of_the_course(name):
    names = {theirs: ours for ours, theirs in COURSE.items()}
    module, _, kind = name.rpartition(".")
    return f"{names[module]}.{kind}"


SPELLINGS = {
    "bare": lambda name: name,
    "prefixed": lambda name: f"bert.{name}",
    "gamma and beta": lambda name: re.sub(r"LayerNorm\.\w+$", lambda match: OLD[match[0]], name),
    "course": of_the_course,
    "course, prefixed": lambda name: f"bert.{of_the_course(name)}",
}


@pytest.mark.parametrize("spell", SPELLINGS.values(), ids=SPELLINGS)
def test_every_spelling_is_read_and_what_is_not_the_encoders_is_ignored(tiny, tensors, write, spell):
    stray = {
        "cls.predictions.bias": torch.ones(3),
        "cls.seq_relationship.weight": torch.ones(2, 24),
        "classifier.weight": torch.ones(2, 24),
        "bert.embeddings.position_ids": torch.arange(64)[None],
        "position_ids": torch.arange(64)[None],
    }
    spelled = {spell(name): name for name in tensors}
    model = BertModel.from_pretrained(write({new: tensors[name] for new, name in spelled.items()} | stray))
    assert_same_model(model, tiny)
    report = model.load_report
    assert report.missing == () and set(report.ignored) == set(stray)
    assert set(report.renamed) == {new for new, old in spelled.items() if new.removeprefix("bert.") != old}


@pytest.mark.parametrize(
    "prefix", ["module.", "module.bert.", "_orig_mod.", "model.bert.", "0.auto_model.", "encoder.", "bert."]
)
def test_any_prefix_is_stripped_and_what_is_outside_the_encoder_left_out(tiny, tensors, write, prefix):
    stray = {
        "linear.weight": torch.ones(8, 24),
        "crf.transitions": torch.ones(2, 2),
        f"{prefix}embeddings.token_type_ids": torch.zeros(1, 64),
        f"{prefix}projection.weight": torch.ones(8, 24),
    }
    model = BertModel.from_pretrained(write({f"{prefix}{name}": t for name, t in tensors.items()} | stray))
    assert_same_model(model, tiny)
    report = model.load_report
    assert report.prefix == prefix and set(report.ignored) == set(stray) and not report.renamed


def test_strict_refuses_what_is_not_the_encoders(tiny_folder, tensors, write):
    BertModel.from_pretrained(tiny_folder, strict=True)
    with pytest.raises(InputError, match="no encoder under 'bert'; leave the prefix out"):
        BertModel.from_pretrained(tiny_folder, weights_prefix="bert")
    folder = write(tensors | {"crf.transitions": torch.ones(2, 2)})
    notes = BertModel.from_pretrained(folder).load_report.notes
    assert notes == ["left out of the weights as not the encoder's: crf.transitions"]
    with pytest.raises(InputError, match="crf.transitions is not the encoder's"):
        BertModel.from_pretrained(folder, strict=True)


def test_of_two_encoders_one_is_chosen(tiny, tensors, write):
    other = {name: tensor + 1 for name, tensor in tensors.items()}
    queries = {f"query_encoder.{name}": tensor for name, tensor in tensors.items()}
    folder = write(queries | {f"ctx_encoder.bert.{name}": tensor for name, tensor in other.items()})
    with pytest.raises(
        InputError, match="2 encoders, under 'ctx_encoder.bert.' and 'query_encoder.'; .*--weights-prefix"
    ):
        BertModel.from_pretrained(folder)
    with pytest.raises(InputError, match="no encoder under 'bert'; give one of 'ctx_encoder.bert.', 'qu"):
        BertModel.from_pretrained(folder, weights_prefix="bert")
    for prefix in ("query_encoder", "query_encoder."):
        assert_same_model(BertModel.from_pretrained(folder, weights_prefix=prefix), tiny)
    model = BertModel.from_pretrained(folder, weights_prefix="ctx_encoder.bert")
    assert torch.equal(model.pooler.dense.bias, other["pooler.dense.bias"])
    assert model.load_report.notes[0] == "the encoder is what the weights have under 'ctx_encoder.bert.'"
    assert "and 36 more" in model.load_report.notes[1]


def test_names_of_transformers_both_ways(tiny, tiny_folder, tensors):
    names = hugging_face_state_dict(tiny)
    assert names.keys() == tensors.keys() and all(torch.equal(names[name], tensors[name]) for name in names)
    fresh = BertModel(tiny.config)
    weight = fresh.embeddings.word.weight
    report = load_hugging_face_state_dict(fresh, {f"bert.{name}": tensor for name, tensor in names.items()})
    assert_same_model(fresh, tiny)
    assert fresh.embeddings.word.weight is weight and report.prefix == "bert."  # an optimizer may hold it
    with pytest.raises(InputError, match="the state dict does not hold .*missing encoder.layer.1.output"):
        load_hugging_face_state_dict(fresh, {n: t for n, t in names.items() if "layer.1.output" not in n})


@pytest.mark.parametrize("file", ["model.safetensors", "config.json"])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "a Git LFS pointer.*git lfs"),
        ("\n<!DOCTYPE html>\n<html></html>", "an HTML page"),
        ("<html></html>", "an HTML page"),
    ],
)
def test_what_stands_in_a_files_place(tensors, write, file, content, message):
    folder = write(tensors)
    (folder / file).write_text(content)
    with pytest.raises(InputError, match=f"{file} is {message}"):
        BertModel.from_pretrained(folder)


def test_gamma_elsewhere_is_not_renamed(tensors, write):
    tensors["encoder.layer.0.output.dense.gamma"] = tensors.pop("encoder.layer.0.output.dense.weight")
    with pytest.raises(InputError) as error:
        BertModel.from_pretrained(write(tensors))
    assert "unexpected encoder.layer.0.output.dense.gamma" in str(error.value)
    assert "missing encoder.layer.0.output.dense.weight" in str(error.value)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_become_fp32(tiny, tensors, write, dtype):
    model = BertModel.from_pretrained(write({name: t.to(dtype) for name, t in tensors.items()}))
    assert_same_model(model, tiny, rtol=1e-2)


def test_integers_are_refused(tensors, write):
    """A quantised file read as numbers would run and compute nonsense."""
    tensors["pooler.dense.weight"] = (tensors["pooler.dense.weight"] * 100).to(torch.int8)
    with pytest.raises(InputError, match="pooler.dense.weight holds torch.int8, not floating-point"):
        BertModel.from_pretrained(write(tensors))


def test_shards(tiny, tensors, write):
    folder = write(tensors)
    (folder / "model.safetensors").unlink()
    names = list(tensors)
    weight_map = {}
    for part, chosen in enumerate((names[:9], names[9:20], names[20:])):
        file = f"model-{part + 1:05}-of-00003.safetensors"
        save_file({name: tensors[name] for name in chosen}, folder / file)
        weight_map |= dict.fromkeys(chosen, file)
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    assert_same_model(BertModel.from_pretrained(folder), tiny)

    (folder / "model-00002-of-00003.safetensors").unlink()
    with pytest.raises(InputError, match="there is no file .*model-00002-of-00003.safetensors"):
        BertModel.from_pretrained(folder)
    for content in ("{}", "[]", "{", '{"weight_map": 3}'):
        index.write_text(content)
        with pytest.raises(InputError, match="model.safetensors.index.json"):
            BertModel.from_pretrained(folder)


# --- the pooler ---------------------------------------------------------------------------------------------


def test_missing_pooler_is_reported_and_refused_when_read(tiny, tiny_tokenizer, tensors, write):
    folder = write({name: t for name, t in tensors.items() if not name.startswith("pooler")})
    model = BertModel.from_pretrained(folder)
    assert set(model.load_report.missing) == {"pooler.dense.weight", "pooler.dense.bias"}
    batch = tiny_tokenizer(["the cat"])
    out = model(batch)
    assert torch.equal(out.last_hidden_state, tiny(batch).last_hidden_state)
    with pytest.raises(InputError, match='pooler="random"'):
        _ = out.pooler_output
    assert not any(parameter.is_meta for parameter in model.parameters())

    fresh = BertModel.from_pretrained(folder, pooler="random")
    assert set(fresh.load_report.missing) == {"pooler.dense.weight", "pooler.dense.bias"}
    assert fresh(batch).pooler_output.shape == (1, 24)
    assert 0 < fresh.pooler.dense.weight.std() < 0.1 and not fresh.pooler.dense.bias.any()
    assert not fresh.training
    with pytest.raises(InputError, match="pooler is 'yes'"):
        BertModel.from_pretrained(folder, pooler="yes")


def test_pooler_that_is_there_is_not_made_random(tiny, tiny_folder):
    assert_same_model(BertModel.from_pretrained(tiny_folder, pooler="random"), tiny)


def test_model_without_pooler_can_be_saved_and_loaded(tiny, tensors, write, tmp_path):
    model = BertModel.from_pretrained(
        write({name: t for name, t in tensors.items() if not name.startswith("pooler")})
    )
    model.save_pretrained(tmp_path / "again")
    assert_same_model(BertModel.from_pretrained(tmp_path / "again"), model)


@pytest.mark.parametrize("lost", ["pooler.dense.weight", "pooler.dense.bias"])
@pytest.mark.parametrize("pooler", [None, "random"])
def test_half_a_pooler_is_refused(tensors, write, lost, pooler):
    del tensors[lost]
    with pytest.raises(InputError, match=f"missing {lost}"):
        BertModel.from_pretrained(write(tensors), pooler=pooler)


# --- everything wrong at once -------------------------------------------------------------------------------


def test_all_problems_are_in_one_message(tensors, write):
    del tensors["embeddings.LayerNorm.bias"]
    del tensors["encoder.layer.1.output.dense.weight"]
    tensors["encoder.layer.0.output.dense.weight"] = torch.ones(3, 5)
    tensors["embeddings.task_type_embeddings.weight"] = torch.ones(3, 24)
    tensors["pooler_dense.bias"] = tensors["pooler.dense.bias"]
    with pytest.raises(InputError) as error:
        BertModel.from_pretrained(write(tensors))
    message = str(error.value)
    for part in (
        "missing embeddings.LayerNorm.bias",
        "missing encoder.layer.1.output.dense.weight",
        "encoder.layer.0.output.dense.weight has shape (3, 5); config.json says (24, 40)",
        "unexpected embeddings.task_type_embeddings.weight (3, 24)",
        "pooler.dense.bias, which another tensor gave already",
        "check the number of layers",
    ):
        assert part in message, part
    assert "missing encoder.layer.0" not in message and "\n" not in message


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        (dict(num_hidden_layers=3), ["missing encoder.layer.2.attention.self.key.bias", "and 8 more"]),
        (dict(hidden_size=48), ["has shape (106, 24); config.json says (106, 48)", "and 29 more"]),
        (dict(vocab_size=7, pad_token_id=0), ["embeddings.word_embeddings.weight has shape"]),
    ],
)
def test_config_that_contradicts_the_tensors(tensors, write, change, parts):
    with pytest.raises(InputError) as error:
        BertModel.from_pretrained(write(tensors, **change))
    assert all(part in str(error.value) for part in parts)


# --- copies -------------------------------------------------------------------------------------------------


def test_parameters_are_trainable_copies(tiny, tensors, write):
    folder = write(tensors)
    model = BertModel.from_pretrained(folder)
    path = folder / "model.safetensors"
    size = path.stat().st_size
    with open(path, "r+b") as file:  # in place: a memory map would see it
        file.seek(size // 2)
        file.write(b"\xff" * (size - size // 2))
    assert_same_model(model, tiny)
    path.unlink()
    assert_same_model(model, tiny)
    assert not model.training
    for name, parameter in model.named_parameters():
        assert parameter.requires_grad and parameter.is_leaf and not parameter.is_meta, name
        assert parameter.untyped_storage().nbytes() == 4 * parameter.numel(), name
    storages = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    assert len(storages) == len(list(model.parameters()))
    model(torch.ones(1, 3, dtype=torch.long)).pooler_output.sum().backward()
    AdamW(model.parameters()).step()
    assert not torch.equal(model.pooler.dense.weight, tiny.pooler.dense.weight)


def test_saving_keeps_what_else_is_in_the_folder(tiny, tiny_tokenizer, tmp_path):
    tiny_tokenizer.save(tmp_path / "out")
    tiny.save_pretrained(tmp_path / "out")
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"tokenizer.json", "vocab.txt", "config.json", "model.safetensors"} <= names
    assert not any("partial" in name for name in names)
    assert_same_model(BertModel.from_pretrained(tmp_path / "out"), tiny)
    reloaded = BertModel.from_pretrained(tmp_path / "out")
    reloaded.save_pretrained(tmp_path / "out")  # over the file that it was read from
    assert_same_model(BertModel.from_pretrained(tmp_path / "out"), tiny)


# --- folders ------------------------------------------------------------------------------------------------


def test_folders_that_are_none(tiny_folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="there is no folder nowhere or checkpoints/nowhere"):
        BertModel.from_pretrained("nowhere")
    with pytest.raises(InputError, match="is a file; give the folder"):
        BertModel.from_pretrained(tiny_folder / "config.json")
    with pytest.raises(InputError, match="holds no config.json"):
        BertModel.from_pretrained(tmp_path)
    (tmp_path / "config.json").write_text((tiny_folder / "config.json").read_text())
    (tmp_path / "pytorch_model.bin").write_bytes(b"pickle")
    with pytest.raises(InputError, match="holds no model.safetensors.*is a pickle, which is not read"):
        BertModel.from_pretrained(tmp_path)
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "tiny").symlink_to(tiny_folder)
    assert BertModel.from_pretrained("tiny").config.hidden_size == 24


def test_fresh_model_is_initialised_as_the_table_says():
    torch.manual_seed(0)
    model = BertModel(BertConfig(500, 60, 1, 3, type_vocab_size=20))  # enough numbers in each table
    assert model.training
    for name, tensor in model.state_dict().items():
        if "norm" in name:
            assert (tensor == (1 if name.endswith("weight") else 0)).all(), name
        elif name.endswith("bias"):
            assert not tensor.any(), name
        else:
            assert abs(tensor.std() - 0.02) < 4e-3 and abs(tensor.mean()) < 4e-3, name
    assert not model.embeddings.word.weight[0].any() and model.embeddings.word.weight[1].any()


def test_unknown_kernels_are_refused():
    with pytest.raises(InputError, match="did you mean 'fused'"):
        BertModel(BertConfig(num_hidden_layers=1), kernels="fussed")
