"""Runs that add parts to the encoder: what their folders hold; they run, continue and load elsewhere."""

import json
import shutil
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file

from minbert import BertModel, InputError, SentenceEncoder, Tokenizer
from multitask import evaluate, load_run, train
from multitask.inference.run import open_source

LORA = {"lora": {"rank": 2, "targets": ["query", "output"]}, "limit": 24, "tasks": {"sst": {}, "sts": {}}}


def encoder_tensors(folder):
    return load_file(folder / "model.safetensors")


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing.:FutureWarning")  # peft's own
def test_the_root_of_a_lora_run_is_merged_and_the_adapter_lies_beside_it(
    tiny_config, tiny_folder, tmp_path, said
):
    transformers, peft = pytest.importorskip("transformers"), pytest.importorskip("peft")
    run = train(tiny_config(**LORA))
    best = tmp_path / "run" / "best"
    assert encoder_tensors(best).keys() == encoder_tensors(tiny_folder).keys()
    assert json.loads((best / "adapter" / "base.json").read_text("utf-8"))["sha256"]
    inputs = Tokenizer.from_pretrained(best)(["a good film", "the river"]).padded()
    merged = transformers.BertModel.from_pretrained(best).eval()(**inputs).last_hidden_state
    base = transformers.BertModel.from_pretrained(tiny_folder)
    adapted = peft.PeftModel.from_pretrained(base, best / "adapter").eval()(**inputs).last_hidden_state
    ours, mask = BertModel.from_pretrained(best)(**inputs).last_hidden_state, inputs["attention_mask"].bool()
    for theirs in (merged, adapted):
        torch.testing.assert_close(ours[mask], theirs[mask], rtol=0, atol=1e-5)
    assert any("outputs change by at most" in line for line in said)
    for task, scores in evaluate(tmp_path / "run").scores.items():  # those of the run were not merged yet
        assert scores == pytest.approx(run.scores["scores"][task], abs=1e-4)


def test_one_of_two_encoders_is_trained_by_its_prefix(tiny_config, tiny_folder, tmp_path):
    two, tensors = tmp_path / "two", encoder_tensors(tiny_folder)
    shutil.copytree(tiny_folder, two)
    parts = {f"first.{name}": tensor for name, tensor in tensors.items()}
    save_file(parts | {f"second.{name}": t + 1 for name, t in tensors.items()}, two / "model.safetensors")
    config = tiny_config(limit=24, weights=str(two), freeze="backbone", tasks={"sst": {}})
    with pytest.raises(InputError, match="2 encoders, under 'first.' and 'second.'"):
        train(config)
    run = train(replace(config, weights_prefix="first"))
    best = encoder_tensors(run.folder / "best")
    assert best.keys() == tensors.keys() and all(torch.equal(best[name], tensors[name]) for name in best)
    assert load_run(run.folder).scores["scores"] == run.scores["scores"]


def test_an_adapter_a_task_leaves_the_base_as_it_is(tiny_config, tiny_folder, tmp_path):
    run = train(tiny_config(adapter_per_task=True, **LORA))
    best, base = tmp_path / "run" / "best", encoder_tensors(tiny_folder)
    assert all(torch.equal(tensor, base[name]) for name, tensor in encoder_tensors(best).items())
    assert {path.name for path in (best / "adapter").iterdir()} == {"sst", "sts"}
    assert evaluate(tmp_path / "run").scores == run.scores["scores"]
    with pytest.raises(InputError, match="adapter"):
        SentenceEncoder.from_pretrained(best)
    one, other = (SentenceEncoder.from_pretrained(best, adapter=n).encode(["a cat"]) for n in ("sst", "sts"))
    assert abs(one - other).max() > 1e-4


@pytest.mark.parametrize(
    ("changes", "layers", "beside"),
    [
        (
            {"model": {"projected_attention_size": 12, "attention_head_layers": 1}},
            2,
            ["attention_head_layers", "projected_attention"],
        ),
        ({"extra_layers": 1, "model": {"num_attention_heads": 6}}, 3, []),
    ],
)
def test_a_variant_is_trained_saved_scored_and_trained_on(tiny_config, tmp_path, changes, layers, beside):
    tasks = {"limit": 24, "tasks": {"sst": {}, "sts": {}}}
    run = train(tiny_config(**changes, **tasks))
    assert evaluate(tmp_path / "run").scores == run.scores["scores"]
    on = train(tiny_config(weights=str(tmp_path / "run" / "best"), out=str(tmp_path / "on"), **tasks))
    assert on.scores["scores"].keys() == run.scores["scores"].keys()
    config = json.loads((tmp_path / "on" / "best" / "config.json").read_text("utf-8"))
    assert (config["num_hidden_layers"], config["model_type"]) == (layers, "bert")
    assert sorted(config.get("minbert_adapters", [])) == beside


def test_parts_can_be_added_after_fine_tuning_and_change_nothing_at_first(tiny_config, tiny_run):
    parts = {"model": {"projected_attention_size": 12, "attention_head_layers": 2}}
    still = {"optim": {"lr": 0.0, "head_lr": 0.0, "adapter_lr": 0.0}, "train": {"max_steps": 1}}
    run = train(tiny_config(weights=str(tiny_run / "best"), **parts, **still))
    before = json.loads((tiny_run / "scores.json").read_text())["scores"]
    for task, scores in run.scores["scores"].items():
        assert scores == pytest.approx(before[task], abs=1e-4)


def test_a_contrastive_run_says_how_its_sentences_are_pooled(tiny_config, tmp_path, said):
    text = tmp_path / "text.txt"
    lines = ["the cat reads", "a good film", "what a river", "dull book", "my house is green", "how are you"]
    text.write_text("\n".join(lines * 2), encoding="utf-8")
    simcse = {"train": str(text), "pooling": "cls", "training_head": "mlp", "batch_size": 4}
    tasks = {"simcse": simcse, "sts": {"train": None, "pooling": "cls"}}
    train(tiny_config(tasks=tasks, select="sts.spearman"))
    best = tmp_path / "run" / "best"
    assert SentenceEncoder.from_pretrained(best).modules.pooling.modes == ("cls",)
    assert any(name.startswith("simcse.") for name in load_file(best / "heads.safetensors"))
    assert open_source(best, ["sts"]).model.tasks["sts"].config.pooling == "cls"
    assert any("known positives" in line for line in said)  # each line stands twice in the file


def test_checkpoints_best_by_task(tiny_config, tmp_path):
    run = train(tiny_config(checkpoint={"best_per_task": True}, tasks={"sst": {}, "sts": {}}))
    for name, metric in (("sst", "accuracy"), ("sts", "pearson")):
        scores = open_source(tmp_path / "run" / f"best-{name}").evaluate(run.config.data).scores
        assert scores[name][metric] >= run.scores["scores"][name][metric] - 1e-9
