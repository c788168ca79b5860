"""Tasks as folders of transformers: its classes give our outputs; heads that they have not are refused.

Run: pytest tests/multitask/export/test_task_model.py
"""

import json

import pytest
import torch

from minbert import BertModel, CommandParser, InputError, LoRAConfig
from multitask import train
from multitask.cli.export import add_export_options
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
TOPICS = {"type": "multilabel", "pooling": "pooler", "labels": ["film", "animals", "study"], "threshold": 0.3}
ENTAILMENT = {
    "type": "classification",
    "text2": "hypothesis",
    "pairs": "cross",
    "pooling": "pooler",
    "labels": ["contradiction", "entailment", "neutral"],
}
GRADE = {"type": "regression", "pooling": "pooler", "low": -50.0, "high": 50.0}
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


HEADS = {"sst": SST, "same": PAIR, "score": SCORE, "topics": TOPICS, "nli": ENTAILMENT, "grade": GRADE}
ONE_TEXT = ("sst", "topics", "grade")
SETTINGS = {  # problem_type and labels, as config.json says them
    "sst": ("single_label_classification", "01234"),
    "same": ("single_label_classification", "01"),
    "score": ("regression", ["score"]),
    "topics": ("multi_label_classification", TOPICS["labels"]),
    "nli": ("single_label_classification", ENTAILMENT["labels"]),
    "grade": ("regression", ["score"]),
}


@pytest.mark.parametrize("name", HEADS)
def test_sequence_classification(export, checkpoint, tmp_path, name):
    source = checkpoint(**HEADS)
    report = export(source, tmp_path / "out", "--format", "hf", "--task", name)
    assert "README.md" in report["files"] and "model.safetensors" in report["files"]
    model = loaded(transformers.BertForSequenceClassification, tmp_path / "out")
    sides = [FIRST] if name in ONE_TEXT else [FIRST, SECOND]
    expected, _ = our_outputs(source, name, *sides)
    with torch.no_grad():
        found = model(**their_inputs(tmp_path / "out", *sides)).logits
    if name == "same":  # our one logit, beside a constant 0
        expected = torch.stack([torch.zeros_like(expected), expected], dim=1)
    torch.testing.assert_close(found.reshape(expected.shape), expected, rtol=0, atol=1e-5)
    layer = open_source(source).model.heads[name][1]
    assert torch.equal(model.classifier.weight[-len(layer.weight) :], layer.weight)
    assert torch.equal(model.classifier.bias[-len(layer.bias) :], layer.bias)
    assert_reimported(tmp_path / "out", source)
    config = model.config
    assert config.classifier_dropout == (0.3 if name == "sst" else 0.1)
    problem, labels = SETTINGS[name]
    assert config.problem_type == problem and config.id2label == dict(enumerate(labels))
    assert config.label2id == {label: i for i, label in config.id2label.items()}


@pytest.fixture
def pipelines(export, checkpoint, tmp_path):
    """pipelines(task) -> what transformers' own front door says of the texts; and the run of the task."""
    source = checkpoint(**HEADS)

    def predict(name: str, **options):
        if not (tmp_path / name).exists():
            export(source, tmp_path / name, "--format", "hf", "--task", name)
        pipe = transformers.pipeline("text-classification", model=str(tmp_path / name), device="cpu")
        inputs = FIRST
        if name not in ONE_TEXT:
            inputs = [{"text": a, "text_pair": b} for a, b in zip(FIRST, SECOND, strict=True)]
        return pipe(inputs, truncation=True, **options)

    return predict, open_source(source)


@pytest.mark.parametrize("name", ["sst", "same", "nli"])
def test_the_pipeline_gives_our_labels_and_probabilities(pipelines, name):
    """Of a pair, too: with one logit it had the label 1 whatever it was."""
    predict, run = pipelines
    sides = [FIRST] if name in ONE_TEXT else [FIRST, SECOND]
    shares, classes = run.predict_proba(name, *sides), list(map(str, run.task(name).classes))
    found = predict(name)
    assert [entry["label"] for entry in found] == list(map(str, run.predict(name, *sides)))
    assert [entry["score"] for entry in found] == pytest.approx(shares.max(axis=1).tolist(), abs=1e-5)
    for row, share in zip(predict(name, top_k=None), shares, strict=True):
        assert {entry["label"]: entry["score"] for entry in row} == pytest.approx(
            dict(zip(classes, share.tolist(), strict=True)), abs=1e-5
        )


def test_the_pipeline_gives_each_labels_probability_and_scores(pipelines, tmp_path):
    predict, run = pipelines
    shares = run.predict_proba("topics", FIRST)
    rows, predicted = predict("topics", top_k=None), run.predict("topics", FIRST)
    for row, share, labels in zip(rows, shares, predicted, strict=True):
        found = {entry["label"]: entry["score"] for entry in row}
        assert found == pytest.approx(dict(zip(TOPICS["labels"], share.tolist(), strict=True)), abs=1e-5)
        assert labels == tuple(sorted(label for label, score in found.items() if score > 0.3))
    assert "a label is predicted above 0.3" in (tmp_path / "topics" / "README.md").read_text("utf-8")
    scores = [0 + 5 * (entry["score"] + 1) / 2 for entry in predict("score")]
    unbounded = run.example_scores("score", run.examples("score", FIRST, SECOND))
    assert scores == pytest.approx(unbounded.tolist(), abs=1e-4)
    readme = (tmp_path / "score" / "README.md").read_text("utf-8")
    assert "One number, -1 at a score of 0 and 1 at 5: score = 0 + 5 * (output - -1) / 2." in readme
    scores = [-50 + 100 * entry["score"] for entry in predict("grade")]
    unbounded = run.example_scores("grade", run.examples("grade", FIRST))
    assert scores == pytest.approx(unbounded.tolist(), abs=1e-3)


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
        found = model(**their_inputs(tmp_path / "out", FIRST, SECOND)).logits[:, 1]
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
    "mean": ({"type": "sst"}, "it pools by 'mean', .* BERT's pooler, which mean.pooling pooler trains"),
    "hidden": (SST | {"hidden": [9]}, "its head has hidden layers"),
    "normalized": (SST | {"normalize": "l2"}, "its vectors are normalised or projected before the head"),
    "projected": (SST | {"projection": 8}, "its vectors are normalised or projected before the head"),
    "ordinal": (SST | {"loss": "ordinal"}, "its outputs are thresholds between labels"),
    "threshold": (PAIR | {"threshold": 0.3}, "its threshold is 0.3, and a pipeline takes the most probable"),
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


def test_help_and_message_say_which_settings_export(export, checkpoint, tmp_path):
    """The default run of SST pools by mean, which transformers' classes cannot."""
    parser = CommandParser(prog="multitask export")
    add_export_options(parser)
    shown = " ".join(parser.format_help().split())
    assert (
        "hf and peft hold one linear layer on BERT's pooler: train the task with --TASK.pooling po" in shown
    )
    source = checkpoint(sst={"type": "sst"}, other={"type": "sst", "pooling": "pooler"})
    with pytest.raises(
        InputError, match="reads BERT's pooler, which sst.pooling pooler trains; take --format"
    ):
        export(source, tmp_path / "out", "--format", "hf", "--task", "sst")
    export(source, tmp_path / "out", "--format", "hf", "--task", "other")
