"""Exact nearest neighbours against numpy over everything, and the command on the tiny weights.

Run: pytest tests/minbert/corpus/test_search.py
"""

import json
import math
import shutil
import tracemalloc

import numpy as np
import pytest

from minbert import InputError, SentenceEncoder
from minbert.cli.main import main
from minbert.corpus.search import nearest


@pytest.fixture
def generator():
    return np.random.default_rng(5)


def by_sorting(vectors, queries, top):
    """The cosine of everything with everything, sorted: by cosine, then by row."""
    vectors, queries = np.asarray(vectors, dtype=np.float64), queries.astype(np.float64)
    lengths = np.maximum(np.linalg.norm(vectors, axis=1), 1e-300)
    query_lengths = np.maximum(np.linalg.norm(queries, axis=1), 1e-300)
    cosines = (queries / query_lengths[:, None]) @ (vectors / lengths[:, None]).T
    rows = np.argsort(-cosines.round(12), axis=1, kind="stable")[:, :top]
    return np.take_along_axis(cosines, rows, axis=1), rows


def agree(found, expected):
    scores, rows = found
    assert scores.dtype == np.float64 and rows.dtype == np.int64
    np.testing.assert_array_equal(rows, expected[1])
    np.testing.assert_allclose(scores, expected[0], rtol=0, atol=1e-12)


# --- against sorting everything -----------------------------------------------------------------------------


@pytest.mark.parametrize("block_rows", [1, 30, 4096])
@pytest.mark.parametrize("top", [1, 10, 99, 100, 101])
def test_equals_sorting(generator, block_rows, top):
    vectors = generator.normal(size=(100, 24)).astype(np.float32)
    queries = generator.normal(size=(40, 24)).astype(np.float32)
    found = nearest(vectors, queries, top, block_rows)
    assert found[0].shape == (40, min(top, 100))
    agree(found, by_sorting(vectors, queries, top))


@pytest.mark.parametrize("block_rows", [3, 64, 4096])
def test_ties_go_to_the_lower_row(generator, block_rows):
    """Few different vectors, many times each: equal rows must have equal scores wherever they stand."""
    kinds = generator.normal(size=(5, 384)).astype(np.float32)
    vectors = kinds[generator.integers(0, 5, size=997)]
    queries = np.concatenate([kinds, generator.normal(size=(3, 384)).astype(np.float32)])
    for top in (1, 50, 997):
        scores, rows = nearest(vectors, queries, top, block_rows)
        agree((scores, rows), by_sorting(vectors, queries, top))
        for query in range(len(queries)):
            same = np.diff(scores[query]) == 0
            assert (np.diff(rows[query])[same] > 0).all() and len(np.unique(scores[query])) <= 5


def test_rows_that_differ_by_less_than_fp32(generator):
    """The order is that of the fp64 cosines, where fp32 products cannot tell the rows apart."""
    base = generator.normal(size=384)
    vectors = base + 1e-7 * generator.normal(size=(400, 384))
    queries = base[None] + 0.1 * generator.normal(size=(4, 384))
    units = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    asked = queries / np.linalg.norm(queries, axis=1, keepdims=True)
    cosines = np.array([[math.fsum(query * unit) for unit in units] for query in asked])
    scores, rows = nearest(vectors, queries, 20, 50)
    expected = np.argsort(-cosines, axis=1, kind="stable")[:, :20]
    assert (rows == expected).mean() > 0.99  # a few lie closer than fp64 can tell
    np.testing.assert_allclose(
        scores, np.take_along_axis(cosines, expected, axis=1), rtol=0, atol=384 * 2**-53
    )


def test_lengths_do_not_count(generator):
    vectors = generator.normal(size=(60, 8)).astype(np.float32)
    queries = generator.normal(size=(4, 8)).astype(np.float32)
    factors = (2.0 ** generator.integers(-60, 60, size=(60, 1))).astype(np.float32)
    one, other = nearest(vectors, queries, 60), nearest(vectors * factors, queries * np.float32(2**-70), 60)
    assert np.array_equal(one[0], other[0]) and np.array_equal(one[1], other[1])


def test_zeros_have_the_cosine_0(generator):
    vectors = np.array([[0, 0], [1, 0], [0, 0], [-1, 0], [0, 3]], dtype=np.float32)
    scores, rows = nearest(vectors, np.array([[2, 0], [0, 0]], dtype=np.float32), 9)
    assert rows.tolist() == [[1, 0, 2, 4, 3], [0, 1, 2, 3, 4]]
    assert scores.tolist() == [[1, 0, 0, 0, -1], [0] * 5]


def test_many_queries_and_none(generator):
    vectors = generator.normal(size=(50, 4)).astype(np.float32)
    queries = generator.normal(size=(1000, 4)).astype(np.float32)
    agree(nearest(vectors, queries, 3), by_sorting(vectors, queries, 3))
    scores, rows = nearest(vectors, queries[:0], 3)
    assert scores.shape == rows.shape == (0, 3)
    scores, rows = nearest(vectors[:0], queries, 3)
    assert scores.shape == rows.shape == (1000, 0)


def test_memory_does_not_grow_with_the_rows(generator, tmp_path):
    """A memory map is no memory of ours; what is allocated depends on the block only."""
    queries = generator.normal(size=(40, 32)).astype(np.float32)
    peaks = []
    for count in (4_000, 40_000):
        np.save(tmp_path / "vectors.npy", generator.normal(size=(count, 32)).astype(np.float32))
        vectors = np.load(tmp_path / "vectors.npy", mmap_mode="r")
        tracemalloc.start()
        nearest(vectors, queries, 10, 512)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.2 * peaks[0] and peaks[1] < vectors.nbytes / 4


def test_memory_with_equal_rows():
    """All rows are candidates of all queries then."""
    vectors = np.broadcast_to(np.ones(64, dtype=np.float32), (20_000, 64))
    tracemalloc.start()
    scores, rows = nearest(vectors, np.ones((200, 64), dtype=np.float32), 5, 1000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (rows == np.arange(5)).all() and (scores == scores[0, 0]).all()
    assert peak < 10 * 1000 * 64 * 8


def test_wrong_arrays(generator):
    good = generator.normal(size=(6, 4)).astype(np.float32)
    for value in (np.nan, np.inf, -np.inf):
        bad = good.copy()
        bad[3, 1] = value
        with pytest.raises(InputError, match="row 3 of the vectors holds numbers that are not finite"):
            nearest(bad, good, 2, block_rows=2)
        with pytest.raises(InputError, match="row 3 of the queries holds numbers that are not finite"):
            nearest(good, bad, 2)
    with pytest.raises(InputError, match="top is 0; give at least 1"):
        nearest(good, good, 0)
    with pytest.raises(InputError, match="the vectors have 4 features and the queries 3"):
        nearest(good, good[:, :3], 2)
    with pytest.raises(InputError, match=r"the queries are float32 of shape \(4,\); give floats"):
        nearest(good, good[0], 2)
    with pytest.raises(InputError, match="the vectors are int64 of shape"):
        nearest(np.ones((3, 4), dtype=np.int64), good, 2)


# --- the command --------------------------------------------------------------------------------------------

LINES = ["the cat reads", "", "a good film", "the dog", "the cat reads", "over the green river", "a bad film"]


@pytest.fixture
def corpus(tmp_path):
    path = tmp_path / "corpus.txt"
    path.write_text("\n".join(LINES), encoding="utf-8")
    return path


@pytest.fixture
def run(capsys, tiny_folder):
    """Runs `minbert nearest` in this process: (status, standard output, standard error)."""

    def run_main(*arguments, weights=tiny_folder):
        with pytest.raises(SystemExit) as stop:
            main(["nearest", "--weights", str(weights), *map(str, arguments)])
        return stop.value.code, *capsys.readouterr()

    return run_main


def expected(folder, queries, top, **options):
    encoder = SentenceEncoder.from_pretrained(folder, **options)
    return by_sorting(encoder.encode(LINES), encoder.encode(queries), top)


def test_the_nearest_lines(run, corpus, tiny_folder, tmp_path):
    (tmp_path / "queries.txt").write_text("the cat reads\na dull film\n")
    queries = ["the house", "the cat reads", "a dull film"]
    status, out, err = run(
        *(corpus, "--query", queries[0], "--queries", tmp_path / "queries.txt", "--top", 3, "--json")
    )
    assert (status, err) == (0, "")
    found = json.loads(out)
    assert (found["corpus"], found["lines"]) == (str(corpus), 7)
    assert [entry["query"] for entry in found["queries"]] == queries
    scores, rows = expected(tiny_folder, queries, 3)
    for i, entry in enumerate(found["queries"]):
        assert [line["line"] - 1 for line in entry["nearest"]] == rows[i].tolist()
        assert [line["text"] for line in entry["nearest"]] == [LINES[row] for row in rows[i]]
        np.testing.assert_allclose([line["cosine"] for line in entry["nearest"]], scores[i], atol=1e-6)
    assert [line["line"] for line in found["queries"][1]["nearest"]][:2] == [1, 5]
    status, out, _ = run(corpus, "--query", "the cat reads", "--top", 2)
    assert (
        out == f"the cat reads\n   1.0000  {corpus}:1  the cat reads\n   1.0000  {corpus}:5  the cat reads\n"
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["corpus.txt", "queries.txt"]


def test_options_of_the_encoder_count(run, corpus, tiny_folder):
    out = run(corpus, "--query", "a river", "--pooling", "cls", "--json", "--top", 7)[1]
    scores, rows = expected(tiny_folder, ["a river"], 7, pooling="cls")
    assert [line["line"] - 1 for line in json.loads(out)["queries"][0]["nearest"]] == rows[0].tolist()


def test_vectors_are_kept_and_taken(run, corpus, tiny_folder, tmp_path, monkeypatch):
    path = tmp_path / "v.npy"
    arguments = (corpus, "--query", "a river", "--vectors", path, "--json")
    first = run(*arguments)
    assert first[0] == 0 and first[2] == ""
    vectors = SentenceEncoder.from_pretrained(tiny_folder).encode(LINES)
    assert np.array_equal(np.load(path), vectors) and path.stat().st_size == 128 + vectors.nbytes
    written = path.stat().st_mtime_ns, path.stat().st_ino
    encoded = []
    stream = SentenceEncoder.stream
    monkeypatch.setattr(
        SentenceEncoder,
        "stream",
        lambda self, *a, **k: (encoded.append(v) or v for v in stream(self, *a, **k)),
    )
    assert run(*arguments) == first
    assert (path.stat().st_mtime_ns, path.stat().st_ino) == written and sum(
        map(len, encoded)
    ) == 1  # the query
    assert sorted(p.name for p in tmp_path.iterdir()) == ["corpus.txt", "v.npy", "v.npy.json"]


@pytest.mark.parametrize(
    "change", ["text", "order", "weights", "pooling", "normalize", "lowercase", "length", "vectors", "cut"]
)
def test_vectors_of_something_else_are_made_anew(run, corpus, tiny_folder, tmp_path, randomize, change):
    from minbert import BertModel

    weights = shutil.copytree(tiny_folder, tmp_path / "weights")
    path, options = tmp_path / "v.npy", []
    arguments = (corpus, "--query", "a river", "--vectors", path, "--json")
    run(*arguments, weights=weights)
    if change == "text":
        corpus.write_text("\n".join([*LINES[:-1], "a bad house"]))
    elif change == "order":
        corpus.write_text("\n".join(LINES[::-1]))
    elif change == "weights":
        model = BertModel.from_pretrained(weights)
        randomize(model, seed=1)
        model.save_pretrained(weights)
    elif change == "lowercase":
        settings = json.loads((weights / "tokenizer_config.json").read_text())
        settings["do_lower_case"] = not settings["do_lower_case"]
        (weights / "tokenizer_config.json").write_text(json.dumps(settings))
    elif change == "length":
        settings = json.loads((weights / "tokenizer_config.json").read_text()) | {"model_max_length": 4}
        (weights / "tokenizer_config.json").write_text(json.dumps(settings))
    elif change == "vectors":
        np.save(path, np.load(path)[::-1])
    elif change == "cut":
        path.write_bytes(path.read_bytes()[:-4])
    else:
        options = {"pooling": ["--pooling", "max"], "normalize": ["--normalize", "l2"]}[change]
    fresh = run(*(a for a in arguments if a not in ("--vectors", path)), *options, weights=weights)
    status, out, err = run(*arguments, *options, weights=weights)
    assert (status, out) == (0, fresh[1])
    assert err == f"{path} belongs to another text or encoder; it is made anew\n"
    assert run(*arguments, *options, weights=weights) == (0, out, "")


def test_vectors_of_others_stay(run, corpus, tmp_path):
    path = tmp_path / "v.npy"
    np.save(path, np.ones((7, 24), dtype=np.float32))
    before = path.read_bytes()
    status, out, err = run(corpus, "--query", "a", "--vectors", path)
    assert (status, out) == (2, "") and "v.npy is there without v.npy.json" in err
    assert path.read_bytes() == before and sorted(p.name for p in tmp_path.iterdir()) == [
        "corpus.txt",
        "v.npy",
    ]


def test_wrong_input(run, corpus, tmp_path):
    (tmp_path / "empty.txt").write_text("")
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9\n")
    for arguments, message in (
        ((corpus,), "there is no query; give --query TEXT, or --queries FILE"),
        ((corpus, "--queries", tmp_path / "empty.txt"), "there is no query"),
        ((corpus, "--query", "a", "--top", 0), "--top is 0; give at least 1"),
        ((corpus, "--query", "a", "--top", "x"), "--top"),
        ((corpus, "--query", "a", "--index", "annoy"), "--index"),
        ((tmp_path / "empty.txt", "--query", "a"), "empty.txt is empty"),
        ((tmp_path / "nowhere.txt", "--query", "a"), "there is no file"),
        ((tmp_path, "--query", "a"), "has no encoding.json; give a folder that minbert encode has"),
        ((tmp_path / "latin.txt", "--query", "a"), "latin.txt:1 is not UTF-8"),
        ((corpus, "--queries", tmp_path / "latin.txt"), "latin.txt:1 is not UTF-8"),
        ((corpus, "--query", "a", "--vectors", tmp_path), "is a folder or a device"),
        ((corpus, "--query", "a", "--vectors", corpus / "v.npy"), "a file is in the way"),
    ):
        before = sorted(tmp_path.rglob("*"))
        status, out, err = run(*arguments)
        assert (status, out) == (2, "") and message in err and err.count("\n") == 1, err
        assert sorted(tmp_path.rglob("*")) == before
    status, out, err = run(corpus, "--query", "a", weights=tmp_path / "nowhere")
    assert status == 2 and "there is no folder" in err
