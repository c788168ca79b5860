"""Masked language modelling: the loss of transformers' BertForMaskedLM, and what is hidden how often."""

import json

import pytest
import torch

from minbert import InputError, Tokenizer
from multitask.config.task_config import task_config
from multitask.config.task_kinds import make_task

SENTENCES = ["the cat reads a book", "good", "what a great movie , not dull !", "is the river blue ?", "!"]


@pytest.fixture
def masked_lm(tmp_path, tiny_tokenizer, tiny):
    """masked_lm(lines, **config) -> (task, tokenized examples)."""

    def make(lines=SENTENCES, **values):
        (tmp_path / "lines.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
        task = make_task("masked_lm", task_config("masked_lm", {"train": "lines.txt"} | values))
        return task, task.tokenize(tiny_tokenizer, task.load(tmp_path, "train").rows)

    return make


def test_loss_and_gradients_are_those_of_transformers(masked_lm, on_tiny, tiny_folder, randomize):
    """Those of BertForMaskedLM with the tiny encoder; only rows to guess go through our head."""
    transformers = pytest.importorskip("transformers")
    peer = transformers.BertForMaskedLM.from_pretrained(tiny_folder, attn_implementation="eager").eval()
    task, examples = masked_lm(mask_rate=0.5)
    model = on_tiny(task)
    head = model.heads["masked_lm"]
    randomize(head, seed=3)
    theirs = peer.cls.predictions
    pairs = [
        (theirs.transform.dense.weight, head.dense.weight),
        (theirs.transform.dense.bias, head.dense.bias),
        (theirs.transform.LayerNorm.weight, head.norm.weight),
        (theirs.transform.LayerNorm.bias, head.norm.bias),
        (theirs.decoder.bias, head.bias),
    ]
    with torch.no_grad():
        for copy, tensor in pairs:
            copy.copy_(tensor)
    torch.manual_seed(0)
    batch = task.collate(examples)
    guessed = batch.inputs.pad(batch.inputs.word_ids, fill=-1)
    labels = torch.where(guessed >= 0, batch.targets[guessed.clamp(min=0)], -100)
    expected = peer(**batch.inputs.padded(), labels=labels)
    loss = model.loss("masked_lm", batch)
    torch.testing.assert_close(loss, expected.loss, atol=1e-5, rtol=1e-5)
    logits = model("masked_lm", batch.inputs)
    assert logits.shape == (len(batch.targets), model.encoder.config.vocab_size)
    chosen = expected.logits[guessed >= 0][guessed[guessed >= 0].argsort()]
    torch.testing.assert_close(logits, chosen, atol=1e-4, rtol=1e-5)
    loss.backward()
    expected.loss.backward()
    pairs.append((peer.bert.embeddings.word_embeddings.weight, model.encoder.embeddings.word.weight))
    for copy, tensor in pairs:
        torch.testing.assert_close(tensor.grad, copy.grad, atol=1e-5, rtol=1e-4)


def test_targets_are_what_stood_there_and_other_tokens_stay(masked_lm, tiny_tokenizer):
    task, examples = masked_lm(mask_rate=0.5)
    original = tiny_tokenizer(SENTENCES).token_ids
    for _ in range(20):
        batch = task.collate(examples)
        chosen = batch.inputs.word_ids >= 0
        assert torch.equal(batch.targets, original[chosen])
        assert torch.equal(batch.inputs.word_ids[chosen], torch.arange(len(batch.targets)))
        assert torch.equal(batch.inputs.token_ids[~chosen], original[~chosen])


def test_a_share_of_the_pieces_is_hidden_in_three_ways(masked_lm, tiny_tokenizer, vocabulary):
    text = " ".join("abcdefghij" * 5)
    task, examples = masked_lm([text] * 400)  # 20,000 pieces
    torch.manual_seed(0)
    batch = task.collate(examples)
    original = torch.tensor([side for entry in examples for side in entry.sides[0].ids])
    chosen = batch.inputs.word_ids >= 0
    share = chosen.sum() / 20_000
    assert 0.14 < share < 0.16  # 15 %, 4 deviations are 0.010
    seen, target = batch.inputs.token_ids[chosen], batch.targets
    mask = vocabulary.index("[MASK]")
    hidden, same = (seen == mask), (seen == target)
    assert 0.77 < hidden.float().mean() < 0.83  # 4 deviations are 0.029
    assert 0.075 < same.float().mean() < 0.125
    other = seen[~hidden & ~same]
    assert 0.075 < len(other) / len(seen) < 0.125
    assert len(other.unique()) > 0.8 * len(vocabulary) and other.min() >= 5  # any piece, nothing special
    assert torch.equal(batch.inputs.token_ids[~chosen], original[~chosen])


def test_special_tokens_are_never_guessed_or_put_in(masked_lm, vocabulary):
    task, examples = masked_lm(["the cat ♥ [MASK] reads [PAD]", "♥"], mask_rate=0.99)
    mask = vocabulary.index("[MASK]")
    for _ in range(30):
        batch = task.collate(examples)
        assert batch.targets.min() >= 5  # [PAD] [UNK] [CLS] [SEP] [MASK] come first
        chosen = batch.inputs.word_ids >= 0
        put_in = batch.inputs.token_ids[chosen]
        assert ((put_in >= 5) | (put_in == mask)).all()


def test_special_tokens_are_those_of_the_tokenizer(tiny, vocabulary, tmp_path):
    """A vocabulary without [MASK] and [CLS], whose special tokens are not the first."""
    names = {"[PAD]": "<pad>", "[UNK]": "<unk>", "[CLS]": "<s>", "[SEP]": "</s>", "[MASK]": "<mask>"}
    words = [names.get(word, word) for word in [*vocabulary[5:], *vocabulary[:5]]]
    (tmp_path / "vocab.txt").write_text("\n".join(words) + "\n", encoding="utf-8")
    settings = {f"{old.strip('[]').lower()}_token": new for old, new in names.items()}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
    (tmp_path / "lines.txt").write_text("the cat reads\n")
    task = make_task("masked_lm", task_config("masked_lm", {"train": "lines.txt", "mask_rate": 0.99}))
    tokenizer = Tokenizer.from_pretrained(tmp_path)
    examples = task.tokenize(tokenizer, task.load(tmp_path, "train").rows)
    seen = set()
    for _ in range(50):
        batch = task.collate(examples)
        chosen = batch.inputs.word_ids >= 0
        assert set(batch.targets.tolist()) <= {words.index(word) for word in ("the", "cat", "reads")}
        seen |= set(batch.inputs.token_ids[chosen].tolist())
    special = {words.index(name) for name in names.values()}
    assert seen & special == {words.index("<mask>")}


def test_every_batch_has_something_to_guess(masked_lm):
    task, examples = masked_lm(mask_rate=1e-9)
    places = set()
    for _ in range(50):
        batch = task.collate(examples)
        assert len(batch.targets) == 1
        places.add(int((batch.inputs.word_ids >= 0).nonzero()))
    assert len(places) > 10


def test_a_batch_of_special_tokens_only_has_loss_zero(masked_lm, on_tiny):
    task, examples = masked_lm(["♥", "♥ ♥"])
    batch = task.collate(examples)
    assert len(batch.targets) == 0
    model = on_tiny(task)
    loss = model.loss("masked_lm", batch)
    assert loss.item() == 0
    loss.backward()
    assert all(p.grad is not None and not p.grad.any() for p in model.heads.parameters())
    assert model.divergence("masked_lm", *[model("masked_lm", batch.inputs)] * 2) == 0


def test_masks_are_drawn_anew_and_follow_torchs_generator(masked_lm):
    task, examples = masked_lm()
    state = torch.get_rng_state()
    first, second = task.collate(examples), task.collate(examples)
    assert not torch.equal(first.inputs.word_ids >= 0, second.inputs.word_ids >= 0)
    torch.set_rng_state(state)
    for batch in (first, second):
        again = task.collate(examples)
        assert torch.equal(again.inputs.token_ids, batch.inputs.token_ids)
        assert torch.equal(again.targets, batch.targets)


def test_wrong_settings_and_vocabularies_are_refused(masked_lm, tmp_path):
    task, examples = masked_lm()
    (tmp_path / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\na\n", encoding="utf-8")
    with pytest.raises(InputError, match="the tokenizer has no mask_token; take another"):
        task.tokenize(Tokenizer.from_pretrained(tmp_path), [entry.example for entry in examples])
    for values, message in (
        ({"text2": "b"}, "masked_lm reads plain text"),
        ({"symmetric": True}, "masked_lm.symmetric is True"),
    ):
        with pytest.raises(InputError, match=message):
            masked_lm(**values)
