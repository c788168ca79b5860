"""Freezing: which tensors each policy leaves as they are, bit by bit, and where nothing is dropped."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from minbert import BertConfig, BertModel, InputError, LoRAConfig, add_lora
from multitask.config.task_config import task_config
from multitask.config.task_kinds import make_task
from multitask.model.multitask_model import MultitaskModel
from multitask.training.parameters.freezing import freeze, is_added
from tests.encoders import fresh_encoder

CPU = torch.device("cpu")
SIZES = dict(vocab_size=20, hidden_size=8, num_attention_heads=2, intermediate_size=12)
EMBEDDINGS = ("encoder.embeddings.",)
POOLER = ("encoder.pooler.",)
LAYER_TENSORS = 16  # 4 + 2 linear layers and 2 norms, each a weight and a bias


def layers(*numbers: int) -> tuple[str, ...]:
    return tuple(f"encoder.encoder.layers.{number}." for number in numbers)


# What each policy freezes of a model of 6 layers.
PREFIXES = {
    "none": (),
    "backbone": ("encoder.",),
    "embeddings": EMBEDDINGS,
    "first:1": layers(0),
    "first:6": layers(*range(6)),
    "last:2": layers(4, 5),
    "below:2": EMBEDDINGS + layers(0, 1, 2, 3),
    "below:6": EMBEDDINGS,
    "layers:1": layers(1),
    "layers:0-2+5": layers(0, 1, 2, 5),
    "layers:5+3-4+4": layers(3, 4, 5),
    "head:sst": ("heads.sst.",),
    " embeddings , pooler,head:sst": (*EMBEDDINGS, *POOLER, "heads.sst."),
    "backbone,head:paraphrase": ("encoder.", "heads.paraphrase."),
}
COUNTS = {"backbone": 5 + 6 * LAYER_TENSORS + 2, "first:1": LAYER_TENSORS, "embeddings": 5, "head:sst": 2}


def fresh_model(depth=6, **variant):
    """A random encoder of `depth` layers with three tasks; `variant` are adapters within attention."""
    encoder = fresh_encoder(num_hidden_layers=depth, max_position_embeddings=16, **SIZES, **variant)
    values = {"sst": {"pooling": "pooler"}, "paraphrase": {}, "sts": {}}
    tasks = {name: make_task(name, task_config(name, entry)) for name, entry in values.items()}
    return MultitaskModel(encoder, tasks)


VARIANT = dict(
    attention_head_layers=1,
    projected_attention_size=4,
    projected_attention_heads=2,
    projected_attention_names=("sst", "sts"),
)


def frozen_names(model):
    return {name for name, parameter in model.named_parameters() if not parameter.requires_grad}


@pytest.mark.parametrize(("policy", "variant"), list(zip(PREFIXES, [{}, VARIANT] * 7, strict=True)))
def test_each_policy_freezes_its_tensors_and_nothing_that_is_added(policy, variant):
    model = fresh_model(**variant)
    freeze(model, policy)
    added = {"adapters", "head_layers"}
    names = [name for name, _ in model.named_parameters() if not added & set(name.split("."))]
    assert frozen_names(model) == {name for name in names if name.startswith(PREFIXES[policy])}
    if policy in COUNTS:
        assert len(frozen_names(model)) == COUNTS[policy]


def test_layer_1_is_not_layer_10():
    model = fresh_model(11)
    freeze(model, "layers:1")
    assert len(frozen_names(model)) == LAYER_TENSORS


def test_heads_are_not_added_to_the_encoder_whatever_their_names():
    assert not is_added("heads.adapters.adapters.weight") and not is_added("heads.a.head_layers.0.weight")


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        ("bakbone", "'bakbone' is not a policy; choose from none, backbone, .*did you mean 'backbone'"),
        ("", "'' is not a policy"),
        ("first", "'first' is not a policy; choose from .*first:K"),
        ("pooler:1", "'pooler:1' is not a policy"),
        ("first:0", "'first:0': the model has 3 layers, numbered 0 to 2; give K from 1 to 3"),
        ("last:4", "numbered 0 to 2; give K from 1 to 3"),
        ("first:two", "give K from 1 to 3"),
        ("layers:3", "numbered 0 to 2; give numbers and ranges of these, as layers:0-2\\+5"),
        ("layers:2-1", "numbered 0 to 2"),
        ("layers:0-99999999999", "numbered 0 to 2"),
        ("layers:0++1", "numbered 0 to 2"),
    ],
)
def test_a_policy_that_does_not_fit_is_refused_before_anything_is_frozen(policy, message):
    model = fresh_model(3)
    with pytest.raises(InputError, match=message):
        freeze(model, f"embeddings,{policy}")
    assert not frozen_names(model)


def test_a_pooler_that_is_not_there_is_refused():
    model = fresh_model(2)
    model.encoder.pooler = None
    with pytest.raises(InputError, match="the weights have no pooler; leave it out"):
        freeze(model, "pooler")
    freeze(model, "backbone")
    model.train()
    assert not model.encoder.training


def test_what_is_frozen_already_stays_frozen_and_adapters_stay_trainable(make_model):
    model = make_model()
    freeze(model, "embeddings")
    freeze(model, "first:1")
    freeze(model, "none")
    assert frozen_names(model) == {
        n for n, _ in model.named_parameters() if n.startswith(EMBEDDINGS + layers(0))
    }
    model = make_model()
    add_lora(model.encoder, LoRAConfig(rank=2))
    before = frozen_names(model)
    for policy in ("none", "backbone", "first:1", "last:1,embeddings"):
        freeze(model, policy)
        assert frozen_names(model) == before


def test_a_frozen_head_over_changing_features_is_warned_of(make_model):
    (note,) = freeze(make_model(), "head:sst")
    assert "features drift away from it and sst may get worse" in note
    assert note.endswith("to keep sst as it is, freeze backbone,head:sst")
    assert freeze(make_model(), "backbone,head:sst") == freeze(make_model(), "head:sst,backbone") == []
    # The pooler, which the task does not read, may go on.
    assert freeze(make_model(), "embeddings,first:2,head:sst") == []
    assert freeze(make_model(), "head:sts") == []  # a cosine: there is nothing to keep
    assert len(freeze(make_model(), "head:sst,head:paraphrase,head:sst,embeddings")) == 2


@pytest.mark.parametrize(
    ("names", "drifts"), [(("default",), True), (("paraphrase",), False), (("sst",), True)]
)
def test_adapters_make_features_drift_unless_they_are_another_task_s(make_model, names, drifts):
    model = make_model()
    add_lora(model.encoder, LoRAConfig(rank=2), names)
    assert bool(freeze(model, "head:sst")) == drifts


def test_freezing_what_no_weights_hold_is_warned_of(tiny_folder, tmp_path):
    config = replace(BertConfig.from_folder(tiny_folder), num_hidden_layers=3)
    tasks = {"sst": make_task("sst", task_config("sst", {"pooling": "pooler"}))}
    extended = MultitaskModel(BertModel.from_pretrained(tiny_folder, config=config), tasks)
    assert freeze(extended, "embeddings,first:2,pooler") == []
    (note,) = freeze(extended, "backbone")
    assert "freeze backbone: encoder.layers.2 is random, not from pretrained weights" in note
    BertModel(BertConfig.from_folder(tiny_folder), pooler=False).save_pretrained(tmp_path)
    model = MultitaskModel(BertModel.from_pretrained(tmp_path, pooler="random"), tasks)
    (note,) = freeze(model, "pooler,first:1")
    assert ": pooler is random, not from pretrained weights" in note
    (note,) = freeze(fresh_model(2), "backbone")
    assert ": embeddings, encoder.layers.0, encoder.layers.1, pooler is random" in note


def modes(model):
    """Which dropouts are on, by their place."""
    return {
        name for name, module in model.named_modules() if isinstance(module, nn.Dropout) and module.training
    }


@pytest.mark.parametrize(
    ("policy", "off"),
    [
        ("none", ()),
        ("backbone", ("encoder.",)),
        ("last:1,head:sst", ("encoder.encoder.layers.1.", "heads.sst.")),
        ("embeddings,first:2", ("encoder.embeddings.", "encoder.encoder.")),
    ],
)
def test_frozen_modules_alone_are_in_evaluation_mode(make_model, policy, off):
    model = make_model()
    every = {name for name, module in model.named_modules() if isinstance(module, nn.Dropout)}
    assert len(every) == 1 + 2 + 2  # embeddings, layers, heads of sst and paraphrase
    freeze(model, policy)
    assert modes(model.train()) == {name for name in every if not name.startswith(off)}
    assert model.training and model.heads["sts"].training  # which has no parameters
    assert model.encoder.training is (policy != "backbone")
    assert modes(model.eval()) == set()
    model.frozen_dropout = True
    assert modes(model.train()) == every and model.encoder.training


def test_frozen_layers_repeat_their_outputs_and_those_with_trained_adapters_do_not(make_model, make_batch):
    """The attention's own dropout too, which is not a module."""
    model = make_model()
    add_lora(model.encoder, LoRAConfig(rank=2, layers="last:1"))
    freeze(model, "backbone")
    model.train()
    batch = make_batch(model, "sst", 4).inputs
    first, second = (model.encoder(batch, output_hidden_states=True).hidden_states for _ in range(2))
    assert [torch.equal(a, b) for a, b in zip(first, second, strict=True)] == [True, True, False]
    assert not model.encoder.embeddings.training and not model.encoder.pooler.training
