"""Runs on each family: the loss falls; frozen layers, rates by layer, LoRA, masked LM; exports of a task.

Run: pytest tests/multitask/training/test_families.py
"""

import json

import pytest
import torch

from minbert import BertConfig, BertModel, InputError, Tokenizer, load_lora
from multitask import evaluate, train
from multitask.config.run_config import OptimConfig
from multitask.config.task_config import task_config
from multitask.export.tasks import export_run
from multitask.inference.run import open_source
from multitask.runtime.tracking import read_metrics
from multitask.tasks.masked_lm import MaskedLM
from multitask.training.parameters.groups import assign
from tests.families import FAMILY_NAMES, write_family

transformers = pytest.importorskip("transformers", reason="writes folders by transformers")
pytestmark = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing.:FutureWarning")  # peft's own
each_family = pytest.mark.parametrize("name", FAMILY_NAMES)


@pytest.fixture(scope="module")
def folders(tmp_path_factory, vocabulary, randomize):
    made = {}

    def folder(name: str):
        if name not in made:
            made[name] = tmp_path_factory.mktemp("families") / name
            write_family(name, made[name], vocabulary[5:], randomize, hidden_act="gelu")
        return made[name]

    return folder


def losses(folder) -> list[dict[str, float]]:
    """The mean losses of the tasks since the record before."""
    return [record["loss"] for record in read_metrics(folder / "metrics.jsonl") if "loss" in record]


@each_family
def test_a_run_learns_and_its_folder_is_the_familys(name, folders, tiny_config, tmp_path):
    run = tmp_path / "run"
    tasks = {"sst": {}, "paraphrase": {"pairs": "cross"}, "sts": {"pairs": "bi"}}
    train(
        tiny_config(
            weights=str(folders(name)),
            train={"epochs": 8},
            optim={"lr": 3e-3, "layer_decay": 0.9},
            tasks=tasks,
        )
    )
    for task in ("sst", "sts"):
        found = [record[task] for record in losses(run) if task in record]
        assert sum(found[-3:]) < 0.95 * sum(found[:3]), task
    scores = evaluate(run).scores
    assert {"sst", "paraphrase", "sts"} <= scores.keys()
    config = BertConfig.from_folder(run / "best")
    assert config == BertConfig.from_folder(folders(name))
    theirs = transformers.AutoModel.from_pretrained(run / "best").eval()
    inputs = Tokenizer.from_pretrained(run / "best")(["the cat reads", "good"]).padded(config.pad_token_id)
    if not config.type_vocab_size:
        del inputs["token_type_ids"]
    real = inputs["attention_mask"].bool()
    ours = BertModel.from_pretrained(run / "best")(**inputs)
    expected = theirs(**inputs).last_hidden_state[real]
    torch.testing.assert_close(ours.last_hidden_state[real], expected, rtol=0, atol=1e-5)


@each_family
def test_frozen_layers_are_cached_and_change_nothing(name, folders, tiny_config, tmp_path):
    settings = {"weights": str(folders(name)), "freeze": "embeddings,first:1", "limit": 20}
    found = {}
    for precision in ("off", "fp32"):
        out = tmp_path / precision
        train(tiny_config(out=str(out), cache={"precision": precision}, **settings))
        found[precision] = losses(out)
    for plain, cached in zip(found["off"], found["fp32"], strict=True):
        assert cached == pytest.approx(plain, abs=1e-5)
    before, after = (
        BertModel.from_pretrained(f).state_dict() for f in (folders(name), tmp_path / "off/best")
    )
    frozen = [key for key in before if key.startswith(("embeddings.", "encoder.layers.0."))]
    assert all(torch.equal(before[key], after[key]) for key in frozen)
    assert not torch.equal(*(state["encoder.layers.1.attention.query.weight"] for state in (before, after)))


@each_family
def test_lora_runs_and_its_adapter_is_pefts(name, folders, tiny_config, tmp_path):
    lora = {"rank": 2, "targets": ["all-linear"]}
    train(tiny_config(weights=str(folders(name)), lora=lora, limit=20, tasks={"sst": {}}))
    best = tmp_path / "run" / "best"
    adapted = BertModel.from_pretrained(folders(name))
    load_lora(adapted, best / "adapter")
    peft = pytest.importorskip("peft")
    base = transformers.AutoModel.from_pretrained(folders(name))
    theirs = peft.PeftModel.from_pretrained(base, best / "adapter").eval()
    ids = torch.tensor([[5, 6, 7, 8]])
    expected = theirs(ids).last_hidden_state
    merged = BertModel.from_pretrained(best)
    for ours in (adapted, merged):
        torch.testing.assert_close(ours(ids).last_hidden_state, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", ["distilbert", "electra"])
def test_a_task_on_a_pooler_that_a_family_lacks_is_refused(name, folders, tiny_config):
    with pytest.raises(InputError, match="sst.pooling is 'pooler', and .* has none; take cls or mean"):
        train(tiny_config(weights=str(folders(name)), tasks={"sst": {"pooling": "pooler"}}))


def test_electra_has_no_head_for_masked_tokens():
    task = MaskedLM("lines", task_config("masked_lm", {}))
    with pytest.raises(InputError, match="lines guesses hidden tokens, for which ELECTRA has no head"):
        task.build_head(BertConfig.from_dict({"model_type": "electra"}))


@pytest.mark.parametrize("name", [name for name in FAMILY_NAMES if name != "electra"])
@pytest.mark.parametrize("hidden_act", ["relu", "gelu"])
def test_the_masked_lm_head_is_that_of_transformers(name, hidden_act, folders, randomize, tmp_path):
    """A model of transformers whose head has our head's values gives our logits."""
    folder = folders(name)
    config = transformers.AutoConfig.from_pretrained(folder)
    setattr(config, "activation" if name == "distilbert" else "hidden_act", hidden_act)
    theirs = transformers.AutoModelForMaskedLM.from_config(config, attn_implementation="eager").eval()
    randomize(theirs)
    theirs.save_pretrained(tmp_path)
    encoder = BertModel.from_pretrained(tmp_path)
    task = MaskedLM("lines", task_config("masked_lm", {}))
    task.build_head(encoder.config)
    state = theirs.state_dict()

    def taken(*ends: str) -> torch.Tensor:
        [found] = {
            key for key in state if key.endswith(ends) and not key.startswith(theirs.base_model_prefix)
        }
        return state[found]

    dense = ("transform.dense", "lm_head.dense", "vocab_transform")
    norm = ("transform.LayerNorm", "lm_head.layer_norm", "vocab_layer_norm")
    with torch.no_grad():
        for kind in ("weight", "bias"):
            getattr(task.head.dense, kind).copy_(taken(*(f"{module}.{kind}" for module in dense)))
            getattr(task.head.norm, kind).copy_(taken(*(f"{module}.{kind}" for module in norm)))
        task.head.bias.copy_(
            taken("predictions.decoder.bias", "lm_head.decoder.bias", "vocab_projector.bias")
        )
        ids = torch.tensor([[5, 6, 7, 8]])
        rows = encoder(ids).last_hidden_state[0]
        found = task.head(rows, encoder.embeddings.word.weight)
        torch.testing.assert_close(found, theirs(ids).logits[0], rtol=0, atol=1e-4)


@pytest.mark.parametrize("name", ["bert", "roberta", "camembert"])
def test_a_task_is_a_classifier_of_the_familys_own(name, folders, tiny_config, tmp_path):
    train(
        tiny_config(
            weights=str(folders(name)),
            limit=20,
            tasks={"sst": {"pooling": "pooler"}},
            lora={"rank": 2},
        )
    )
    run = open_source(tmp_path / "run", device="cpu", precision="fp32")
    export_run(tmp_path / "run", tmp_path / "hf", "hf", "sst")
    export_run(tmp_path / "run", tmp_path / "peft", "peft", "sst")
    texts = ["the cat reads a book", "good"]
    inputs = run.tokenizer(texts).padded(run.model.encoder.config.pad_token_id)
    expected = run.model("sst", run.tokenizer(texts))
    classes = BertConfig.from_folder(folders(name)).family.classes
    model = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path / "hf").eval()
    assert type(model).__name__ == f"{classes}ForSequenceClassification"
    peft = pytest.importorskip("peft")
    base = type(model).from_pretrained(folders(name), num_labels=5)
    adapted = peft.PeftModel.from_pretrained(base, tmp_path / "peft").eval()
    for theirs in (model, adapted):
        torch.testing.assert_close(theirs(**inputs).logits, expected, rtol=0, atol=1e-5)
    assert json.loads((tmp_path / "hf" / "config.json").read_text())["model_type"] == name


def test_noise_and_decay_on_embeddings_of_another_width(folders, tiny_config, tmp_path):
    """SMART's noise is as wide as the projected rows; the projection is a matrix, which decays."""
    config = tiny_config(weights=str(folders("electra")), limit=20, smart={"weight": 1.0}, tasks={"sst": {}})
    train(config)
    model = open_source(tmp_path / "run", device="cpu", precision="fp32").model
    found = {entry.name: entry.weight_decay for entry in assign(model, OptimConfig(weight_decay=0.5), {})}
    decays = [name for name in found if name.startswith("encoder.embeddings.") and found[name]]
    assert decays == ["encoder.embeddings.projection.weight"]
