"""The tokenizer equals transformers' BertTokenizer on tricky text, from either file, cut where we say.

Run: pytest tests/minbert/test_tokenizer.py
"""

import copy
import itertools
import json
import shutil
import subprocess
import sys
import time

import pytest
import torch

from minbert import InputError, SentenceEncoder, Tokenizer

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


@pytest.mark.parametrize("strategy", ["longest_first", "only_first", "only_second"])
def test_every_cut_is_the_librarys(tiny_tokenizer, strategy):
    """Every pair of lengths up to 12, cut to 5 to 24 tokens."""
    words = "the cat a dog book good bad very not movie film great".split()
    backend = copy.deepcopy(tiny_tokenizer.backend)
    for length in range(5, 25):
        pairs = []
        for a, b in itertools.product(range(len(words) + 1), repeat=2):
            alone = {"only_first": a, "only_second": b}.get(strategy)  # of which a token has to stay
            if alone is None or a + b + 3 - length < alone:
                pairs.append((" ".join(words[:a]), " ".join(words[:b])))
        backend.enable_truncation(length, strategy=strategy)
        expected = [encoding.ids for encoding in backend.encode_batch(pairs)]
        found = tiny_tokenizer.encode(*zip(*pairs, strict=True), max_length=length, truncation=strategy)
        assert [sequence.ids for sequence in found] == expected


def test_texts_of_which_nothing_would_stay(tiny_tokenizer):
    with pytest.raises(InputError, match="only_first leaves nothing of a text; cut the longer one first"):
        tiny_tokenizer.encode(["a cat"], ["a dog reads a book"], max_length=7, truncation="only_first")


def test_pairs_of_long_texts_are_cut_in_time(tiny_tokenizer):
    """500 pairs of 500 tokens: a few milliseconds a pair, where the library's own cutting takes 120."""
    texts = ["the cat reads a book " * 100] * 500
    start = time.process_time()
    sequences = tiny_tokenizer.encode(texts, texts, max_length=64)
    assert time.process_time() - start < 3
    assert all(len(sequence.ids) == 64 and sequence.truncated for sequence in sequences)


def test_texts_given_as_ids_are_joined_as_encode_joins(tiny_tokenizer):
    texts = [
        "",
        "good",
        "the cat reads a book",
        "the student writes over the house and under the green river",
    ]
    for (a, b), length in itertools.product(itertools.product(texts, texts), (5, 8, 13, 40)):
        [expected] = tiny_tokenizer.encode([a], [b], max_length=length)
        first, second = (sequence.ids[1:-1] for sequence in tiny_tokenizer.encode([a, b]))
        assert tiny_tokenizer.join(first, second, length) == expected


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
    cls, sep = tiny_tokenizer.cls_token_id, tiny_tokenizer.sep_token_id
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
    unknown = cased.unk_token_id
    assert cased.encode([upper])[0].ids[1:-1] == [unknown, unknown]
    cased.save_pretrained(tmp_path / "saved")
    assert Tokenizer.from_pretrained(tmp_path / "saved").encode([upper]) == cased.encode([upper])
    (tmp_path / "saved" / "tokenizer.json").unlink()  # vocab.txt with the settings says the same
    assert Tokenizer.from_pretrained(tmp_path / "saved").encode([upper]) == cased.encode([upper])


def test_words_and_their_map(tiny_tokenizer):
    words = [["the", "unreadable", "books"], ["cat's"], ["a", "", "dog"]]
    sequences = tiny_tokenizer.encode(words, words=True)
    for given, sequence in zip(words, sequences, strict=True):
        tokens = tiny_tokenizer.convert_ids_to_tokens(sequence.ids)
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
    tiny_tokenizer.save_pretrained(tmp_path / "out")
    again = Tokenizer.from_pretrained(tmp_path / "out")
    assert again.encode(TRICKY) == tiny_tokenizer.encode(TRICKY)
    assert again.vocab == tiny_tokenizer.vocab
    transformers = pytest.importorskip("transformers", reason="loads the folder with AutoTokenizer too")
    for kind in (transformers.AutoTokenizer, transformers.BertTokenizer):
        theirs = kind.from_pretrained(tmp_path / "out")
        for text in TRICKY:
            assert theirs(text)["input_ids"] == tiny_tokenizer.encode([text])[0].ids, text
        assert (theirs.pad_token, theirs.mask_token, theirs.cls_token) == ("[PAD]", "[MASK]", "[CLS]")


def test_tensors_are_those_of_transformers(tiny_folder, tiny, tmp_path, texts):
    transformers = pytest.importorskip("transformers", reason="compares with transformers' tensors")
    for side in ("right", "left"):
        settings = {"model_max_length": 12, "padding_side": side, "tokenizer_class": "BertTokenizer"}
        shutil.copy(tiny_folder / "vocab.txt", tmp_path)
        (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
        ours, theirs = (
            Tokenizer.from_pretrained(tmp_path),
            transformers.BertTokenizer.from_pretrained(tmp_path),
        )
        for arguments in (
            dict(padding=True),
            dict(padding="longest", truncation=True),
            dict(padding="max_length", truncation="longest_first", max_length=9),
            dict(padding="max_length", truncation=True),
            dict(padding=True, truncation="do_not_truncate"),
        ):
            for pairs in (None, texts[::-1]):
                given = ours(texts, pairs, return_tensors="pt", **arguments)
                expected = theirs(texts, pairs, return_tensors="pt", **arguments)
                assert list(given) == list(expected) and type(given) is dict
                assert all(torch.equal(given[name], expected[name]) for name in given)
        for one_text in (dict(), dict(max_length=6), dict(truncation=True)):
            given = ours(texts[-1], return_tensors="pt", **one_text)
            assert torch.equal(
                given["input_ids"], theirs(texts[-1], return_tensors="pt", **one_text)["input_ids"]
            )
    whole = Tokenizer.from_pretrained(tiny_folder)
    inputs = whole(texts, padding=True, return_tensors="pt")
    torch.testing.assert_close(tiny(**inputs).last_hidden_state, tiny(whole(texts)).last_hidden_state)


def test_one_text_is_a_batch_of_one(tiny_tokenizer):
    assert len(tiny_tokenizer("the cat")) == 1
    assert tiny_tokenizer("the cat", "a dog", max_length=6).layout.lengths == (6,)
    assert tiny_tokenizer(["good"] * 3, truncation=False).layout.lengths == (3, 3, 3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(return_tensors="pt"), "the texts have 3 to 4 tokens; give padding=True"),
        (dict(return_tensors="np"), "return_tensors is 'np'; it must be \"pt\", or left out for"),
        (dict(padding=True), "a Batch has no padding; leave out padding, or add return_tensors"),
        (dict(padding="left", return_tensors="pt"), "padding is 'left'; choose from True, False, 'longest'"),
    ],
)
def test_calls_that_are_refused(tiny_tokenizer, arguments, message):
    with pytest.raises(InputError, match=message):
        tiny_tokenizer(["good", "the cat"], **arguments)


def test_tokens_ids_and_texts(tiny_folder, tmp_path):
    """Calls known from transformers' tokenizers give the same here."""
    transformers = pytest.importorskip("transformers", reason="compares with transformers' BertTokenizer")
    shutil.copy(tiny_folder / "vocab.txt", tmp_path)
    for clean in (False, True):
        (tmp_path / "tokenizer_config.json").write_text(json.dumps({"clean_up_tokenization_spaces": clean}))
        ours, theirs = (
            Tokenizer.from_pretrained(tmp_path),
            transformers.BertTokenizer.from_pretrained(tmp_path),
        )
        for text in ("the cat ' s book isn't unreadable, is it? No! Zebra.", "[MASK] dogs ' s", ""):
            [ids] = theirs([text])["input_ids"]
            assert ours.tokenize(f"[CLS] {text} [SEP]") == theirs.tokenize(f"[CLS] {text} [SEP]")
            for skip in (False, True):
                assert ours.decode(ids, skip) == theirs.decode(ids, skip)
                assert ours.decode(torch.tensor(ids), skip_special_tokens=skip) == theirs.decode(ids, skip)
                tokens = ours.convert_ids_to_tokens(ids, skip_special_tokens=skip)
                assert tokens == theirs.convert_ids_to_tokens(ids, skip_special_tokens=skip)
                assert ours.convert_tokens_to_ids(tokens) == theirs.convert_tokens_to_ids(tokens)
    assert ours.convert_ids_to_tokens(5) == theirs.convert_ids_to_tokens(5)
    assert ours.convert_tokens_to_ids("no such token") == theirs.unk_token_id
    assert ours.get_vocab() == ours.vocab == theirs.get_vocab()
    assert ours.all_special_ids == theirs.all_special_ids
    assert len(ours) == ours.vocab_size == len(theirs)
    assert repr(ours) == f"Tokenizer(BertTokenizer, {len(theirs)} tokens)"


def test_a_fingerprint_is_that_of_the_tokens(tiny_folder, tmp_path):
    shutil.copy(tiny_folder / "vocab.txt", tmp_path)
    found = set()
    for settings in ("{}", '{"truncation_side": "left"}', '{"do_lower_case": false}'):
        (tmp_path / "tokenizer_config.json").write_text(settings)
        found.add(Tokenizer.from_pretrained(tmp_path).fingerprint())
    assert len(found) == 3
    assert Tokenizer.from_pretrained(tiny_folder).fingerprint() in found


def test_more_ids_than_embeddings_are_refused(tiny_tokenizer, tiny):
    rows = tiny.config.vocab_size
    tiny_tokenizer.check_embeddings(rows)
    with pytest.raises(
        InputError, match=f"ids to {rows - 1}, the table of embeddings {rows - 1} rows .*belongs to"
    ):
        tiny_tokenizer.check_embeddings(rows - 1)
    tiny_tokenizer.backend.add_tokens(["newword"])
    with pytest.raises(InputError, match=f"'newword' has {rows}"):
        SentenceEncoder(tiny, tiny_tokenizer)


CORPUS = [
    "The cat sat on the mat and the dog sat on the log.",
    "A great film! A dull film? Not the same film, naive caf\u00e9.",
    "students read books; teachers write books about reading students",
    "0 1 2 3 10 21 32 \u4e2d\u6587 zebra quickly queue exquisite",
]


def test_train_puts_the_marks_and_knows_its_texts():
    tokenizer = Tokenizer.train(CORPUS, vocab_size=120)
    assert tokenizer.vocab_size <= 120
    vocabulary = tokenizer.vocab
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
        (
            dict(texts=["a"], truncation="longest"),
            "truncation is 'longest'; choose from True, False, 'longest_",
        ),
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
    ("name", "content", "message"),
    [
        ("tokenizer.json", b"", "is not JSON"),
        ("tokenizer.json", b"{}", "is damaged"),
        ("tokenizer.json", b"\xff", "cannot be read"),
        ("vocab.txt", b"", r"has no \[UNK\]"),
        ("vocab.txt", b"\xff\xfe\n", "is damaged"),
    ],
)
def test_damaged_files_are_refused(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=f"{name} {message}"):
        Tokenizer.from_pretrained(tmp_path)


def test_folder_without_a_tokenizer_is_refused(tmp_path):
    with pytest.raises(InputError, match="no tokenizer.json and no vocab.txt"):
        Tokenizer.from_pretrained(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text("{")
    with pytest.raises(InputError, match="tokenizer_config.json is not JSON"):
        Tokenizer.from_pretrained(tmp_path)
