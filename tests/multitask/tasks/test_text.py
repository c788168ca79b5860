"""Sentences and pairs: inputs, pooling, heads, labels, losses and their options, example scores."""

import csv
import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from minbert import BertConfig, InputError, pool
from multitask.config.task_config import task_config
from multitask.config.task_kinds import make_task
from multitask.losses.classification import cross_entropy, focal
from multitask.losses.divergence import squared_difference, symmetric_binary_kl, symmetric_kl
from multitask.losses.ordinal import ordinal
from multitask.losses.regression import angle_similarity, cosent, pearson_loss
from multitask.model.heads import AngleHead, MLPHead, ProjectedHead, pair_features
from multitask.tasks.base import TrainingTask

LOGITS = torch.tensor([[0.1, -2.0, 1.0, 0.3, 0.0], [2.0, 1.0, -1.0, 0.5, 0.2], [0.0, 0.0, 3.0, -1.0, 1.0]])
LEVELS = torch.tensor([4, 0, 2])
COSINES = torch.tensor([0.9, 0.1, -0.2, 0.7])
SCORES = torch.tensor([4.6, 0.0, 1.5, 5.0])


def task_of(kind, **values):
    return make_task(kind, task_config(kind, values))


def run(task, folder, on_tiny, tokenizer, split="dev"):
    """(model, examples, outputs) of a task on its dev split."""
    rows = task.load(folder, split).rows
    model = on_tiny(task)
    with torch.no_grad():
        return model, rows, model(task.name, task.collate(task.tokenize(tokenizer, rows)).inputs)


@pytest.mark.parametrize(
    ("pooling", "normalization"),
    [("cls", None), ("pooler", "l2"), ("mean", "l1"), ("mean", None), ("max", "l2")],
)
def test_a_sentence_is_pooled_normalised_and_put_through_the_head(
    pooling, normalization, build, on_tiny, tiny_tokenizer
):
    task, folder = build("sst", pooling=pooling, normalize=normalization, hidden=[7], activation="tanh")
    model, rows, outputs = run(task, folder, on_tiny, tiny_tokenizer)
    with torch.no_grad():
        for row, output in zip(rows, outputs, strict=True):
            states = model.encoder(tiny_tokenizer([row.texts[0]]))
            vector = {
                "cls": states.last_hidden_state[:, 0],
                "pooler": states.pooler_output,
                "mean": states.last_hidden_state.mean(dim=1),
                "max": states.last_hidden_state.amax(dim=1),
            }[pooling]
            length = {None: 1, "l1": vector.abs().sum(), "l2": vector.square().sum().sqrt()}[normalization]
            torch.testing.assert_close(model.heads["sst"](vector / length)[0], output, atol=1e-5, rtol=1e-5)


def test_a_joined_pair_has_the_second_text_in_segment_one(build, tiny_tokenizer):
    task, folder = build("paraphrase", pairs="cross")
    rows = task.load(folder, "dev").rows
    padded = task.collate(task.tokenize(tiny_tokenizer, rows)).inputs.padded()
    expected = tiny_tokenizer(*([row.texts[side] for row in rows] for side in (0, 1))).padded()
    assert all(torch.equal(padded[name], expected[name]) for name in expected)
    assert padded["token_type_ids"].any(dim=1).all()


def test_two_towers_are_one_call_of_first_then_second_texts(build, on_tiny, tiny_tokenizer):
    task, folder = build("paraphrase", pairs="bi")
    rows = task.load(folder, "dev").rows
    inputs = task.collate(task.tokenize(tiny_tokenizer, rows)).inputs
    texts = [row.texts[0] for row in rows] + [row.texts[1] for row in rows]
    expected = tiny_tokenizer(texts).padded()
    assert all(torch.equal(inputs.padded()[name], expected[name]) for name in expected)
    model, calls = on_tiny(task), []
    model.encoder.register_forward_hook(lambda module, args, output: calls.append(len(args[0])))
    with torch.no_grad():
        outputs = model("paraphrase", inputs)
        assert calls == [2 * len(rows)]
        vectors = pool(model.encoder(tiny_tokenizer(texts)), "mean")
        features = pair_features(vectors[: len(rows)], vectors[len(rows) :], ["u", "v", "difference"])
        torch.testing.assert_close(outputs, model.heads["paraphrase"](features).squeeze(-1))


def test_targets_stay_floats_or_are_refused(build, tiny_tokenizer):
    """4.6 must never train as 4."""
    task, folder = build("sts")
    batch = task.collate(task.tokenize(tiny_tokenizer, task.load(folder, "train").rows))
    assert batch.targets.dtype == torch.float32
    assert batch.targets.tolist() == pytest.approx([0.0, 5.0, 1.5, 4.6, 2.5, 0.8])
    task, folder = build("sst")
    task.target = lambda example: 4.6
    tokenized = task.tokenize(tiny_tokenizer, task.load(folder, "train").rows)
    with pytest.raises(InputError, match="sst: the targets are fractions, target_type is torch.int64"):
        task.collate(tokenized)


@pytest.mark.parametrize(
    ("scale", "outputs", "expected"),
    [
        ((0.0, 1.0), [0.0, 0.5, 1.0, -0.2, 1.1], [0.0, 2.5, 5.0, -1.0, 5.5]),
        ((-1.0, 1.0), [-1.0, 0.0, 1.0, 0.2, 1.1], [0.0, 2.5, 5.0, 3.0, 5.25]),
    ],
)
def test_decoding_undoes_the_label_scale_and_cuts_to_the_scores(scale, outputs, expected):
    """The loss and `example_scores`, which ensembles average, see the raw outputs."""
    task = task_of("sts", label_scale=list(scale))
    outputs, scores = torch.tensor(outputs), torch.tensor(expected)
    assert task.example_scores(outputs).tolist() == pytest.approx(expected, abs=1e-6)
    assert task.decode(outputs, None) == pytest.approx(np.clip(expected, 0, 5).tolist(), abs=1e-6)
    assert task.loss(outputs, scores).item() == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize(
    ("loss", "head", "cut"),
    [("pearson", "mlp", False), ("cosent", "mlp", False), ("mse", "mlp", True), ("cosent", "cosine", True)],
)
def test_an_output_without_a_scale_is_not_cut(loss, head, cut):
    """An MLP head learns no scale from a correlation or a ranking; a cosine and squared error have one."""
    task = task_of("sts", loss=loss, head=head)
    assert task.decode(torch.tensor([-1.0, 2.0]), None) == ([0.0, 5.0] if cut else [-5.0, 10.0])
    assert task.batch_level_loss == (loss != "mse")


def test_labels_of_a_classification_are_those_of_train_sorted_or_as_configured(build, tiny_tokenizer):
    task, folder = build("classification")
    assert task.labels == ()
    with pytest.raises(
        InputError, match="classification has 0 labels and .* name them in classification.labels"
    ):
        task.build_head(BertConfig())
    path = folder / "classification-dev.csv"
    path.write_text(path.read_text().replace("sport", "weather"), encoding="utf-8")
    examples = task.load(folder, "dev")  # reads train first
    assert task.labels == ("sport", "world") and task.outputs == 2
    assert len(examples.rows) == 3 and len(examples.rejects) == 3
    assert "'weather' is not one of sport, world" in examples.rejects[0].reason
    rows = task.load(folder, "train").rows
    batch = task.collate(task.tokenize(tiny_tokenizer, rows))
    assert [row.label for row in rows[:2]] == ["world", "sport"] and batch.targets.tolist()[:2] == [1, 0]
    assert task.decode(torch.tensor([[0.0, 1.0], [2.0, 1.0]]), None) == ["world", "sport"]
    task, folder = build("classification", labels=["world", "sport"])
    assert task.load(folder, "dev").rejects == () and task.labels == ("world", "sport")


@pytest.fixture
def labelled(tmp_path):
    """labelled(train, dev, **config) -> a classification of JSON lines with these labels, and its rows."""

    def make(train: list, dev: list | None = None, **values):
        for split, labels in {"train": train, "dev": dev}.items():
            rows = [{"text": f"text {i}", "label": label} for i, label in enumerate(labels or ())]
            (tmp_path / f"{split}.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
        files = {"train": "train.jsonl", "dev": "dev.jsonl" if dev else None}
        task = task_of("classification", **files, **values)
        return task, task.load(tmp_path, "dev" if dev else "train")

    return make


def test_numbers_equal_to_whole_numbers_are_one_class(labelled):
    task, examples = labelled([1, 1.0, "1", "1.0", 0, 2.5], [1.0, 0.0, "0", 2.5, 3.0])
    assert task.labels == ("0", "1", "2.5")
    assert [row.label for row in examples.rows] == ["1", "0", "0", "2.5"]
    assert "'3.0' is not one of 0, 1, 2.5" in examples.rejects[0].reason
    # A list, or an older checkpoint, keeps its own spelling.
    task, examples = labelled([1, "0.0"], labels=["1.0", "0.0"])
    assert [row.label for row in examples.rows] == ["1.0", "0.0"]
    with pytest.raises(InputError, match="labels are 1, 1.0, and some mean the same class; name it once"):
        labelled([1], labels=["1", "1.0"])


def test_labels_that_stand_for_a_missing_value_are_rejects(labelled, tmp_path):
    task, examples = labelled(["a", float("nan"), None, "", "NaN", "nan", "b"])
    assert task.labels == ("a", "b") and len(examples.rows) == 2
    reasons = [reject.reason.removeprefix("the label 'label' ") for reject in examples.rejects]
    missing = "cannot be used: NaN stands for a missing value"
    assert reasons == [missing, "is empty", "is empty", missing, missing]
    (tmp_path / "train.csv").write_text("text,label\none,nan\ntwo,\nthree,a\nfour,b\n")
    examples = task_of("classification", train="train.csv").load(tmp_path, "train")
    assert [row.label for row in examples.rows] == ["a", "b"]
    (tmp_path / "train.csv").write_text('text,label\none,"a\nb"\n')  # which no prediction file can hold
    (reject,) = task_of("classification", train="train.csv").load(tmp_path, "train").rejects
    assert reject.reason.endswith("it has more than one line")
    assert len(labelled(["nan", "zh"], labels=["nan", "zh"])[1].rows) == 2  # a language, where it is named


def test_scores_outside_of_the_range_name_the_options(tmp_path):
    (tmp_path / "train.csv").write_text("sentence1,sentence2,label\na,b,3.0\n")
    (reject,) = task_of("similarity", train="train.csv").load(tmp_path, "train").rejects
    assert reject.reason.endswith(
        "'3.0' is not between 0 and 1, which are similarity.low and similarity.high"
    )


def test_labels_outside_a_kinds_range_are_refused_never_rounded():
    accepted = {"sst": ("4", 4), "cfimdb": ("1", 1), "paraphrase": ("1.0", 1), "sts": ("4.6", 4.6)}
    for kind, (text, value) in accepted.items():
        assert task_of(kind).parse_label(text) == value
    refused = {"sst": ("5", "2.4"), "cfimdb": ("2",), "paraphrase": ("0.5", "2"), "sts": ("5.1", "nan")}
    for kind, texts in refused.items():
        for text in texts:
            with pytest.raises(ValueError):
                task_of(kind).parse_label(text)


def test_scores_of_sst_say_how_far_off_and_majority_predictions(build):
    task, folder = build("sst")
    rows = task.load(folder, "train").rows  # labels 0 1 2 3 4 0
    assert task.score([0, 2, 4, 3, 3, 0], rows) == {
        "accuracy": pytest.approx(3 / 6),
        "off_by_one": pytest.approx(5 / 6),
    }
    assert task.majority_prediction(rows) == 0
    task, folder = build("sts")
    mean = task.majority_prediction(task.load(folder, "train").rows)
    assert mean == pytest.approx((0 + 5 + 1.5 + 4.6 + 2.5 + 0.8) / 6)


def test_long_texts_are_cut_and_say_so(build, tiny_tokenizer):
    task, folder = build("sst", max_length=5)
    tokenized = task.tokenize(tiny_tokenizer, task.load(folder, "train").rows)
    assert max(entry.length for entry in tokenized) == 5
    assert [entry.sides[0].truncated for entry in tokenized] == [True, False, True, True, False, False]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({}, lambda: F.cross_entropy(LOGITS, LEVELS)),
        ({"label_smoothing": 0.2}, lambda: cross_entropy(LOGITS, LEVELS, 0.2)),
        (
            {"label_smoothing": 0.2, "class_weights": "1,2,3,4,5.5"},
            lambda: cross_entropy(LOGITS, LEVELS, 0.2, torch.tensor([1, 2, 3, 4, 5.5])),
        ),
        ({"loss": "focal"}, lambda: focal(LOGITS, LEVELS, 2.0)),
        (
            {"loss": "focal", "focal_gamma": 0.5, "class_weights": "1,0,3,0,2"},
            lambda: focal(LOGITS, LEVELS, 0.5, torch.tensor([1.0, 0, 3, 0, 2])),
        ),
    ],
)
def test_losses_of_classes(values, expected):
    assert task_of("sst", **values).loss(LOGITS, LEVELS) == expected()


def test_ordinal(build, on_tiny, tiny_tokenizer):
    task, folder = build("sst", loss="ordinal")
    batch = task.collate(task.tokenize(tiny_tokenizer, task.load(folder, "train").rows))
    outputs = on_tiny(task)("sst", batch.inputs)
    assert task.outputs == 4 and outputs.shape == (6, 4)
    assert task.loss(outputs, batch.targets) == ordinal(outputs, torch.tensor([0, 1, 2, 3, 4, 0]))
    assert task.decode(torch.tensor([[1.0, 1, -1, -1], [-1, -1, -1, -1], [1, 1, 1, 1]]), None) == [2, 0, 4]
    other = torch.zeros_like(outputs)
    assert task.divergence(outputs, other) == symmetric_binary_kl(outputs, other)
    task = task_of("classification", loss="ordinal", labels=["1", "2", "5", "10"])
    assert task.decode(torch.tensor([[1.0, 1, -1], [-1, -1, -1], [1, 1, 1]]), None) == ["5", "1", "10"]
    for labels in (["good", "bad", "fair"], ["0", "1"], ["1", "3", "2"], ["1", "1", "2"], ["1", "2", "-3"]):
        with pytest.raises(InputError, match=rf"is 'ordinal', and its labels are {', '.join(labels)}; it"):
            task_of("classification", loss="ordinal", labels=labels)


def test_labels_of_train_are_checked_too(build):
    """Sorted as texts, 10 stands before 2."""
    task, folder = build("classification", loss="ordinal")
    path = folder / "classification-train.csv"
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["text", "label"], ["a", "2"], ["b", "10"], ["c", "1"]])
    task.load(folder, "train")
    with pytest.raises(InputError, match="labels are 1, 10, 2; .* list them so in classification.labels"):
        _ = task.labels  # read when asked for
    task, folder = build("classification", class_weights="1,2,3")
    task.load(folder, "train")
    with pytest.raises(
        InputError, match="class-weights has 3 numbers, and there are 2 classes: sport, world"
    ):
        _ = task.labels


def test_balanced_class_weights_come_from_the_training_rows(build):
    task, folder = build("sst", class_weights="balanced")
    rows = task.load(folder, "train").rows[:5] + task.load(folder, "train").rows[:2]  # labels 0 1 2 3 4 0 1
    with pytest.raises(InputError, match="sst: balanced class weights come from the training rows"):
        task.loss(LOGITS, LEVELS)
    notes = task.prepare_training([row for row in rows if row.label != 3])  # N 6, C 5
    assert notes == ["class weights 0 0.6, 1 0.6, 2 1.2, 3 0, 4 1.2"]
    expected = cross_entropy(LOGITS, LEVELS, 0.0, torch.tensor([0.6, 0.6, 1.2, 0.0, 1.2]))
    assert task.loss(LOGITS, LEVELS).item() == pytest.approx(expected.item(), rel=1e-6)
    assert build("sst")[0].prepare_training(rows) == []


def test_losses_of_similarities():
    assert task_of("sts", loss="pearson").loss(COSINES, SCORES) == pearson_loss(COSINES, SCORES)
    assert task_of("sts", loss="cosent").loss(COSINES, SCORES) == cosent(COSINES, SCORES, 0.05)
    warm = task_of("sts", loss="cosent", temperature=0.3)
    assert warm.loss(COSINES, SCORES) == cosent(COSINES, SCORES, 0.3)


def test_angle_trains_by_the_angle_and_predicts_by_the_cosine(build, on_tiny, tiny_tokenizer):
    task, folder = build("sts", loss="angle", temperature=0.1)
    rows = task.load(folder, "train").rows
    batch = task.collate(task.tokenize(tiny_tokenizer, rows))
    model = on_tiny(task)
    with torch.no_grad():
        outputs = model("sts", batch.inputs)
        u, v = (
            pool(model.encoder(tiny_tokenizer([row.texts[side] for row in rows])), "mean") for side in (0, 1)
        )
    assert isinstance(model.heads["sts"], AngleHead) and outputs.shape == (6, 2)
    expected = cosent(angle_similarity(u, v), batch.targets, 0.1)
    torch.testing.assert_close(task.loss(outputs, batch.targets), expected, atol=1e-4, rtol=1e-5)
    cosines = [5 * cosine for cosine in F.cosine_similarity(u, v).tolist()]
    assert task.decode(outputs, batch.inputs) == pytest.approx(cosines, abs=1e-4)
    with pytest.raises(InputError, match="they must be equal"):
        task.loss(outputs, batch.targets[:1])


def test_divergences():
    p, q = LOGITS, LOGITS.flip(0)
    for kind in ("sst", "masked_lm", "ner"):
        assert task_of(kind).divergence(p, q) == symmetric_kl(p, q)
    assert task_of("paraphrase").divergence(p[:, 0], q[:, 0]) == symmetric_binary_kl(p[:, 0], q[:, 0])
    assert task_of("sts").divergence(p[:, 0], q[:, 0]) == squared_difference(p[:, 0], q[:, 0])
    task = TrainingTask("mine", task_config("mine", {"type": "sst"}))
    with pytest.raises(InputError, match="mine: tasks of type 'sst' have no divergence, which smart and"):
        task.divergence(LOGITS, LOGITS)


@pytest.mark.parametrize(
    ("kind", "values", "message"),
    [
        ("sst", {"loss": "focal", "label_smoothing": 0.1}, "sst.label-smoothing is 0.1, which only the loss"),
        (
            "sst",
            {"loss": "ordinal", "class_weights": "balanced"},
            "only the loss cross_entropy or focal read",
        ),
        ("sst", {"focal_gamma": 1.0}, "sst.focal-gamma is 1.0, which only the loss focal reads; sst.loss is"),
        ("sts", {"temperature": 0.1}, "sts.loss is 'cosine_mse': change the loss, or leave the option out"),
        ("paraphrase", {"class_weights": "1,2"}, "paraphrase.class-weights is '1,2', which no"),
        ("sst", {"mask_rate": 0.3}, "sst.mask-rate is 0.3, which no loss of its type reads; sst.loss is"),
        ("sst", {"class_weights": "1,2"}, "sst.class-weights has 2 numbers, and there are 5 classes: 0, 1"),
        ("sts", {"loss": "angle", "head": "mlp"}, 'sts.loss "angle" compares two vectors and needs sts.head'),
        ("sts", {"hidden": [8]}, "sts.hidden is for sts.head mlp; a cosine has no layers"),
        ("sst", {"layer_norm": True}, "sst.layer-norm stands after hidden layers, and there are none"),
        ("sst", {"text2": "sentence2"}, "sst.pairs is None: a pair of texts needs both"),
        ("sst", {"pairs": "cross"}, "sst.pairs is 'cross': a pair of texts needs both"),
        ("paraphrase", {"pairs": "bi", "features": []}, "paraphrase.features is empty"),
        ("sts", {"head": "mlp"}, 'sts.loss "cosine_mse" needs sts.head cosine; take "mse" for head mlp'),
    ],
)
def test_settings_that_do_not_fit_are_refused(kind, values, message):
    with pytest.raises(InputError, match=message):
        task_of(kind, **values)


def test_the_configuration_decides_the_layers():
    values = {"hidden": [9, 8], "activation": "hardswish", "dropout": 0.3, "layer_norm": True}
    task = task_of("sst", **values)
    task.build_head(BertConfig(hidden_size=24, num_attention_heads=2))
    head = task.head
    assert repr(head) == repr(MLPHead(24, 5, (9, 8), "hardswish", 0.3, layer_norm=True))
    assert sum(isinstance(layer, torch.nn.LayerNorm) for layer in head) == 2


@pytest.mark.parametrize(
    ("kind", "values", "normalization"),
    [
        ("sst", {"hidden": [9], "layer_norm": True}, "l2"),
        ("paraphrase", {"pairs": "bi"}, None),
        ("paraphrase", {}, "l2"),
        ("sts", {}, None),
        ("sts", {"loss": "angle"}, "l2"),
    ],
)
def test_a_projection_stands_before_the_head_for_both_towers(
    kind, values, normalization, build, on_tiny, tiny_tokenizer
):
    task, folder = build(kind, projection=7, normalize=normalization, **values)
    batch = task.collate(task.tokenize(tiny_tokenizer, task.load(folder, "train").rows))
    model = on_tiny(task)
    head = model.heads[kind]
    assert isinstance(head, ProjectedHead) and head.projection.linear.weight.shape == (7, 24)
    with torch.no_grad():
        vectors = pool(model.encoder(batch.inputs), "mean")
        vectors = torch.tanh(vectors @ head.projection.linear.weight.T + head.projection.linear.bias)
        if normalization:
            vectors = vectors / vectors.square().sum(dim=1, keepdim=True).sqrt()
        if kind == "sts":
            expected = head.head(*vectors.chunk(2))
        elif task.towers:
            u, v = vectors.chunk(2)
            expected = head.head(torch.cat([u, v, (u - v).abs()], dim=1)).squeeze(1)
        else:
            expected = head.head(vectors).squeeze(-1)
        torch.testing.assert_close(model(kind, batch.inputs), expected, atol=1e-5, rtol=1e-5)
    task.loss(model(kind, batch.inputs), batch.targets).backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in head.projection.parameters())


SCORED = {
    "sst": {},
    "cfimdb": {},
    "news": {},
    "paraphrase": {},
    "sts": {},
    "sst ordinal": {"type": "sst", "loss": "ordinal"},
    "sts scaled": {"type": "sts", "label_scale": [-1.0, 1.0]},
    "sts angle": {"type": "sts", "loss": "angle"},
    "classification": {"labels": ["x", "y", "z"]},
}


def scored(kind):
    name = kind.split()[0]
    return make_task(name, task_config(name, SCORED[kind]))


@pytest.mark.parametrize("kind", SCORED)
def test_hard_predictions_of_example_scores_are_those_of_decode(kind):
    task = scored(kind)
    width = 2 if task.config.loss == "angle" else task.outputs
    generator = torch.Generator().manual_seed(0)
    outputs = torch.randn(64, width, generator=generator, dtype=torch.float64).squeeze(-1)
    assert task.hard(task.example_scores(outputs).numpy()) == task.decode(outputs, None)


def test_probabilities_are_softmax_sigmoid_and_differences_of_levels():
    logits = torch.tensor([[0.0, np.log(3.0), 0, 0, 0]], dtype=torch.float64)
    assert torch.allclose(
        scored("sst").example_scores(logits), torch.tensor([[1, 3, 1, 1, 1]], dtype=torch.float64) / 7
    )
    assert scored("paraphrase").example_scores(torch.tensor([0.0, np.log(3.0)])).tolist() == pytest.approx(
        [0.5, 0.75]
    )
    above = torch.tensor([[0.9, 0.7, 0.2, 0.1]], dtype=torch.float64)
    levels = scored("sst ordinal").example_scores(above.logit())
    assert levels.tolist()[0] == pytest.approx([0.1, 0.2, 0.5, 0.1, 0.1])


def test_a_kind_without_one_prediction_an_example_says_so():
    task = make_task("ner", task_config("ner", {"labels": ["O", "B-X", "I-X"]}))
    with pytest.raises(InputError, match="ner: tasks of type 'ner' give no number for each example"):
        task.example_scores(torch.zeros(2, 3))
