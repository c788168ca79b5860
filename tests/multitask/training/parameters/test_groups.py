"""Parameter groups: every tensor in exactly one place, with its rate and decay."""

import json
from dataclasses import replace

import pytest
import torch

from minbert import AdamW, BertConfig, BertModel, InputError, LoRAConfig, add_lora
from multitask import train
from multitask.config.run_config import OptimConfig
from multitask.config.task_config import task_config
from multitask.config.task_kinds import make_task
from multitask.model.multitask_model import MultitaskModel
from multitask.training.parameters.freezing import freeze
from multitask.training.parameters.groups import assign, parameter_groups
from tests.encoders import fresh_encoder

OPTIM = OptimConfig(lr=1e-4, head_lr=1e-2, layer_decay=0.5, weight_decay=0.1)
RATE_OF_LAYER = {
    "encoder.embeddings.": 0.5**3,
    "encoder.encoder.layers.0.": 0.5**2,
    "encoder.encoder.layers.1.": 0.5,
}


def make_tasks(**tasks):
    return {name: make_task(name, task_config(name, values)) for name, values in tasks.items()}


def make_model(folder, **tasks):
    return MultitaskModel(BertModel.from_pretrained(folder), make_tasks(**tasks))


@pytest.fixture
def model(tiny_folder):
    return make_model(tiny_folder, sst={"pooling": "pooler", "hidden": [8]}, paraphrase={"lr": 3e-3}, sts={})


def assigned(model, optim=OPTIM, **rates):
    return {entry.name: entry for entry in assign(model, optim, rates, model.unused_parameters())}


def test_rates_fall_by_layer_decay_from_the_top(model):
    """Distances: pooler 0, last layer 1, first of two layers 2, embeddings 3 (L + 1)."""
    for name, entry in assigned(model).items():
        if name.startswith("heads."):
            assert entry.lr == 1e-2
        elif name.startswith("encoder.pooler."):
            assert entry.lr == 1e-4
        else:
            (factor,) = (factor for prefix, factor in RATE_OF_LAYER.items() if name.startswith(prefix))
            assert entry.lr == pytest.approx(1e-4 * factor, rel=1e-12), name


def test_the_head_is_one_factor_above_the_last_layer_not_two():
    """google-research/electra#64: there the head has depth L + 2 above embeddings at 0, layers at l + 1.

    The depths counted from the bottom: embeddings 0, layer l at l + 1, the head at L + 1, each tensor at
    lr decay^(L + 1 - depth).
    """
    config = BertConfig(
        vocab_size=9, hidden_size=4, num_hidden_layers=12, num_attention_heads=1, intermediate_size=4
    )
    model = MultitaskModel(BertModel(config), make_tasks(sst={}))
    optim = OptimConfig(lr=1e-3, head_lr=1e-3, layer_decay=0.9)
    depths = {"encoder.embeddings.word.weight": 0, "heads.sst.1.weight": 13}
    depths |= {f"encoder.encoder.layers.{i}.feed_forward.output.bias": i + 1 for i in range(12)}
    found = {entry.name: entry.lr for entry in assign(model, optim, {})}
    for name, depth in depths.items():
        assert found[name] == pytest.approx(1e-3 * 0.9 ** (13 - depth), rel=1e-12), name
    assert found["encoder.encoder.layers.11.attention.key.weight"] == pytest.approx(9e-4, rel=1e-12)


def test_embeddings_and_pooler_take_rates_of_their_own_and_zero_is_a_rate(model):
    optim = replace(OPTIM, embeddings_lr=0.7, pooler_lr=0.0)
    changed = {"encoder.embeddings.": 0.7, "encoder.pooler.": 0.0}
    for name, entry in assigned(model, optim).items():
        (rate,) = [rate for prefix, rate in changed.items() if name.startswith(prefix)] or [None]
        assert entry.lr == (assigned(model)[name].lr if rate is None else rate), name


def variant_model():
    """With all that can be added to an encoder: LoRA, projected attention, layers of attention heads."""
    encoder = fresh_encoder(
        vocab_size=9,
        hidden_size=8,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=8,
        attention_head_layers=1,
        projected_attention_size=4,
        projected_attention_heads=2,
        projected_attention_names=("sst", "sts"),
    )
    add_lora(encoder, LoRAConfig(rank=2, targets=("query",), layers="last:1", dora=True))
    return MultitaskModel(encoder, make_tasks(sst={"pooling": "pooler"}, sts={}))


@pytest.mark.parametrize(("given", "rate"), [(None, 1e-2), (0.2, 0.2), (0.0, 0.0)])
def test_what_is_added_to_the_encoder_has_one_rate_without_decay_by_layer(given, rate):
    entries = assigned(variant_model(), replace(OPTIM, adapter_lr=given))
    added = {
        name: entry for name, entry in entries.items() if {"adapters", "head_layers"} & set(name.split("."))
    }
    assert {entry.lr for entry in added.values()} == {rate}
    assert {entry.part for entry in added.values()} == {"encoder"}
    ends = {name.rpartition(".")[2] for name, entry in added.items() if not entry.weight_decay}
    assert ends == {"bias", "magnitude"}
    assert {name.rpartition(".")[2] for name, entry in added.items() if entry.weight_decay} == {
        "A",
        "B",
        "weight",
    }
    for name in entries.keys() - added.keys():
        assert entries[name].lr == assigned(variant_model())[name].lr


def test_groups_hold_each_tensor_once_with_adapters_and_shared_ones():
    model = variant_model()
    model.requires_grad_(True)
    model.heads["sst"].tied = model.encoder.embeddings.word  # one tensor under two names
    entries = assign(model, OPTIM, {})
    assert len(entries) == len({id(p) for p in model.parameters()}) == len(list(model.named_parameters()))
    tied = [entry for entry in entries if entry.parameter is model.encoder.embeddings.word.weight]
    assert [entry.name for entry in tied] == ["encoder.embeddings.word.weight"]
    groups = parameter_groups(entries)
    grouped = [id(p) for group in groups for p in group["params"]]
    assert sorted(grouped) == sorted(id(p) for p in model.parameters())
    for group in groups:
        for p in group["params"]:
            (entry,) = [entry for entry in entries if entry.parameter is p]
            assert (group["lr"], group["initial_lr"]) == (entry.lr, entry.lr)
            assert (group["weight_decay"], group["part"]) == (entry.weight_decay, entry.part)
            assert group["part"] == ("head" if entry.name.startswith("heads.") else "encoder")
    keys = [(group["part"], group["lr"], group["weight_decay"]) for group in groups]
    assert len(keys) == len(set(keys))


def test_a_tensor_that_is_assigned_twice_is_refused(model):
    entries = assign(model, OPTIM, {})
    with pytest.raises(InputError, match="encoder.embeddings.word.weight .* are one tensor"):
        parameter_groups([*entries, entries[0]])
    with pytest.raises(InputError, match="encoder.embeddings.word.weight and other are one tensor"):
        parameter_groups([*entries, replace(entries[0], name="other", state="frozen")])


def test_encoder_and_heads_of_one_rate_are_in_groups_of_their_own_and_survive_a_checkpoint(model):
    """What the optimizer keeps of a group is plain, and its extra keys come back."""
    groups = parameter_groups(assign(model, OptimConfig(lr=1e-3, head_lr=1e-3), {}))
    assert [group["part"] for group in groups] == ["encoder", "encoder", "head", "head"]
    optimizer = AdamW(groups)
    saved = json.loads(json.dumps(optimizer.state_dict()["param_groups"]))
    other = AdamW(parameter_groups(assign(model, OptimConfig(lr=2e-3, head_lr=1e-3), {})))
    other.load_state_dict({"state": {}, "param_groups": saved})
    assert [(g["part"], g["initial_lr"]) for g in other.param_groups] == [
        (g["part"], g["initial_lr"]) for g in optimizer.param_groups
    ]


def test_names_of_tasks_mean_nothing_to_rates_and_decay(tiny_folder):
    """Tasks called embeddings, pooler, adapters or head_layers."""
    names = ("embeddings", "pooler", "adapters", "head_layers", "layers", "encoder")
    tasks = {name: make_task(name, task_config(name, {"type": "sst", "hidden": [4]})) for name in names}
    model = MultitaskModel(BertModel.from_pretrained(tiny_folder), tasks)
    for name, entry in assigned(model).items():
        if name.startswith("heads."):
            assert (entry.lr, entry.part, entry.state) == (1e-2, "head", "trained")
            assert entry.weight_decay == (0.1 if name.endswith("weight") else 0.0)


def test_what_is_unfrozen_later_is_in_the_optimizer_and_what_is_frozen_is_not(tiny_folder):
    model = make_model(tiny_folder, sst={}, paraphrase={})
    freeze(model, "backbone")
    layer = {name for name, _ in model.named_parameters() if ".layers.1." in name}
    later = layer | {"encoder.pooler.dense.weight", "heads.sst.1.weight"}
    entries = assign(model, OPTIM, {}, model.unused_parameters(), later)
    states = {entry.name: entry.state for entry in entries}
    assert {name for name, state in states.items() if state == "unfrozen later"} == layer
    assert states["encoder.pooler.dense.weight"] == "unused"
    assert states["heads.sst.1.weight"] == "trained"  # it is trained already
    learning = {entry.name for entry in entries if entry.learns}
    assert learning == layer | {name for name in states if name.startswith("heads.")}
    grouped = {id(p) for group in parameter_groups(entries) for p in group["params"]}
    assert grouped == {id(entry.parameter) for entry in entries if entry.name in learning}


def test_all_that_is_unfrozen_later_is_something_to_train(tiny_folder):
    model = make_model(tiny_folder, sts={})
    later = {name for name, _ in model.named_parameters()}
    model.requires_grad_(False)
    with pytest.raises(InputError, match="nothing to train: every tensor is frozen or unused"):
        parameter_groups(assign(model, OPTIM, {}))
    assert parameter_groups(assign(model, OPTIM, {}, later=later))


def test_biases_norms_and_embeddings_are_not_decayed(model):
    for name, entry in assigned(model).items():
        free = name.endswith("bias") or "norm" in name or ".embeddings." in name
        assert entry.weight_decay == (0.0 if free else 0.1), name
    decayed = [name for name, entry in assigned(model).items() if entry.weight_decay]
    assert len(decayed) == 2 * 6 + 1 + 2 + 1  # layers, pooler, the heads of sst and of paraphrase


def test_a_head_takes_its_task_s_rate_and_zero_is_a_rate(model):
    entries = assigned(model, sst=None, paraphrase=3e-3, sts=None)
    assert {entry.lr for name, entry in entries.items() if name.startswith("heads.sst.")} == {1e-2}
    assert {entry.lr for name, entry in entries.items() if name.startswith("heads.paraphrase.")} == {3e-3}
    entries = assigned(model, paraphrase=0.0)
    assert {entry.lr for name, entry in entries.items() if name.startswith("heads.paraphrase.")} == {0.0}


def test_a_run_s_assignments_take_the_rates_of_its_tasks(model, tiny_config):
    config = tiny_config(
        tasks={"sst": {"pooling": "pooler", "hidden": [8], "lr": 0.5}, "sts": {}, "paraphrase": {}}
    )
    from multitask.training.components import assignments

    entries = {entry.name: entry for entry in assignments(config, model)}
    assert entries["heads.sst.1.weight"].lr == 0.5
    assert entries["heads.paraphrase.1.weight"].lr == config.optim.head_lr


def test_the_pooler_is_unused_where_no_task_pools_by_it(tiny_folder):
    model = make_model(tiny_folder, sst={}, sts={})
    states = {name: entry.state for name, entry in assigned(model).items()}
    unused = {"encoder.pooler.dense.weight", "encoder.pooler.dense.bias"}
    assert {name for name, state in states.items() if state == "unused"} == unused
    grouped = {id(p) for group in parameter_groups(list(assigned(model).values())) for p in group["params"]}
    assert not grouped & {id(p) for p in model.encoder.pooler.parameters()}


@pytest.mark.parametrize("pooling", ["cls", "pooler"])
def test_what_is_called_trained_gets_a_gradient_and_what_is_not_gets_none(tiny_config, pooling, monkeypatch):
    """Every task's own backward, over one epoch, against the printed states."""
    from multitask.training import trainer

    graded, states = set(), {}

    train_loop = trainer.train_loop

    def watched(model, plan, method, gradients, precision, optimizer, report, after_step):
        entries = assign(model, OPTIM, {}, model.unused_parameters())
        states.update({entry.name: entry.state for entry in entries})
        finish = gradients.finish

        def look():
            graded.update(name for name, p in model.named_parameters() if p.grad is not None)
            finish()

        gradients.finish = look
        train_loop(model, plan, method, gradients, precision, optimizer, report, after_step)

    monkeypatch.setattr(trainer, "train_loop", watched)
    tasks = {"sst": {"pooling": pooling}, "paraphrase": {}, "sts": {}}
    train(tiny_config(train={"epochs": 1}, tasks=tasks))
    assert graded == {name for name, state in states.items() if state == "trained"}
    assert ("unused" in states.values()) is (pooling != "pooler")


def test_a_frozen_encoder_is_bit_equal_after_training(tiny_config, tiny_folder, said):
    """The course's three tasks: the cosine of sts has nothing to train then, and is scored only."""
    run = train(tiny_config(freeze="backbone"))
    before, after = BertModel.from_pretrained(tiny_folder), run.model.encoder
    for (name, old), (_, new) in zip(before.named_parameters(), after.named_parameters(), strict=True):
        assert torch.equal(old, new), name
    fresh = make_model(tiny_folder, sst={}, paraphrase={}, sts={}).heads["sst"][1].weight
    assert not torch.equal(run.model.heads["sst"][1].weight, fresh)
    assert set(run.scores["scores"]) == {"sst", "paraphrase", "sts"}
    assert "sts: scored only; nothing that it uses is trained" in said
    assert not any(line.startswith("sts: 22 examples") for line in said)


def test_a_frozen_encoder_with_an_order_that_names_the_idle_task(tiny_config):
    run = train(tiny_config(freeze="backbone", sampling="sequential:sts,sst,paraphrase"))
    assert set(run.scores["scores"]) == {"sst", "paraphrase", "sts"}


def test_nothing_to_train_is_refused_before_anything_is_written(tiny_config, tmp_path):
    with pytest.raises(InputError, match="nothing to train"):
        train(tiny_config(freeze="backbone", tasks={"sts": {}}))
    assert not (tmp_path / "run").exists()
