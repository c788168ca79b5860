"""Tagging words: which rows and targets are computed, what is predicted for words that were cut off, scores.

Run: pytest tests/multitask/tasks/test_tokens.py
"""

import json
import math

import pytest
import torch
import torch.nn.functional as F

from minbert import BertConfig, InputError
from multitask.config.task_config import task_config
from multitask.config.task_kinds import make_task
from multitask.data.readers import Example
from multitask.inference.saved_tasks import make_tasks
from multitask.model.multitask_model import MultitaskModel
from multitask.tasks.predictions import prediction_path, validate_file
from multitask.tasks.tokens import first_subwords, words_of

# "reads", "dogs" are two sub-words for the tiny tokenizer, "xyz" three, a soft hyphen none.
TRAIN = """the O
cat I-PER
reads O

green I-LOC
house I-LOC
xyz B-LOC
writes O
dogs I-ORG

good O
"""
DEV = """a O
dog B-PER
runs O
quickly O
over I-MISC
the O
xyz B-LOC

bad I-ORG
\u00ad B-ORG
film O
"""
LABELS = ("B-LOC", "B-ORG", "B-PER", "I-LOC", "I-ORG", "I-PER", "O")


@pytest.fixture
def folder(tmp_path):
    for name, content in (("train", TRAIN), ("dev", DEV)):
        (tmp_path / f"{name}.conll").write_text(content, encoding="utf-8")
    return tmp_path


def make(kind="ner", **values):
    files = {"train": "train.conll", "dev": "dev.conll", "max_length": 64}
    return make_task(kind, task_config(kind, files | values))


def tokenized(task, tokenizer, folder, split="train"):
    return task.tokenize(tokenizer, task.load(folder, split).rows)


def on(encoder, task) -> MultitaskModel:
    torch.manual_seed(1)
    return MultitaskModel(encoder, {task.name: task}).eval()


def test_labels_come_from_train_with_both_marks_of_a_type(folder):
    task = make()
    with pytest.raises(InputError, match="ner has 0 labels and needs at least two"):
        task.build_head(BertConfig())
    dev = task.load(folder, "dev")
    generic = make("tokens")
    generic.load(folder, "train")
    assert task.labels == generic.labels == LABELS and generic.primary_metric == "f1"
    assert dev.rows[0].label == ("O", "B-PER", "O", "O", "B-MISC", "O", "B-LOC") and dev.rejects == ()
    assert make(labels=["O", "B-LOC"]).labels == ("O", "B-LOC")


def test_tags_outside_the_labels_are_rejected_in_train_and_count_as_missed_in_dev(folder):
    task = make(labels=["O", "B-PER", "I-PER"])
    train = task.load(folder, "train")
    assert [row.id for row in train.rows] == ["0", "2"]
    (reject,) = train.rejects
    assert (reject.id, reject.line, reject.row) == ("1", 5, 1)
    assert reject.reason == "tag 'B-LOC' is not one of O, B-PER, I-PER"
    dev = task.load(folder, "dev")
    assert len(dev.rows) == 2
    best = [[tag if tag in task.labels else "O" for tag in row.label] for row in dev.rows]
    scores = task.score(best, dev.rows)
    assert scores["precision"] == 1 and scores["recall"] == 1 / 5


@pytest.mark.parametrize(
    "labels",
    [
        ["O", "B-PER", "I-PER", "E-PER", "S-PER", "B-LOC"],
        ["O", "S-PER", "U-LOC"],
        ["O", "PER", "LOC"],
        ["O", "I-LOC", "L-PER"],
    ],
)
def test_outputs_are_tags_in_iob2_whatever_the_scheme_of_the_names(labels, tmp_path):
    task = make(labels=labels, train="train.json")
    assert task.labels == ("B-LOC", "B-PER", "I-LOC", "I-PER", "O") and task.entities
    rows = [{"words": list("abc"), "tags": [1, 0, len(labels) - 1]}]
    (tmp_path / "train.json").write_text(json.dumps(rows), encoding="utf-8")
    (row,) = task.load(tmp_path, "train").rows
    types = [labels[i].rpartition("-")[2] for i in (1, 0, len(labels) - 1)]
    assert row.label == tuple(type if type == "O" else f"B-{type}" for type in types)


def test_labels_of_a_checkpoint_are_no_names_of_numbers(tmp_path):
    """They are sorted: a file's 1 is not the second of them."""
    (tmp_path / "dev.json").write_text('[{"words": ["a"], "tags": [1]}]', encoding="utf-8")
    config = task_config("ner", {"dev": "dev.json"})
    saved = {"ner": ["B-LOC", "B-PER", "I-LOC", "I-PER", "O"]}
    (reject,) = make_tasks({"ner": config}, BertConfig(), saved)["ner"].load(tmp_path, "dev").rejects
    assert "'tags' has numbers; give `labels`" in reject.reason
    named = task_config("ner", {"dev": "dev.json", "labels": ["O", "B-PER", "I-PER"]})
    assert make_tasks({"ner": named}, BertConfig(), saved)["ner"].load(tmp_path, "dev").rows[0].label == (
        "B-PER",
    )


def test_the_first_sub_word_carries_the_tag_and_no_other_row(folder, tiny_tokenizer):
    task = make()
    batch = task.collate(tokenized(task, tiny_tokenizer, folder))
    tags = "O B-PER O B-LOC I-LOC B-LOC O B-ORG O".split()
    assert [task.labels[i] for i in batch.targets.tolist()] == tags
    predicted = F.one_hot(torch.tensor([task.labels.index(tag) for tag in ["I-LOC", "I-PER", *tags[2:]]]), 7)
    assert task.decode(predicted, batch.inputs)[0] == ["B-LOC", "B-PER", "O"]  # valid IOB2
    assert batch.example_ids == ("0", "1", "2")
    ids = batch.inputs.padded()["input_ids"]
    vocabulary = {number: piece for piece, number in tiny_tokenizer.backend.get_vocab().items()}
    pieces = [vocabulary[i] for i in ids[first_subwords(batch.inputs)].tolist()]
    assert pieces == ["the", "cat", "reads", "green", "house", "x", "writes", "dog", "good"]
    assert int((batch.inputs.word_ids >= 0).sum()) > len(tags)  # there are sub-words that carry none
    with pytest.raises(InputError, match="tokenize with words=True"):
        first_subwords(tiny_tokenizer(["the cat"]))


def test_outputs_are_the_heads_at_these_rows_in_the_callers_order(folder, tiny, tiny_tokenizer):
    """Beside the padded hidden states of each sentence alone; the batch is packed longest first."""
    task = make()
    entries = tokenized(task, tiny_tokenizer, folder)
    model = on(tiny, task)
    with torch.no_grad():
        batch = task.collate(entries).inputs
        outputs, padded = model("ner", batch), model("ner", batch.as_padded())
        expected = []
        for entry in entries:
            sequence = entry.sides[0]
            hidden = tiny(torch.tensor([sequence.ids])).last_hidden_state[0]
            firsts = [
                i for i, word in enumerate(sequence.words) if word >= 0 and word not in sequence.words[:i]
            ]
            expected.append(model.heads["ner"](hidden[firsts]))
    assert outputs.shape == (9, 7) and outputs.dtype == torch.float32
    torch.testing.assert_close(outputs, torch.cat(expected), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(padded, outputs, atol=1e-5, rtol=1e-5)
    assert task.decode(padded, batch.as_padded()) == task.decode(outputs, batch)


def test_the_loss_is_the_mean_over_the_words(folder, tiny, tiny_tokenizer):
    task = make(label_smoothing=0.2)
    batch = task.collate(tokenized(task, tiny_tokenizer, folder))
    model = on(tiny, task)
    outputs = model("ner", batch.inputs)
    log_p = F.log_softmax(outputs.double(), dim=-1)
    right = log_p[torch.arange(9), batch.targets]
    expected = -(0.8 * right + 0.2 * log_p.mean(dim=-1)).mean()
    loss = task.loss(outputs, batch.targets)
    torch.testing.assert_close(loss.double(), expected, atol=1e-6, rtol=1e-6)
    loss.backward()
    parameters = [*model.heads.parameters(), model.encoder.embeddings.word.weight]
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in parameters)
    with pytest.raises(InputError, match="they must be"):
        task.loss(outputs, batch.targets[:1])


def test_class_weights(folder, tiny, tiny_tokenizer):
    task = make(class_weights="balanced", loss="focal", focal_gamma=0.0)
    examples = task.load(folder, "train").rows
    with pytest.raises(InputError, match="balanced class weights come from the training rows"):
        task.loss(torch.zeros(1, 7), torch.zeros(1, dtype=torch.long))
    (note,) = task.prepare_training(examples)
    # 9 words, 7 tags: B-LOC twice, B-ORG, B-PER and I-LOC once, O four times.
    weights = torch.tensor([9 / 14, 9 / 7, 9 / 7, 9 / 7, 0, 0, 9 / 28])
    torch.testing.assert_close(task.class_weights, weights)
    assert note.startswith("class weights B-LOC 0.643, B-ORG 1.29")
    batch = task.collate(task.tokenize(tiny_tokenizer, examples))
    outputs = on(tiny, task)("ner", batch.inputs).detach()
    log_p = F.log_softmax(outputs, dim=-1)[torch.arange(9), batch.targets]
    expected = -(weights[batch.targets] * log_p).mean()
    torch.testing.assert_close(task.loss(outputs, batch.targets), expected)
    fixed = make(class_weights="1,2,1,1,1,1,0.5")
    assert fixed.class_weights.tolist() == [1, 2, 1, 1, 1, 1, 0.5] and fixed.prepare_training(examples) == []


def test_a_tag_for_every_word_also_for_those_that_are_gone(folder, tiny, tiny_tokenizer):
    whole = make()
    entries = tokenized(whole, tiny_tokenizer, folder, "dev")
    examples = [entry.example for entry in entries]
    batch = whole.collate(entries)
    gold = [list(example.label) for example in examples]
    gold[0][4] = "O"  # the model has no label for MISC

    def outputs_for(task, batch, tags):
        return F.one_hot(torch.tensor([task.labels.index(tag) for tag in tags]), 7).float()

    # All words but the soft hyphen, of which the tokenizer leaves nothing.
    seen = [*gold[0], gold[1][0], gold[1][2]]
    gold[1][1] = "O"
    assert whole.decode(outputs_for(whole, batch, seen), batch.inputs) == gold

    cut = make(max_length=6)  # [CLS], four tokens, [SEP]
    cut.load(folder, "train")
    entries = cut.tokenize(tiny_tokenizer, examples)
    batch = cut.collate(entries)
    words = [sorted({word for word in entry.sides[0].words if word >= 0}) for entry in entries]
    assert words[0] == list(range(words[0][-1] + 1)) and len(words[0]) < 5
    seen = [gold[i][word] for i in range(2) for word in words[i]]
    decoded = cut.decode(outputs_for(cut, batch, seen), batch.inputs)
    assert [len(tags) for tags in decoded] == [7, 3]
    assert decoded[0] == gold[0][: len(words[0])] + ["O"] * (7 - len(words[0]))
    assert whole.score(decoded, examples)["recall"] < whole.score(gold, examples)["recall"]


def test_scores_by_hand(folder):
    task = make()
    dev = task.load(folder, "dev").rows
    predictions = [["O", "B-PER", "O", "O", "B-LOC", "O", "B-LOC"], ["B-ORG", "O", "O"]]
    scores = task.score(predictions, dev)
    # True: PER, MISC, LOC, ORG, ORG. Predicted: PER, LOC, LOC, ORG, three of them right.
    assert scores == {"precision": 3 / 4, "recall": 3 / 5, "f1": 2 / 3, "accuracy": 8 / 10}
    assert task.primary_metric == "f1" and task.score([list(row.label) for row in dev], dev)["f1"] == 1
    with pytest.raises(InputError, match="ner: 2 tags for the words of 0"):
        task.score([["O", "O"], ["O"] * 3], dev)


def test_words_without_a_row_in_a_whole_batch(tiny, tiny_tokenizer, folder):
    """A soft hyphen alone: nothing to learn, and the gradient stays finite."""
    task = make()
    task.load(folder, "train")
    example = Example("0", ("\u00ad",), ("O",), 1, ("\u00ad",))
    batch = task.collate(task.tokenize(tiny_tokenizer, [example]))
    model = on(tiny, task)
    outputs = model("ner", batch.inputs)
    assert outputs.shape == (0, 7)
    loss = task.loss(outputs, batch.targets)
    loss.backward()
    assert loss == 0 and all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())
    assert task.decode(outputs, batch.inputs) == [["O"]]


def test_plain_sentences_are_split_at_white_space(folder, tiny, tiny_tokenizer):
    task = make()
    task.load(folder, "train")
    texts = ["  the cat\treads xyz ", "good"]
    examples = [Example(str(i), (text,), None, i + 1) for i, text in enumerate(texts)]
    assert [words_of(example) for example in examples] == [["the", "cat", "reads", "xyz"], ["good"]]
    batch = task.collate(task.tokenize(tiny_tokenizer, examples))
    assert batch.targets.tolist() == [0] * 5
    decoded = task.decode(on(tiny, task)("ner", batch.inputs), batch.inputs)
    assert [len(tags) for tags in decoded] == [4, 1]


def test_a_file_of_words_and_tags_is_written(folder, tmp_path):
    task = make()
    dev = task.load(folder, "dev").rows
    path = prediction_path(tmp_path / "out", task.format, "dev")
    assert path.name == "ner-dev-out.txt"
    task.write([list(row.label) for row in dev], dev, path)
    assert path.read_text(encoding="utf-8").startswith("a O\ndog B-PER\nruns O\n")
    assert validate_file(path, [row.id for row in dev], task.format) == []
    nothing = task.majority_prediction(dev)  # which makes every word O
    task.write([nothing] * 2, dev, path)
    assert validate_file(path, [row.id for row in dev], task.format) == []
    assert path.read_text(encoding="utf-8").startswith("a O\ndog O\n")
    with pytest.raises(InputError, match="sentence 0 has 7 words and 1 tags"):
        task.write([["O"], ["O"] * 3], dev, path)


def test_tags_that_are_no_entities_are_scored_word_by_word(tmp_path, tiny, tiny_tokenizer):
    rows = [(["the", "cat"], ["DT", "NN"]), (["reads"], ["VB"])]
    for split in ("train", "dev"):
        lines = [json.dumps({"id": f"{split}{i}", "words": w, "tags": t}) for i, (w, t) in enumerate(rows)]
        (tmp_path / f"{split}.jsonl").write_text("\n".join(lines))
    task = make("tokens", train="train.jsonl", dev="dev.jsonl")
    examples = task.load(tmp_path, "dev")
    assert task.labels == ("DT", "NN", "VB") and task.primary_metric == "accuracy" and not task.entities
    assert [row.id for row in examples.rows] == ["dev0", "dev1"]
    batch = task.collate(task.tokenize(tiny_tokenizer, examples.rows))
    decoded = task.decode(on(tiny, task)("tokens", batch.inputs), batch.inputs)
    scores = task.score(decoded, examples.rows)
    assert list(scores) == ["accuracy"] and math.isfinite(scores["accuracy"])
    assert task.score([["DT", "NN"], ["O"]], examples.rows) == {"accuracy": 2 / 3}
    ner = make("ner", train="train.jsonl", text="words", label="tags")
    assert ner.load(tmp_path, "train").rows == ()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"pooling": "cls"}, "ner.pooling is 'cls', which has no effect where words are tagged"),
        ({"pairs": "bi"}, "ner.pairs is 'bi', which has no effect"),
        ({"projection": 8}, "ner.projection is 8, which has no effect"),
        ({"loss": "focal", "label_smoothing": 0.1}, "label-smoothing is 0.1.*only the loss cross_entropy"),
    ],
)
def test_settings_that_cannot_be_meant(values, message):
    with pytest.raises(InputError, match=message):
        make(**values)
