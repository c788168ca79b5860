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
    assert reject.reason.startswith("word 1 has the tag 'DT'; the tags of entities are O, and a type behind")
    assert [entry.line for entry in examples.in_file_order()] == [1, 4]


@pytest.mark.parametrize(
    ("tags", "iob2"),
    [
        ("B-X E-X S-Y O", "B-X I-X B-Y O"),
        ("B-X L-X U-Y O", "B-X I-X B-Y O"),
        ("X X Y O", "B-X I-X B-Y O"),
        ("per per O loc", "B-per I-per O B-loc"),
        ("X-1 X-1 O O", "B-X-1 I-X-1 O O"),
    ],
)
def test_entities_of_other_schemes_come_back_as_iob2(write, tags, iob2):
    rows = [{"words": list("abcd"), "tags": tags.split()}]
    conll = "".join(f"{word} {tag}\n" for word, tag in zip("abcd", tags.split(), strict=True))
    for path in (write(conll), write(json.dumps(rows), "a.json"), write(json.dumps(rows[0]), "a.jsonl")):
        (row,) = read_tagged(path, entities=True).rows
        assert row.label == tuple(iob2.split())
    unmarked = tags if "-" not in tags.replace("X-1", "") else iob2
    (row,) = read_tagged(path).rows  # a type without a mark may be a part of speech
    assert row.label == tuple(unmarked.split())


@pytest.mark.parametrize("tags", ["X X O PER-B", "O b-per O O", "X o O O", "X O B-X O", "NN DT NN NN"])
def test_types_without_a_mark_are_not_guessed(write, tags):
    path = write(json.dumps([{"words": list("abcd"), "tags": tags.split()}]), "a.json")
    (reject,) = read_tagged(path, entities=True).rejects
    assert "the tags of entities are O, and a type behind B-, I-, E- or S-" in reject.reason


NAMES = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")
NUMBERS = [[3, 4, 0], [1], [0, 5, -1]]


def test_tags_that_are_numbers_are_places_in_a_list_of_names(write, tmp_path):
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    columns = {"words": [["New", "York", "is"], ["Ann"], ["a", "b", "c"]], "tags": NUMBERS}
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    parquet.write_table(pyarrow.table(columns), tmp_path / "a.parquet")
    for path in (write(json.dumps(rows), "a.json"), tmp_path / "a.parquet"):
        examples = read_tagged(path, entities=True, names=NAMES)
        assert [row.label for row in examples.rows] == [("B-LOC", "I-LOC", "O"), ("B-PER",)]
        assert [r.reason for r in examples.rejects] == [
            "'tags' has numbers outside 0 to 4, the places in `labels`"
        ]
        for reject in read_tagged(path, entities=True).rejects:
            assert reject.reason == "'tags' has numbers; give `labels`, the names of 0, 1, ... in this order"
        bare = read_tagged(path, entities=True, names=["O", "LOC", "LOC", "PER", "PER"])
        assert [row.label for row in bare.rows] == [("B-PER", "I-PER", "O"), ("B-LOC",)]


@pytest.mark.parametrize("old", [False, True])
def test_names_that_a_saved_dataset_has(tmp_path, old):
    """As `datasets` writes them: beside its files, or within each; lists were lists once, and are objects."""
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    names = {"names": list(NAMES), "_type": "ClassLabel"}
    features = {"ner": [names] if old else {"feature": names, "_type": "List"}, "words": {}}
    table = pyarrow.table({"words": [["New", "York", "is"]], "ner": NUMBERS[:1]})
    described = {b"huggingface": json.dumps({"info": {"features": features}}).encode()}
    parquet.write_table(table.replace_schema_metadata(described), tmp_path / "a.parquet")
    folder = tmp_path / "saved"
    folder.mkdir()
    with pyarrow.OSFile(str(folder / "a.arrow"), "wb") as sink:
        with pyarrow.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
    (folder / "state.json").write_text('{"_data_files": [{"filename": "a.arrow"}]}')
    (folder / "dataset_info.json").write_text(json.dumps({"features": features}))
    for path in (tmp_path / "a.parquet", folder):
        for given in ((), ("wrong", "order")):  # the file knows
            (row,) = read_tagged(path, tags="ner", names=given).rows
            assert row.label == ("B-LOC", "I-LOC", "O")


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
