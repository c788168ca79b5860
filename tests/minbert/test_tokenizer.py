"""The tokenizer equals transformers' BertTokenizer on tricky text, from either file, cut where we say.

Run: pytest tests/minbert/test_tokenizer.py
"""

import json
import shutil
import subprocess
import sys

import pytest
import torch

from minbert import InputError, Tokenizer

TRICKY = [
    "",
    " ",
    "\t\n \r\u00a0\u3000",
    "Hello, World!",
    "caf\u00e9 na\u00efve \u00c5ngstr\u00f6m cafe\u0301",  # composed and decomposed accents
    "\u4e2d\u6587\u5b57\u7b26 and English\u65e5\u672c\u8a9e",
    "emoji \U0001f600\U0001f468\u200d\U0001f469\u200d\U0001f467 \u2764\ufe0f",
    "control\x00char\x07acters\x1b and \ufffd replacement, zero\u200bwidth, \ufeffbom, soft\u00adhyphen",
    "x" * 99,
    "x" * 100,
    "x" * 101,
    "pre" + "y" * 300 + " word after",
    "[MASK] is [CLS] and [SEP] or [UNK], [mask] [MASK].",
    "don't won't it's ... -- 3.14 $5 a/b 100% #tag @user",
    "\u0130stanbul \u00df \ufb01 \u1e9e \u03a3\u03c2",  # case pairs of unequal length
    "\u0645\u0631\u062d\u0628\u0627 \u0939\u093f\u0928\u094d\u0926\u0940 \u0e44\u0e17\u0e22",
    "a\u0301\u0302\u0303",
    "\u2028line\u2029para\x85next",
    "\U00020000 \uf900 \u3042\u30ab",  # rare ideographs, kana
    "unreadable books, quickly written",
]


@pytest.fixture(params=["tokenizer.json", "vocab.txt"])
def minilm_tokenizer(request, minilm, tmp_path):
    shutil.copy(minilm / request.param, tmp_path / request.param)
    return Tokenizer.from_pretrained(tmp_path)


def test_equals_transformers(minilm, minilm_tokenizer):
    transformers = pytest.importorskip("transformers", reason="compares with transformers' BertTokenizer")
    reference = transformers.BertTokenizer.from_pretrained(minilm)
    for text in TRICKY:
        [ours] = minilm_tokenizer.encode([text])
        theirs = reference(text)
        assert ours.ids == theirs["input_ids"], text
        assert ours.types == theirs["token_type_ids"], text
    pairs = list(zip(TRICKY, reversed(TRICKY), strict=True))
    for ours, (a, b) in zip(minilm_tokenizer.encode(TRICKY, TRICKY[::-1]), pairs, strict=True):
        theirs = reference(a, b) if b else one(reference([a], [b]))  # alone, "" would be no second text
        assert (ours.ids, ours.types) == (theirs["input_ids"], theirs["token_type_ids"])


@pytest.mark.parametrize("max_length", [5, 6, 7, 12, 40])
def test_pairs_are_cut_as_transformers_cuts_them(minilm, minilm_tokenizer, max_length):
    transformers = pytest.importorskip("transformers", reason="compares with transformers' BertTokenizer")
    reference = transformers.BertTokenizer.from_pretrained(minilm)
    short, long = "a cat sleeps", " ".join(f"word{i}" for i in range(30))
    for a, b in ((short, long), (long, short), (long, long), (short, short), ("", long), (long, "")):
        [ours] = minilm_tokenizer.encode([a], [b], max_length=max_length)
        theirs = one(reference([a], [b], truncation="longest_first", max_length=max_length))
        assert (ours.ids, ours.types) == (theirs["input_ids"], theirs["token_type_ids"]), (a, b)
        assert ours.truncated == (len(one(reference([a], [b]))["input_ids"]) > max_length)


def one(encoded):
    return {name: values[0] for name, values in encoded.items()}


def test_baked_truncation_and_padding_are_switched_off(minilm):
    baked = json.loads((minilm / "tokenizer.json").read_text(encoding="utf-8"))
    assert baked["truncation"] and baked["padding"]  # else this test shows nothing
    tokenizer = Tokenizer.from_pretrained(minilm)
    short, long = tokenizer.encode(["hello", "hello " * 300])
    assert len(short.ids) == 3 and len(long.ids) == 302 and not long.truncated
    [cut] = tokenizer.encode(["hello " * 600])
    assert len(cut.ids) == 512 and cut.truncated
    assert tokenizer.backend.truncation is None and tokenizer.backend.padding is None


def test_cut_to_length(tiny_tokenizer):
    cls, sep = (tiny_tokenizer.backend.token_to_id(token) for token in ("[CLS]", "[SEP]"))
    for length in (3, 4, 10):
        [cut] = tiny_tokenizer.encode(["the cat reads a book and writes a book"], max_length=length)
        assert len(cut.ids) == length and cut.truncated and cut.ids[0] == cls and cut.ids[-1] == sep
    [whole] = tiny_tokenizer.encode(["the cat"], max_length=4)
    assert len(whole.ids) == 4 and not whole.truncated


def test_lower_case_follows_the_settings(tiny_folder, tmp_path):
    shutil.copy(tiny_folder / "vocab.txt", tmp_path)
    upper = "The CAT"
    assert Tokenizer.from_pretrained(tmp_path).encode([upper]) == Tokenizer.from_pretrained(
        tiny_folder
    ).encode(["the cat"])
    (tmp_path / "tokenizer_config.json").write_text('{"do_lower_case": false}')
    cased = Tokenizer.from_pretrained(tmp_path)
    assert not cased.lowercase
    unknown = cased.backend.token_to_id("[UNK]")
    assert cased.encode([upper])[0].ids[1:-1] == [unknown, unknown]
    cased.save(tmp_path / "saved")
    assert Tokenizer.from_pretrained(tmp_path / "saved").encode([upper]) == cased.encode([upper])
    (tmp_path / "saved" / "tokenizer.json").unlink()  # vocab.txt with the settings says the same
    assert Tokenizer.from_pretrained(tmp_path / "saved").encode([upper]) == cased.encode([upper])


def test_words_and_their_map(tiny_tokenizer):
    words = [["the", "unreadable", "books"], ["cat's"], ["a", "", "dog"]]
    sequences = tiny_tokenizer.encode(words, words=True)
    for given, sequence in zip(words, sequences, strict=True):
        tokens = [tiny_tokenizer.backend.id_to_token(token) for token in sequence.ids]
        assert sequence.words[0] == sequence.words[-1] == -1 and len(sequence.words) == len(sequence.ids)
        inside = list(zip(tokens, sequence.words, strict=True))[1:-1]
        for number, word in enumerate(given):
            assert "".join(token.removeprefix("##") for token, of in inside if of == number) == word
    batch = tiny_tokenizer(words, words=True)
    padded = batch.pad(batch.word_ids, fill=-1)
    for row, sequence in enumerate(sequences):
        assert padded[row, : len(sequence.words)].tolist() == sequence.words
    rectangle = batch.as_padded()
    assert torch.equal(rectangle.pad(rectangle.word_ids, fill=-1), padded)
    [cut] = tiny_tokenizer.encode(words[:1], words=True, max_length=4)
    assert len(cut.words) == 4 and cut.words[0] == cut.words[-1] == -1
    assert tiny_tokenizer(["the cat"]).word_ids is None


def test_save_loads_again_and_in_transformers(tiny_tokenizer, tmp_path):
    tiny_tokenizer.save(tmp_path / "out")
    again = Tokenizer.from_pretrained(tmp_path / "out")
    assert again.encode(TRICKY) == tiny_tokenizer.encode(TRICKY)
    assert again.backend.get_vocab() == tiny_tokenizer.backend.get_vocab()
    transformers = pytest.importorskip("transformers", reason="loads the folder with AutoTokenizer too")
    for kind in (transformers.AutoTokenizer, transformers.BertTokenizer):
        theirs = kind.from_pretrained(tmp_path / "out")
        for text in TRICKY:
            assert theirs(text)["input_ids"] == tiny_tokenizer.encode([text])[0].ids, text
        assert (theirs.pad_token, theirs.mask_token, theirs.cls_token) == ("[PAD]", "[MASK]", "[CLS]")


CORPUS = [
    "The cat sat on the mat and the dog sat on the log.",
    "A great film! A dull film? Not the same film, naive caf\u00e9.",
    "students read books; teachers write books about reading students",
    "0 1 2 3 10 21 32 \u4e2d\u6587 zebra quickly queue exquisite",
]


def test_train_puts_the_marks_and_knows_its_texts():
    tokenizer = Tokenizer.train(CORPUS, vocab_size=120)
    assert tokenizer.vocab_size <= 120
    vocabulary = tokenizer.backend.get_vocab()
    assert [vocabulary[t] for t in ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")] == [0, 1, 2, 3, 4]
    for sequence in tokenizer.encode([text.upper() for text in CORPUS]):
        assert sequence.ids[0] == 2 and sequence.ids[-1] == 3 and 1 not in sequence.ids
    [pair] = tokenizer.encode(["cat"], ["dog"])
    assert pair.ids.count(3) == 2 and pair.types == sorted(pair.types) and set(pair.types) == {0, 1}


def test_train_is_deterministic(tmp_path):
    """Also from one process to the next: hash seeds must not choose the vocabulary or its order."""
    script = (
        "import json, sys; from minbert import Tokenizer\n"
        "t = Tokenizer.train(json.load(sys.stdin), vocab_size=120)\n"
        "print(json.dumps(t.backend.get_vocab(), sort_keys=True))"
    )
    there = subprocess.run(
        [sys.executable, "-c", script], input=json.dumps(CORPUS), capture_output=True, text=True
    )
    here = [
        json.dumps(Tokenizer.train(CORPUS, vocab_size=120).backend.get_vocab(), sort_keys=True) + "\n"
        for _ in range(5)
    ]
    assert set(here) == {there.stdout}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(texts="one string"), "texts is one string"),
        (dict(texts=["a"], pairs=["b", "c"]), "1 texts and 2 pairs"),
        (dict(texts=["a", None]), "text 1 is a NoneType"),
        (dict(texts=["a"], pairs=[3.0]), "text 0 is a float"),
        (dict(texts=["a"], max_length=2), "max_length is 2; it must be at least 3"),
        (dict(texts=["a"], pairs=["b"], max_length=4), "it must be at least 5"),
        (dict(texts=["a cat"], words=True), "text 0 is not a list of strings"),
        (dict(texts=[["a"], ["a", 3]], words=True), "text 1 is not a list"),
        (dict(texts=["half a pair \ud800"]), "half of a surrogate pair"),
    ],
)
def test_wrong_texts_are_refused(tiny_tokenizer, arguments, message):
    with pytest.raises(InputError, match=message):
        tiny_tokenizer.encode(**arguments)


def test_no_text_at_all(tiny_tokenizer):
    assert tiny_tokenizer.encode([]) == []
    with pytest.raises(InputError, match="the batch has no sequence"):
        tiny_tokenizer([])


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("tokenizer.json", b""),
        ("tokenizer.json", b"{}"),
        ("tokenizer.json", b"\xff"),
        ("vocab.txt", b""),
        ("vocab.txt", b"a\nb\n"),
        ("vocab.txt", b"\xff\xfe\n"),
    ],
)
def test_damaged_files_are_refused(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=f"{name} is damaged"):
        Tokenizer.from_pretrained(tmp_path)


def test_folder_without_a_tokenizer_is_refused(tmp_path):
    with pytest.raises(InputError, match="no tokenizer.json and no vocab.txt"):
        Tokenizer.from_pretrained(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text("{")
    with pytest.raises(InputError, match="tokenizer_config.json is not JSON"):
        Tokenizer.from_pretrained(tmp_path)
