"""Contrastive tasks: one forward pass, InfoNCE, known positives, temperatures, files, what is stored."""

import csv
import dataclasses
import math
from contextlib import nullcontext
from itertools import islice

import pytest
import torch

from minbert import InputError, SentenceEncoder
from multitask.config.task_config import task_config
from multitask.config.task_kinds import make_task
from multitask.inference.checkpoint import load_head, save_model
from multitask.losses.contrastive import info_nce
from multitask.model.multitask_model import EncoderView
from multitask.tasks.contrastive import ContrastiveHead

TRIPLETS = [
    ("the cat reads a book", "a cat is reading", "the dog is running"),
    ("good", "very good !", "bad film"),
    ("what a great movie , not dull !", "great", "a dull film"),
    ("is the river blue", "is it blue ?", "the house"),
]


@pytest.fixture
def triplets(tmp_path):
    """triplets(rows=TRIPLETS, **config) -> (task, training rows), from a file of comma separated texts."""

    def make(rows=TRIPLETS, kind="nli", **values):
        path = tmp_path / "triplets.csv"
        columns = ["sent0", "sent1", "hard_neg", "other"][: len(rows[0])]
        with open(path, "w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([columns, *rows])
        names = {"text": "sent0", "text2": "sent1", "negatives": columns[2:], "train": path.name}
        task = make_task("pairs", task_config("pairs", {"type": kind} | names | values))
        return task, task.load(tmp_path, "train").rows

    return make


def encoded_one_by_one(model, tokenizer, rows):
    """(B, K, D): mean-pooled vectors, each text in a batch of its own."""
    with torch.no_grad():
        return torch.stack(
            [
                torch.cat([model.encoder(tokenizer([text])).last_hidden_state.mean(1) for text in row.texts])
                for row in rows
            ]
        )


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"symmetric": True, "temperature": 0.5},
        {"hard_negative_weight": 3.0},
        {"negatives": []},
        {"learn_temperature": True, "temperature": 0.2, "symmetric": True},
    ],
)
def test_the_loss_is_info_nce_of_vectors_encoded_alone(values, triplets, on_tiny, tiny_tokenizer):
    # The first positive is the third anchor: a known positive to leave out.
    task, rows = triplets([(TRIPLETS[0][0], TRIPLETS[2][0], "b"), *TRIPLETS[1:]], **values)
    task.prepare_training(rows)
    model, calls = on_tiny(task), []
    batch = task.collate(task.tokenize(tiny_tokenizer, rows))
    hook = model.encoder.register_forward_hook(lambda module, args, output: calls.append(len(args[0])))
    model("pairs", batch.inputs)
    hook.remove()
    vectors = encoded_one_by_one(model, tiny_tokenizer, rows)
    assert calls == [vectors.shape[0] * vectors.shape[1]]  # one forward pass of all texts
    groups = torch.tensor([[0, 0, 10], [1, 1, 11], [0, 0, 12], [3, 3, 13]])[:, : vectors.shape[1]]
    config = task.config
    expected = info_nce(vectors, groups, config.temperature, config.symmetric, config.hard_negative_weight)
    torch.testing.assert_close(model.loss("pairs", batch).detach(), expected, atol=1e-4, rtol=1e-5)
    unmasked = info_nce(vectors, None, config.temperature, config.symmetric, config.hard_negative_weight)
    assert abs(unmasked - expected) > 1e-3
    off = make_task("pairs", dataclasses.replace(config, mask_false_negatives=False))
    off.prepare_training(rows)
    loss = off.loss(model("pairs", batch.inputs).detach(), batch.targets)
    torch.testing.assert_close(loss, unmasked, atol=1e-4, rtol=1e-5)


def test_positives_are_followed_from_pair_to_pair(triplets, tiny_tokenizer):
    rows = [("a", "b", "x"), ("b", "c", "a"), ("d", "c", "y"), ("e", "f", "x"), ("g", "g", "f")]
    task, rows = triplets(rows)
    [note] = task.prepare_training(rows)
    assert note == "3 of 5 pairs are known positives of another; left out of each other's negatives"
    targets = task.collate(task.tokenize(tiny_tokenizer, rows)).targets
    assert targets.shape == (5, 3) and targets.dtype == torch.long
    one, two, three = targets[0, 0], targets[3, 0], targets[4, 0]
    assert len({int(one), int(two), int(three)}) == 3
    assert targets[:3, :2].eq(one).all() and targets[1, 2] == one  # a hard negative that is a positive too
    assert targets[3, :2].eq(two).all() and targets[4].tolist() == [three, three, two]
    assert targets[0, 2] == targets[3, 2] != targets[2, 2]  # equal strings, in no pair
    for kind in ("nli", "ranking"):  # pairs beyond --limit connect too
        task, rows = triplets([("a", "b"), ("c", "d"), ("b", "c")], kind, negatives=[])
        task.prepare_training(rows[:2])
        assert len(task.collate(task.tokenize(tiny_tokenizer, rows[:2])).targets.unique()) == 1
    task, rows = triplets(TRIPLETS, max_length=5)
    assert task.prepare_training(rows) == []
    tokenized = task.tokenize(tiny_tokenizer, rows)
    assert max(len(side.ids) for entry in tokenized for side in entry.sides) == 5


def test_texts_without_a_group_have_the_same_number_in_every_process(triplets, tiny_tokenizer):
    task, rows = triplets()
    first = task.collate(task.tokenize(tiny_tokenizer, rows)).targets
    other, _ = triplets()
    second = other.collate(other.tokenize(tiny_tokenizer, rows[::-1])).targets.flip(0)
    assert torch.equal(first, second) and len(first.unique()) == 12 and first.max() < 0
    task.prepare_training(rows)
    assert task.collate(task.tokenize(tiny_tokenizer, rows)).targets[:, :2].min() >= 0


def test_the_share_of_masked_negatives_is_exact(triplets, tiny_tokenizer):
    task, rows = triplets([("a", "b", "x"), ("b", "c", "a"), ("d", "e", "y")])
    task.prepare_training(rows)
    assert task.masked_share == 0
    batch = task.collate(task.tokenize(tiny_tokenizer, rows))
    # Of 3 x (6 - 1) negatives: a, b each have the other row's positive, and "a" as a hard negative.
    for count, share in ((60, 4 / 15), (200, 4 * 60 / (15 * 60 + 200))):
        for _ in range(count):
            task.loss(torch.randn(*batch.targets.shape, 4), batch.targets)
        assert task.masked_share == pytest.approx(share)
        batch = task.collate(task.tokenize(tiny_tokenizer, rows[2:]))  # one row: one negative, its own


def test_a_learnt_temperature_has_the_losss_derivative(triplets, on_tiny, tiny_tokenizer):
    task, rows = triplets(learn_temperature=True, temperature=0.3, symmetric=True)
    assert task.batch_level_loss and task.uniform_batches
    batch = task.collate(task.tokenize(tiny_tokenizer, rows))
    model = on_tiny(task).double()
    head = model.heads["pairs"]
    assert [name for name, _ in head.named_parameters()] == ["log_temperature"]
    assert head.log_temperature.item() == pytest.approx(math.log(0.3))
    model.loss("pairs", batch).backward()
    fixed = make_task("pairs", dataclasses.replace(task.config, learn_temperature=False))
    plain = on_tiny(fixed).double()
    vectors = plain("pairs", batch.inputs).detach()
    step = 1e-5
    with torch.no_grad():
        up, down = (info_nce(vectors, batch.targets, 0.3 * math.exp(sign * step), True) for sign in (1, -1))
    assert head.log_temperature.grad.item() == pytest.approx((up - down).item() / (2 * step), rel=1e-5)


def test_a_learnt_temperature_stays_above_its_bound_and_can_leave_it():
    head = ContrastiveHead(4, temperature=0.3)
    vectors = torch.randn(3, 4)
    with torch.no_grad():
        head.log_temperature.fill_(-10)
    lengths = head(vectors).norm(dim=-1)
    torch.testing.assert_close(lengths, torch.full((3,), 10.0))  # the root of 1 / 0.01
    lengths.sum().backward()
    assert head.log_temperature.grad.item() < 0
    with torch.no_grad():
        head.log_temperature.fill_(-10)
        head.eval()(vectors)
    assert head.log_temperature.item() == -10  # evaluation changes no weight


@pytest.mark.parametrize("pooling, normalization", [("cls", None), ("mean", "l2")])
def test_evaluation_leaves_the_training_head_out(
    pooling, normalization, triplets, on_tiny, tiny_tokenizer, tmp_path
):
    task, rows = triplets(
        pooling=pooling, normalize=normalization, training_head="mlp", learn_temperature=True
    )
    model = on_tiny(task)
    head = model.heads["pairs"]
    with torch.no_grad():
        head.dense.bias.normal_()
    batch = task.collate(task.tokenize(tiny_tokenizer, rows))
    save_model(tmp_path / "best", model, tiny_tokenizer, {})
    encoder = SentenceEncoder.from_pretrained(tmp_path / "best")
    assert (*encoder.modules.pooling.modes, encoder.modules.normalization) == task.sentence_pooling
    texts = [row.texts[side] for side in range(3) for row in rows]
    expected = torch.from_numpy(encoder.encode(texts))
    with torch.no_grad():
        embedded = task.embed(EncoderView(model.encoder, "pairs", nullcontext), batch.inputs)
        trained = model("pairs", batch.inputs)
    torch.testing.assert_close(embedded, expected, atol=1e-5, rtol=1e-5)
    layer = torch.tanh(expected @ head.dense.weight.T + head.dense.bias)
    unit = layer / layer.norm(dim=-1, keepdim=True) / math.sqrt(task.config.temperature)
    assert trained.shape == (4, 3, 24)
    torch.testing.assert_close(trained, unit.view(3, 4, 24).transpose(0, 1).detach(), atol=1e-4, rtol=1e-4)
    task.build_head(model.encoder.config)
    again = task.head
    load_head(tmp_path / "best", "pairs", again)
    assert all(torch.equal(a, b) for a, b in zip(again.parameters(), head.parameters(), strict=True))
    assert sorted(again.state_dict()) == ["dense.bias", "dense.weight", "log_temperature"]


def test_the_divergence_is_the_squared_distance_of_directions(triplets):
    task, _ = triplets()
    p, q = torch.randn(2, 5, 3, 4, dtype=torch.float64)
    u, v = (x / x.square().sum(-1, keepdim=True).sqrt() for x in (p, q))
    torch.testing.assert_close(task.divergence(p, q), (u - v).square().sum() / 15)
    assert task.divergence(p, 7 * p) < 1e-12
    with pytest.raises(InputError, match="they must be equal"):
        task.divergence(p, q[:1])


@pytest.mark.parametrize(
    "values, message",
    [
        ({"loss": "cosent"}, "pairs.loss is 'cosent'; choose from info_nce"),
        ({"pooling": "pooler"}, "pairs.pooling is 'pooler'.* take cls with pairs.training-head mlp"),
        ({"normalize": "l1"}, "pairs.normalize is 'l1'.* choose l2 or none"),
        ({"learn_temperature": True, "temperature": 0.001}, "begins at 0.01 or above"),
        ({"label_smoothing": 0.1}, "pairs.label-smoothing is 0.1"),
        ({"text2": None, "pairs": None}, "pairs needs pairs; set pairs.text2"),
        ({"pairs": "cross"}, "pairs.pairs is 'cross'.* give bi"),
    ],
)
def test_what_does_not_fit_is_refused(values, message, triplets):
    with pytest.raises(InputError, match=message):
        triplets(**values)


NLI_FILE = """sent0,sent1,hard_neg
"A man, a cat and a dog.",A man is there.,Nobody is there.
Good.,"It is ""good"".",Bad.
,Empty.,Rejected.
"""


def test_triplets_are_read_from_the_default_file(tmp_path):
    (tmp_path / "nli").mkdir()
    (tmp_path / "nli" / "nli_for_simcse.csv").write_text(NLI_FILE, encoding="utf-8")
    examples = make_task("nli", task_config("nli", {})).load(tmp_path, "train")
    assert [row.texts for row in examples.rows] == [
        ("A man, a cat and a dog.", "A man is there.", "Nobody is there."),
        ("Good.", 'It is "good".', "Bad."),
    ]
    assert {row.label for row in examples.rows} == {None}
    assert [(reject.line, reject.reason) for reject in examples.rejects] == [
        (4, "the text 'sent0' is empty or not text")
    ]


PAIRS = [
    ("the cat reads", "a cat is reading", "1.0"),
    ("good", "bad", "0.0"),
    ("what a movie", "what a film", "1.0"),
    ("what a film", "great film", "1.0"),
    ("bad", "not good", "1.0"),
    ("dull", "great", "0.5"),
]


@pytest.fixture
def ranking(tmp_path):
    """ranking(rows, columns, **config) -> (task, Examples of the training split)."""

    def make(rows=PAIRS, columns=("sentence1", "sentence2", "is_duplicate"), **values):
        with open(tmp_path / "pairs.csv", "w", newline="", encoding="utf-8") as file:
            csv.writer(file, delimiter="\t").writerows([columns, *rows])
        task = make_task("ranking", task_config("ranking", {"train": "pairs.csv"} | values))
        return task, task.load(tmp_path, "train")

    return make


def test_rows_that_are_not_positives_are_counted_and_not_used(ranking):
    task, examples = ranking()
    assert [row.texts for row in examples.rows] == [PAIRS[i][:2] for i in (0, 2, 3, 4)]
    assert [reject.line for reject in examples.rejects] == [7]
    assert task.prepare_training(examples.rows) == [
        "1 of 5 rows are not positive pairs, and not used",
        "2 of 4 pairs are known positives of another; left out of each other's negatives",
    ]
    task, examples = ranking([row[:2] for row in PAIRS], ("sentence1", "sentence2"))
    assert len(examples.rows) == 6
    [note, _] = task.prepare_training(examples.rows)
    assert note.endswith("pairs.csv has no column 'is_duplicate'; every row is a positive pair")


@pytest.mark.parametrize(
    ("kind", "file"),
    [
        ("ranking", "quora-train.csv"),
        ("ranking", "quora-extra/positives.csv"),
        ("nli", "nli/nli_for_simcse.csv"),
    ],
)
def test_the_shared_files(kind, file, shared, tmp_path):
    with open(shared / "data" / file, encoding="utf-8") as opened:
        lines = list(islice(opened, 1001))
    (tmp_path / "pairs.csv").write_text("".join(lines), encoding="utf-8")
    task = make_task(kind, task_config(kind, {"train": "pairs.csv"}))
    examples = task.load(tmp_path, "train")
    positives = 1000 if kind == "nli" else sum("\t1.0" in line for line in lines)
    assert len(examples.rows) == positives and not examples.rejects
    notes = task.prepare_training(examples.rows)
    if kind == "nli":
        assert "of 1,000 pairs are known positives of another; left out of each other's negatives" in notes[0]
    else:
        assert notes[0] == f"{1000 - positives} of 1,000 rows are not positive pairs, and not used"


SENTENCES = ["the cat reads a book", "good", "what a great movie , not dull !", "good", "is the river blue"]


@pytest.fixture
def sentences(tmp_path):
    """sentences(lines, **config) -> (task, training rows) of a plain text file."""

    def make(lines=SENTENCES, **values):
        (tmp_path / "lines.txt").write_text("\n".join(lines) + "\n\n", encoding="utf-8")
        task = make_task("simcse", task_config("simcse", {"train": "lines.txt"} | values))
        return task, task.load(tmp_path, "train").rows

    return make


def test_twins_differ_by_dropout_alone(sentences, on_tiny, tiny_tokenizer):
    task, rows = sentences()
    batch = task.collate(task.tokenize(tiny_tokenizer, rows))
    assert batch.example_ids == ("1", "2", "3", "4", "5")
    ids = batch.inputs.padded()["input_ids"]  # both copies in one forward pass
    assert torch.equal(ids[:5], ids[5:])
    assert torch.equal(ids[:5], tiny_tokenizer(SENTENCES).padded()["input_ids"])
    model = on_tiny(task)
    one, two = model("simcse", batch.inputs).unbind(1)
    torch.testing.assert_close(one, two)  # without dropout
    torch.manual_seed(0)
    one, two = model.train()("simcse", batch.inputs).unbind(1)
    assert one.shape == (5, 24) and (one - two).abs().amax(dim=1).min() > 1e-2
    torch.manual_seed(0)
    again = model("simcse", batch.inputs)
    assert torch.equal(again, torch.stack([one, two], dim=1))


def test_the_loss_is_info_nce_of_the_twins_with_equal_sentences_masked(sentences, on_tiny, tiny_tokenizer):
    task, rows = sentences(temperature=0.5)
    model = on_tiny(task).train()
    batch = task.collate(task.tokenize(tiny_tokenizer, rows))
    torch.manual_seed(0)
    loss = model.loss("simcse", batch)
    torch.manual_seed(0)
    vectors = model("simcse", batch.inputs)
    groups = torch.tensor([[0, 0], [1, 1], [2, 2], [1, 1], [4, 4]])
    torch.testing.assert_close(loss, info_nce(vectors, groups, 0.5))
    assert task.masked_share == 2 / 20


def test_notes_defaults_and_refusals(sentences):
    task, rows = sentences()
    assert task.prepare_training(rows) == ["2 sentences stand there more than once"]
    assert task.prepare_training(rows[:3]) == []
    assert (task.config.batch_size, task.config.max_length, task.config.temperature) == (64, 32, 0.05)
    assert task.sentence_pooling == ("mean", None)
    for values in ({"text2": "b", "pairs": "bi"}, {"negatives": ["c"]}):
        with pytest.raises(InputError, match="reads plain text.* take type nli or ranking"):
            sentences(**values)
