"""BertConfig: a round trip keeps what others wrote, and what is no BERT is refused by name.

Run: pytest tests/minbert/test_config.py
"""

import json
import shutil

import pytest

from minbert import AttentionAdapterConfig, BertConfig, BertModel, InputError, LoRAConfig


def test_unknown_keys_survive_a_round_trip(tmp_path):
    values = BertConfig(hidden_size=24, num_attention_heads=3).to_dict() | {
        "architectures": ["BertForMaskedLM"],
        "classifier_dropout": None,
        "somebody": {"else": [1, 2.5, "three"]},
        "position_embedding_type": "absolute",
    }
    (tmp_path / "config.json").write_text(json.dumps(values))
    config = BertConfig.from_folder(tmp_path)
    assert (config.hidden_size, config.head_size) == (24, 8)
    assert config.to_dict() == values
    config.save(tmp_path / "again")
    assert json.loads((tmp_path / "again" / "config.json").read_text()) == values
    assert BertConfig.from_folder(tmp_path / "again").extra == config.extra


def test_defaults_are_those_of_bert_base():
    transformers = pytest.importorskip("transformers", reason="compares with transformers' BertConfig")
    theirs = transformers.BertConfig().to_dict()
    ours = BertConfig().to_dict()
    for name in ours:
        if name not in ("architectures", "model_type"):
            assert ours[name] == theirs[name], name
    assert BertConfig.from_dict(theirs) == BertConfig()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"position_embedding_type": "relative_key_query"}, "position_embedding_type is 'relative_k"),
        ({"hidden_act": ["gelu"]}, r"hidden_act is \['gelu'\]; it must be one of gelu, "),
        ({"is_decoder": True}, "is_decoder is set"),
        ({"add_cross_attention": True}, "add_cross_attention is set"),
        ({"hidden_size": 100}, "hidden_size 100 cannot be split among 12"),
        ({"num_hidden_layers": 0}, "num_hidden_layers is 0"),
        ({"num_hidden_layers": 2.0}, "num_hidden_layers is 2.0"),
        ({"vocab_size": "30522"}, "vocab_size is '30522'"),
        ({"type_vocab_size": True}, "type_vocab_size is True"),
        ({"hidden_dropout_prob": 1.5}, "hidden_dropout_prob is 1.5"),
        ({"attention_probs_dropout_prob": -0.1}, "attention_probs_dropout_prob is -0.1"),
        ({"layer_norm_eps": 0}, "layer_norm_eps is 0"),
        ({"layer_norm_eps": "1e-12"}, "layer_norm_eps is '1e-12'"),
        ({"initializer_range": float("nan")}, "initializer_range is nan"),
        ({"pad_token_id": 30522}, "pad_token_id is 30522"),
        ({"pad_token_id": "0"}, "pad_token_id is '0'"),
    ],
)
def test_what_is_no_bert_is_refused_by_name(values, message):
    with pytest.raises(InputError, match=message):
        BertConfig.from_dict(values)


@pytest.mark.parametrize(
    "values, message",
    [
        ({"attention_head_layers": -1}, "attention_head_layers is -1"),
        ({"attention_head_layers": True}, "attention_head_layers is True"),
        ({"projected_attention_size": 1.5}, "projected_attention_size is 1.5"),
        ({"projected_attention_size": 100}, "projected_attention_size 100 cannot be split among 12"),
        ({"projected_attention_heads": 0}, "projected_attention_heads is 0; it must be"),
        ({"projected_attention_heads": True}, "projected_attention_heads is True; it"),
        ({"projected_attention_names": ["sst"]}, "projected_attention_size is 0; give both"),
        ({"projected_attention_size": 12, "projected_attention_names": "sst"}, "names is 'sst'; it must be"),
        ({"projected_attention_size": 12, "projected_attention_names": ["a", "a"]}, "different names"),
        ({"projected_attention_size": 12, "projected_attention_names": ["a.b"]}, "without dots"),
        ({"projected_attention_size": 12, "projected_attention_names": [""]}, r"names is \[''\]"),
        ({"projected_attention_size": 12, "projected_attention_names": 3}, "names is 3"),
    ],
)
def test_adapters_that_cannot_be_are_refused(values, message):
    with pytest.raises(InputError, match=message):
        AttentionAdapterConfig(**values)


@pytest.mark.parametrize(
    "values, message",
    [
        ({"rank": -1}, "rank is -1; it must be a whole number of at least 1"),
        ({"rank": True}, "rank is True"),
        ({"alpha": 0}, "alpha is 0; it must be a number above 0"),
        ({"dropout": 1.0}, "dropout is 1.0; it must be a rate"),
        ({"targets": ()}, "targets is empty; choose from query"),
        (
            {"targets": "query"},
            "targets is 'query'; it must be a list of names, as ",
        ),
        ({"dora": "no"}, "dora is 'no'; it must be true or false"),
        ({"targets": ("quary",)}, "target 'quary' does not exist.*did you mean 'query'"),
        ({"rank_pattern": {"query": 0}}, "rank_pattern.query is 0; it must be a whole number"),
        ({"alpha_pattern": {"query": "2"}}, "alpha_pattern.query is '2'"),
    ],
)
def test_lora_that_cannot_be_is_refused(values, message):
    with pytest.raises(InputError, match=message):
        LoRAConfig(**values)


@pytest.mark.parametrize(
    ("name", "value"), [("pad_token_id", None), ("hidden_dropout_prob", 1.0), ("initializer_range", 0.0)]
)
def test_values_at_the_edge_are_accepted(name, value):
    assert getattr(BertConfig.from_dict({name: value, "position_embedding_type": None}), name) == value


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[1, 2]", b"null"])
def test_files_that_are_no_config(tmp_path, content):
    (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(InputError, match=r"config\.json"):
        BertConfig.from_folder(tmp_path)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("num_hidden_layers", 100_000),
        ("hidden_size", 3 * 2**61),
        ("vocab_size", 2**62),
        ("intermediate_size", 2**40),
    ],
)
def test_sizes_are_bounded_by_what_the_weights_hold(tiny_folder, tmp_path, key, value):
    """Before a model of that size is built, which would take minutes."""
    folder = tmp_path / "model"
    shutil.copytree(tiny_folder, folder)
    values = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(values | {key: value}))
    with pytest.raises(InputError, match=f"config.json: {key} is {value}, and the weights have") as error:
        BertModel.from_pretrained(folder)
    assert len(str(error.value)) < 500
    (folder / "model.safetensors").unlink()
    with pytest.raises(InputError, match="holds no model.safetensors"):
        BertModel.from_pretrained(folder)
