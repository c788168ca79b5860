"""A task's LoRA adapter with its head for peft: loaded as it is, it gives our outputs; and read back by us.

Run: pytest tests/multitask/export/test_adapter.py
"""

import json

import pytest
import torch

from minbert import BertModel, InputError, LoRAConfig, load_lora, use_adapter
from multitask.inference.run import open_source

transformers, peft = pytest.importorskip("transformers"), pytest.importorskip("peft")
pytestmark = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing.:FutureWarning")  # peft's own

LORA = LoRAConfig(
    rank=3, alpha=5, rslora=True, targets=("query", "output"), rank_pattern={"layers.1": 2}, dropout=0.2
)
TASKS = {
    "sst": {"type": "sst", "pooling": "pooler"},
    "ner": {"type": "ner", "labels": ["B-LOC", "B-PER", "I-LOC", "I-PER", "O"]},
}
PAIR = {"type": "pair", "pooling": "pooler"}
KINDS = {"sst": "BertForSequenceClassification", "ner": "BertForTokenClassification"}
TEXTS = ["the cat reads", "what a great movie , not dull !", "a b c d e f g h i j"]


@pytest.fixture(params=[False, True], ids=["one adapter", "one a task"])
def source(checkpoint, request):
    return checkpoint(LORA, request.param, **TASKS)


def our_logits(run, name: str, inputs: dict) -> torch.Tensor:
    """(B, C), or (B, S, C) zeros at padding, of every token."""
    if name == "sst":
        return run.model("sst", run.tokenizer(TEXTS))
    use_adapter(run.model.encoder, name)
    mask = inputs["attention_mask"][..., None]
    return run.model.heads[name](run.model.encoder(**inputs).last_hidden_state) * mask


@pytest.mark.parametrize("name", TASKS)
def test_peft_gives_our_outputs(export, source, tmp_path, name):
    report = export(source, tmp_path / "out", "--format", "peft", "--task", name)
    assert {"adapter_config.json", "adapter_model.safetensors", "base.json"} < {*report["files"]}
    assert {"base/config.json", "base/model.safetensors", "tokenizer_config.json"} < {*report["files"]}
    auto = KINDS[name].replace("Bert", "AutoPeftModel")
    assert report["notes"][0].startswith(f"load it with {auto}.from_pretrained(OUT); ")
    model = getattr(peft, auto).from_pretrained(tmp_path / "out").eval()
    run = open_source(source)
    inputs = run.tokenizer(TEXTS).padded()
    with torch.no_grad():
        found, expected = model(**inputs).logits, our_logits(run, name, inputs)
    mask = True if name == "sst" else inputs["attention_mask"][..., None]
    torch.testing.assert_close(found * mask, expected, rtol=0, atol=1e-5)
    config = model.peft_config["default"]
    assert config.task_type == ("SEQ_CLS" if name == "sst" else "TOKEN_CLS")
    assert (config.r, config.lora_alpha, config.lora_dropout, config.use_rslora) == (3, 5, 0.2, True)
    assert config.base_model_name_or_path == str(tmp_path / "out" / "base")
    assert model.config.num_labels == 5 and model.config.id2label[0] == ("0" if name == "sst" else "B-LOC")
    settings = json.loads((tmp_path / "out" / "adapter_config.json").read_text())
    assert settings["modules_to_save"] == (["classifier", "pooler"] if name == "sst" else ["classifier"])


@pytest.mark.parametrize("name", TASKS)
def test_what_we_read_back_is_bit_equal(export, source, tiny_folder, tmp_path, name):
    export(source, tmp_path / "out", "--format", "peft", "--task", name)
    adapters = source / "adapter"
    own = adapters / name if (adapters / name).is_dir() else adapters
    first, second = (BertModel.from_pretrained(tiny_folder) for _ in range(2))
    load_lora(first, own)
    report = load_lora(second, tmp_path / "out")
    before, after = first.state_dict(), second.state_dict()
    assert before.keys() == after.keys() and all(torch.equal(before[key], after[key]) for key in before)
    assert any(".adapters." in key for key in after)
    assert (tmp_path / "out" / "base.json").read_bytes() == (own / "base.json").read_bytes()
    head = open_source(source).model.heads[name][1]
    assert torch.equal(report.others["classifier.weight"], head.weight)
    assert torch.equal(report.others["classifier.bias"], head.bias)
    pooler = {key for key in report.others if key.startswith("bert.pooler.dense.")}
    assert len(pooler) == (2 if name == "sst" else 0)


def test_adapters_of_several_tasks_on_one_model(export, checkpoint, tmp_path):
    """peft's and transformers' `load_adapter`; a pair has two logits, its adapter the label of a pipeline."""
    source = checkpoint(LORA, True, same=PAIR, other=PAIR)
    for name in ("same", "other"):
        export(source, tmp_path / name, "--format", "peft", "--task", name)
    model = peft.AutoPeftModelForSequenceClassification.from_pretrained(tmp_path / "same").eval()
    model.load_adapter(tmp_path / "other", "other")
    model.eval()
    run = open_source(source)
    inputs = run.tokenizer(TEXTS, TEXTS[::-1]).padded()
    for adapter, name in (("default", "same"), ("other", "other")):
        model.set_adapter(adapter)
        with torch.no_grad():
            shares = model(**inputs).logits.softmax(dim=-1)
        expected = torch.tensor(run.predict_proba(name, TEXTS, TEXTS[::-1])).float()
        torch.testing.assert_close(shares, expected, rtol=0, atol=1e-5)
    plain = transformers.BertForSequenceClassification.from_pretrained(tmp_path / "same" / "base").eval()
    plain.load_adapter(str(tmp_path / "same"))
    with torch.no_grad():
        shares = plain(**inputs).logits.softmax(dim=-1)
    expected = torch.tensor(run.predict_proba("same", TEXTS, TEXTS[::-1])).float()
    torch.testing.assert_close(shares, expected, rtol=0, atol=1e-5)


def test_without_the_base_the_adapter_alone_is_written(export, checkpoint, tmp_path):
    """The weights that a run began with may be gone, or others by now."""
    source = checkpoint(LORA, sst=TASKS["sst"])
    path = source / "adapter" / "adapter_config.json"
    settings = json.loads(path.read_text()) | {"base_model_name_or_path": str(tmp_path / "gone")}
    path.write_text(json.dumps(settings), encoding="utf-8")
    report = export(source, tmp_path / "out", "--format", "peft", "--task", "sst")
    assert report["files"] == ["adapter_config.json", "adapter_model.safetensors", "base.json"]
    onto = "load the adapter onto BertForSequenceClassification.from_pretrained(BASE, num_labels=5)"
    assert report["notes"][0].endswith(f"gone, is not there or has changed, so there is no base/; {onto}")


def test_what_is_refused(export, checkpoint, tmp_path):
    source = checkpoint(LORA, mean={"type": "sst"})
    with pytest.raises(InputError, match="transformers has no class for mean: it pools by 'mean'"):
        export(source, tmp_path / "out", "--format", "peft", "--task", "mean")
    with pytest.raises(InputError, match="--format peft is an adapter with a task's head; give --task, or"):
        export(source, tmp_path / "out", "--format", "peft")
    assert not (tmp_path / "out").exists()
