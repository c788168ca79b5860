"""A sentence or a pair: towers and joined inputs, pooling, normalisation, heads; labels of each sort."""

import dataclasses

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from minbert import BertConfig, InputError, normalize, pool
from multitask.config.task_config import task_config
from multitask.config.task_kinds import make_task
from multitask.model.heads import CosineHead, MLPHead, pair_features


def run(task, folder, on_tiny, tokenizer, split="dev"):
    """(model, examples, outputs) of a task on its dev split."""
    rows = task.load(folder, split).rows
    model = on_tiny(task)
    with torch.no_grad():
        return model, rows, model(task.name, task.collate(task.tokenize(tokenizer, rows)).inputs)


@pytest.mark.parametrize("pooling", ["cls", "pooler", "mean", "max"])
@pytest.mark.parametrize("normalization", [None, "l1", "l2"])
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
    inputs = task.collate(task.tokenize(tiny_tokenizer, rows)).inputs
    assert len(inputs) == len(rows)
    padded = inputs.padded()
    separator = tiny_tokenizer.backend.token_to_id("[SEP]")
    columns = (padded["input_ids"], padded["token_type_ids"], padded["attention_mask"])
    for ids, types, mask in zip(*columns, strict=True):
        ids, types = ids[mask.bool()].tolist(), types[mask.bool()].tolist()
        first = ids.index(separator) + 1
        assert types == [0] * first + [1] * (len(ids) - first)
        assert ids.count(separator) == 2 and ids[-1] == separator
    joined = tiny_tokenizer([rows[0].texts[0]], [rows[0].texts[1]]).padded()["input_ids"][0]
    assert torch.equal(padded["input_ids"][0][padded["attention_mask"][0].bool()], joined)


def test_two_towers_are_one_call_of_first_then_second_texts(build, on_tiny, tiny_tokenizer):
    task, folder = build("paraphrase", pairs="bi")
    rows = task.load(folder, "dev").rows
    inputs = task.collate(task.tokenize(tiny_tokenizer, rows)).inputs
    texts = [row.texts[0] for row in rows] + [row.texts[1] for row in rows]
    expected = tiny_tokenizer(texts).padded()
    assert all(torch.equal(inputs.padded()[name], expected[name]) for name in expected)
    assert inputs.token_type_ids.sum() == 0
    model, calls = on_tiny(task), []
    model.encoder.register_forward_hook(lambda module, args, output: calls.append(len(args[0])))
    with torch.no_grad():
        outputs = model("paraphrase", inputs)
        vectors = normalize(pool(model.encoder(tiny_tokenizer(texts)), "mean"), None)
        features = pair_features(vectors[: len(rows)], vectors[len(rows) :], ["u", "v", "difference"])
        torch.testing.assert_close(outputs, model.heads["paraphrase"](features).squeeze(-1))
    assert calls[0] == 2 * len(rows) and len(calls) == 2


def test_cosine_of_two_towers(build, on_tiny, tiny_tokenizer):
    task, folder = build("sts", pooling="mean")
    model, rows, outputs = run(task, folder, on_tiny, tiny_tokenizer)
    with torch.no_grad():
        for row, output in zip(rows, outputs, strict=True):
            u, v = (pool(model.encoder(tiny_tokenizer([text])), "mean")[0] for text in row.texts)
            torch.testing.assert_close(F.cosine_similarity(u, v, dim=0), output, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("values", "symmetric"),
    [
        ({}, True),
        ({"head": "mlp", "loss": "mse", "features": ["difference", "product", "cosine"]}, True),
        ({"head": "mlp", "loss": "mse", "features": ["u", "v"]}, False),
    ],
)
def test_symmetry_of_two_towers(values, symmetric, build, on_tiny, tiny_tokenizer):
    task, folder = build("sts", **values)
    model, rows, outputs = run(task, folder, on_tiny, tiny_tokenizer)
    swapped = [dataclasses.replace(row, texts=row.texts[::-1]) for row in rows]
    with torch.no_grad():
        other = model("sts", task.collate(task.tokenize(tiny_tokenizer, swapped)).inputs)
    assert torch.allclose(other, outputs, atol=1e-6) == symmetric


@pytest.mark.parametrize(
    ("kind", "values", "sizes"),
    [
        ("sst", {}, [(5, 24)]),
        ("sst", {"hidden": [16, 8]}, [(16, 24), (8, 16), (5, 8)]),
        ("paraphrase", {}, [(1, 24)]),
        ("paraphrase", {"pairs": "bi"}, [(1, 72)]),
        ("paraphrase", {"pairs": "bi", "features": ["product", "cosine"]}, [(1, 25)]),
        ("sts", {"pairs": "cross", "head": "mlp", "loss": "mse"}, [(1, 24)]),
    ],
)
def test_sizes_of_heads(kind, values, sizes, build):
    task = build(kind, **values)[0]
    task.build_head(BertConfig(hidden_size=24, num_attention_heads=2))
    head = task.head
    assert isinstance(head, MLPHead)
    assert [tuple(layer.weight.shape) for layer in head if isinstance(layer, nn.Linear)] == sizes


def test_similarity_labels_stay_floats(build, tiny_tokenizer):
    """4.6 must never train as 4."""
    task, folder = build("sts")
    rows = task.load(folder, "train").rows
    batch = task.collate(task.tokenize(tiny_tokenizer, rows))
    assert batch.targets.dtype == torch.float32
    assert batch.targets.tolist() == pytest.approx([0.0, 5.0, 1.5, 4.6, 2.5, 0.8])


def test_fractions_are_refused_where_classes_are_wanted(build, tiny_tokenizer):
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
def test_decoding_undoes_the_label_scale_without_cutting(scale, outputs, expected, build):
    task, _ = build("sts", label_scale=list(scale))
    assert task.decode(torch.tensor(outputs), None) == pytest.approx(expected, abs=1e-6)
    scores = torch.tensor(expected)
    assert task.loss(torch.tensor(outputs), scores).item() == pytest.approx(0, abs=1e-12)


def test_cosine_head_learns_its_target(build):
    """The loss is zero at the label scale's value, and pulls the cosine towards it."""
    task, _ = build("sts", label_scale=[-1.0, 1.0])
    cosines = torch.tensor([0.0], requires_grad=True)
    task.loss(cosines, torch.tensor([5.0])).backward()
    assert cosines.grad.item() < 0
    task.build_head(BertConfig())
    assert isinstance(task.head, CosineHead)


def test_decoding_of_classes_and_pairs(build):
    logits = torch.tensor([[0.1, 0.2, 5.0, 0.0, 1.0], [9.0, 0.0, 0.0, 0.0, 0.0]])
    assert build("sst")[0].decode(logits, None) == [2, 0]
    assert build("paraphrase")[0].decode(torch.tensor([0.1, -0.1, 0.0]), None) == [1, 0, 0]


def test_labels_of_a_classification_are_those_of_train_sorted(build, tiny_tokenizer):
    task, folder = build("classification")
    assert task.labels == ()
    with pytest.raises(
        InputError, match="classification has 0 labels; .* name them in classification.labels"
    ):
        task.build_head(BertConfig())
    task.load(folder, "dev")  # reads train first
    assert task.labels == ("sport", "world") and task.outputs == 2
    rows = task.load(folder, "train").rows
    batch = task.collate(task.tokenize(tiny_tokenizer, rows))
    assert [row.label for row in rows[:2]] == ["world", "sport"] and batch.targets.tolist()[:2] == [1, 0]
    assert task.decode(torch.tensor([[0.0, 1.0], [2.0, 1.0]]), None) == ["world", "sport"]


def test_a_label_that_train_does_not_have_is_a_reject(build):
    task, folder = build("classification")
    path = folder / "classification-dev.csv"
    path.write_text(path.read_text().replace("sport", "weather"), encoding="utf-8")
    examples = task.load(folder, "dev")
    assert len(examples.rows) == 3 and len(examples.rejects) == 3
    assert "label 'weather' is not one of sport, world" in examples.rejects[0].reason


def test_labels_that_the_configuration_names_keep_their_order(build):
    task, folder = build("classification", labels=["world", "sport"])
    assert task.load(folder, "dev").rejects == () and task.labels == ("world", "sport")


@pytest.mark.parametrize(
    ("kind", "label", "accepted"),
    [
        ("sst", "4", 4),
        ("sst", "5", None),
        ("sst", "2.4", None),
        ("cfimdb", "2", None),
        ("paraphrase", "1.0", 1),
        ("paraphrase", "0.5", None),
        ("sts", "4.6", 4.6),
        ("sts", "5.1", None),
        ("sts", "nan", None),
    ],
)
def test_labels_outside_a_kinds_range_are_refused_never_rounded(kind, label, accepted, build):
    task, _ = build(kind)
    if accepted is None:
        with pytest.raises(ValueError):
            task.parse_label(label)
    else:
        assert task.parse_label(label) == accepted


def test_scores_of_sst_say_how_far_off(build):
    task, folder = build("sst")
    rows = task.load(folder, "train").rows  # labels 0 1 2 3 4 0
    assert task.score([0, 2, 4, 3, 3, 0], rows) == {
        "accuracy": pytest.approx(3 / 6),
        "off_by_one": pytest.approx(5 / 6),
    }


def test_fallbacks(build):
    values = {}
    for kind in ("sst", "paraphrase", "sts"):
        task, folder = build(kind)
        values[kind] = task.majority_prediction(task.load(folder, "train").rows)
    assert values["sst"] == 0 and values["paraphrase"] in (0, 1)
    assert values["sts"] == pytest.approx((0 + 5 + 1.5 + 4.6 + 2.5 + 0.8) / 6)


@pytest.mark.parametrize(
    ("kind", "values", "message"),
    [
        ("sst", {"text2": "sentence2"}, "sst: a pair of texts needs both text2 and pairs"),
        ("sst", {"pairs": "cross"}, "sst: a pair of texts needs both text2 and pairs"),
        ("paraphrase", {"pairs": "bi", "features": []}, "paraphrase.features is empty"),
        ("sts", {"head": "mlp"}, 'sts.loss "cosine_mse" needs sts.head cosine; take "mse" for head mlp'),
    ],
)
def test_configurations_that_do_not_fit_are_refused(kind, values, message):
    with pytest.raises(InputError, match=message):
        make_task(kind, task_config(kind, values))


def test_long_texts_are_cut_and_say_so(build, tiny_tokenizer):
    task, folder = build("sst", max_length=5)
    tokenized = task.tokenize(tiny_tokenizer, task.load(folder, "train").rows)
    assert max(entry.length for entry in tokenized) == 5
    assert [entry.sides[0].truncated for entry in tokenized] == [True, False, True, True, False, False]
