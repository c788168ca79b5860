"""What does not go together is refused by the configuration, before anything loads, with the reason."""

import pytest

from minbert import InputError
from multitask.config.run_config import RunConfig

WRONG = [
    ({"sampling": "random"}, r"sampling is 'random'; choose from sequential"),
    ({"sampling": "sequential:sst,sts"}, r"not name each task once; the run's tasks are sst,paraphrase,sts"),
    ({"sampling": "temperature"}, r"give a temperature above 0, as in temperature:5"),
    ({"sampling": "temperature:-1"}, r"give a temperature above 0"),
    ({"sampling": "uniform:2"}, r"uniform takes no argument"),
    ({"sampling_cap": 10}, r"sampling-cap is for sampling temperature:T; sampling is 'proportional'"),
    ({"sampling": "together", "tasks": {"sst": {"encoder_lr": 1e-5}}}, r"sst.encoder-lr needs one task"),
    ({"tasks": {"sst": {"start_epoch": 4}, "sts": {}}}, r"sst.start-epoch is 4, the run has 3 epochs"),
    ({"tasks": {"sst": {"start_epoch": 2}}}, r"every task has a start-epoch after 1"),
    ({"tasks": {"sts": {"loss": "pearson", "accumulation": 2}}}, r"sts.loss is 'pearson', a correlation"),
    ({"tasks": {"sts": {"loss": "cosent"}}, "train": {"accumulation": 2}}, r"is 'cosent', which compares"),
    ({"tasks": {"simcse": {"accumulation": 4}}}, r"simcse.chunk-size for memory \(GradCache\)"),
    ({"tasks": {"sst": {"chunk_size": 4}}}, r"sst.chunk-size is for losses over a batch's examples"),
    ({"gradients": {"surgery": "pcgrad"}}, r"pcgrad compares the tasks' gradients .*; give --sampling tog"),
    ({"gradients": {"conflicts_every": 5}}, r"gradients.conflicts-every compares"),
    (
        {"gradients": {"surgery": "gradvac"}, "sampling": "together", "tasks": {"sst": {}}},
        r"gradvac compares tasks, and the run has one",
    ),
    ({"smart": {"weight": 1.0}, "r_drop": 1.0}, r"smart and r-drop both regularize"),
    ({"r_drop": 1.0, "tasks": {"simcse": {"chunk_size": 8}}}, r"simcse.chunk-size cuts the forward pass"),
    ({"adapter_per_task": True}, r"adapter-per-task needs LoRA; give --lora.rank"),
    ({"lora": {"rank": 4}, "weights": "scratch"}, r"lora adapts pretrained weights"),
    ({"lora": {"rank": 4}, "unfreeze": "epoch"}, r"lora leaves the encoder frozen, and unfreeze would"),
    ({"lora": {"rank": 4}, "extra_layers": 1}, r"lora freezes the encoder, the fresh parts with it"),
    ({"cache": {"precision": "off", "folder": "kept"}}, r"folder is 'kept', and precision off keeps nothing"),
    ({"model": {"hidden_size": 24}}, r"model.hidden_size is decided by the weights; only attention_head"),
    *(
        (values | {"parallel": "fsdp"}, f"parallel fsdp does not go with {reason}; leave it out")
        for values, reason in (
            (
                {"sampling": "together", "gradients": {"surgery": "pcgrad"}, "tasks": {"sst": {}, "sts": {}}},
                "gradients.surgery",
            ),
            ({"smart": {"bregman": 1.0}}, "smart"),
            ({"r_drop": 1.0}, "r-drop"),
            ({"unfreeze": "2"}, "unfreeze"),
            ({"lora": {"rank": 2}, "adapter_per_task": True}, "adapter-per-task"),
            (
                {"model": {"projected_attention_size": 8, "projected_attention_heads": 2}},
                "model.projected-attention-size",
            ),
            ({"precision": "fp16"}, "precision fp16"),
            ({"train": {"compile": True}}, "train.compile"),
            ({"freeze": "backbone"}, "freeze backbone without LoRA"),
            ({"tasks": {"nli": {"chunk_size": 8}}}, "nli.chunk-size"),
            (
                {"tasks": {"masked_lm": {}}},
                "type 'masked_lm' of masked_lm, whose head reads the word embeddings",
            ),
        )
    ),
    ({"parallel": "dp"}, r"parallel is 'dp'; choose from ddp, fsdp"),
    ({"freeze": "all"}, r"freeze all leaves nothing to train; freeze backbone trains the heads"),
    ({"freeze": "none,pooler"}, r"none goes with nothing else"),
    ({"freeze": "head:news"}, r"'head:news' names no task of the run; its tasks are sst, paraphrase, sts"),
    ({"unfreeze": "often"}, r"unfreeze is 'often'; give epoch, or a number of steps"),
    ({"unfreeze": "epoch", "freeze": "pooler"}, r"begins with the whole encoder frozen; leave out freeze"),
    ({"tasks": {"smart": {"type": "sst"}}}, r"task name 'smart' is taken by the options --smart"),
    ({"tasks": {"simcse": {"projection": 8}}}, r"simcse.projection"),
    (
        {"tasks": {"simcse": {"pooling": "cls"}, "sts": {"train": None}}},
        r"sts.pooling is 'mean', simcse.pooling is 'cls': sentence vectors are pooled as they were trained",
    ),
    ({"tasks": {"simcse": {"pooling": "cls"}, "nli": {}}}, r"nli.pooling is 'mean', simcse.pooling is 'cls'"),
    (
        {"tasks": {"simcse": {}}, "model": {"hidden_dropout_prob": 0, "attention_probs_dropout_prob": 0}},
        r"simcse needs dropout in the encoder, since its two views differ by nothing else; its dropout rates",
    ),
    ({"tasks": {"simcse": {}}, "freeze": "backbone"}, r"it is frozen and runs without dropout"),
]


@pytest.mark.parametrize("values, message", WRONG, ids=lambda value: str(value)[:60])
def test_wrong_combinations_are_refused(values, message):
    with pytest.raises(InputError, match=message):
        RunConfig.from_dict({"weights": "folder"} | values)


RIGHT = [
    {"sampling": "temperature:5", "sampling_cap": 100},
    {"sampling": "sequential:paraphrase,sts,sst", "unequal": "cycle"},
    {"sampling": "sequential:sst", "tasks": {"sst": {}, "sts": {"train": None}}},
    {"sampling": "annealed", "tasks": {"sst": {"start_epoch": 2, "encoder_lr": 1e-5}, "sts": {}}},
    {"sampling": "together", "gradients": {"surgery": "gradvac", "conflicts_every": 10}, "r_drop": 1.0},
    {"lora": {"rank": 8, "layers": "last:4"}, "adapter_per_task": True, "freeze": "head:sst"},
    {"unfreeze": "100", "smart": {"weight": 1.0, "bregman": 1.0}},
    {"weights": "scratch", "model": {"hidden_size": 24}},
    {"model": {"num_attention_heads": 6, "projected_attention_size": 204}, "extra_layers": 2},
    {"tasks": {"simcse": {"pooling": "cls"}, "sts": {"pooling": "mean"}}},
    {"tasks": {"simcse": {}}, "freeze": "backbone", "frozen_dropout": True},
    {"tasks": {"nli": {"chunk_size": 8, "batch_size": 512, "symmetric": True}}},
]


@pytest.mark.parametrize("values", RIGHT, ids=lambda value: str(value)[:60])
def test_what_goes_together_is_taken_and_survives_a_round_trip(values):
    config = RunConfig.from_dict({"weights": "folder"} | values)
    assert RunConfig.from_dict(config.to_dict()) == config
