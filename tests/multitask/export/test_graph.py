"""Tasks as ONNX graphs with their heads: onnxruntime gives what a run predicts, for every kind of task.

Run: pytest tests/multitask/export/test_graph.py
"""

import json
import re
from dataclasses import replace

import numpy as np
import pytest
import tokenizers
import torch

from minbert import BertModel, InputError, LoRAConfig
from multitask.data.readers import Example
from multitask.inference.run import open_source
from multitask.tasks.generic import SimilarityTask

onnx, onnxruntime = pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

FIRST = [
    "the cat reads a book",
    "",
    "good",
    "what a great movie , not dull !",
    "a b c d e f g h i j k l m n o p",
]
SECOND = ["a dog", "good", "", "the student writes over the house and under the green river", "bad"]
SST = {"type": "sst", "pooling": "pooler"}
PARAPHRASE = {
    "type": "pair",
    "pairs": "bi",
    "pooling": "mean",
    "features": ["u", "difference", "cosine"],
    "hidden": [9],
}
NER = {"type": "ner", "labels": ["B-LOC", "B-PER", "I-LOC", "I-PER", "O"]}
slow = pytest.mark.slow


def graph(export, source, folder, task: str, *words):
    """The session of a task's graph, and the report of the export."""
    report = export(source, folder, "--format", "onnx", "--task", task, *words)
    assert report["files"] == ["README.md", "model.onnx", "tokenizer.json"]
    assert 0 < report["largest_difference"] < 1e-5
    return onnxruntime.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])


def inputs_of(folder, *towers: list, words: bool = False, max_length: int = 64) -> dict[str, np.ndarray]:
    """What the graph takes, by tokenizer.json alone."""
    tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.enable_truncation(max_length)
    tokenizer.enable_padding()
    inputs = {}
    for end, texts in zip(("", "_2"), towers, strict=False):
        encoded = tokenizer.encode_batch(texts, is_pretokenized=words)
        inputs[f"input_ids{end}"] = np.array([e.ids for e in encoded])
        inputs[f"attention_mask{end}"] = np.array([e.attention_mask for e in encoded])
        inputs[f"token_type_ids{end}"] = np.array([e.type_ids for e in encoded])
    return inputs


def our_outputs(run, task: str, *sides: list) -> torch.Tensor:
    """The head's outputs for texts, through the run's own collating."""
    kind = run.model.tasks[task]
    examples = [Example(str(i), texts, None, i) for i, texts in enumerate(zip(*sides, strict=True))]
    with torch.no_grad():
        return run.model(task, kind.collate(kind.tokenize(run.tokenizer, examples)).inputs)


def compare(found: np.ndarray, expected: torch.Tensor) -> None:
    assert found.dtype == np.float32 and found.shape == tuple(expected.shape)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)


def test_two_towers(export, checkpoint, tiny, randomize, tmp_path):
    encoder = BertModel(replace(tiny.config, num_hidden_layers=1)).eval()
    randomize(encoder)
    source = checkpoint(encoder=encoder, other=PARAPHRASE)
    session = graph(export, source, tmp_path / "out", "other")
    names = ["input_ids", "attention_mask", "token_type_ids"]
    assert [entry.name for entry in session.get_inputs()] == [*names, *(f"{name}_2" for name in names)]
    assert [entry.shape for entry in session.get_inputs()] == [["batch", "sequence"]] * 3 + [
        ["batch", "sequence_2"]
    ] * 3
    run = open_source(source)
    for first, second in ((FIRST, SECOND), (FIRST[:1], SECOND[:1]), (["good"] * 3, FIRST[:3])):
        logits, probabilities = session.run(None, inputs_of(tmp_path / "out", first, second))
        expected = our_outputs(run, "other", first, second)
        compare(logits, expected)
        compare(probabilities, expected.sigmoid())
        assert (logits > 0).astype(int).tolist() == run.predict("other", first, second)


KINDS_OF_TEXT = {
    "labels": (SST, "softmax"),
    "hidden": (
        {"type": "sst", "hidden": [9, 7], "layer_norm": True, "activation": "mish", "projection": 8},
        "softmax",
    ),
    "ordinal": ({"type": "sst", "loss": "ordinal"}, None),
    "cross": ({"type": "pair", "pooling": "cls"}, "sigmoid"),
    "cosine": ({"type": "sts"}, None),
    "angle": ({"type": "sts", "loss": "angle", "normalize": "l1", "label_scale": [-1.0, 1.0]}, None),
    "several labels": ({"type": "multilabel", "labels": ["a", "b", "c"], "threshold": 0.3}, "sigmoid"),
    "cross classes": (
        {"type": "classification", "text2": "other", "pairs": "cross", "labels": ["a", "b", "c"]},
        "softmax",
    ),
    "regression": ({"type": "regression", "low": -1.0, "high": 2.0}, None),
    "cross score": (
        {"type": "similarity", "pairs": "cross", "head": "mlp", "loss": "mse", "high": 5.0},
        None,
    ),
}


@slow
@pytest.mark.parametrize("kind", KINDS_OF_TEXT)
def test_text_tasks(export, checkpoint, tmp_path, kind):
    values, curve = KINDS_OF_TEXT[kind]
    source = checkpoint(other=values)
    session = graph(export, source, tmp_path / "out", "other")
    run = open_source(source)
    task = run.model.tasks["other"]
    sides = [FIRST] if task.config.text2 is None else [FIRST, SECOND]
    joined = [list(zip(*sides, strict=True))] if kind.startswith("cross") else sides
    names = ["logits", "scores" if isinstance(task, SimilarityTask) else "probabilities"]
    assert [entry.name for entry in session.get_outputs()] == names
    logits, soft = session.run(None, inputs_of(tmp_path / "out", *joined))
    expected = our_outputs(run, "other", *sides)
    compare(logits, expected)
    compare(soft, task.example_scores(expected).float())
    predicted = run.predict("other", *sides)
    if curve is not None:
        compare(soft, expected.softmax(dim=-1) if curve == "softmax" else expected.sigmoid())
    if isinstance(task, SimilarityTask):
        cut = np.clip(soft, task.config.low, task.config.high)  # as predictions are, not the graph's scores
        assert cut.tolist() == pytest.approx(predicted, abs=1e-4)
    else:
        assert task.hard(soft.astype(np.float64)) == predicted
    facts = session.get_modelmeta().custom_metadata_map
    assert facts["task"] == "other" and facts["type"] == values["type"] and facts["max_length"] == "64"
    if values["type"] == "sst":
        assert json.loads(facts["labels"]) == list("01234")


@slow
def test_tags(export, checkpoint, tmp_path):
    source = checkpoint(ner=NER)
    session = graph(export, source, tmp_path / "out", "ner")
    words = [["unreadable", "teachers", "quickly", "!"], ["good"], "the cat reads a book".split()]
    inputs = inputs_of(tmp_path / "out", words, words=True)
    logits, probabilities = session.run(None, inputs)
    run = open_source(source)
    rows = run.model.encoder(**{name: torch.from_numpy(array) for name, array in inputs.items()})
    expected = run.model.heads["ner"](rows.last_hidden_state).detach()
    mask = inputs["attention_mask"][..., None]
    compare(logits * mask.astype(np.float32), expected * torch.from_numpy(mask))
    assert not (logits * (1 - mask)).any()  # zeros at padding
    np.testing.assert_allclose(probabilities * mask, expected.softmax(-1).numpy() * mask, rtol=0, atol=1e-5)
    # The first token of each word is what the task takes.
    encoded = run.tokenizer.encode(words, words=True)
    firsts = [[i for i, w in enumerate(s.words) if w >= 0 and w != s.words[i - 1]] for s in encoded]
    found = torch.cat([torch.from_numpy(logits[i][first]) for i, first in enumerate(firsts)])
    torch.testing.assert_close(found, run.model("ner", run.tokenizer(words, words=True)), rtol=0, atol=1e-5)


@slow
def test_vectors_of_a_contrastive_task(export, checkpoint, tmp_path):
    """Without the head that its training puts over them."""
    values = {"type": "simcse", "pooling": "cls", "normalize": "l2", "training_head": "mlp"}
    source = checkpoint(simcse=values)
    session = graph(export, source, tmp_path / "out", "simcse")
    [found] = session.run(["sentence_embedding"], inputs_of(tmp_path / "out", FIRST, max_length=32))
    run = open_source(source)
    rows = run.model.encoder(run.tokenizer(FIRST, max_length=32)).last_hidden_state[:, 0].detach()
    compare(found, torch.nn.functional.normalize(rows, dim=-1))


@slow
@pytest.mark.parametrize("kind", ["lora", "projected attention"])
def test_the_adapter_of_the_task_is_in_it(export, checkpoint, load, randomize, tmp_path, kind):
    if kind == "lora":
        source = checkpoint(LoRAConfig(rank=2), True, sst=SST, other=SST)
    else:
        encoder = load(projected_attention_size=12, projected_attention_names=("sst", "other"))
        randomize(encoder)
        source = checkpoint(encoder=encoder, sst=SST, other=SST)
    session = graph(export, source, tmp_path / "out", "other", "--opset", "21")
    logits, _ = session.run(None, inputs_of(tmp_path / "out", FIRST))
    compare(logits, our_outputs(open_source(source), "other", FIRST))
    assert onnx.load(tmp_path / "out" / "model.onnx").opset_import[0].version == 21


@slow
@pytest.mark.parametrize("values", [PARAPHRASE, SST, NER], ids=["towers", "text", "words"])
def test_the_program_in_the_readme_runs(export, checkpoint, tmp_path, monkeypatch, values):
    source = checkpoint(other=values)
    graph(export, source, tmp_path / "out", "other")
    monkeypatch.chdir(tmp_path / "out")
    text = (tmp_path / "out" / "README.md").read_text("utf-8")
    [program] = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    names = {}
    exec(program, names)
    assert len(names["outputs"]) == 2 and len(names["outputs"][0]) == 2
    assert names["inputs"].keys() == {entry.name for entry in names["session"].get_inputs()}


def test_what_has_no_outputs_of_its_own(export, checkpoint, tmp_path):
    source, words = checkpoint(masked_lm={"type": "masked_lm"}), ("--format", "onnx", "--task", "masked_lm")
    with pytest.raises(InputError, match="masked_lm has a head for its training only; export the encoder"):
        export(source, tmp_path / "out", *words)
    assert not (tmp_path / "out").exists()
