"""Tasks as folders of transformers: its classes give our outputs; heads that they have not are refused.

Run: pytest tests/multitask/export/test_task_model.py
"""

import json

import pytest
import torch

from minbert import BertModel, InputError, LoRAConfig
from multitask import train
from multitask.config.task_kinds import KINDS
from multitask.inference.run import open_source
from multitask.tasks.base import TextTask

transformers = pytest.importorskip("transformers")

SST = {"type": "sst", "pooling": "pooler", "dropout": 0.3, "max_length": 20}
PAIR = {"type": "pair", "pooling": "pooler"}
SCORE = {
    "type": "similarity",
    "pairs": "cross",
    "head": "mlp",
    "loss": "mse",
    "pooling": "pooler",
    "high": 5.0,
    "label_scale": [-1.0, 1.0],
}
NER = {"type": "ner", "labels": ["B-LOC", "B-PER", "I-LOC", "I-PER", "O"]}
FIRST = ["the cat reads", "", "what a great movie , not dull !", "a b c d e f g h i j k l m n o p q r s t"]
SECOND = ["a dog", "good", "the student writes over the house", "bad"]


def our_outputs(source, task: str, *sides: list) -> tuple[torch.Tensor, torch.Tensor]:
    """The head's outputs as a run computes them, and whether a token is no padding."""
    run = open_source(source, device="cpu", precision="fp32")
    kind = run.model.tasks[task]
    words = kind.config.type == "ner"
    batch = run.tokenizer(*sides, words=words, max_length=kind.config.max_length)
    with torch.no_grad():
        return run.model(task, batch), batch.padded()["attention_mask"].bool()


def their_inputs(folder, *sides: list, **options) -> dict:
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    return tokenizer(*sides, padding=True, truncation=True, return_tensors="pt", **options)


def loaded(kind, folder):
    """The model of a class, and no tensor of it left out or fresh."""
    model, info = kind.from_pretrained(folder, output_loading_info=True)
    assert not any(info[name] for name in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    return model.eval()


def assert_reimported(folder, source) -> None:
    """The encoder is bit for bit that of the checkpoint, but for a pooler that the class has not."""
    again, before = (BertModel.from_pretrained(path).state_dict() for path in (folder, source))
    assert before.keys() - again.keys() <= {"pooler.dense.weight", "pooler.dense.bias"}
    assert all(torch.equal(tensor, before[name]) for name, tensor in again.items())


@pytest.mark.parametrize("name", ["sst", "same", "score"])
def test_sequence_classification(export, checkpoint, tmp_path, name):
    source = checkpoint(sst=SST, same=PAIR, score=SCORE)
    report = export(source, tmp_path / "out", "--format", "hf", "--task", name)
    assert "README.md" in report["files"] and "model.safetensors" in report["files"]
    model = loaded(transformers.BertForSequenceClassification, tmp_path / "out")
    sides = [FIRST] if name == "sst" else [FIRST, SECOND]
    expected, _ = our_outputs(source, name, *sides)
    with torch.no_grad():
        found = model(**their_inputs(tmp_path / "out", *sides)).logits
    torch.testing.assert_close(found if name == "sst" else found.squeeze(-1), expected, rtol=0, atol=1e-5)
    head = open_source(source).model.heads[name]
    assert torch.equal(model.classifier.weight, head[1].weight) and torch.equal(
        model.classifier.bias, head[1].bias
    )
    assert_reimported(tmp_path / "out", source)
    config = model.config
    assert config.classifier_dropout == (0.3 if name == "sst" else 0.1)
    problem = {
        "sst": "single_label_classification",
        "same": "multi_label_classification",
        "score": "regression",
    }
    assert config.problem_type == problem[name]
    assert config.id2label == (
        dict(enumerate("01234")) if name == "sst" else {0: "1" if name == "same" else "score"}
    )
    assert config.label2id == {label: i for i, label in config.id2label.items()}


def test_the_pipeline_predicts_what_we_predict(export, checkpoint, tmp_path):
    """Labels, and the probability of a pair, through transformers' own front door."""
    source = checkpoint(sst=SST, same=PAIR, score=SCORE)
    run = open_source(source)
    for name in ("sst", "same", "score"):
        export(source, tmp_path / name, "--format", "hf", "--task", name)
    pipe = transformers.pipeline("text-classification", model=str(tmp_path / "sst"), device="cpu")
    assert [int(entry["label"]) for entry in pipe(FIRST, truncation=True)] == run.predict("sst", FIRST)
    pipe = transformers.pipeline("text-classification", model=str(tmp_path / "same"), device="cpu")
    pairs = [{"text": a, "text_pair": b} for a, b in zip(FIRST, SECOND, strict=True)]
    scores = [entry["score"] for entry in pipe(pairs, truncation=True)]
    assert [int(score > 0.5) for score in scores] == run.predict("same", FIRST, SECOND)
    logits, _ = our_outputs(source, "same", FIRST, SECOND)
    assert scores == pytest.approx(logits.sigmoid().tolist(), abs=1e-5)
    pipe = transformers.pipeline("text-classification", model=str(tmp_path / "score"), device="cpu")
    scores = [0 + 5 * (entry["score"] + 1) / 2 for entry in pipe(pairs, truncation=True)]
    assert scores == pytest.approx(run.predict("score", FIRST, SECOND), abs=1e-4)
    readme = (tmp_path / "score" / "README.md").read_text("utf-8")
    assert "One number, -1 at a score of 0 and 1 at 5: score = 0 + 5 * (output - -1) / 2." in readme


def test_token_classification(export, checkpoint, tmp_path):
    source = checkpoint(ner=NER)
    report = export(source, tmp_path / "out", "--format", "hf", "--task", "ner")
    assert "A word has the tag of its first sub-word" in report["notes"][0]
    model = loaded(transformers.BertForTokenClassification, tmp_path / "out")
    words = [text.split() for text in FIRST]
    words[0] = ["unreadable", "teachers", "quickly", "!"]  # words of several sub-words
    inputs = their_inputs(tmp_path / "out", words, is_split_into_words=True)
    with torch.no_grad():
        logits = model(**inputs).logits
    firsts = torch.tensor(
        [
            [word is not None and word != (row[i - 1] if i else None) for i, word in enumerate(row)]
            for row in (inputs.word_ids(i) for i in range(len(words)))
        ]
    )
    expected, _ = our_outputs(source, "ner", words)
    assert firsts.sum() == len(expected) < inputs["attention_mask"].sum() - 2 * len(words)
    torch.testing.assert_close(logits[firsts], expected, rtol=0, atol=1e-5)
    assert model.config.id2label == dict(enumerate(NER["labels"]))
    assert_reimported(tmp_path / "out", source)


def test_the_adapter_of_the_task_is_merged(export, checkpoint, tmp_path):
    lora = LoRAConfig(rank=2, targets=("query", "output"))
    source = checkpoint(lora, True, sst=SST, same=PAIR)
    export(source, tmp_path / "out", "--format", "hf", "--task", "same")
    model = loaded(transformers.BertForSequenceClassification, tmp_path / "out")
    with torch.no_grad():
        found = model(**their_inputs(tmp_path / "out", FIRST, SECOND)).logits.squeeze(-1)
    torch.testing.assert_close(found, our_outputs(source, "same", FIRST, SECOND)[0], rtol=0, atol=1e-5)
    with pytest.raises(
        InputError, match="an adapter for each of same, sst; name one with --task, or export its"
    ):
        export(source, tmp_path / "other", "--format", "hf")
    assert not (tmp_path / "other").exists()


def test_a_runs_folder(export, tiny_config, tiny_folder, tmp_path):
    """The best checkpoint of a run as `multitask train` leaves it; without a task the encoder alone."""
    train(tiny_config(tasks={"sst": {"pooling": "pooler"}}, train={"max_steps": 2}))
    export(tmp_path / "run", tmp_path / "encoder", "--format", "hf")
    values = json.loads((tmp_path / "encoder" / "config.json").read_text())
    assert values["architectures"] == ["BertModel"] and "classifier_dropout" not in values
    ours, theirs = (path / "model.safetensors" for path in (tmp_path / "run" / "best", tmp_path / "encoder"))
    assert ours.read_bytes() == theirs.read_bytes()
    with pytest.raises(InputError, match="the head of sst is not trained"):
        export(tiny_folder, tmp_path / "none", "--format", "hf", "--task", "sst")
    export(tmp_path / "run", tmp_path / "out", "--format", "hf", "--task", "sst")
    model = loaded(transformers.BertForSequenceClassification, tmp_path / "out")
    with torch.no_grad():
        found = model(**their_inputs(tmp_path / "out", FIRST)).logits
    torch.testing.assert_close(found, our_outputs(tmp_path / "run", "sst", FIRST)[0], rtol=0, atol=1e-5)
    assert_reimported(tmp_path / "out", tmp_path / "run" / "best")


MISFITS = {
    "mean": ({"type": "sst"}, "it pools by 'mean', and transformers' classifier reads BERT's pooler"),
    "hidden": (SST | {"hidden": [9]}, "its head has hidden layers"),
    "normalized": (SST | {"normalize": "l2"}, "its vectors are normalised or projected before the head"),
    "projected": (SST | {"projection": 8}, "its vectors are normalised or projected before the head"),
    "ordinal": (SST | {"loss": "ordinal"}, "its outputs are thresholds between labels"),
    "towers": (PAIR | {"pairs": "bi"}, "it compares the vectors of two inputs"),
    "cosine": ({"type": "sts"}, "it compares the vectors of two inputs"),
    "deep_tags": (NER | {"hidden": [9]}, "its head has hidden layers"),
    "simcse": ({"type": "simcse"}, "tasks of type 'simcse' have another kind of head"),
}


def test_heads_and_encoders_that_transformers_has_not(export, checkpoint, load, tmp_path):
    source = checkpoint(**{name: values for name, (values, _) in MISFITS.items()})
    for name, (_, message) in MISFITS.items():
        message = f"has no class for {name}: {message}.*; take --format onnx, which holds every head"
        with pytest.raises(InputError, match=message):
            export(source, tmp_path / "out", "--format", "hf", "--task", name)
    source.rename(tmp_path / "heads")
    encoder = load(projected_attention_size=12, projected_attention_names=("sst",))
    source = checkpoint(encoder=encoder, sst=SST, mean={"type": "sst"})
    message = "the encoder has projected_attention, which transformers' BertModel"
    for format, name in (("hf", "sst"), ("sentence-transformers", "mean")):
        with pytest.raises(InputError, match=message):
            export(source, tmp_path / "out", "--format", format, "--task", name)
    assert not (tmp_path / "out").exists()


def test_a_kind_of_ones_own(export, checkpoint, tmp_path, monkeypatch):
    """A linear head over the pooler is exported; another forward is refused."""

    class Levels(TextTask):
        losses = {"mse": torch.nn.functional.mse_loss}
        defaults = {"loss": "mse", "pooling": "pooler"}
        outputs = 3

    class Doubled(Levels):
        def forward(self, encoder, inputs):
            return 2 * super().forward(encoder, inputs)

    for kind, found in (("levels", Levels), ("doubled", Doubled)):
        monkeypatch.setitem(KINDS, kind, found)
    source = checkpoint(other={"type": "levels"}, twice={"type": "doubled"})
    export(source, tmp_path / "out", "--format", "hf", "--task", "other")
    model = loaded(transformers.BertForSequenceClassification, tmp_path / "out")
    with torch.no_grad():
        found = model(**their_inputs(tmp_path / "out", FIRST)).logits
    torch.testing.assert_close(found, our_outputs(source, "other", FIRST)[0], rtol=0, atol=1e-5)
    with pytest.raises(InputError, match="twice: its class computes its outputs in its own way; take"):
        export(source, tmp_path / "other", "--format", "hf", "--task", "twice")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--task", "ssst"], "the run has no task 'ssst'; did you mean 'sst'"),
        (["--opset", "18"], "--opset is for --format onnx, not hf"),
        (["--task", "sst", "--format", "peft"], "has no LoRA adapter for sst; take --format hf"),
        (["--format", "peft"], "--format peft is an adapter with a task's head; give --task"),
    ],
)
def test_wrong_input(export, checkpoint, tmp_path, words, message):
    with pytest.raises(InputError, match=message):
        export(checkpoint(sst=SST), tmp_path / "out", "--format", "hf", *words)
    assert not (tmp_path / "out").exists()
