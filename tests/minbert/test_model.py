"""BertModel's outputs, and its folders: fresh parts under a given configuration, adapters of single tasks.

Run: pytest tests/minbert/test_model.py
"""

import json
import shutil
from dataclasses import replace

import pytest
import torch

from minbert import (
    BertModel,
    InputError,
    LoRAConfig,
    SentenceEncoder,
    adapted_modules,
    add_lora,
    load_attention_adapters,
    merge_lora,
    save_lora,
    use_adapter,
)
from minbert.weights.load import save_weights
from tests.encoders import PROJECTED, VARIANTS, fill_adapters

ADDED = {name: changes for name, changes in VARIANTS.items() if name != "other heads"}
each_variant = pytest.mark.parametrize("changes", ADDED.values(), ids=ADDED)


@pytest.fixture
def batch(tiny_tokenizer, texts):
    return tiny_tokenizer(texts)


# --- fresh parts --------------------------------------------------------------------------------------------


@each_variant
def test_what_the_folder_has_is_loaded_and_the_rest_is_fresh(load, tiny, changes):
    torch.manual_seed(0)
    model = load(**changes)
    assert not model.training
    own, found = tiny.state_dict(), model.state_dict()
    fresh = found.keys() - own.keys()
    assert fresh and set(model.load_report.fresh) == {name for name in fresh if not is_adapter(name)}
    assert not model.load_report.missing
    assert all(torch.equal(found[name], tensor) for name, tensor in own.items())
    for name in fresh:
        tensor = found[name]
        assert tensor.dtype == torch.float32 and not tensor.is_meta and tensor.is_leaf
        if name.endswith("norm.weight"):
            assert (tensor == 1).all(), name
        elif name.endswith("bias") or ".head_layers." in name or ".up." in name:
            assert not tensor.any(), name
        else:
            assert 0.015 < tensor.std() < 0.025, name


def test_fresh_parts_come_from_torchs_seed(load):
    def values(seed):
        torch.manual_seed(seed)
        return load(num_hidden_layers=3).encoder.layers[2].attention.query.weight

    assert torch.equal(values(3), values(3)) and not torch.equal(values(3), values(4))


def is_adapter(name):
    return ".adapters." in name or ".head_layers." in name


def test_adapters_can_be_extended(load, randomize, tmp_path):
    """One more layer of the model, one more on each head, one more task: only these are fresh."""
    before = load(attention_head_layers=1, **PROJECTED)
    randomize(before)
    before.save_pretrained(tmp_path)
    names = ("sst", "nli", "sts")
    after = load(tmp_path, num_hidden_layers=3, attention_head_layers=2, projected_attention_names=names)
    for name, tensor in after.state_dict().items():
        old = before.state_dict().get(name)
        assert old is None or torch.equal(tensor, old), name
        if old is None and is_adapter(name):
            assert ".head_layers.1." in name or ".nli." in name or "layers.2." in name


def test_what_the_configuration_lacks_is_refused(load, tmp_path):
    load(attention_head_layers=1, **PROJECTED).save_pretrained(tmp_path)
    for changes, named in (
        (dict(attention_head_layers=0), "encoder.layers.0.attention.head_layers.0.bias"),
        (dict(num_attention_heads=6), "encoder.layers.0.attention.head_layers.0.weight"),
        (dict(projected_attention_names=("sst",)), "adapters.sts.up.weight"),
        (dict(projected_attention_size=12), "adapters.sst.down.weight"),
    ):
        with pytest.raises(InputError, match=f"does not fit the model: .*{named}"):
            load(tmp_path, **changes)


def test_nothing_is_fresh_that_the_folders_own_configuration_names(load, tiny, tiny_folder, tmp_path):
    """Tensors that a damaged folder lost are not made up, whether the caller gives a configuration or not."""
    folder = tmp_path / "weights"
    shutil.copytree(tiny_folder, folder)
    config = replace(tiny.config, num_hidden_layers=3)
    config.save(folder)
    for given in (None, config, replace(config, num_hidden_layers=4)):
        with pytest.raises(InputError, match="missing encoder.layer.2.attention.self.query.weight"):
            BertModel.from_pretrained(folder, config=given)


# --- round trips and transformers ---------------------------------------------------------------------------


@each_variant
def test_round_trip_is_bit_equal(load, randomize, batch, tmp_path, changes):
    model = load(**changes)
    randomize(model)
    model.save_pretrained(tmp_path / "out")
    again = BertModel.from_pretrained(tmp_path / "out", adapter="none")
    load_attention_adapters(again, tmp_path / "out")
    assert again.config == model.config and not again.load_report.fresh
    assert again.state_dict().keys() == model.state_dict().keys()
    assert all(torch.equal(again.state_dict()[name], tensor) for name, tensor in model.state_dict().items())
    for task in (None, "sst"):
        use_adapter(model, task)
        use_adapter(again, task)
        assert torch.equal(again(batch).packed, model(batch).packed)


@pytest.mark.parametrize("name", ["head layers", "projected attention"])
def test_the_base_beside_adapters_is_a_bert(load, randomize, batch, tmp_path, name):
    """transformers loads the root, which says that it is not what runs: it names no architecture."""
    transformers = pytest.importorskip("transformers", reason="loads the root with transformers' BertModel")
    model = load(**VARIANTS[name])
    randomize(model)
    model.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["model_type"] == "bert" and "architectures" not in config
    assert config["minbert_adapters"] == [
        name.replace("head layers", "attention_head_layers").replace(" ", "_")
    ]
    theirs, report = transformers.BertModel.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(report.values()), report
    base = BertModel.from_pretrained(tmp_path, adapter="none")
    with torch.no_grad():
        found, expected = base(**batch.padded()), theirs(**batch.padded())
    torch.testing.assert_close(found.pooler_output, expected.pooler_output, rtol=0, atol=1e-5)
    if name == "head layers":  # of one kind for all tasks: applied, unless "none"
        assert torch.equal(BertModel.from_pretrained(tmp_path)(batch).packed, model(batch).packed)
        assert not torch.equal(base(batch).packed, model(batch).packed)


def test_one_projected_attention_needs_no_name(load, randomize, batch, tmp_path):
    model = load(**PROJECTED | {"projected_attention_names": ("sst",)})
    randomize(model)
    model.save_pretrained(tmp_path)
    use_adapter(model, "sst")
    assert torch.equal(BertModel.from_pretrained(tmp_path)(batch).packed, model(batch).packed)


def test_adapters_belong_to_their_base(load, randomize, tiny, tmp_path):
    load(attention_head_layers=1).save_pretrained(tmp_path)
    randomize(tiny, seed=1)
    save_weights(tiny, tmp_path)
    with pytest.raises(InputError, match="were made for other weights than this model's"):
        BertModel.from_pretrained(tmp_path)
    (tmp_path / "adapter" / "attention_adapters.json").unlink()
    with pytest.raises(InputError, match=r"attention_adapters\.json cannot be read"):
        BertModel.from_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"model_type": "minbert"}))
    with pytest.raises(InputError, match="the format of version 0.1, which is not read; train anew"):
        BertModel.from_pretrained(tmp_path)


# --- adapters of single tasks -------------------------------------------------------------------------------


def adapted(model, names) -> BertModel:
    add_lora(model, LoRAConfig(rank=2), names=names)
    fill_adapters(model)
    return model


@pytest.fixture
def per_task(load, tmp_path):
    """A model with LoRA and projected attention for each of two tasks, and its folder."""
    model = adapted(load(**PROJECTED), ("sst", "sts"))
    folder = tmp_path / "per-task"
    model.save_pretrained(folder, base_only=True)
    for name in ("sst", "sts"):
        save_lora(model, folder / "adapter" / name, name)
    return model, folder


def test_a_folder_with_adapters_for_each_task_wants_to_know_which(per_task, batch):
    model, folder = per_task
    for load_it in (BertModel.from_pretrained, SentenceEncoder.from_pretrained):
        with pytest.raises(
            InputError, match='an adapter for each of sst, sts, and none was named; give .*"none"'
        ):
            load_it(folder)
    with pytest.raises(InputError, match="'stss' is not there; .*did you mean 'sts'"):
        BertModel.from_pretrained(folder, adapter="stss")
    use_adapter(model, None)
    base = model(batch).packed
    assert torch.equal(BertModel.from_pretrained(folder, adapter="none")(batch).packed, base)
    for name in ("sst", "sts"):
        use_adapter(model, name)
        loaded = BertModel.from_pretrained(folder, adapter=name)
        assert not loaded.training and torch.equal(loaded(batch).packed, model(batch).packed)
        assert (loaded(batch).packed - base).abs().max() > 1e-2
        assert {module.active for module in adapted_modules(loaded)} == {name}


def test_lora_alone_and_projected_attention_alone(load, batch, tmp_path):
    model = adapted(load(), ("sst",))
    model.save_pretrained(tmp_path / "lora", base_only=True)
    save_lora(model, tmp_path / "lora" / "adapter" / "sst", "sst")
    assert torch.equal(
        BertModel.from_pretrained(tmp_path / "lora", adapter="sst")(batch).packed, model(batch).packed
    )
    projected = load(**PROJECTED)
    projected.save_pretrained(tmp_path / "projected")
    for folder, names in (("lora", "sst"), ("projected", "sst, sts")):
        with pytest.raises(InputError, match=f"an adapter for each of {names}, and none was named"):
            BertModel.from_pretrained(tmp_path / folder)
    loaded = BertModel.from_pretrained(tmp_path / "projected", adapter="sts")
    assert loaded.encoder.projected_attention.active == "sts"


def test_a_merged_root_loads_as_it_is(load, tiny, tiny_folder, batch, tmp_path):
    model = adapted(load(), ("default",))
    save_lora(model, tmp_path / "adapter")
    merge_lora(model)
    model.save_pretrained(tmp_path)
    for adapter in (None, "none"):
        loaded = BertModel.from_pretrained(tmp_path, adapter=adapter)
        assert torch.equal(loaded(batch).packed, model(batch).packed)
    assert (model(batch).packed - tiny(batch).packed).abs().max() > 1e-2
    for folder in (tmp_path, tiny_folder):
        with pytest.raises(InputError, match="has no adapters for single tasks, adapter is 'sst'; leave it"):
            BertModel.from_pretrained(folder, adapter="sst")


def test_lora_is_not_lost_in_silence_when_the_weights_are_saved(load, tiny, tmp_path):
    model = adapted(load(), ("default",))
    with pytest.raises(InputError, match="has LoRA adapters .*merge_lora it first, or save the rest"):
        model.save_pretrained(tmp_path)
    assert not list(tmp_path.iterdir())
    model.save_pretrained(tmp_path, base_only=True)
    base = BertModel.from_pretrained(tmp_path).state_dict()
    assert all(torch.equal(base[name], tensor) for name, tensor in tiny.state_dict().items())


def test_outputs_are_read_by_place_by_name_and_unpacked(tiny, batch):
    out = tiny(batch)
    hidden, pooled = out
    assert hidden is out.last_hidden_state is out[0] and pooled is out.pooler_output is out[1]
    whole = tiny(batch, output_hidden_states=True, output_attentions=True)
    assert len(whole.to_tuple()) == 4 and whole[2] is whole.hidden_states and whole[3] is whole.attentions
    assert out["last_hidden_state"] is hidden and out["pooler_output"] is pooled
    with pytest.raises(KeyError, match="last_hidden_state"):
        out["logits"]
    tiny.pooler = None
    assert len(tiny(batch).to_tuple()) == 1


def test_the_pooler_runs_in_forward(tiny, batch):
    """Under the caller's gradient mode, in fp32 under autocast, and not where other rows are wanted."""
    fired = []
    hook = tiny.pooler.register_forward_hook(lambda *_: fired.append(True))
    with torch.no_grad():
        out = tiny(batch)
    assert fired and not out.pooler_output.requires_grad
    with torch.inference_mode():
        out = tiny(batch)
    assert out.pooler_output.is_inference()
    fired.clear()
    with pytest.raises(InputError, match="no pooler"):
        _ = tiny(batch, pooler=False).pooler_output
    assert not fired
    hook.remove()
    with torch.autocast("cpu", torch.bfloat16):
        out = tiny(batch)
    first = out.last_hidden_state[:, 0].float()
    expected = torch.tanh(torch.nn.functional.linear(first, tiny.pooler.dense.weight, tiny.pooler.dense.bias))
    assert torch.equal(out.pooler_output, expected)


def test_hooks_fire_on_every_module_that_computes(tiny, batch):
    called = set()
    for name, module in tiny.named_modules():
        module.register_forward_hook(lambda *_, name=name: called.add(name))
    tiny.train()(batch)
    containers = {name for name, module in tiny.named_modules() if isinstance(module, torch.nn.ModuleList)}
    assert {name for name, _ in tiny.named_modules()} - called == containers
