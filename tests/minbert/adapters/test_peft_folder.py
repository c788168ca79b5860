"""Adapter folders: read and written as peft does, in both directions, and what is refused of them.

Run: pytest tests/minbert/adapters/test_peft_folder.py
"""

import json
import re

import pytest
import torch
from safetensors.torch import load_file, save_file

from minbert import BertModel, InputError, LoRAConfig, add_lora, load_lora, merge_lora, save_lora, use_adapter
from minbert.adapters.lora import adapter_names, lora_layers
from minbert.kernels.dropout import Dropout
from minbert.weights.load import hugging_face_name
from tests.encoders import LORA_KINDS, fill_adapters

peft, transformers = pytest.importorskip("peft"), pytest.importorskip("transformers")
# What peft asks transformers on the way is about to be renamed there.
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")

ALL = ("query", "key", "value", "attention_output", "intermediate", "output")
each_kind = pytest.mark.parametrize("kind", LORA_KINDS.values(), ids=LORA_KINDS)
IDS = torch.tensor([[2, 7, 9, 30, 3], [2, 8, 3, 0, 0]])
MASK = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]])


def hugging_face(folder):
    return transformers.BertModel.from_pretrained(folder).eval()


def theirs(folder, **settings):
    """peft's model with random adapters, on transformers' BertModel."""
    model = peft.get_peft_model(hugging_face(folder), peft.LoraConfig(**settings))
    fill_adapters(model)
    return model.eval()


def output(model) -> torch.Tensor:
    return model(IDS, MASK).last_hidden_state[MASK.bool()]


def assert_same(actual, expected):
    torch.testing.assert_close(actual, expected, atol=1e-5, rtol=0)


# --- both directions ----------------------------------------------------------------------------------------


@each_kind
@pytest.mark.parametrize("sizes", ["one", "several"])
def test_peft_loads_ours(tiny, tiny_folder, tmp_path, kind, sizes):
    patterns = {}
    if sizes == "several":
        patterns = {
            "rank_pattern": {"query": 5, "layers.1.feed_forward": 2},
            "alpha_pattern": {"layers.0": 7.5, "layers.1.attention": 9},
        }
    base = output(tiny)
    add_lora(tiny, LoRAConfig(rank=3, alpha=4, targets=ALL, **kind, **patterns))
    fill_adapters(tiny)
    save_lora(tiny, tmp_path, base=str(tiny_folder))
    found = peft.PeftModel.from_pretrained(hugging_face(tiny_folder), tmp_path).eval()
    assert_same(output(found), output(tiny))
    assert (output(tiny) - base).abs().max() > 0.1
    assert found.peft_config["default"].base_model_name_or_path == str(tiny_folder)
    saved = load_file(tmp_path / "adapter_model.safetensors")  # peft's own file of it has the same tensors
    found.save_pretrained(tmp_path / "again")
    again = load_file(tmp_path / "again" / "adapter_model.safetensors")
    assert saved.keys() == again.keys() and all(torch.equal(saved[name], again[name]) for name in saved)


THEIRS = {
    "ends": {"target_modules": ["query", "value"]},
    "two layers by one end": {"target_modules": ["output.dense"]},
    "layers": {
        "target_modules": ["query", "dense"],
        "layers_to_transform": [1],
        "layers_pattern": "layer",
        "exclude_modules": ["attention.output.dense", "pooler.dense"],
    },
    "one layer, no pattern": {"target_modules": ["key"], "layers_to_transform": 0},
    "expression": {"target_modules": r"encoder\.layer\.\d\.(attention\.self\.(query|key)|output\.dense)"},
    "patterns": {  # the first that matches decides, in the order of the file, which peft sorts
        "target_modules": ["query", "key", "output.dense"],
        "rank_pattern": {
            r"^encoder.layer.1.attention.self.query": 2,
            "key|attention.self": 7,  # the end of the keys' names; in the queries' too, but not as the end
            r"layer\.0\.output.dense": 3,
            "query": 5,
        },
        "alpha_pattern": {"1.attention.self.key": 2.5, "attention.output.dense": 1, "output.dense": 11},
    },
}


@pytest.mark.parametrize(
    ("kind", "settings"),
    [(kind, "patterns") for kind in LORA_KINDS.values()] + [({}, name) for name in THEIRS],
)
def test_ours_loads_pefts(tiny, tiny_folder, tmp_path, kind, settings):
    peers = theirs(
        tiny_folder, r=4, lora_alpha=6, **THEIRS[settings], **{f"use_{name}": on for name, on in kind.items()}
    )
    peers.save_pretrained(tmp_path)
    report = load_lora(tiny, tmp_path)
    assert not report.others and not report.notes
    assert_same(output(tiny), output(peers))
    ours = {hugging_face_name(f"{name}.x").removesuffix(".x") for name in lora_layers(tiny)}
    assert ours == {name.removeprefix("base_model.model.") for name in peers.targeted_module_names}
    save_lora(tiny, tmp_path / "again")  # and back once more
    other = BertModel.from_pretrained(tiny_folder)
    load_lora(other, tmp_path / "again")
    assert torch.equal(output(other), output(tiny))


@each_kind
def test_gradients_equal_pefts(tiny, tiny_folder, tmp_path, kind):
    """In training mode, with dropout on the adapters alone."""
    settings = {
        "r": 4,
        "lora_alpha": 6,
        "lora_dropout": 0.3,
        "target_modules": ["value", "intermediate.dense"],
    }
    peers = theirs(tiny_folder, **settings, **{f"use_{name}": on for name, on in kind.items()})
    peers.save_pretrained(tmp_path)
    load_lora(tiny, tmp_path)
    for module in peers.modules():
        if hasattr(module, "lora_dropout"):
            module.lora_dropout["default"] = Dropout(0.3)  # ours: the same random numbers
    for model in (peers, tiny):
        for name, module in model.eval().named_modules():  # only the adapters drop
            module.training = bool(re.search(r"adapters\.default$|lora_dropout", name)) or hasattr(
                module, "lora_A"
            )
        torch.manual_seed(5)
        rows = torch.tensor([[2, 7, 9, 30, 3]])
        out = model(rows, torch.ones_like(rows)).last_hidden_state
        (out * torch.linspace(-1, 1, 24)).sum().backward()
    expected = {name: p.grad for name, p in peers.named_parameters() if p.requires_grad}
    found = {name: p.grad for name, p in tiny.named_parameters() if p.requires_grad}
    assert len(found) == len(expected) == 4 * (3 if "dora" in kind else 2)
    for name, gradient in found.items():
        module, kind_of = name.split(".adapters.default.")
        module = hugging_face_name(f"{module}.x").removesuffix(".x")
        suffix = {"A": "lora_A.default.weight", "B": "lora_B.default.weight"}.get(
            kind_of, "lora_magnitude_vector.default.weight"
        )
        peer = expected[f"base_model.model.{module}.{suffix}"]
        torch.testing.assert_close(gradient, peer, atol=1e-5, rtol=1e-4)
        assert gradient.any()


def test_a_task_models_adapter_and_its_head(tiny, tiny_folder, tmp_path):
    config = transformers.BertConfig.from_pretrained(tiny_folder, num_labels=3)
    whole = transformers.BertForSequenceClassification(config).eval()
    whole.bert.load_state_dict(hugging_face(tiny_folder).state_dict())
    settings = {"target_modules": ["query", "dense"], "exclude_modules": ["pooler.dense"]}
    peers = peft.get_peft_model(whole, peft.LoraConfig(task_type="SEQ_CLS", **settings)).eval()
    fill_adapters(peers)
    peers.save_pretrained(tmp_path)
    report = load_lora(tiny, tmp_path)
    assert_same(output(tiny), whole.bert(IDS, MASK).last_hidden_state[MASK.bool()])
    assert set(report.others) == {"classifier.weight", "classifier.bias"}
    assert len(lora_layers(tiny)) == 2 * 4
    assert torch.equal(report.others["classifier.bias"], whole.classifier.modules_to_save["default"].bias)


@pytest.mark.parametrize(
    "settings", [{"target_modules": "all-linear"}, {"target_modules": ["dense"]}], ids=str
)
def test_adapters_of_the_pooler(tiny, tiny_folder, tmp_path, settings):
    peers = theirs(tiny_folder, **settings)
    peers.save_pretrained(tmp_path)
    plain = type(tiny.pooler.dense)
    load_lora(tiny, tmp_path)
    assert "pooler.dense" in lora_layers(tiny)
    assert_same(output(tiny), output(peers))
    assert_same(tiny(IDS, MASK).pooler_output, peers(IDS, MASK).pooler_output)
    save_lora(tiny, tmp_path / "again")
    found = peft.PeftModel.from_pretrained(hugging_face(tiny_folder), tmp_path / "again").eval()
    assert_same(found(IDS, MASK).pooler_output, peers(IDS, MASK).pooler_output)
    with pytest.raises(InputError, match="LoRA adapters"):
        tiny.save_pretrained(tmp_path / "whole")
    merge_lora(tiny)
    assert_same(tiny(IDS, MASK).pooler_output, peers(IDS, MASK).pooler_output)
    assert type(tiny.pooler.dense) is plain


def test_all_linear_of_a_model_without_a_pooler(tiny, tiny_folder, tmp_path):
    model = transformers.BertModel.from_pretrained(tiny_folder, add_pooling_layer=False).eval()
    peers = peft.get_peft_model(model, peft.LoraConfig(target_modules="all-linear")).eval()
    fill_adapters(peers)
    peers.save_pretrained(tmp_path)
    load_lora(tiny, tmp_path)
    assert len(lora_layers(tiny)) == 12
    assert_same(output(tiny), output(peers))


def test_a_poolers_adapter_needs_a_pooler(tiny, tiny_folder, tmp_path):
    theirs(tiny_folder, target_modules="all-linear").save_pretrained(tmp_path)
    tiny.pooler = None
    with pytest.raises(InputError, match="unexpected pooler.dense.lora_A.weight .the model has no pooler"):
        load_lora(tiny, tmp_path)
    assert not lora_layers(tiny)


SAVED = (["pooler", "LayerNorm"], ["word_embeddings"], ["intermediate"])


@pytest.mark.parametrize(
    "settings",
    [{"bias": "all"}, {"bias": "lora_only"}, *({"modules_to_save": names} for names in SAVED)],
    ids=str,
)
def test_parts_of_the_encoder_that_were_trained_with_the_adapter(tiny, tiny_folder, tmp_path, settings):
    peers = theirs(tiny_folder, target_modules=["query", "output.dense"], **settings)
    with torch.no_grad():
        for parameter in peers.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter) / 4)
    peers.save_pretrained(tmp_path)
    loaded = peft.PeftModel.from_pretrained(
        hugging_face(tiny_folder), tmp_path
    ).eval()  # all that the file has
    report = load_lora(tiny, tmp_path)
    assert_same(output(tiny), output(loaded))
    assert_same(tiny(IDS, MASK).pooler_output, loaded(IDS, MASK).pooler_output)
    changed = any("lora_" not in name for name in load_file(tmp_path / "adapter_model.safetensors"))
    assert changed == any("in place of the base's" in note for note in report.notes)


def test_trained_parts_beside_another_adapter_are_refused(tiny, tiny_folder, tmp_path):
    peers = theirs(tiny_folder, target_modules=["query"], bias="all")
    with torch.no_grad():
        peers.base_model.model.embeddings.LayerNorm.bias += 1
    peers.save_pretrained(tmp_path)
    add_lora(tiny, LoRAConfig(rank=2), ("first",))
    before = {name: tensor.clone() for name, tensor in tiny.state_dict().items()}
    with pytest.raises(InputError, match="holds embeddings.norm.bias, .* load it alone"):
        load_lora(tiny, tmp_path, "second")
    assert all(torch.equal(tensor, before[name]) for name, tensor in tiny.state_dict().items())


# --- our own folders ----------------------------------------------------------------------------------------


@pytest.fixture
def saved(tiny, tmp_path):
    """A folder with an adapter of rank 3 on query and value of layer 1, and the model's outputs with it."""
    add_lora(tiny, LoRAConfig(rank=3, alpha=4, layers="1", dropout=0.25))
    fill_adapters(tiny)
    save_lora(tiny, tmp_path / "adapter")
    return tmp_path / "adapter", output(tiny)


@pytest.fixture
def fresh(tiny_folder) -> BertModel:
    return BertModel.from_pretrained(tiny_folder)


def change(folder, **settings):
    path = folder / "adapter_config.json"
    values = json.loads(path.read_text()) | settings
    path.write_text(json.dumps({key: value for key, value in values.items() if value != "DROP"}))


def change_tensors(folder, change):
    path = folder / "adapter_model.safetensors"
    tensors = {name: tensor.clone() for name, tensor in load_file(path).items()}
    change(tensors)
    save_file(tensors, path)


def test_what_is_written(saved):
    folder, _ = saved
    assert {path.name for path in folder.iterdir()} == {
        "adapter_config.json",
        "adapter_model.safetensors",
        "base.json",
    }
    values = json.loads((folder / "adapter_config.json").read_text())
    assert (values["peft_type"], values["r"], values["lora_alpha"], values["lora_dropout"]) == (
        "LORA",
        3,
        4,
        0.25,
    )
    full = [f"encoder.layer.1.attention.self.{name}" for name in ("query", "value")]
    assert values["target_modules"] == full and values["layers_to_transform"] is None
    assert values["rank_pattern"] == values["alpha_pattern"] == {}
    assert set(load_file(folder / "adapter_model.safetensors")) == {
        f"base_model.model.{name}.lora_{kind}.weight" for name in full for kind in "AB"
    }


def test_a_fresh_model_takes_it_and_is_frozen(saved, fresh):
    folder, expected = saved
    load_lora(fresh, folder)
    assert torch.equal(output(fresh), expected)
    for name, parameter in fresh.named_parameters():
        assert parameter.requires_grad == (".adapters.default." in name)
    adapter = fresh.encoder.layers[1].attention.query.adapters["default"]
    assert (adapter.dropout, adapter.alpha, adapter.training) == (0.25, 4.0, False)


def test_adapters_side_by_side_and_in_each_others_place(saved, fresh, tmp_path):
    folder, expected = saved
    base = output(fresh)
    add_lora(fresh, LoRAConfig(rank=2, targets=("key",)), ["sst"])
    fill_adapters(fresh)
    sst = output(fresh)
    load_lora(fresh, folder, "sts")
    assert set(adapter_names(fresh)) == {"sst", "sts"} and torch.equal(output(fresh), expected)
    for name, out in (("sst", sst), ("sts", expected), (None, base)):
        use_adapter(fresh, name)
        assert torch.equal(output(fresh), out)
    with pytest.raises(InputError, match="several adapters, s.., s..; say which one to save"):
        save_lora(fresh, tmp_path / "other")
    save_lora(fresh, tmp_path / "other", "sst")
    load_lora(fresh, folder, "sst")  # in the place of the one on the keys
    assert torch.equal(output(fresh), expected)
    assert set(lora_layers(fresh)) == {f"encoder.layers.1.attention.{name}" for name in ("query", "value")}
    load_lora(fresh, tmp_path / "other", "more")
    assert torch.equal(output(fresh), sst)


def test_another_base_is_refused(saved, fresh):
    folder, _ = saved
    with torch.no_grad():
        fresh.embeddings.word.weight[5, 3] += 0.1
    with pytest.raises(InputError, match="made for other weights than this model's"):
        load_lora(fresh, folder)
    assert not lora_layers(fresh) and all(p.requires_grad for p in fresh.parameters())
    (folder / "base.json").unlink()  # as peft's own folders are
    load_lora(fresh, folder)


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"sha256": 3}'])
def test_a_damaged_base_file_is_refused(saved, fresh, text):
    folder, _ = saved
    (folder / "base.json").write_text(text)
    with pytest.raises(InputError, match="base.json"):
        load_lora(fresh, folder)


def test_everything_that_does_not_fit_is_listed(saved, fresh):
    folder, _ = saved
    query, value = ("encoder.layer.1.attention.self.query", "encoder.layer.1.attention.self.value")

    def spoil(tensors):
        tensors[f"base_model.model.{query}.lora_A.weight"] = torch.ones(2, 24)
        tensors[f"base_model.model.{query}.lora_B.weight"] = torch.ones(24, 3, dtype=torch.long)
        del tensors[f"base_model.model.{value}.lora_B.weight"]
        for name in ("encoder.layer.7.attention.self.query", "embeddings.word_embeddings"):
            tensors[f"base_model.model.{name}.lora_A.weight"] = torch.ones(3, 24)
        tensors[f"base_model.model.{value}.lora_magnitude_vector"] = torch.ones(24)
        tensors[f"base_model.model.{value}.lora_B.bias"] = torch.ones(24)

    change_tensors(folder, spoil)
    with pytest.raises(InputError) as error:
        load_lora(fresh, folder)
    for problem in (
        f"{query}.lora_A.weight has shape (2, 24); adapter_config.json says (3, 24)",
        f"{query}.lora_B.weight holds torch.int64",
        f"missing {value}.lora_B.weight",
        "unexpected encoder.layer.7.attention.self.query.lora_A.weight",
        "unexpected embeddings.word_embeddings.lora_A.weight (embeddings have no adapters here)",
        f"unexpected {value}.lora_magnitude_vector",
        f"unexpected {value}.lora_B.bias",
    ):
        assert problem in str(error.value)
    assert str(error.value).count(";") == 7
    assert not lora_layers(fresh) and all(p.requires_grad for p in fresh.parameters())


def test_both_spellings_of_the_magnitudes(tiny, fresh, tmp_path):
    add_lora(tiny, LoRAConfig(rank=2, dora=True))
    fill_adapters(tiny)
    save_lora(tiny, tmp_path)

    def rename(tensors):
        for name in [name for name in tensors if name.endswith("vector")]:
            tensors[f"{name}.weight"] = tensors.pop(name)

    change_tensors(tmp_path, rename)
    load_lora(fresh, tmp_path)
    assert torch.equal(output(fresh), output(tiny))

    def double(tensors):
        for name in [name for name in tensors if name.endswith("vector.weight")]:
            tensors[name.removesuffix(".weight")] = tensors[name].clone()

    change_tensors(tmp_path, double)
    with pytest.raises(InputError, match="is there twice"):
        load_lora(fresh, tmp_path)


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"fan_in_fan_out": True}, "fan_in_fan_out True"),
        ({"layer_replication": [[0, 1]]}, "layer_replication [[0, 1]]"),
        ({"eva_config": {"rho": 2.0}}, "eva_config {'rho': 2.0}"),
        ({"init_lora_weights": "pissa_niter_4"}, "init_lora_weights 'pissa_niter_4'"),
        ({"init_lora_weights": "olora"}, "init_lora_weights 'olora'"),
        (
            {"peft_type": "LOHA", "bias": "some", "use_bdlora": {"nblocks": 2}},
            "peft_type 'LOHA', use_bdlora {'nblocks': 2}, bias 'some'",
        ),
    ],
)
def test_settings_that_are_not_supported_are_named_at_once(saved, fresh, settings, named):
    folder, _ = saved
    change(folder, **settings)
    with pytest.raises(InputError, match=re.escape(f"adapter_config.json says {named}, which is not")):
        load_lora(fresh, folder)
    assert not lora_layers(fresh)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("r", 0),
        ("r", "8"),
        ("r", True),
        ("r", "DROP"),
        ("lora_alpha", None),
        ("lora_alpha", float("inf")),
        ("lora_dropout", 1),
        ("target_modules", None),
        ("target_modules", [1]),
        ("target_modules", "(query"),
        ("layers_to_transform", ["1"]),
        ("layers_pattern", 3),
        ("rank_pattern", {"query": 0}),
        ("rank_pattern", {"(": 2}),
        ("alpha_pattern", {"query": "2"}),
        ("modules_to_save", "classifier"),
        ("use_dora", "yes"),
    ],
)
def test_values_that_cannot_be(saved, fresh, key, value):
    folder, _ = saved
    change(folder, **{key: value})
    with pytest.raises(InputError, match=rf"adapter_config.json(: {key}.* is .*; it must be | is not JSON)"):
        load_lora(fresh, folder)


def test_targets_that_match_nothing(saved, fresh):
    folder, _ = saved
    for targets in (["q_proj"], "query", []):  # one text is an expression for the whole name, as with peft
        change(folder, target_modules=targets)
        with pytest.raises(
            InputError, match=r"none of the model's 12 linear layers: encoder.layer.0.attention"
        ):
            load_lora(fresh, folder)
    change(folder, target_modules=".*query", layers_to_transform=[1])
    with pytest.raises(InputError, match="layers_to_transform beside one target_modules"):
        load_lora(fresh, folder)


def test_unknown_settings_are_noted_when_set(saved, fresh):
    folder, expected = saved
    change(folder, new_idea=0.5, off_idea=None, no_idea=False, empty_idea={}, task_type="SEQ_CLS")
    report = load_lora(fresh, folder)
    assert report.notes == ("new_idea 0.5 is not known here",)
    assert torch.equal(output(fresh), expected)


def test_files_that_cannot_be_read(saved, fresh, tmp_path):
    folder, _ = saved
    with pytest.raises(InputError, match="holds no adapter_config.json"):
        load_lora(fresh, tmp_path / "nothing")
    with pytest.raises(InputError, match="choose another"):
        load_lora(fresh, folder, "a.b")
    weights = folder / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(InputError, match="damaged"):
        load_lora(fresh, folder)
    weights.rename(folder / "adapter_model.bin")
    with pytest.raises(InputError, match="adapter_model.bin, a pickle, which is not read"):
        load_lora(fresh, folder)
    (folder / "adapter_config.json").write_text("{")
    with pytest.raises(InputError, match="is not JSON"):
        load_lora(fresh, folder)
    with pytest.raises(InputError, match="no LoRA adapters to save"):
        save_lora(fresh, folder)


def test_other_files_stay(saved, tiny):
    folder, _ = saved
    (folder / "heads.json").write_text("{}")
    save_lora(tiny, folder)
    assert (folder / "heads.json").read_text() == "{}"
