"""Batch as a mapping: what `model(**batch)`, a DataLoader and a notebook make of it.

Run: pytest tests/minbert/test_batch.py
"""

import pickle

import pytest
import torch
from torch.utils.data import DataLoader

from minbert import Batch

NAMES = ["input_ids", "attention_mask", "token_type_ids"]


def test_a_batch_is_given_as_keywords(tiny, tiny_tokenizer, texts):
    batch = tiny_tokenizer(texts)
    found, expected = tiny(**batch), tiny(batch)
    torch.testing.assert_close(found.last_hidden_state, expected.last_hidden_state, atol=1e-5, rtol=0)
    torch.testing.assert_close(found.pooler_output, expected.pooler_output, atol=1e-5, rtol=0)
    assert list(batch.keys()) == NAMES and len(batch) == len(texts)
    padded = batch.padded()
    assert all(torch.equal(batch[name], padded[name]) for name in NAMES)
    assert all(batch[name] is batch[name] for name in NAMES)  # padded once, and kept
    with pytest.raises(KeyError, match="'labels' is not in a Batch; it has input_ids, attention_mask"):
        batch["labels"]


def test_a_padded_batch_gives_back_what_it_was_made_from(tiny):
    """Left padding, and a mask that differs from token to token."""
    ids = torch.randint(5, 40, (2, 6))
    left = torch.tensor([[0, 0, 1, 1, 1, 1], [1] * 6])
    causal = torch.ones(2, 6, 6).tril().long()
    for mask in (left, causal):
        batch = Batch.from_padded(ids, mask)
        assert torch.equal(batch["input_ids"], ids) and torch.equal(batch["attention_mask"], mask)
        assert torch.equal(tiny(**batch).last_hidden_state, tiny(batch).last_hidden_state)


def test_a_batch_is_not_iterated_over_and_its_repr_is_a_line(tiny_tokenizer, texts):
    batch = tiny_tokenizer(texts)
    for iterate in (iter, list, set):
        with pytest.raises(TypeError, match=r"a Batch is not iterated over; take batch.padded\(\), a dict"):
            iterate(batch)
    rows = len(batch.token_ids)
    assert repr(batch) == f"Batch({len(texts)} sequences, {rows} rows, packed, cpu)"
    columns = batch.layout.columns
    assert repr(batch.as_padded()) == (
        f"Batch({len(texts)} sequences, {len(texts) * columns} rows, padded to {columns} columns, cpu)"
    )


def test_a_data_loader_pins_it_and_workers_send_it(tiny_tokenizer, texts, monkeypatch):
    pinned = []
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: pinned.append(tensor) or tensor.clone())
    batch = tiny_tokenizer([text.split() for text in texts], words=True)
    pinned_batch = torch.utils.data._utils.pin_memory.pin_memory(batch)
    assert isinstance(pinned_batch, Batch) and pinned_batch is not batch
    expected = (batch.token_ids, batch.token_type_ids, batch.word_ids, batch.order, batch.layout.positions)
    assert {id(tensor) for tensor in pinned} == {id(tensor) for tensor in expected}
    assert torch.equal(pinned_batch["input_ids"], batch["input_ids"])
    assert torch.equal(pickle.loads(pickle.dumps(batch))["input_ids"], batch["input_ids"])
    loader = DataLoader(texts, batch_size=3, collate_fn=tiny_tokenizer)
    assert [len(batch) for batch in loader] == [3, 3, 2]
