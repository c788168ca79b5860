"""Reading words with tags: each irregularity on a small file made here, then CoNLL-2003 where it is."""

import json
import os
from pathlib import Path

import pytest

from minbert import InputError
from multitask.data.conll import read_tagged
from multitask.data.readers import Example
from multitask.metrics.entities import entity_spans

SHARED = Path(os.environ.get("MINBERT_SHARED", Path(__file__).parents[4] / "shared")) / "data"
CONLL = """-DOCSTART- -X- O O

EU NNP I-NP I-ORG
rejects VBZ I-VP O
German JJ I-NP I-MISC
call NN I-NP O

-DOCSTART- -X- O O

Rome NNP I-NP I-LOC
Paris NNP I-NP B-LOC"""


def write(folder: Path, content: str | bytes, name: str = "data.conll") -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def test_sentences_of_a_file_without_a_final_line_end(tmp_path):
    examples = read_tagged(write(tmp_path, CONLL))
    assert examples.rows == (
        Example(
            "0",
            ("EU rejects German call",),
            ("B-ORG", "O", "B-MISC", "O"),
            3,
            ("EU", "rejects", "German", "call"),
        ),
        Example("1", ("Rome Paris",), ("B-LOC", "B-LOC"), 10, ("Rome", "Paris")),
    )
    assert examples.rejects == () and examples.labelled and examples.columns == ("word", "tag")


@pytest.mark.parametrize("between", [" ", "\t", "  \t "])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_columns_and_line_ends(tmp_path, between, end):
    lines = CONLL.replace(" ", between).replace("\n", end)
    plain = read_tagged(write(tmp_path, CONLL, "plain"))
    other = read_tagged(write(tmp_path, "\ufeff" + end + lines + end + f" {end}" + end, "other"))
    assert [(row.words, row.label) for row in other.rows] == [(row.words, row.label) for row in plain.rows]
    assert other.rejects == ()


def test_iob2_comes_back_as_it_is_and_iob1_as_iob2(tmp_path):
    iob2 = "a B-X\nb I-X\nc B-X\nd O\ne B-Y\n"
    iob1 = "a I-X\nb I-X\nc B-X\nd O\ne I-Y\n"
    for content in (iob1, iob2):
        for entities in (True, None):
            (row,) = read_tagged(write(tmp_path, content), entities=entities).rows
            assert row.label == ("B-X", "I-X", "B-X", "O", "B-Y")
    (row,) = read_tagged(write(tmp_path, iob1), entities=False).rows
    assert row.label == ("I-X", "I-X", "B-X", "O", "I-Y")


def test_tags_that_are_no_entities_stay_unless_entities_are_demanded(tmp_path):
    path = write(tmp_path, "the DT\ncat NN\n\nit I-X\n")
    assert [row.label for row in read_tagged(path).rows] == [("DT", "NN"), ("I-X",)]
    examples = read_tagged(path, entities=True)
    assert [row.label for row in examples.rows] == [("B-X",)]
    (reject,) = examples.rejects
    assert (reject.id, reject.line, reject.texts) == ("0", 1, ("the cat",))
    assert reject.reason == "word 1 has the tag 'DT', and entities are tagged O, B-type or I-type"
    assert [entry.line for entry in examples.in_file_order()] == [1, 4]


def test_a_bad_line_makes_its_sentence_a_reject_and_is_named(tmp_path):
    content = "a O\nb O\n\nc O\nd\ne O\n\nf O x\n\ng\0 O\n\nh O\n"
    examples = read_tagged(write(tmp_path, content))
    assert [(row.id, row.words) for row in examples.rows] == [("0", ("a", "b")), ("4", ("h",))]
    reasons = {reject.line: reject.reason for reject in examples.rejects}
    assert reasons == {
        5: "1 column where most lines of the file have 2",
        8: "3 columns where most lines of the file have 2",
        10: "the line holds a NUL character",
    }
    assert [reject.texts[0] for reject in examples.rejects][:2] == ["c d e", "f"]
    assert [(reject.id, reject.row) for reject in examples.rejects] == [("1", 1), ("2", 2), ("3", 3)]


def test_words_alone_are_an_unlabelled_file(tmp_path):
    examples = read_tagged(write(tmp_path, "the\ncat\n\nran\n"), entities=True)
    assert [(row.words, row.label) for row in examples.rows] == [(("the", "cat"), None), (("ran",), None)]
    assert not examples.labelled and examples.columns == ("word",)


@pytest.mark.parametrize("content", ["", "\n \n", "-DOCSTART- -X- O O\n\n"])
def test_a_file_without_a_sentence_is_refused(tmp_path, content):
    with pytest.raises(InputError, match="holds no sentence"):
        read_tagged(write(tmp_path, content))


def test_json_lines(tmp_path):
    rows = [
        {"id": "x", "tokens": ["New", "York\u00a0City"], "ner": ["I-LOC", "I-LOC"]},
        {"id": 7, "tokens": ["a"], "ner": ["O"]},
    ]
    path = write(tmp_path, "\n".join(map(json.dumps, rows)), "a.jsonl")
    examples = read_tagged(path, words="tokens", tags="ner")
    assert examples.rows == (
        Example("x", ("New York\u00a0City",), ("B-LOC", "I-LOC"), 1, ("New", "York\u00a0City")),
        Example("7", ("a",), ("O",), 2, ("a",)),
    )
    assert examples.labelled and examples.rejects == ()
    unlabelled = read_tagged(path, words="tokens", tags="pos")
    assert not unlabelled.labelled and [row.label for row in unlabelled.rows] == [None, None]
    with pytest.raises(InputError, match="no column 'token'; did you mean 'tokens'.*the file has id, tokens"):
        read_tagged(path, words="token", tags="ner")


def test_json_lines_that_are_no_sentence(tmp_path):
    rows = [
        '{"words": ["a", "b"], "tags": ["O", "O"]}',
        '{"words": ["a", "b"], "tags": ["O"]}',
        '{"words": ["a", ""], "tags": ["O", "O"]}',
        '{"words": ["a b"], "tags": ["O"]}',
        '{"words": "a b", "tags": ["O", "O"]}',
        '{"words": [1], "tags": ["O"]}',
        '{"words": [], "tags": []}',
        '{"words": ["a"]}',
        '{"words": ["half \\ud800"], "tags": ["O"]}',
        '{"words": ["a"], "tags": ["O x"]}',
        "[1]",
        "{",
    ]
    examples = read_tagged(write(tmp_path, "\n".join(rows), "a.jsonl"))
    assert [row.id for row in examples.rows] == ["0"]
    expected = ["2 words and 1 tag", "word 2 is empty", "word 1 is empty, or holds white space"]
    expected += ["'words' is no list of strings", "'words' is no list", "there is no word"]
    expected += [
        "'tags' is no list of strings",
        "word 1 is empty",
        "tag 1 is empty",
        "a JSON list",
        "not JSON",
    ]
    assert [reject.line for reject in examples.rejects] == list(range(2, 13))
    for reject, reason in zip(examples.rejects, expected, strict=True):
        assert reason in reject.reason
    assert examples.rejects[0].texts == ("a b",) and examples.rejects[3].texts == ()


def test_an_empty_id_is_refused(tmp_path):
    path = write(tmp_path, '{"id": "", "words": ["a"]}\n{"id": "1", "words": ["b"]}\n', "a.jsonl")
    examples = read_tagged(path)
    assert [row.id for row in examples.rows] == ["1"]
    assert (examples.rejects[0].id, examples.rejects[0].reason) == (None, "the id is empty")


@pytest.mark.skipif(
    not (SHARED / "conll2003" / "eng.testa").is_file(), reason=f"CoNLL-2003 is not in {SHARED}"
)
@pytest.mark.parametrize(("split", "sentences", "entities"), [("testa", 3250, 5942), ("testb", 3453, 5648)])
def test_sizes_of_conll_2003(split, sentences, entities):
    examples = read_tagged(SHARED / "conll2003" / f"eng.{split}", entities=True)
    assert len(examples) == sentences and examples.rejects == ()
    assert sum(len(entity_spans(row.label)) for row in examples.rows) == entities
    assert {tag[2:] for row in examples.rows for tag in row.label} == {"", "PER", "LOC", "ORG", "MISC"}
