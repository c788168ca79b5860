"""Reading words with tags: each irregularity on a small file made here, then CoNLL-2003 where it is."""

import json

import pytest

from minbert import InputError
from multitask.data.conll import read_tagged
from multitask.data.readers import Example
from multitask.metrics.entities import entity_spans

CONLL = """-DOCSTART- -X- O O

EU NNP I-NP I-ORG
rejects VBZ I-VP O
German JJ I-NP I-MISC
call NN I-NP O

-DOCSTART- -X- O O

Rome NNP I-NP I-LOC
Paris NNP I-NP B-LOC"""


def test_sentences_of_a_file_without_a_final_line_end(write):
    examples = read_tagged(write(CONLL))
    words = ("EU", "rejects", "German", "call")
    assert examples.rows == (
        Example("0", ("EU rejects German call",), ("B-ORG", "O", "B-MISC", "O"), 3, words),
        Example("1", ("Rome Paris",), ("B-LOC", "B-LOC"), 10, ("Rome", "Paris")),
    )
    assert examples.rejects == () and examples.labelled and examples.columns == ("word", "tag")


@pytest.mark.parametrize(("between", "end"), [(" ", "\r\n"), ("\t", "\n"), ("  \t ", "\r\n")])
def test_columns_and_line_ends(write, between, end):
    lines = CONLL.replace(" ", between).replace("\n", end)
    plain = read_tagged(write(CONLL, "plain"))
    other = read_tagged(write("\ufeff" + end + lines + end + f" {end}" + end, "other"))
    assert [(row.words, row.label) for row in other.rows] == [(row.words, row.label) for row in plain.rows]
    assert other.rejects == ()
    words = read_tagged(write("the\ncat\n\nran\n"), entities=True)  # words alone: an unlabelled file
    assert [(row.words, row.label) for row in words.rows] == [(("the", "cat"), None), (("ran",), None)]
    assert not words.labelled and words.columns == ("word",)
    for content in ("", "\n \n", "-DOCSTART- -X- O O\n\n"):
        with pytest.raises(InputError, match="has no sentence"):
            read_tagged(write(content))


def test_iob2_comes_back_as_it_is_and_iob1_as_iob2(write):
    iob2 = "a B-X\nb I-X\nc B-X\nd O\ne B-Y\n"
    iob1 = "a I-X\nb I-X\nc B-X\nd O\ne I-Y\n"
    for content in (iob1, iob2):
        for entities in (True, None):
            (row,) = read_tagged(write(content), entities=entities).rows
            assert row.label == ("B-X", "I-X", "B-X", "O", "B-Y")
    (row,) = read_tagged(write(iob1), entities=False).rows
    assert row.label == ("I-X", "I-X", "B-X", "O", "I-Y")


def test_other_tags_stay_unless_entities_are_demanded(write):
    path = write("the DT\ncat NN\n\nit I-X\n")
    assert [row.label for row in read_tagged(path).rows] == [("DT", "NN"), ("I-X",)]
    examples = read_tagged(path, entities=True)
    assert [row.label for row in examples.rows] == [("B-X",)]
    (reject,) = examples.rejects
    assert (reject.id, reject.line, reject.texts) == ("0", 1, ("the cat",))
    assert reject.reason == "word 1 has the tag 'DT', and entities are tagged O, B-type or I-type"
    assert [entry.line for entry in examples.in_file_order()] == [1, 4]


def test_a_bad_line_makes_its_sentence_a_reject_and_is_named(write):
    examples = read_tagged(write("a O\nb O\n\nc O\nd\ne O\n\nf O x\n\ng\0 O\n\nh O\n"))
    assert [(row.id, row.words) for row in examples.rows] == [("0", ("a", "b")), ("4", ("h",))]
    assert [(reject.id, reject.row, reject.line, reject.reason) for reject in examples.rejects] == [
        ("1", 1, 5, "1 column where most lines of the file have 2"),
        ("2", 2, 8, "3 columns where most lines of the file have 2"),
        ("3", 3, 10, "the line holds a NUL character"),
    ]
    assert [reject.texts[0] for reject in examples.rejects][:2] == ["c d e", "f"]


def test_json_lines(write):
    rows = [
        {"id": "x", "tokens": ["New", "York\u00a0City"], "ner": ["I-LOC", "I-LOC"]},
        {"id": 7, "tokens": ["a"], "ner": ["O"]},
    ]
    path = write("\n".join(map(json.dumps, rows)), "a.jsonl")
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


@pytest.mark.parametrize(
    ("row", "reason", "texts"),
    [
        ('{"words": ["a", "b"], "tags": ["O"]}', "2 words and 1 tag", ("a b",)),
        ('{"words": ["a", ""], "tags": ["O", "O"]}', "word 2 is empty", ("a ",)),
        ('{"words": ["a b"], "tags": ["O"]}', "word 1 is empty, or has white space", ("a b",)),
        ('{"words": "a b", "tags": ["O", "O"]}', "'words' is not a list of strings", ()),
        ('{"words": [], "tags": []}', "the line has no word", ()),
        ('{"words": ["a"]}', "'tags' is not a list of strings", ("a",)),
        ('{"words": ["half \\ud800"], "tags": ["O"]}', "word 1 is empty, or has", ("half \ud800",)),
        ('{"words": ["a"], "tags": ["O x"]}', "tag 1 is empty, or has", ("a",)),
        ('{"words": ["a"], "tags": ["O"], "id": ""}', "the id is empty", ("a",)),
        ("[1]", "a JSON list", ()),
        ("{", "not JSON", ()),
    ],
)
def test_json_lines_that_are_not_a_sentence(write, row, reason, texts):
    first = '{"words": ["a", "b"], "tags": ["O", "O"]' + (', "id": "0"}' if '"id"' in row else "}")
    examples = read_tagged(write(f"{first}\n{row}", "a.jsonl"))
    assert [entry.id for entry in examples.rows] == ["0"]
    (reject,) = examples.rejects
    assert reject.line == 2 and reason in reject.reason and reject.texts == texts


def test_sizes_of_conll_2003(course_data):
    path = course_data / "conll2003" / "eng.testb"
    if not path.is_file():
        pytest.skip(f"there is no {path}")
    examples = read_tagged(path, entities=True)
    assert len(examples) == 3453 and examples.rejects == ()
    assert sum(len(entity_spans(row.label)) for row in examples.rows) == 5648
    assert {tag[2:] for row in examples.rows for tag in row.label} == {"", "PER", "LOC", "ORG", "MISC"}
