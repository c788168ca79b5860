"""Which loss a text task computes from which options, what it takes from the data, what it refuses."""

import csv

import pytest
import torch
import torch.nn.functional as F

from minbert import InputError, pool
from multitask.config.task_config import task_config
from multitask.losses.classification import cross_entropy, focal
from multitask.losses.divergence import squared_difference, symmetric_binary_kl, symmetric_kl
from multitask.losses.ordinal import ordinal
from multitask.losses.regression import angle_similarity, cosent, pearson_loss
from multitask.model.heads import AngleHead, MLPHead, ProjectedHead
from multitask.tasks.base import LOSS_OPTIONS, LOSSES, TextTask, TrainingTask
from multitask.tasks.registry import KINDS, find_kind, make_task

LOGITS = torch.tensor([[0.1, -2.0, 1.0, 0.3, 0.0], [2.0, 1.0, -1.0, 0.5, 0.2], [0.0, 0.0, 3.0, -1.0, 1.0]])
LEVELS = torch.tensor([4, 0, 2])


def task_of(kind, **values):
    return make_task(kind, task_config(kind, values))


def rows_of(task, folder):
    return task.load(folder, "train").rows


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


def test_ordinal_levels_of_sst(build, on_tiny, tiny_tokenizer):
    task, folder = build("sst", loss="ordinal")
    batch = task.collate(task.tokenize(tiny_tokenizer, rows_of(task, folder)))
    outputs = on_tiny(task)("sst", batch.inputs)
    assert task.outputs == 4 and outputs.shape == (6, 4)
    assert task.loss(outputs, batch.targets) == ordinal(outputs, torch.tensor([0, 1, 2, 3, 4, 0]))
    assert task.decode(torch.tensor([[1.0, 1, -1, -1], [-1, -1, -1, -1], [1, 1, 1, 1]]), None) == [2, 0, 4]
    other = torch.zeros_like(outputs)
    assert task.divergence(outputs, other) == symmetric_binary_kl(outputs, other)


def test_ordinal_labels_of_any_table(build):
    task, _ = build("classification", loss="ordinal", labels=["1", "2", "5", "10"])
    assert task.outputs == 3
    assert task.decode(torch.tensor([[1.0, 1, -1], [-1, -1, -1], [1, 1, 1]]), None) == ["5", "1", "10"]


@pytest.mark.parametrize(
    "labels", [["good", "bad", "fair"], ["0", "1"], ["1", "3", "2"], ["1", "1", "2"], ["1", "2", "-3"]]
)
def test_labels_without_an_order_are_refused_by_ordinal(labels, build):
    with pytest.raises(InputError, match=rf"loss is 'ordinal', and its labels are {', '.join(labels)}; it"):
        build("classification", loss="ordinal", labels=labels)


def test_labels_of_train_are_checked_too(build):
    """Sorted as texts, 10 stands before 2."""
    task, folder = build("classification", loss="ordinal")
    path = folder / "classification-train.csv"
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["text", "label"], ["a", "2"], ["b", "10"], ["c", "1"]])
    with pytest.raises(InputError, match="labels are 1, 10, 2; .* list them so in classification.labels"):
        task.load(folder, "train")
    task, folder = build("classification", class_weights="1,2,3")
    with pytest.raises(
        InputError, match="class-weights has 3 numbers, and there are 2 classes: sport, world"
    ):
        task.load(folder, "train")


def test_balanced_class_weights_come_from_the_training_rows(build):
    task, folder = build("sst", class_weights="balanced")
    rows = rows_of(task, folder)[:5] + rows_of(task, folder)[:2]  # labels 0 1 2 3 4 0 1
    with pytest.raises(InputError, match="sst: balanced class weights come from the training rows"):
        task.loss(LOGITS, LEVELS)
    notes = task.prepare_training([row for row in rows if row.label != 3])  # N 6, C 5
    assert notes == ["class weights 0 0.6, 1 0.6, 2 1.2, 3 0, 4 1.2"]
    expected = cross_entropy(LOGITS, LEVELS, 0.0, torch.tensor([0.6, 0.6, 1.2, 0.0, 1.2]))
    assert task.loss(LOGITS, LEVELS).item() == pytest.approx(expected.item(), rel=1e-6)
    assert build("sst")[0].prepare_training(rows) == []


def test_balanced_weights_are_1_on_the_mean_of_train(build):
    task, folder = build("sst", class_weights="balanced", loss="focal")
    rows = rows_of(task, folder)
    task.prepare_training(rows)
    weights = [task.class_weights[row.label].item() for row in rows]
    assert sum(weights) / len(weights) == pytest.approx(1)


COSINES = torch.tensor([0.9, 0.1, -0.2, 0.7])
SCORES = torch.tensor([4.6, 0.0, 1.5, 5.0])


def test_losses_of_similarities():
    assert task_of("sts", loss="pearson").loss(COSINES, SCORES) == pearson_loss(COSINES, SCORES)
    assert task_of("sts", loss="cosent").loss(COSINES, SCORES) == cosent(COSINES, SCORES, 0.05)
    warm = task_of("sts", loss="cosent", temperature=0.3)
    assert warm.loss(COSINES, SCORES) == cosent(COSINES, SCORES, 0.3)


def test_cosent_orders_the_outputs_of_any_head(build, on_tiny, tiny_tokenizer):
    task, folder = build("sts", pairs="cross", head="mlp", loss="cosent")
    batch = task.collate(task.tokenize(tiny_tokenizer, rows_of(task, folder)))
    outputs = on_tiny(task)("sts", batch.inputs)
    assert task.loss(outputs, batch.targets) == cosent(outputs, batch.targets)


def test_angle_trains_by_the_angle_and_predicts_by_the_cosine(build, on_tiny, tiny_tokenizer):
    task, folder = build("sts", loss="angle", temperature=0.1)
    rows = rows_of(task, folder)
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


@pytest.mark.parametrize("loss", find_kind("sts").losses)
def test_losses_that_compare_examples_say_so(loss):
    values = {"head": "mlp"} if loss == "mse" else {}
    assert task_of("sts", loss=loss, **values).batch_level_loss == (loss in ("pearson", "cosent", "angle"))
    assert not task_of("sst").batch_level_loss and not task_of("paraphrase").batch_level_loss


def test_divergences():
    p, q = LOGITS, LOGITS.flip(0)
    assert task_of("sst").divergence(p, q) == symmetric_kl(p, q)
    assert task_of("paraphrase").divergence(p[:, 0], q[:, 0]) == symmetric_binary_kl(p[:, 0], q[:, 0])
    assert task_of("sts").divergence(p[:, 0], q[:, 0]) == squared_difference(p[:, 0], q[:, 0])


def test_a_kind_without_a_divergence_says_so():
    task = TrainingTask("mine", task_config("mine", {"type": "sst"}))
    with pytest.raises(InputError, match="mine: tasks of type 'sst' have no divergence, which smart and"):
        task.divergence(LOGITS, LOGITS)
    assert task.prepare_training([]) == []


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
        ("sst", {"temperature": 0.1}, "sst.temperature is 0.1, which only the loss cosent or angle or info"),
        ("sts", {"temperature": 0.1}, "sts.loss is 'cosine_mse': change the loss, or leave the option out"),
        ("paraphrase", {"class_weights": "1,2"}, "paraphrase.class-weights is '1,2', which only"),
        ("paraphrase", {"symmetric": True}, "paraphrase.symmetric is True, which only the loss info_nce"),
        ("sst", {"mask_rate": 0.3}, "sst.mask-rate is 0.3, which only the loss masked_lm reads"),
        ("sst", {"class_weights": "1,2"}, "sst.class-weights has 2 numbers, and there are 5 classes: 0, 1"),
        ("sts", {"loss": "angle", "head": "mlp"}, 'sts.loss "angle" compares two vectors and needs sts.head'),
        ("sts", {"hidden": [8]}, "sts.hidden is for sts.head mlp; a cosine has no layers"),
        ("sst", {"layer_norm": True}, "sst.layer-norm stands after hidden layers, and there are none"),
    ],
)
def test_options_that_the_loss_does_not_read_are_refused(kind, values, message):
    with pytest.raises(InputError, match=message):
        task_of(kind, **values)


def test_every_loss_is_known_where_options_are_checked():
    for kind in KINDS:
        assert set(find_kind(kind).losses) <= set(LOSSES)
    assert all(set(readers) <= set(LOSSES) for readers in LOSS_OPTIONS.values())


def test_a_loss_of_ones_own_reads_what_it_likes():
    class Mine(TextTask):
        losses = {"mine": cross_entropy}

    config = task_config("classification", {"loss": "mine", "temperature": 0.3, "label_smoothing": 0.1})
    assert Mine("mine", config).config.temperature == 0.3


def test_the_configuration_decides_the_layers():
    values = {"hidden": [9, 8], "activation": "hardswish", "dropout": 0.3, "layer_norm": True}
    head = task_of("sst", **values).head(24)
    assert repr(head) == repr(MLPHead(24, 5, (9, 8), "hardswish", 0.3, layer_norm=True))
    assert sum(isinstance(layer, torch.nn.LayerNorm) for layer in head) == 2


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("sst", {"hidden": [9], "layer_norm": True}),
        ("paraphrase", {"pairs": "bi"}),
        ("paraphrase", {}),
        ("sts", {}),
        ("sts", {"loss": "angle"}),
    ],
)
@pytest.mark.parametrize("normalization", [None, "l2"])
def test_a_projection_stands_before_the_head_for_both_towers(
    kind, values, normalization, build, on_tiny, tiny_tokenizer
):
    task, folder = build(kind, projection=7, normalize=normalization, **values)
    batch = task.collate(task.tokenize(tiny_tokenizer, rows_of(task, folder)))
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
