"""Folders of parts: what lies in them, that a second start does what is missing, that others' are refused.

Run: pytest tests/minbert/corpus/test_parts.py
"""

import json
import shutil

import numpy as np
import pytest
from filelock import FileLock

from minbert import SentenceEncoder
from minbert.corpus.parts import PartFolder
from minbert.sentence import CHUNK
from tests.minbert.corpus.generated import read_parts, write_corpus


@pytest.fixture
def corpus(tmp_path):
    return write_corpus(tmp_path / "corpus.txt", 100)


@pytest.fixture
def encode(run, tiny_folder, corpus, tmp_path):
    """Runs `minbert encode` on the corpus, 30 texts a part: (status, standard error)."""

    def run_encode(*options, source=corpus, out=tmp_path / "out", weights=tiny_folder):
        status, printed, error = run("encode", "--weights", weights, source, out, "--part-size", 30, *options)
        assert printed == ""
        return status, error

    return run_encode


@pytest.mark.parametrize("format", ["parquet", "npy"])
def test_parts_hold_every_id_once_and_the_api_s_vectors(encode, tiny_folder, corpus, tmp_path, format):
    if format == "parquet":
        pytest.importorskip("pyarrow")
    assert encode("--format", format, "--normalize", "l2") == (0, "")
    names = {path.name for path in (tmp_path / "out").iterdir()}
    parts = {f"part-0000{number}.{format}" for number in range(4)}
    ids = {f"part-0000{number}.ids.npy" for number in range(4)} if format == "npy" else set()
    assert names == {"encoding.json", ".encoding.lock"} | parts | ids
    found, vectors = read_parts(tmp_path / "out")
    texts = corpus.read_text().splitlines()
    encoder = SentenceEncoder.from_pretrained(tiny_folder, normalize="l2")
    assert found.dtype == np.int64 and found.tolist() == list(range(100)) and vectors.dtype == np.float32
    for start in range(0, 100, 30):
        expected = encoder.encode(texts[start : start + 30])
        assert np.array_equal(vectors[start : start + 30], expected)
    folder = PartFolder.open(tmp_path / "out")
    assert folder.rows == 100 and folder.features == 24 and folder.missing() == []
    read = list(folder.pieces())
    assert [start for start, _ in read] == [0, 30, 60, 90]
    assert np.array_equal(np.concatenate([piece for _, piece in read]), vectors)
    wanted = {0, 29, 30, 99}
    assert folder.texts(wanted) == {
        row: {"file": str(corpus), "line": row + 1, "text": texts[row]} for row in wanted
    }


def test_a_part_of_several_pieces(run, tiny_folder, tmp_path):
    pytest.importorskip("pyarrow")
    corpus = write_corpus(tmp_path / "long.txt", CHUNK + 50)
    for format in ("parquet", "npy"):
        out = tmp_path / format
        assert run("encode", "--weights", tiny_folder, corpus, out, "--format", format) == (0, "", "")
        ids, vectors = read_parts(out)
        assert ids.tolist() == list(range(CHUNK + 50))
        expected = SentenceEncoder.from_pretrained(tiny_folder).encode(corpus.read_text().splitlines())
        assert np.array_equal(vectors, expected)
        pieces = list(PartFolder.open(out).pieces())
        assert np.array_equal(np.concatenate([piece for _, piece in pieces]), vectors)
        assert pieces[-1][0] + len(pieces[-1][1]) == CHUNK + 50
        done: list[int] = []
        PartFolder.open(out).encode(0, SentenceEncoder.from_pretrained(tiny_folder), done.append)
        assert done == [CHUNK, 50]


def test_a_second_start_does_what_is_missing(encode, tmp_path):
    out = tmp_path / "out"
    assert encode("--format", "npy") == (0, "")
    before = read_parts(out)
    kept = {path.name: path.stat().st_mtime_ns for path in out.glob("part-*")}
    (out / "part-00001.npy").unlink()
    (out / "part-00003.npy").unlink()
    (out / ".part-00003.npy.99.partial").write_bytes(b"half of a part")
    assert encode("--format", "npy") == (0, f"{out}: 2 of 4 parts are there already\n")
    assert not list(out.glob(".part*")) and all(map(np.array_equal, before, read_parts(out)))
    for number in (0, 2):
        assert (out / f"part-0000{number}.npy").stat().st_mtime_ns == kept[f"part-0000{number}.npy"]
    assert encode("--format", "npy") == (0, f"{out}: 4 of 4 parts are there already\n")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            ["--pooling", "cls"],
            'was begun with modules ["Pooling(24, mean)"], and now it is ["Pooling(24, cl',
        ),
        (["--normalize", "l2"], 'now it is ["Pooling(24, mean)", "Normalize(l2)"]'),
        (["--compute", "bf16"], 'was begun with compute "fp32", and now it is "bf16"'),
        (["--prompt", "a"], 'was begun with prompt "", and now it is "a"'),
        (["--format", "parquet"], 'was begun with format "npy", and now it is "parquet"'),
        (["--part-size", "31"], "was begun with part_size 30, and now it is 31"),
        ("weights", "was begun with weights"),
        ("corpus", r'was begun with files [["corpus.txt", '),
    ],
)
def test_other_settings_are_refused_by_name(
    encode, corpus, tiny_folder, tmp_path, randomize, change, message
):
    from minbert import BertModel

    encode("--format", "npy")
    (tmp_path / "out" / "part-00001.npy").unlink()
    before = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()}
    weights, options = tiny_folder, []
    if change == "weights":
        weights = shutil.copytree(tiny_folder, tmp_path / "weights")
        model = BertModel.from_pretrained(weights)
        randomize(model, seed=1)
        model.save_pretrained(weights)
    elif change == "corpus":
        corpus.write_text(corpus.read_text() + "one more\n")
    else:
        options = change
    status, error = encode("--format", "npy", *options, weights=weights)
    assert status == 2 and message in error and "or another folder" in error and error.count("\n") == 1
    assert {path.name: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()} == before


def test_a_folder_of_an_earlier_version_is_named(encode, run, tiny_folder, tmp_path):
    encode("--format", "npy")
    record = json.loads((tmp_path / "out" / "encoding.json").read_text())
    record["settings"]["precision"] = record["settings"].pop("compute")
    (tmp_path / "out" / "encoding.json").write_text(json.dumps(record))
    status, error = encode("--format", "npy")
    assert status == 2 and "out was begun by an earlier version, which kept no compute" in error
    status, _, error = run("nearest", "--weights", tiny_folder, tmp_path / "out", "--query", "a")
    assert status == 2 and "out was begun by an earlier version, which kept no compute" in error


def test_folders_of_others_and_bad_input_leave_nothing(encode, tmp_path, corpus):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine\n")
    (tmp_path / "bad.jsonl").write_text('{"text": "good"}\n{"text": null}\n')
    (tmp_path / "empty.csv").write_text("text\n")
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "encoding.json").write_text('{"starts": []}')
    new = tmp_path / "new"
    for options, message in (
        ({"out": tmp_path / "mine"}, "mine exists and is not a folder of parts"),
        ({"out": corpus}, "corpus.txt exists and is not a folder of parts"),
        ({"out": tmp_path / "damaged"}, "encoding.json: id is missing"),
        ({"out": new, "source": tmp_path / "bad.jsonl"}, "bad.jsonl:2 has nothing in 'text'"),
        ({"out": new, "source": tmp_path / "empty.csv"}, "empty.csv is empty"),
        ({"out": tmp_path / "mine" / "new", "source": tmp_path / "mine"}, "whose files are read"),
        ({"out": tmp_path / "new.npy"}, "--format is for a folder of parts, and"),
    ):
        before = sorted(tmp_path.rglob("*"))
        status, error = encode("--format", "npy", **options)
        assert status == 2 and message in error and error.count("\n") == 1, error
        assert sorted(tmp_path.rglob("*")) == before
    for words, message in (
        (["--ray-address", "auto"], "--ray-address is given without --engine ray"),
        (["--workers", "0"], "--workers is 0; give at least 1"),
        (["--engine", "dask"], "--engine"),
        (
            ["--workers", "2", "--device", "cuda:1"],
            "--device cuda:1; give --device cuda, and at most as many",
        ),
        (["--engine", "ray", "--compute", "auto"], "--compute auto depends on the node that computes"),
        (["--precision", "int8"], "--precision int8 is for one array, and"),
    ):
        status, error = encode("--format", "npy", *words, out=new)
        assert status == 2 and message in error and not new.exists(), error


def test_a_folder_in_use_is_refused(encode, tmp_path):
    encode("--format", "npy")
    with FileLock(tmp_path / "out" / ".encoding.lock"):
        status, error = encode("--format", "npy")
    assert status == 2 and "another command is writing to" in error


def test_a_corpus_that_changes_while_it_is_encoded(encode, corpus, tmp_path, monkeypatch):
    """Between two parts, the same size but fewer lines: the part is not written."""
    original = PartFolder.encode

    def spoil(self, number, encoder, done):
        if number == 3:
            text = corpus.read_text()
            corpus.write_text(text[:-100] + text[-100:].replace("\n", " "))
        original(self, number, encoder, done)

    monkeypatch.setattr(PartFolder, "encode", spoil)
    status, error = encode("--format", "npy")
    assert status == 2 and "the texts of part-00003.npy changed while they were read" in error
    assert not (tmp_path / "out" / "part-00003.npy").exists()
    assert (tmp_path / "out" / "part-00002.npy").exists()


def test_parquet_without_pyarrow_names_the_extra(encode, tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pyarrow.parquet", None)
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    status, error = encode()
    assert status == 2 and 'or choose --format npy; pip install "minbert[data]" installs it' in error
    assert not list((tmp_path / "out").glob("*part*"))


def test_texts_of_tables(run, tiny_folder, corpus, tmp_path):
    """The vectors are those of the lines, whatever the format and however the rows lie in files."""
    lines = corpus.read_text().splitlines()
    folder = tmp_path / "tables"
    folder.mkdir()
    for number in range(3):
        rows = lines[number * 40 : number * 40 + 40]
        (folder / f"{number}.jsonl").write_text("".join(json.dumps({"body": row}) + "\n" for row in rows))
    common = ("encode", "--weights", tiny_folder, "--format", "npy", "--part-size", 30)
    assert run(*common, corpus, tmp_path / "a") == (0, "", "")
    assert run(*common, folder, tmp_path / "b", "--column", "body") == (0, "", "")
    assert all(map(np.array_equal, read_parts(tmp_path / "a"), read_parts(tmp_path / "b")))
    assert PartFolder.open(tmp_path / "b").texts([85]) == {
        85: {"file": str(folder / "2.jsonl"), "line": 6, "text": lines[85]}
    }
    array = tmp_path / "c.npy"
    assert run("encode", "--weights", tiny_folder, folder, array, "--column", "body") == (0, "", "")
    np.testing.assert_allclose(np.load(array), read_parts(tmp_path / "a")[1], rtol=0, atol=1e-6)
