"""The token store: equal to what was tokenized, found again by content, whole or not there, one writer."""

import json
import os
import subprocess
import sys
import tracemalloc
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from minbert import InputError, Tokenizer, TokenSequence
from multitask.config.task_config import task_config
from multitask.config.task_kinds import make_task
from multitask.data import cache_folder as cache_module
from multitask.data import token_store as store_module
from multitask.data.cache_folder import cache_folder, file_hash
from multitask.data.collate import TokenizedExample
from multitask.data.readers import Example, Examples, label_counts, labels_of, number_label, read_table
from multitask.data.token_store import open_store
from multitask.tasks import splits
from multitask.tasks.base import TextTask
from multitask.tasks.splits import load_split, tokenize_split

ROOT = Path(__file__).parents[3]
TEXTS = ["the cat reads a book", "good", "café noir", "what a great movie , not dull !", "is it"]


@pytest.fixture
def pieces(monkeypatch):
    """Small files take the way of large ones, in pieces of three rows."""
    monkeypatch.setattr(splits, "SMALL", 0)
    monkeypatch.setattr(store_module, "ROWS_AT_ONCE", 3)


@pytest.fixture
def table(tmp_path):
    """table(name, rows=23) -> a file of pairs with labels, every seventh row without a text."""

    def write(name: str = "train.csv", rows: int = 23, label=lambda i: i % 3) -> Path:
        path = tmp_path / "data" / name
        path.parent.mkdir(exist_ok=True)
        lines = ["id\ttext\tother\tlabel\tseveral"]
        for i in range(rows):
            text = "" if i % 7 == 3 else f"{TEXTS[i % 5]} {i % 4}"
            lines.append(f"é{i}\t{text}\t{TEXTS[-1 - i % 5]}\t{label(i)}\t{['a|b', 'b', '[]'][i % 3]}")
            lines += [""] if i % 5 == 1 else []
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return path

    return write


def a_task(kind="classification", **values):
    return make_task("t", task_config("t", {"type": kind, "train": "train.csv", **values}))


def stored(task, folder, tokenizer, cache, limit=None):
    return tokenize_split(task, task.load(folder, "train"), "train", tokenizer, cache, limit)


def names(cache: Path) -> list[str]:
    return sorted(path.name for path in (cache / "tokens").glob("*") if path.is_dir())


KINDS = [
    ("classification", {}),
    ("classification", {"labels": ["0", "1"]}),
    ("classification", {"text2": "other", "pairs": "cross", "max_length": 8}),
    ("classification", {"text2": "other", "pairs": "bi"}),
    ("similarity", {"text": "text", "text2": "other", "high": 3.0}),
    ("multilabel", {"label": "several"}),
    ("ranking", {"text": "text", "text2": "other", "label": "none", "negatives": ["text"]}),
    ("masked_lm", {}),
    ("simcse", {}),
]


@pytest.mark.parametrize(("kind", "values"), KINDS)
@pytest.mark.parametrize("limit", [None, 5])
def test_a_store_is_what_was_tokenized(kind, values, limit, pieces, table, tiny_tokenizer, tmp_path):
    path, cache = table(), tmp_path / "cache"
    task = a_task(kind, **values)
    examples = task.load(path.parent, "train")
    rows = load_split(task, path.parent, "train", limit)[0].rows
    wanted = task.tokenize(tiny_tokenizer, rows)
    for fresh in (True, False):  # written, then found
        task = a_task(kind, **values)
        task.load(path.parent, "train")
        store, notes = stored(task, path.parent, tiny_tokenizer, cache, limit)
        assert len(names(cache)) == 1 and notes == load_split(task, path.parent, "train", limit)[1]
        assert len(store) == len(wanted) and [*store.lengths] == [entry.length for entry in wanted]
        used = {token for entry in wanted for side in entry.sides for token in side.ids}
        assert store.token_ids.tolist() == sorted(used)
        cut = [any(side.truncated for side in entry.sides) for entry in wanted]
        assert store.truncated == np.mean(cut)
        for entry, other in zip(store, wanted, strict=True):
            assert [side[:3] for side in entry.sides] == [side[:3] for side in other.sides]
            assert entry.example == other.example and repr(entry.example.texts) == repr(other.example.texts)
            assert type(entry.example.label) is type(other.example.label)
            assert entry.example.text_hashes == pytest.approx(other.example.text_hashes, rel=0)
        assert [*labels_of(store.rows)] == [row.label for row in rows]
        assert [*label_counts(store.rows).items()] == [*label_counts(rows).items()]
        assert store[-1].example == rows[-1] and [e.example for e in store[1:3]] == [*rows[1:3]]
        with pytest.raises(IndexError):
            store[len(wanted)]
        if task.contrastive:
            assert len(store.rows.all_text_hashes) == len(examples.rows)
        if kind == "classification":
            assert task.labels == (("0", "1") if values.get("labels") else ("0", "1", "2"))
        batch, other = task.collate(store[:4]), task.collate(wanted[:4])
        assert batch.example_ids == other.example_ids and len(batch.inputs) == len(other.inputs)
        if kind != "masked_lm":
            assert batch.targets.tolist() == other.targets.tolist()
        assert fresh or store.rejected.count == len(examples.rejects)


def test_prepare_training_and_majorities_are_the_same_from_arrays(pieces, table, tiny_tokenizer, tmp_path):
    folder = table().parent
    for kind, values in (
        ("ranking", {"text": "text", "text2": "other"}),
        ("ranking", {"text": "text", "text2": "other", "label": "none"}),
        ("simcse", {}),
        ("classification", {"class_weights": "balanced"}),
        ("similarity", {"text": "text", "text2": "other", "high": 3.0}),
    ):
        table(label=lambda i: i % 2)
        task, plain = a_task(kind, **values), a_task(kind, **values)
        for limit in (None, 9):
            rows = load_split(plain, folder, "train", limit)[0].rows
            for _ in range(2):
                store, _ = stored(task, folder, tiny_tokenizer, tmp_path / "cache", limit)
                assert task.prepare_training(store.rows) == plain.prepare_training(rows) or kind == "simcse"
                if task.scored:
                    assert task.majority_prediction(store.rows) == plain.majority_prediction(rows)
                if task.contrastive and kind != "simcse":
                    targets = [t.collate(s).targets for t, s in ((task, store[:]), (plain, store[:]))]
                    assert targets[0].tolist() == targets[1].tolist()


def test_what_decides_the_tokens_makes_another_store(pieces, table, tiny_tokenizer, tmp_path):
    path, cache = table(), tmp_path / "cache"
    small = Tokenizer.train([" ".join(TEXTS)], 40)

    def count(tokenizer=tiny_tokenizer, limit=None, **values):
        stored(a_task(**values), path.parent, tokenizer, cache, limit)
        return len(names(cache))

    assert count() == count() == 1
    changes = [
        {"max_length": 7},
        {"text": "other"},
        {"labels": ["0", "1"]},
        {"text2": "other", "pairs": "cross"},
        {"text2": "other", "pairs": "bi"},
        {"delimiter": "tab"},
        {"limit": 4},
        {"tokenizer": small},
    ]
    assert [count(**change) for change in changes] == list(range(2, 10))
    assert count(dropout=0.5) == count(loss="focal") == 9  # decide nothing of it
    before = path.stat()
    path.write_text(path.read_text(encoding="utf-8").replace("good", "food"), encoding="utf-8")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    assert count() == 10
    path.with_name("copy.csv").write_bytes(path.read_bytes())
    assert count(train="copy.csv") == 10  # the content counts, not the name


def test_kinds_of_a_user_are_kept_if_they_say_so(pieces, table, tiny_tokenizer, tmp_path):
    class Own(TextTask):
        losses = {}
        parse_label = staticmethod(str)

    class Versioned(Own):
        data_version = "1"

    class Heir(Versioned):
        pass

    folder = table().parent
    for kind, kept in ((Own, 0), (Versioned, 1), (Heir, 1)):
        task = kind(
            "t", task_config("t", {"type": "pair", "train": "train.csv", "text": "text", "text2": "other"})
        )
        stored(task, folder, tiny_tokenizer, tmp_path / "cache")
        assert len(names(tmp_path / "cache")) == kept if kept else not (tmp_path / "cache").exists()


def test_small_files_and_rows_in_memory_are_not_kept(table, tiny_tokenizer, tmp_path):
    store, _ = stored(a_task(), table().parent, tiny_tokenizer, tmp_path / "cache")
    assert not (tmp_path / "cache").exists() and len(store) == 20
    (tmp_path / "data" / "train.csv").unlink()
    assert store[0].example.texts == ("the cat reads a book 0",)


@pytest.mark.parametrize("damage", ["facts.json", "tokens.bin", "facts", "kill"])
def test_a_store_is_whole_or_written_again(damage, pieces, table, tiny_tokenizer, tmp_path, monkeypatch):
    folder, cache = table().parent, tmp_path / "cache"
    if damage == "kill":
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(
                store_module._Arrays, "close", lambda self: (_ for _ in ()).throw(KeyboardInterrupt)
            )
            stored(a_task(), folder, tiny_tokenizer, cache)
        assert [path.suffix for path in (cache / "tokens").iterdir()] == [".lock"]
        return
    store = [*stored(a_task(), folder, tiny_tokenizer, cache)[0]]
    (name,) = names(cache)
    place = cache / "tokens" / name
    if damage == "facts":
        (place / "facts.json").write_text("{")
    else:
        (place / damage).write_bytes(b"")
    os.mkdir(place.with_name(f".{name}.{store_module.socket.gethostname()}.left"))  # of a killed process
    again, _ = stored(a_task(), folder, tiny_tokenizer, cache)
    assert [*again] == store and names(cache) == [name]


def test_a_file_that_changes_meanwhile_is_an_error(pieces, table, tiny_tokenizer, tmp_path, monkeypatch):
    path = table()
    task = a_task()
    tokenize = task.tokenize

    def slow(tokenizer, examples):
        with open(path, "a", encoding="utf-8") as file:
            file.write("x\ty\tz\t1\n")
        return tokenize(tokenizer, examples)

    monkeypatch.setattr(task, "tokenize", slow)
    with pytest.raises(InputError, match="train.csv changed while it was read"):
        stored(task, path.parent, tiny_tokenizer, tmp_path / "cache")
    assert names(tmp_path / "cache") == []


WRITER = """
import sys
from pathlib import Path
from minbert import Tokenizer
from multitask.config.task_config import task_config
from multitask.config.task_kinds import make_task
from multitask.tasks import splits
splits.SMALL = 0
weights, data, cache = sys.argv[1:]
task = make_task("t", task_config("t", {"type": "classification", "train": "train.csv"}))
calls, tokenize = [], task.tokenize
task.tokenize = lambda tokenizer, rows: calls.append(len(rows)) or tokenize(tokenizer, rows)
examples = task.load(Path(data), "train")
store, _ = splits.tokenize_split(task, examples, "train", Tokenizer.from_pretrained(weights), Path(cache))
print(sum(calls), len(store))
"""


@pytest.mark.slow
def test_of_several_processes_one_writes(table, tiny_folder, tmp_path):
    path = table(rows=3000)
    command = [sys.executable, "-c", WRITER, str(tiny_folder), str(path.parent), str(tmp_path / "cache")]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    processes = [subprocess.Popen(command, env=environment, stdout=subprocess.PIPE) for _ in range(3)]
    said = [process.communicate(timeout=300)[0].split() for process in processes]
    count = said[0][1]
    assert sorted(int(tokenized) for tokenized, _ in said) == [0, 0, int(count)]
    assert {total for _, total in said} == {count}


def test_labels_of_every_type_come_back(pieces, table, tiny_tokenizer, tmp_path):
    def label(text):
        return {"0": 0, "1": 1.5, "2": ("B-X", "O")}[text]

    def open_(parse):
        examples = read_table(table(), texts=["text"], label="label", parse_label=parse)
        return examples, open_store(examples, a_task().tokenize, tiny_tokenizer, "key", tmp_path / str(parse))

    for parse in (label, int, float, str, number_label(0, 2), lambda text: 2**70 + int(text), None):
        examples, store = open_(parse)
        again = open_(parse)[1]
        for found in (store, again):
            assert [row.label for row in found.rows] == [row.label for row in examples.rows]
            assert [*labels_of(found.rows)] == [row.label for row in examples.rows]
            assert [*map(type, labels_of(found.rows))] == [type(row.label) for row in examples.rows]


def test_sequences_of_another_kind_are_kept_or_refused(tiny_tokenizer):
    """Types and words that begin late, large ids, sides of unequal number."""

    def example(i):
        return Example(str(i), ("a",), None, i)

    def side(*ids, types=None, words=None):
        return TokenSequence(list(ids), types or [0] * len(ids), words)

    def store(*sides):
        made = [TokenizedExample(example(i), entry) for i, entry in enumerate(sides)]
        rows = Examples("memory", tuple(entry.example for entry in made))
        left = iter(made)
        tokenize = lambda tokenizer, examples: [*islice(left, len(examples))]  # noqa: E731
        return open_store(rows, tokenize, tiny_tokenizer), made

    found, made = store((side(1, 2),), (side(3, 4, types=[0, 1]),), (side(),))
    assert [entry.sides for entry in found] == [entry.sides for entry in made]
    found, made = store((side(1, 2, words=[-4, 0]),), (side(3, words=[1]),))
    assert [entry.sides for entry in found] == [entry.sides for entry in made]
    for wrong, message in (
        (((side(1),), (side(2), side(3))), "tokenizing gave 2 sequences for 1 and 1 for another"),
        (((side(1),), (side(2**20),)), f"the tokens 1 to {2**20}; the vocabulary has"),
        (((side(1),), (side(tiny_tokenizer.vocab_size),)), f"the tokens 1 to {tiny_tokenizer.vocab_size};"),
        (((side(1, words=[0]),), (side(2),)), "words for a part of the examples"),
    ):
        with pytest.raises(InputError, match=message):
            store(*wrong)
    empty, _ = store()
    assert len(empty) == 0 and [*empty] == [] and empty.truncated == 0


def test_memory_does_not_grow_with_the_rows(pieces, table, tiny_tokenizer, tmp_path, monkeypatch):
    """tracemalloc counts numpy's and Python's own; maps of files are neither."""
    monkeypatch.setattr(store_module, "ROWS_AT_ONCE", 200)

    def peak(rows, limit):
        folder = table(rows=rows).parent
        task = a_task(labels=["0", "1", "2"])
        tracemalloc.start()
        store, _ = stored(task, folder, tiny_tokenizer, tmp_path / "cache", limit)
        task.prepare_training(store.rows)
        task.majority_prediction(store.rows)
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    for limit in (None, 50):
        peak(100, limit)
        few, many = peak(2000, limit), peak(8000, limit)
        assert (many - few) / 6000 < (60 if limit is None else 10)


# --- hashes of files ----------------------------------------------------------------------------------------


def test_the_hash_of_a_large_file_is_kept_while_size_and_time_stay(tmp_path, monkeypatch):
    monkeypatch.setattr(cache_module, "LARGE", 4)
    path, cache, read = tmp_path / "file", tmp_path / "cache", []
    hashed = cache_module._content_hash
    monkeypatch.setattr(cache_module, "_content_hash", lambda path: read.append(path) or hashed(path))
    path.write_text("content")
    fresh = file_hash(path, cache)
    assert file_hash(path, cache) == fresh and len(read) == 2  # changed just now: not to be trusted
    os.utime(path, ns=(0, 10**18))
    assert file_hash(path, cache) == file_hash(path, cache) == fresh and len(read) == 3
    path.write_text("CONTENT")
    os.utime(path, ns=(0, 10**18 + 1))
    assert file_hash(path, cache) == hashed(path) != fresh
    (kept,) = (cache / "hashes").iterdir()
    assert json.loads(kept.read_text())["path"] == str(path)
    kept.write_text("[]")
    assert file_hash(path, cache) == hashed(path)
    assert file_hash(path) == hashed(path)


def test_the_cache_folder_is_the_users_unless_it_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "minbert"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == Path.home() / ".cache" / "minbert"
    assert cache_folder(str(tmp_path / "shared")).is_dir()
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="file cannot be made, a file is in the way"):
        cache_folder(str(tmp_path / "file"))


# --- many files ---------------------------------------------------------------------------------------------


@pytest.fixture
def parts(tmp_path):
    """parts(suffix) -> a folder with three tables, of which the second has no usable row."""

    def write(suffix: str) -> Path:
        folder = tmp_path / "data" / suffix
        folder.mkdir(parents=True)
        (folder / "_SUCCESS").write_text("")
        rows = {
            "part-2": [],
            "part-1": [("good", "1"), ("", "0"), ("the cat", "0")],
            "part-3": [("is it", "1")],
        }
        for name, lines in rows.items():
            lines = lines or [("", "1")]
            path = folder / f"{name}.{suffix}"
            if suffix == "csv":
                path.write_text("text,label\n" + "".join(f"{a},{b}\n" for a, b in lines), encoding="utf-8")
            elif suffix == "jsonl":
                path.write_text("".join(json.dumps({"text": a, "label": int(b)}) + "\n" for a, b in lines))
            elif suffix == "json":
                rows = [json.dumps({"text": a, "label": int(b)}) for a, b in lines]
                path.write_text("[" + ", \n".join(rows) + "]")
            else:
                import pyarrow
                from pyarrow import ipc, parquet

                made = pyarrow.table(
                    {
                        "text": [a or None for a, _ in lines],
                        "label": [int(b) for _, b in lines],
                        "x": [[1]] * len(lines),
                    }
                )
                if suffix == "parquet":
                    parquet.write_table(made, path)
                else:
                    kind = ipc.new_file if suffix == "feather" else ipc.new_stream
                    with pyarrow.OSFile(str(path), "wb") as sink, kind(sink, made.schema) as writer:
                        writer.write_table(made)
        return folder

    return write


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "json", "parquet", "arrow", "feather"])
@pytest.mark.parametrize("pattern", ["", "part-*"])
def test_folders_and_patterns_are_read_file_by_file(suffix, pattern, pieces, parts, tiny_tokenizer, tmp_path):
    if suffix in ("parquet", "arrow", "feather"):
        pytest.importorskip("pyarrow")
    folder = parts(suffix)
    task = a_task(train=f"{suffix}/{pattern}".rstrip("/"))
    examples = task.load(folder.parent, "train")
    first = 2 if suffix == "csv" else 1
    files = [str(folder / f"part-{number}.{suffix}") for number in (1, 1, 3)]
    rows = [(row.id, row.texts, row.label, row.line, row.file) for row in examples.rows]
    assert rows == [
        ("0", ("good",), "1", first, files[0]),
        ("2", ("the cat",), "0", first + 2, files[1]),
        ("4", ("is it",), "1", first, files[2]),
    ]
    assert [(reject.row, reject.line, Path(reject.file).stem) for reject in examples.rejects] == [
        (1, first + 1, "part-1"),
        (3, first, "part-2"),
    ]
    for _ in range(2):
        store, notes = stored(
            a_task(train=task.config.train), folder.parent, tiny_tokenizer, tmp_path / "cache"
        )
        assert [(r.id, r.texts, r.label, r.line, r.file) for r in store.rows] == rows
        assert notes == [
            f"t: {folder}/part-1.{suffix}:{first + 1} rejected: the text 'text' is empty or not text",
            f"t: {folder}/part-2.{suffix}:{first} rejected: the text 'text' is empty or not text",
        ]
    (folder / f"part-3.{suffix}").unlink()
    assert (
        len(stored(a_task(train=task.config.train), folder.parent, tiny_tokenizer, tmp_path / "cache")[0])
        == 2
    )


def test_files_of_a_split_have_the_same_columns_and_ids_of_lines_go_on(parts, tmp_path):
    folder = parts("csv")
    (folder / "part-4.csv").write_text("text\nx\n")
    with pytest.raises(InputError, match="part-4.csv: has no column 'label', unlike .*part-1.csv"):
        a_task(train="csv").load(folder.parent, "train")
    (folder / "part-4.csv").write_text("words,label\nx,1\n")
    with pytest.raises(InputError, match="part-4.csv: no column 'text'"):
        a_task(train="csv").load(folder.parent, "train")
    with pytest.raises(InputError, match=r"part-9\*: no such file"):
        a_task(train="csv/part-9*").load(folder.parent, "train")
    for name, text in (("b.txt", "three\n"), ("a.txt", "one\n\ntwo\n")):
        (tmp_path / name).write_text(text)
    rows = (
        make_task("m", task_config("m", {"type": "masked_lm", "train": "?.txt"})).load(tmp_path, "train").rows
    )
    assert [(row.id, row.texts[0], row.line) for row in rows] == [
        ("1", "one", 1),
        ("3", "two", 3),
        ("4", "three", 1),
    ]


def test_columnar_files_need_pyarrow_and_have_to_be_what_they_say(tmp_path, monkeypatch):
    path = tmp_path / "train.parquet"
    path.write_bytes(b"not parquet")
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "pyarrow", None)
        with pytest.raises(InputError, match=r'need pyarrow; pip install "minbert\[data\]"'):
            a_task(train=path.name).load(tmp_path, "train")
    pytest.importorskip("pyarrow")
    for name in ("train.parquet", "train.arrow"):
        (tmp_path / name).write_bytes(b"not parquet")
        with pytest.raises(InputError, match=f"{name} cannot be read .*; write the file again"):
            a_task(train=name).load(tmp_path, "train")
