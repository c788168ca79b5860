"""Parameter groups and freezing: every tensor in exactly one place, with its rate and decay."""

import pytest
import torch

from minbert import AdamW, BertModel, InputError
from multitask import train
from multitask.config import OptimConfig
from multitask.fine_tune import assignments, train_loop
from multitask.model import MultitaskModel
from multitask.run import make_tasks
from multitask.task_config import task_config
from multitask.training.freezing import freeze
from multitask.training.groups import assign, distance_from_top, parameter_groups

OPTIM = OptimConfig(lr=1e-4, head_lr=1e-2, layer_decay=0.5, weight_decay=0.1)
RATE_OF_LAYER = {
    "encoder.embeddings.": 0.5**3,
    "encoder.encoder.layers.0.": 0.5**2,
    "encoder.encoder.layers.1.": 0.5,
}


def make_model(folder, **tasks):
    encoder = BertModel.from_pretrained(folder)
    configs = {name: task_config(name, values) for name, values in tasks.items()}
    return MultitaskModel(encoder, make_tasks(configs, encoder.config))


@pytest.fixture
def model(tiny_folder):
    return make_model(tiny_folder, sst={"pooling": "pooler", "hidden": [8]}, paraphrase={"lr": 3e-3}, sts={})


def assigned(model, optim=OPTIM, **rates):
    return {entry.name: entry for entry in assign(model, optim, rates, model.unused_parameters())}


def test_every_tensor_is_assigned_once_and_every_trained_one_is_in_one_group(model):
    entries = assign(model, OPTIM, {}, model.unused_parameters())
    assert [entry.name for entry in entries] == [name for name, _ in model.named_parameters()]
    grouped = [id(p) for group in parameter_groups(entries) for p in group["params"]]
    assert len(grouped) == len(set(grouped))
    assert set(grouped) == {id(p) for p in model.parameters()}
    AdamW(parameter_groups(entries))


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


def test_distances_in_a_deep_model():
    names = {f"encoder.encoder.layers.{i}.attention.query.weight": 12 - i for i in range(12)}
    names |= {"encoder.embeddings.norm.bias": 13, "encoder.pooler.dense.weight": 0}
    assert {name: distance_from_top(name, 12) for name in names} == names


def test_without_layer_decay_the_encoder_has_one_rate(model):
    entries = assigned(model, OptimConfig(lr=1e-4))
    assert {entry.lr for name, entry in entries.items() if name.startswith("encoder.")} == {1e-4}


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


@pytest.mark.parametrize("pooling", ["cls", "mean", "max", "pooler"])
def test_what_is_called_trained_gets_a_gradient_and_what_is_not_gets_none(tiny_config, pooling, monkeypatch):
    """Every task's own backward, over one epoch, against the printed states."""
    from multitask import fine_tune

    graded, states = set(), {}

    def watched(model, plan, method, gradients, precision, optimizer, report, after_step):
        entries = assign(model, OPTIM, {}, model.unused_parameters())
        states.update({entry.name: entry.state for entry in entries})
        finish = gradients.finish

        def look():
            graded.update(name for name, p in model.named_parameters() if p.grad is not None)
            finish()

        gradients.finish = look
        train_loop(model, plan, method, gradients, precision, optimizer, report, after_step)

    monkeypatch.setattr(fine_tune, "train_loop", watched)
    tasks = {"sst": {"pooling": pooling}, "paraphrase": {}, "sts": {}}
    train(tiny_config(train={"epochs": 1}, tasks=tasks))
    assert graded == {name for name, state in states.items() if state == "trained"}
    assert ("unused" in states.values()) is (pooling != "pooler")


def test_freezing_the_backbone_trains_the_heads_alone_and_without_dropout_below(tiny_folder):
    model = make_model(tiny_folder, sst={}, sts={})
    freeze(model.encoder, "backbone")
    states = {name: entry.state for name, entry in assigned(model).items()}
    for name, state in states.items():
        unused = name.startswith("encoder.pooler.")
        assert state == ("unused" if unused else "frozen" if name.startswith("encoder.") else "trained")
    model.train()
    assert not any(module.training for module in model.encoder.modules())
    assert model.heads["sst"].training
    freeze(model.encoder, "none")
    model.train()
    assert all(parameter.requires_grad for parameter in model.parameters()) and model.encoder.training
    with pytest.raises(InputError, match="freeze is 'all'; choose none or backbone"):
        freeze(model.encoder, "all")


def test_a_frozen_encoder_is_bit_equal_after_training(tiny_config, tiny_folder):
    """The course's three tasks: the cosine of sts has nothing to train then, and is scored only."""
    lines = []
    run = train(tiny_config(freeze="backbone"), lines.append)
    before, after = BertModel.from_pretrained(tiny_folder), run.model.encoder
    for (name, old), (_, new) in zip(before.named_parameters(), after.named_parameters(), strict=True):
        assert torch.equal(old, new), name
    fresh = make_model(tiny_folder, sst={}, paraphrase={}, sts={}).heads["sst"][1].weight
    assert not torch.equal(run.model.heads["sst"][1].weight, fresh)
    assert set(run.scores["scores"]) == {"sst", "paraphrase", "sts"}
    assert "sts: scored only; its head has no parameters and the encoder is frozen" in lines
    assert not any(line.startswith("sts: 22 examples") for line in lines)


def test_a_frozen_encoder_with_an_order_that_names_the_idle_task(tiny_config):
    run = train(tiny_config(freeze="backbone", sampling="sequential:sts,sst,paraphrase"))
    assert set(run.scores["scores"]) == {"sst", "paraphrase", "sts"}


def test_nothing_to_train_is_refused_before_anything_is_written(tiny_config, tmp_path):
    with pytest.raises(InputError, match="nothing to train"):
        train(tiny_config(freeze="backbone", tasks={"sts": {}}))
    assert not (tmp_path / "run").exists()
