"""Folders of tokenizers are read, saved and refused as transformers reads them, whatever their files say.

Run: pytest tests/minbert/weights/test_tokenizer_folder.py
"""

import itertools
import json
import os
import random
import shutil
from pathlib import Path

import pytest
import tokenizers
from tokenizers.implementations import ByteLevelBPETokenizer

from minbert import InputError, Tokenizer

transformers = pytest.importorskip("transformers", reason="compares with transformers' tokenizers")

TEXTS = [
    "",
    "The CAT reads a Café, isn't it?",
    "naïve Ångström cafe\u0301 É é \u0130I\u0307 \u00df \ufb01",
    "中文字 test 日本語 e中e",
    "a newword [ENT] e, NEWWORD [ent] newwords",
    "[MASK] is [CLS] and [SEP] or [UNK], [mask] <mask> <s> </s> <unk> <pad>.",
    "control\x00char\x07 zero\u200bwidth soft\u00adhyphen \ufffd \ufeff",
    "x" * 99 + " " + "x" * 101,
    "  two  spaces\tand\nlines ",
]
# Letters that each of the settings treats in another way.
LETTERS = ["é", "##é", "É", "C", "##C", "T", "中", "##中", "文", "e", "\u0301", "##\u0301", "Å", "å"]
CHOICES = {
    "do_lower_case": (True, False),
    "strip_accents": (None, True, False),
    "tokenize_chinese_chars": (True, False),
}
SETTINGS = [dict(zip(CHOICES, values, strict=True)) for values in itertools.product(*CHOICES.values())]
FILES = ("vocab.txt", "tokenizer.json", "both", "contradicting")
LENGTHS = (5, 6, 7, 8, 11, 16, 33, 64)


@pytest.fixture(scope="module")
def words(vocabulary) -> list[str]:
    return list(dict.fromkeys([*vocabulary, *LETTERS]))


def write(folder: Path, **files) -> Path:
    """Writes JSON values, and lists as vocab.txt; a name has "_json" for ".json"."""
    folder.mkdir(exist_ok=True, parents=True)
    for name, value in files.items():
        if isinstance(value, list):
            (folder / "vocab.txt").write_text("".join(f"{token}\n" for token in value), "utf-8")
        else:
            (folder / name.replace("_json", ".json")).write_text(json.dumps(value), "utf-8")
    return folder


def bert_folder(folder: Path, words: list[str], settings: dict | None = None, **files) -> Path:
    config = {} if settings is None else {"tokenizer_config_json": settings}
    return write(folder, vocab=words, config_json={"model_type": "bert"}, **config, **files)


def described(words: list[str], **changes) -> dict:
    """The content of a tokenizer.json with BERT's model and normalizer."""
    settings = {"lowercase": True, "strip_accents": None, "handle_chinese_chars": True} | changes
    vocabulary = {word: number for number, word in enumerate(words)}
    backend = tokenizers.implementations.BertWordPieceTokenizer(vocabulary, **settings)
    return json.loads(backend.to_str())


def letters_folder(folder: Path, words: list[str], files: str, settings: dict) -> Path:
    """A folder of one of FILES; in a contradicting one tokenizer.json says the opposite of `settings`."""
    values = dict(zip(("lowercase", "strip_accents", "handle_chinese_chars"), settings.values(), strict=True))
    if files == "contradicting":
        values = {key: not value for key, value in values.items()}
    bert_folder(folder, words[::-1] if files == "contradicting" else words, settings)
    if files != "vocab.txt":
        write(folder, tokenizer_json=described(words, **values))
    if files == "tokenizer.json":
        (folder / "vocab.txt").unlink()
    return folder


def compare(ours: Tokenizer, theirs, texts, pairs=None, max_length: int | None = None) -> None:
    """Ids and token types, of texts or pairs, cut to `max_length`."""
    cut = {} if max_length is None else {"truncation": True, "max_length": max_length}
    found = ours.encode(texts, pairs, max_length=max_length or 100_000)
    expected = theirs(texts, pairs, **cut) if pairs else theirs(texts, **cut)
    types = expected.get("token_type_ids") or [[0] * len(ids) for ids in expected["input_ids"]]
    for sequence, ids, kinds, *text in zip(found, expected["input_ids"], types, texts, strict=True):
        assert (sequence.ids, sequence.types) == (ids, kinds), text


def compare_all(folder: Path, texts=TEXTS, theirs=None) -> Tokenizer:
    """Ours from the folder beside transformers', singles and pairs, whole and cut; as it is, and saved."""
    ours = Tokenizer.from_pretrained(folder)
    theirs = theirs or transformers.AutoTokenizer.from_pretrained(folder)
    saved = folder / "saved"
    ours.save_pretrained(saved)
    if (folder / "config.json").is_file():
        shutil.copy(folder / "config.json", saved)
    again = Tokenizer.from_pretrained(saved)
    assert (again.settings, again.backend.to_str()) == (ours.settings, ours.backend.to_str())
    for reference in (theirs, transformers.AutoTokenizer.from_pretrained(saved)):
        compare(ours, reference, texts)
        compare(ours, reference, texts, texts[::-1])
        for length in LENGTHS:
            if length > 5:
                compare(ours, reference, texts, max_length=length)
                compare(ours, reference, texts, texts[::-1], length)
        assert (len(ours), ours.vocab) == (len(reference), reference.vocab)
        assert sorted(ours.all_special_ids) == sorted(set(reference.all_special_ids))
        for name in ("pad", "unk", "cls", "sep", "mask"):
            assert getattr(ours, f"{name}_token_id") == getattr(reference, f"{name}_token_id")
    return ours


@pytest.mark.parametrize("files", FILES)
@pytest.mark.parametrize("settings", SETTINGS, ids=lambda values: "-".join(map(str, values.values())))
def test_letters_are_treated_as_the_configuration_says(tmp_path, words, files, settings):
    compare_all(letters_folder(tmp_path, words, files, settings))


@pytest.mark.parametrize(
    "settings", [None, {}, {"do_lower_case": True}, {"tokenizer_class": "BertTokenizerFast"}]
)
def test_a_cased_tokenizer_json_is_not_asked(tmp_path, words, settings):
    folder = bert_folder(tmp_path, words, settings, tokenizer_json=described(words, lowercase=False))
    ours = compare_all(folder)
    assert ours.encode(["The CAT"]) == ours.encode(["the cat"])


def added_token(content: str, special: bool) -> dict:
    flags = dict.fromkeys(("lstrip", "rstrip", "single_word"), False)
    return {"content": content, "special": special, "normalized": not special} | flags


@pytest.mark.parametrize(
    "place", ["added_tokens.json", "added_tokens_decoder", "special_tokens_map.json", "all"]
)
@pytest.mark.parametrize("files", ["vocab.txt", "both"])
def test_added_tokens(tmp_path, words, place, files):
    count = len(words)
    folder = bert_folder(tmp_path, words, {"tokenizer_class": "BertTokenizer"})
    if files == "both":
        write(folder, tokenizer_json=described(words))
    if place in ("added_tokens.json", "all"):
        write(folder, added_tokens_json={"newword": count, "[ENT]": count + 1})
    if place in ("added_tokens_decoder", "all"):
        tokens = {count: added_token("newword", False), count + 1: added_token("[ENT]", True)}
        write(folder, tokenizer_config_json={"added_tokens_decoder": tokens})
    if place == "special_tokens_map.json":
        mask = added_token("newword", True) | {"lstrip": True}
        values = {"mask_token": mask, "additional_special_tokens": ["[ENT]"]}
        write(folder, special_tokens_map_json=values)
    ours = compare_all(folder)
    [sequence] = ours.encode(["a newword [ENT] e"])
    assert sequence.ids[2:4] == [count, count + 1] and ours.vocab_size == count + 2


def test_a_tokenizer_json_without_a_post_processor(tmp_path, words):
    values = described(words) | {"post_processor": None}
    ours = compare_all(
        bert_folder(tmp_path, words, {"tokenizer_class": "BertTokenizer"}, tokenizer_json=values)
    )
    [sequence] = ours.encode(["the cat"])
    assert (sequence.ids[0], sequence.ids[-1]) == (ours.cls_token_id, ours.sep_token_id)


@pytest.mark.parametrize("place", ["tokenizer_config_json", "special_tokens_map_json"])
def test_special_tokens_of_other_names(tmp_path, words, place):
    names = {"[PAD]": "<pad>", "[UNK]": "<unk>", "[CLS]": "<s>", "[SEP]": "</s>", "[MASK]": "<mask>"}
    given = {f"{old.strip('[]').lower()}_token": new for old, new in names.items()}
    folder = bert_folder(tmp_path, [names.get(word, word) for word in words], **{place: given})
    ours = compare_all(folder)
    assert ours.encode(["the"])[0].ids[0] == ours.vocab["<s>"] == ours.cls_token_id


def test_the_sides_that_are_cut_and_padded(tmp_path, words):
    ours = compare_all(
        bert_folder(tmp_path / "a", words, {"truncation_side": "left", "padding_side": "left"})
    )
    assert (ours.truncation_side, ours.padding_side) == ("left", "left")
    baked = tokenizers.Tokenizer.from_str(json.dumps(described(words)))
    baked.enable_truncation(9, direction="left")
    baked.enable_padding(direction="left", length=9)
    folder = bert_folder(tmp_path / "b", words, tokenizer_json=json.loads(baked.to_str()))
    assert compare_all(folder).padding_side == "left"


def test_a_distilbert_has_no_token_types(tmp_path, words):
    folder = bert_folder(tmp_path, words, {"tokenizer_class": "DistilBertTokenizer"})
    assert not any(compare_all(folder).encode(["a cat"], ["a dog"])[0].types)


def other_normalizer(words: list[str]) -> dict:
    steps = [{"type": "NFC"}, {"type": "Replace", "pattern": {"String": "cat"}, "content": "dog"}]
    return described(words) | {"normalizer": {"type": "Sequence", "normalizers": steps}}


def test_a_class_of_no_model_takes_tokenizer_json_as_it_is(tmp_path, words):
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "do_lower_case": True, "mask_token": "[MASK]"}
    folder = bert_folder(tmp_path, words, settings, tokenizer_json=other_normalizer(words))
    ours = compare_all(folder)
    assert ours.encode(["a cat"])[0].ids == ours.encode(["a dog"])[0].ids != ours.encode(["A cat"])[0].ids
    assert not (folder / "saved" / "vocab.txt").exists()


@pytest.mark.parametrize("name", ["ElectraTokenizer", "ElectraTokenizerFast"])
def test_electras_class_is_that_of_bert(tmp_path, words, name):
    settings = {"tokenizer_class": name, "strip_accents": False}
    folder = bert_folder(tmp_path, words, settings, tokenizer_json=described(words, lowercase=False))
    compare_all(folder)
    (folder / "tokenizer.json").unlink()
    compare_all(folder)


CORPUS = [
    *TEXTS,
    "a cat reads books",
    "the teacher's book is good; the film was dull",
    "Élan vital, déjà vu",
] * 3
ROBERTA_TOKENS = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]


def roberta_folder(folder: Path, **settings) -> Path:
    trained = ByteLevelBPETokenizer()
    trained.train_from_iterator(CORPUS, 400, show_progress=False, special_tokens=ROBERTA_TOKENS)
    vocabulary = trained.get_vocab()
    merges = json.loads(trained.to_str())["model"]["merges"]
    theirs = transformers.RobertaTokenizer(vocabulary, [tuple(pair) for pair in merges], **settings)
    theirs.save_pretrained(folder)
    return write(folder, config_json={"model_type": "roberta"})


def unigram_folder(folder: Path, kind: str) -> Path:
    special = {
        "CamembertTokenizer": ["<s>NOTUSED", "<pad>", "</s>NOTUSED", "<unk>", "<unk>NOTUSED", "<s>", "</s>"]
    }
    special = special.get(kind, ROBERTA_TOKENS[:4])
    pieces = sorted({piece for text in CORPUS for word in text.split() for piece in ("\u2581" + word, *word)})
    vocabulary = [(token, 0.0) for token in special] + [(piece, -float(len(piece))) for piece in pieces]
    theirs = getattr(transformers, kind)(vocab=[*vocabulary, ("\u2581", -2.0), ("<mask>", 0.0)])
    theirs.save_pretrained(folder)
    return write(folder, config_json={"model_type": kind.lower().replace("tokenizer", "")})


@pytest.fixture(params=["roberta", "xlm-roberta", "camembert"])
def family_folder(request, tmp_path) -> Path:
    folder = tmp_path / request.param
    if request.param == "roberta":
        return roberta_folder(folder)
    kind = "XLMRobertaTokenizer" if request.param == "xlm-roberta" else "CamembertTokenizer"
    unigram_folder(folder, kind)
    return write(folder, config_json={"model_type": request.param})


def test_tokenizers_of_the_family(family_folder):
    texts = [*TEXTS, *CORPUS[-3:], "unseen \U0001f600 zzz"]
    ours = compare_all(family_folder, texts)
    assert ours.encode(["a cat"])[0].ids[0] == ours.vocab["<s>"]
    settings = json.loads((family_folder / "tokenizer_config.json").read_text())
    for change in ({"tokenizer_class": None}, {"add_prefix_space": not settings.get("add_prefix_space")}):
        kept = {key: value for key, value in (settings | change).items() if value is not None}
        compare_all(write(family_folder, tokenizer_config_json=kept), texts)


def test_added_tokens_of_the_family(family_folder):
    theirs = transformers.AutoTokenizer.from_pretrained(family_folder)
    theirs.add_tokens(["newword", tokenizers.AddedToken("[ENT]", lstrip=True)])
    theirs.save_pretrained(family_folder)
    ours = compare_all(family_folder)
    assert set(ours.convert_tokens_to_ids(["newword", "[ENT]"])) < set(
        ours.encode(["a newword [ENT]"])[0].ids
    )


LFS = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 466247\n"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("tokenizer.json", LFS, "tokenizer.json is a Git LFS pointer, not the file; run `git lfs pull`"),
        ("vocab.txt", LFS, "vocab.txt is a Git LFS pointer"),
        ("tokenizer_config.json", LFS, "tokenizer_config.json is a Git LFS pointer"),
        (
            "tokenizer.json",
            "<!DOCTYPE html>\n<html>",
            "tokenizer.json is an HTML page, not the file; download",
        ),
        ("vocab.txt", "\n<html><head>", "vocab.txt is an HTML page"),
        ("added_tokens.json", "[1]", "added_tokens.json holds a list; it must hold one JSON object"),
        ("tokenizer.json", "{}", "tokenizer.json is damaged"),
        ("tokenizer.json", "[" * 100_000, "tokenizer.json is not JSON"),
    ],
)
def test_files_that_are_something_else(tmp_path, words, name, content, message):
    folder = bert_folder(tmp_path, words)
    (folder / name).write_text(content)
    with pytest.raises(InputError, match=message):
        Tokenizer.from_pretrained(folder)


def test_a_link_to_nowhere_is_not_an_absent_file(tmp_path, words):
    folder = bert_folder(tmp_path, words)
    os.symlink("nowhere", folder / "tokenizer_config.json")
    with pytest.raises(InputError, match="tokenizer_config.json cannot be read"):
        Tokenizer.from_pretrained(folder)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"tokenizer_class": "AlbertTokenizer"}, "names the tokenizer class 'AlbertTokenizer'"),
        ({"tokenizer_class": "MPNetTokenizerFast"}, "BertTokenizer, DistilBertTokenizer, RobertaTokenizer, "),
        (
            {"tokenizer_class": "RobertaTokenizer"},
            "has no tokenizer.json, which RobertaTokenizer is read from",
        ),
        ({"tokenizer_class": "PreTrainedTokenizerFast"}, "has no tokenizer.json"),
        ({"split_special_tokens": True}, "split_special_tokens is true, which is not supported"),
        ({"fast_tokenizer_files": ["tokenizer.4.0.json"]}, "fast_tokenizer_files names files"),
        ({"do_lower_case": "yes"}, "do_lower_case is 'yes'; it must be true or false"),
        ({"strip_accents": 1}, "strip_accents is 1; it must be true, false or null"),
        ({"tokenize_chinese_chars": None}, "tokenize_chinese_chars is None"),
        ({"truncation_side": "both"}, "truncation_side is 'both'; it must be right or left"),
        ({"model_max_length": "long"}, "model_max_length is 'long'"),
        ({"cls_token": None}, "cls_token is null; BertTokenizer needs one"),
        ({"unk_token": "<unk>"}, "vocab.txt has no <unk>, the unk_token, which stands for unknown words"),
        (
            {"added_tokens_decoder": {"9999": {"content": "newword"}}},
            "gives the added token 'newword' the id 9999",
        ),
        ({"added_tokens_decoder": {"9999": 5}}, "5 is not an added token; fetch"),
    ],
)
def test_settings_that_are_refused(tmp_path, words, settings, message):
    with pytest.raises(InputError, match=message):
        Tokenizer.from_pretrained(bert_folder(tmp_path, words, settings))


def test_a_vocabulary_without_a_token_for_unknown_words_is_refused(tmp_path, words):
    known = [word for word in words if word != "[UNK]"]
    with pytest.raises(InputError, match=r"vocab.txt has no \[UNK\], the unk_token"):
        Tokenizer.from_pretrained(bert_folder(tmp_path, known))
    values = described(words)
    del values["model"]["vocab"]["[UNK]"]
    values["added_tokens"] = []
    settings = {"tokenizer_class": "PreTrainedTokenizerFast"}
    folder = bert_folder(tmp_path, known, settings, tokenizer_json=values)
    with pytest.raises(InputError, match=r"tokenizer.json has no \[UNK\]"):
        Tokenizer.from_pretrained(folder)


def test_special_tokens_that_a_vocabulary_lacks(tmp_path, words):
    """transformers gives a [MASK] that no file names an id for which there is no embedding."""
    folder = bert_folder(tmp_path, [word for word in words if word != "[MASK]"])
    ours = Tokenizer.from_pretrained(folder)
    assert ours.mask_token_id is None and ours.vocab_size == len(words) - 1
    ours.save_pretrained(folder / "saved")
    assert transformers.BertTokenizer.from_pretrained(folder / "saved").vocab == ours.vocab
    bert_folder(folder, [word for word in words if word != "[CLS]"])
    with pytest.raises(
        InputError, match=r"vocab.txt has no \[CLS\], and tokenizer_config.json names no other"
    ):
        Tokenizer.from_pretrained(folder)


def test_models_and_frames_that_are_refused(tmp_path, words):
    folder = roberta_folder(tmp_path)
    write(folder, tokenizer_config_json={"tokenizer_class": "BertTokenizer"})
    with pytest.raises(
        InputError, match="holds a BPE model, and the folder's class, BertTokenizer, is WordPiece"
    ):
        Tokenizer.from_pretrained(folder)
    values = described(words) | {"post_processor": None}
    write(folder, tokenizer_config_json={"tokenizer_class": "PreTrainedTokenizerFast"}, tokenizer_json=values)
    with pytest.raises(InputError, match="puts no special token before a text"):
        Tokenizer.from_pretrained(folder)


def test_a_vocabulary_that_lines_cannot_hold_is_saved_whole(tmp_path, words):
    folder = bert_folder(
        tmp_path, [*words, "cat", "", "dogs "]
    )  # an id without a token, and spaces at an end
    ours = compare_all(folder)
    assert not (folder / "saved" / "vocab.txt").exists()
    assert ours.vocab_size == len(words) + 3 == len(ours) + 1


@pytest.fixture(scope="session")
def many_strings(shared) -> list[str]:
    """40,000 strings: lines of the data files, and each code point below U+3000 in context."""
    lines = []
    for path in sorted((shared / "data").glob("*.csv")):
        for line in path.read_text(encoding="utf-8").splitlines()[1:]:
            lines += line.split("\t")[-3:]
    lines = [line for line in lines if len(line) < 300]  # reviews of 250 words would take most of the time
    random.Random(0).shuffle(lines)
    points = [chr(code) for code in range(0x3000)]
    contexts = [f"a{point}b {point} The{point}" for point in points]
    assert len(lines) + len(contexts) >= 40_000
    return [*contexts, *lines[: 40_000 - len(contexts)]]


@pytest.mark.slow
@pytest.mark.parametrize("settings", SETTINGS, ids=lambda values: "-".join(map(str, values.values())))
def test_many_strings(minilm, many_strings, tmp_path, settings):
    words = (minilm / "vocab.txt").read_text(encoding="utf-8").splitlines()
    states = set()
    for files in FILES:
        folder = letters_folder(tmp_path / files, words, files, settings)
        ours, theirs = Tokenizer.from_pretrained(folder), transformers.AutoTokenizer.from_pretrained(folder)
        states.add((ours.backend.to_str(), theirs.backend_tokenizer.to_str()))
    assert len(states) == 1  # what holds for one of the folders holds for all
    compare(ours, theirs, many_strings)
    pairs = random.Random(1).sample(many_strings, len(many_strings))
    for start, length in enumerate(LENGTHS):  # each string at one of the lengths, alone or with another
        some, others = (slice(i, None, 2 * len(LENGTHS)) for i in (start, start + len(LENGTHS)))
        compare(ours, theirs, many_strings[some], max_length=length)
        compare(ours, theirs, many_strings[others], pairs[others], length)
