"""Unsupervised SimCSE: twins that differ by dropout alone, sentences that stand in the file twice."""

import pytest
import torch

from minbert import InputError
from multitask.config.task_config import task_config
from multitask.config.task_kinds import make_task
from multitask.losses.contrastive import info_nce

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
    model = on_tiny(task)
    one, two = model("simcse", batch.inputs).unbind(1)
    torch.testing.assert_close(one, two)  # without dropout
    torch.manual_seed(0)
    one, two = model.train()("simcse", batch.inputs).unbind(1)
    assert one.shape == (5, 24) and (one - two).abs().amax(dim=1).min() > 1e-2
    torch.manual_seed(0)
    again = model("simcse", batch.inputs)
    assert torch.equal(again, torch.stack([one, two], dim=1))


def test_both_copies_run_in_one_forward_pass(sentences, on_tiny, tiny_tokenizer):
    task, rows = sentences()
    tokenized = task.tokenize(tiny_tokenizer, rows)
    assert all(
        entry.sides[0] is entry.sides[1] and entry.example.texts == (text,)
        for entry, text in zip(tokenized, SENTENCES, strict=True)
    )
    batch = task.collate(tokenized)
    assert batch.example_ids == ("1", "2", "3", "4", "5") and len(batch.inputs) == 10
    ids = batch.inputs.padded()["input_ids"]
    assert torch.equal(ids[:5], ids[5:])
    assert torch.equal(ids[:5], tiny_tokenizer(SENTENCES).padded()["input_ids"])


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
    cosines = torch.cosine_similarity(vectors[:, None, 0].double(), vectors[None, :, 1].double(), dim=-1)
    logits = (cosines / 0.5).masked_fill((groups[:, :1] == groups[:, 1]) & ~torch.eye(5).bool(), -torch.inf)
    torch.testing.assert_close(loss.double(), -logits.log_softmax(dim=1).diagonal().mean(), atol=1e-6, rtol=0)
    assert task.masked_share == 2 / 20


def test_repeated_sentences_are_reported(sentences):
    task, rows = sentences()
    assert task.prepare_training(rows) == ["2 sentences stand there more than once"]
    assert task.prepare_training(rows[:3]) == []


def test_defaults_and_refusals(sentences, tmp_path):
    task, _ = sentences()
    assert (task.config.batch_size, task.config.max_length, task.config.temperature) == (64, 32, 0.05)
    assert task.sentence_pooling == ("mean", None)
    for values in ({"text2": "b", "pairs": "bi"}, {"negatives": ["c"]}):
        with pytest.raises(InputError, match="reads plain text.* take type nli or ranking"):
            sentences(**values)
    with pytest.raises(InputError, match="task simcse has no dev split; set simcse.dev to a file name"):
        task.load(tmp_path, "dev")
