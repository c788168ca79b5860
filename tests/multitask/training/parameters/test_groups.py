"""Parameter groups: every tensor in exactly one place, with its rate and decay."""

import json
from dataclasses import replace

import pytest
import torch

from minbert import AdamW, BertModel, InputError, LoRAConfig, add_lora
from multitask import train
from multitask.config.run_config import OptimConfig
from multitask.config.task_config import task_config
from multitask.config.task_kinds import make_task
from multitask.model.multitask_model import MultitaskModel
from multitask.training.components import assignments
from multitask.training.parameters.freezing import freeze
from multitask.training.parameters.groups import assign, parameter_groups
from tests.encoders import fresh_encoder

OPTIM = OptimConfig(lr=1e-4, head_lr=1e-2, layer_decay=0.5, weight_decay=0.1)


def make_tasks(**tasks):
    return {name: make_task(name, task_config(name, values)) for name, values in tasks.items()}


@pytest.fixture
def make_tiny(tiny_folder):
    return lambda **tasks: MultitaskModel(BertModel.from_pretrained(tiny_folder), make_tasks(**tasks))


@pytest.fixture
def model(make_tiny):
    return make_tiny(sst={"pooling": "pooler", "hidden": [8]}, paraphrase={"lr": 3e-3}, sts={})


def assigned(model, optim=OPTIM, **rates):
    return {entry.name: entry for entry in assign(model, optim, rates, model.unused_parameters())}


def variant_model():
    """With all that can be added to an encoder: LoRA, projected attention, layers of attention heads."""
    sizes = dict(vocab_size=9, hidden_size=8, num_hidden_layers=2, num_attention_heads=2, intermediate_size=8)
    adapters = dict(projected_attention_size=4, projected_attention_heads=2, attention_head_layers=1)
    encoder = fresh_encoder(**sizes, **adapters, projected_attention_names=("sst", "sts"))
    add_lora(encoder, LoRAConfig(rank=2, targets=("query",), layers="last:1", dora=True))
    return MultitaskModel(encoder, make_tasks(sst={"pooling": "pooler"}, sts={}))


# The head is one factor above the last layer, not two (google-research/electra#64).
@pytest.mark.parametrize(
    ("changes", "rates"),
    [
        ({}, {}),
        ({"embeddings_lr": 0.7, "pooler_lr": 0.0}, {"encoder.embeddings.": 0.7, "encoder.pooler.": 0.0}),
    ],
)
def test_rates_fall_by_layer_decay_from_the_top_unless_a_part_has_its_own(model, changes, rates):
    wanted = {
        "heads.": 1e-2,
        "encoder.pooler.": 1e-4,
        "encoder.encoder.layers.1.": 1e-4 * 0.5,
        "encoder.encoder.layers.0.": 1e-4 * 0.5**2,
        "encoder.embeddings.": 1e-4 * 0.5**3,
    } | rates
    for name, entry in assigned(model, replace(OPTIM, **changes)).items():
        (rate,) = (rate for prefix, rate in wanted.items() if name.startswith(prefix))
        assert entry.lr == pytest.approx(rate, rel=1e-12), name


def test_a_head_takes_its_task_s_rate_and_zero_is_a_rate(model, tiny_config):
    for rate, wanted in ((3e-3, 3e-3), (0.0, 0.0), (None, 1e-2)):
        entries = assigned(model, paraphrase=rate)
        assert {e.lr for name, e in entries.items() if name.startswith("heads.paraphrase.")} == {wanted}
        assert {e.lr for name, e in entries.items() if name.startswith("heads.sst.")} == {1e-2}
    config = tiny_config(tasks={"sst": {"pooling": "pooler", "hidden": [8], "lr": 0.5}, "paraphrase": {}})
    entries = {entry.name: entry for entry in assignments(config, model)}
    assert entries["heads.sst.1.weight"].lr == 0.5
    assert entries["heads.paraphrase.1.weight"].lr == config.optim.head_lr


@pytest.mark.parametrize(("given", "rate"), [(None, 1e-2), (0.0, 0.0)])
def test_what_is_added_to_the_encoder_has_one_rate_without_decay_by_layer(given, rate):
    entries = assigned(variant_model(), replace(OPTIM, adapter_lr=given))
    added = {name: e for name, e in entries.items() if {"adapters", "head_layers"} & set(name.split("."))}
    assert {(entry.lr, entry.part) for entry in added.values()} == {(rate, "encoder")}
    ends = [
        {n.rpartition(".")[2] for n, e in added.items() if bool(e.weight_decay) is d} for d in (False, True)
    ]
    assert ends == [{"bias", "magnitude"}, {"A", "B", "weight"}]


def test_biases_norms_and_embeddings_are_not_decayed(model):
    for name, entry in assigned(model).items():
        free = name.endswith("bias") or "norm" in name or ".embeddings." in name
        assert entry.weight_decay == (0.0 if free else 0.1), name
    decayed = [name for name, entry in assigned(model).items() if entry.weight_decay]
    assert len(decayed) == 2 * 6 + 1 + 2 + 1  # layers, pooler, the heads of sst and of paraphrase


def test_names_of_tasks_mean_nothing_to_rates_and_decay(make_tiny):
    names = ("embeddings", "pooler", "adapters", "head_layers", "layers", "encoder", "default")
    model = make_tiny(**{name: {"type": "sst", "hidden": [4]} for name in names})
    for name, entry in assigned(model).items():
        if name.startswith("heads."):
            assert (entry.lr, entry.part, entry.state) == (1e-2, "head", "trained")
            assert entry.weight_decay == (0.1 if name.endswith("weight") else 0.0)


def test_groups_hold_each_tensor_once_with_adapters_and_shared_ones():
    model = variant_model()
    model.requires_grad_(True)
    model.heads["sst"].tied = model.encoder.embeddings.word  # one tensor under two names
    entries = assign(model, OPTIM, {})
    assert len(entries) == len({id(p) for p in model.parameters()})
    groups = parameter_groups(entries)
    assert sorted(id(p) for group in groups for p in group["params"]) == sorted(map(id, model.parameters()))
    for group in groups:
        for p in group["params"]:
            (entry,) = [entry for entry in entries if entry.parameter is p]
            assert (group["lr"], group["initial_lr"]) == (entry.lr, entry.lr)
            assert (group["weight_decay"], group["part"]) == (entry.weight_decay, entry.part)
            assert group["part"] == ("head" if entry.name.startswith("heads.") else "encoder")
    keys = [(group["part"], group["lr"], group["weight_decay"]) for group in groups]
    assert len(keys) == len(set(keys))
    twice = [*entries, replace(entries[0], name="other", state="frozen")]
    with pytest.raises(InputError, match="encoder.embeddings.word.weight and other are one tensor"):
        parameter_groups(twice)


def test_encoder_and_heads_of_one_rate_are_in_groups_of_their_own_and_survive_a_checkpoint(model):
    """What the optimizer keeps of a group is plain, and its extra keys come back."""
    groups = parameter_groups(assign(model, OptimConfig(lr=1e-3, head_lr=1e-3), {}))
    assert [group["part"] for group in groups] == ["encoder", "encoder", "head", "head"]
    saved = json.loads(json.dumps(AdamW(groups).state_dict()["param_groups"]))
    other = AdamW(parameter_groups(assign(model, OptimConfig(lr=2e-3, head_lr=1e-3), {})))
    other.load_state_dict({"state": {}, "param_groups": saved})
    assert [(g["part"], g["initial_lr"]) for g in other.param_groups] == [(g["part"], 1e-3) for g in groups]


def test_states_of_tensors(make_tiny):
    """What is unfrozen later is in the optimizer; what is frozen or read by no task is not."""
    model = make_tiny(sst={}, paraphrase={})
    freeze(model, "backbone")
    layer = {name for name, _ in model.named_parameters() if ".layers.1." in name}
    pooler = {"encoder.pooler.dense.weight", "encoder.pooler.dense.bias"}
    later = layer | pooler | {"heads.sst.1.weight"}
    entries = assign(model, OPTIM, {}, model.unused_parameters(), later)
    states = {entry.name: entry.state for entry in entries}
    assert {name for name, state in states.items() if state == "unfrozen later"} == layer
    assert {name for name, state in states.items() if state == "unused"} == pooler
    assert states["heads.sst.1.weight"] == "trained"  # it is trained already
    learning = layer | {name for name in states if name.startswith("heads.")}
    assert learning == {entry.name for entry in entries if entry.learns}
    grouped = {id(p) for group in parameter_groups(entries) for p in group["params"]}
    assert grouped == {id(entry.parameter) for entry in entries if entry.name in learning}
    model.requires_grad_(False)
    with pytest.raises(InputError, match="nothing to train: every tensor is frozen or unused"):
        parameter_groups(assign(model, OPTIM, {}))
    assert parameter_groups(assign(model, OPTIM, {}, later=set(states)))


def test_a_frozen_encoder_is_bit_equal_after_training(tiny_config, tiny_folder, said):
    """The course's three tasks: the cosine of sts has nothing to train then, and is scored only."""
    run = train(tiny_config(freeze="backbone", sampling="sequential:sts,sst,paraphrase"))
    before, after = BertModel.from_pretrained(tiny_folder), run.model.encoder
    for (name, old), (_, new) in zip(before.named_parameters(), after.named_parameters(), strict=True):
        assert torch.equal(old, new), name
    assert set(run.scores["scores"]) == {"sst", "paraphrase", "sts"}
    assert "sts: scored only; nothing that it uses is trained" in said
