"""Search in a folder of parts, exact and by HNSW, against numpy over everything; indexes of others.

Run: pytest tests/minbert/corpus/test_hnsw.py
"""

import json
import sys

import numpy as np
import pytest

from minbert import SentenceEncoder
from minbert.corpus.parts import PartFolder
from minbert.corpus.search import nearest, nearest_in_parts
from tests.minbert.corpus.generated import read_parts, write_corpus

TEXTS = 400


@pytest.fixture
def encoded(run, tiny_folder, tmp_path):
    """The folder of parts of a corpus of 400 lines, 90 a part."""
    corpus = write_corpus(tmp_path / "corpus.txt", TEXTS)
    common = ("encode", "--weights", tiny_folder, corpus, tmp_path / "out", "--part-size", 90)
    assert run(*common, "--format", "npy") == (0, "", "")
    return tmp_path / "out"


@pytest.fixture
def search(run, encoded, tiny_folder):
    """Runs `minbert nearest --json` in the folder: (status, the answer or the error)."""

    def run_search(*options, folder=encoded, queries=("a great book", "dull"), top=5):
        asked = [word for query in queries for word in ("--query", query)]
        words = ("nearest", "--weights", tiny_folder, folder, *asked, "--top", top, "--json", *options)
        status, out, error = run(*words)
        return status, json.loads(out) if status == 0 else error

    return run_search


def test_exact_search_in_parts_is_that_in_one_array(encoded):
    vectors = read_parts(encoded)[1]
    queries = np.concatenate([vectors[::50], np.random.default_rng(0).normal(size=(5, 24)).astype("f4")])
    for top in (1, 7, TEXTS + 1):
        found = nearest_in_parts(PartFolder.open(encoded), queries, top)
        for ours, expected in zip(found, nearest(vectors, queries, top), strict=True):
            assert np.array_equal(ours, expected)


def test_texts_and_places_of_what_is_nearest(search, encoded, tiny_folder, run, tmp_path):
    corpus = (tmp_path / "corpus.txt").read_text().splitlines()
    encoder = SentenceEncoder.from_pretrained(tiny_folder)
    queries = encoder.encode(["a great book", "dull"])
    scores, rows = nearest(read_parts(encoded)[1], queries, 5)
    status, found = search()
    assert status == 0 and (found["corpus"], found["lines"]) == (str(encoded), TEXTS)
    for i, entry in enumerate(found["queries"]):
        assert [near["id"] for near in entry["nearest"]] == rows[i].tolist()
        assert [near["cosine"] for near in entry["nearest"]] == scores[i].tolist()
        for near in entry["nearest"]:
            assert near["file"] == str(tmp_path / "corpus.txt") and near["line"] == near["id"] + 1
            assert near["text"] == corpus[near["id"]]
    out = run("nearest", "--weights", tiny_folder, encoded, "--query", "dull", "--top", 1)[1]
    row = rows[1, 0]
    assert out == f"dull\n  {scores[1, 0]:7.4f}  {tmp_path / 'corpus.txt'}:{row + 1}  {corpus[row]}\n"
    (tmp_path / "corpus.txt").unlink()  # the vectors may have been moved elsewhere
    out = run("nearest", "--weights", tiny_folder, encoded, "--query", "dull", "--top", 1)[1]
    assert out == f"dull\n  {scores[1, 0]:7.4f}  id {row}\n"


def test_hnsw_finds_what_exact_search_finds(search, encoded):
    pytest.importorskip("usearch")
    exact = search(top=10)[1]
    before = {path.name for path in encoded.iterdir()}
    first = search("--index", "hnsw", top=10)
    assert {path.name for path in encoded.iterdir()} - before == {"index.usearch", "index.usearch.json"}
    made = (encoded / "index.usearch").stat().st_mtime_ns
    assert search("--index", "hnsw", top=10) == first
    assert (encoded / "index.usearch").stat().st_mtime_ns == made  # taken, not made anew
    for ours, expected in zip(first[1]["queries"], exact["queries"], strict=True):
        found = {near["id"]: near["cosine"] for near in ours["nearest"]}
        wanted = {near["id"]: near["cosine"] for near in expected["nearest"]}
        assert len(found) == 10 and len(found.keys() & wanted.keys()) >= 9
        assert all(abs(found[id] - wanted[id]) < 2e-3 for id in found.keys() & wanted.keys())
        assert list(found.values()) == sorted(found.values(), reverse=True)


def test_an_index_of_other_vectors_is_refused(search, run, encoded, tiny_folder, tmp_path):
    pytest.importorskip("usearch")
    index = tmp_path / "kept" / "mine.usearch"
    assert search("--index", "hnsw", "--index-file", index)[0] == 0
    assert {path.name for path in index.parent.iterdir()} == {"mine.usearch", "mine.usearch.json"}
    other = write_corpus(tmp_path / "other.txt", TEXTS, seed=1)
    common = ("encode", "--weights", tiny_folder, other, tmp_path / "other", "--format", "npy")
    assert run(*common)[0] == 0
    before = index.read_bytes()
    status, error = search("--index", "hnsw", "--index-file", index, folder=tmp_path / "other")
    assert status == 2 and "mine.usearch belongs to other vectors than those in" in error
    index.with_name("mine.usearch.json").unlink()
    status, error = search("--index", "hnsw", "--index-file", index)
    assert status == 2 and "belongs to other vectors" in error and index.read_bytes() == before
    (encoded / "index.usearch").write_bytes(b"not an index")
    (encoded / "index.usearch.json").write_text(
        json.dumps({"folder": PartFolder.open(encoded).id, "rows": TEXTS, "features": 24})
    )
    status, error = search("--index", "hnsw")
    assert status == 2 and "index.usearch is damaged" in error


def test_what_does_not_go_together(search, run, encoded, tiny_folder, tmp_path, monkeypatch):
    for options, message in (
        (
            ["--pooling", "cls"],
            'begun with modules ["Pooling(24, mean)"], and now it is ["Pooling(24, cls)"]',
        ),
        (["--vectors", tmp_path / "v.npy"], "--vectors is for a text file"),
        (["--index-file", tmp_path / "i"], "--index-file is given without --index hnsw"),
        (["--index", "hnsw", "--top", "0"], "--top is 0"),
    ):
        status, error = search(*options)
        assert status == 2 and message in error and error.count("\n") == 1
    status, error = search("--index", "hnsw", folder=tmp_path / "corpus.txt")
    assert status == 2 and "--index is for a folder of parts" in error
    monkeypatch.setitem(sys.modules, "usearch", None)
    monkeypatch.setitem(sys.modules, "usearch.index", None)
    status, error = search("--index", "hnsw")
    assert status == 2 and 'pip install "minbert[search]"' in error
    corpus = tmp_path / "corpus.txt"
    text = corpus.read_text()
    corpus.write_text(text + "more\n")
    status, error = search()
    assert status == 2 and "are no longer those that" in error
    corpus.write_text(text)
    (encoded / "part-00002.npy").unlink()
    status, error = search()
    assert status == 2 and "has 4 of 5 parts; start minbert encode again" in error
