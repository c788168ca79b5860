"""The bundled corpus: the same bytes in every release, readable without rejects, a test split that is new."""

import hashlib
from pathlib import Path

import pytest

from multitask.config.task_config import task_config
from multitask.config.task_kinds import make_task
from multitask.data.readers import Examples
from multitask.data.sample import write_sample
from scripts.make_sample_corpus import make_corpus

SPLITS = {  # rows of train, dev and test as the tasks name them
    "sst": (4000, 500, 500),
    "cfimdb": (600, 150, 200),
    "paraphrase": (8000, 500, 500),
    "sts": (3000, 500, 500),
    "ner": (800, 200, 200),
    "news": (800, None, 400),
    "nli": (600,),
    "simcse": (1500,),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("sample")
    write_sample(folder)
    return folder


def load(folder: Path, name: str, **files: str) -> dict[str, Examples]:
    config = task_config(name, files)
    task = make_task(name, config)
    return {split: task.load(folder, split) for split in ("train", "dev", "test") if getattr(config, split)}


def content(folder: Path) -> dict[str, bytes]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def test_the_corpus_has_not_changed(folder):
    digest = hashlib.sha256()
    for name, data in content(folder).items():
        digest.update(name.encode() + data)
    assert digest.hexdigest() == "f93954722e7b9a96b249494dbafc515288c8c1e8920a527cfc181c4d7d62a87a"


@pytest.mark.slow
def test_the_script_makes_the_corpus(folder):
    assert {name: text.encode() for name, text in make_corpus().items()} == content(folder)


def words(examples: Examples) -> set[str]:
    return {word.lower() for row in examples.rows for text in row.texts for word in text.split()}


@pytest.mark.parametrize("name", SPLITS)
def test_every_row_is_read_and_no_text_stands_in_two_splits(folder, name):
    splits = load(folder, name)
    sizes = [count for count in SPLITS[name] if count]
    assert [len(examples) for examples in splits.values()] == sizes
    assert not any(examples.rejects for examples in splits.values())
    texts = [{tuple(sorted(row.texts)) for row in examples.rows} for examples in splits.values()]
    assert len(set().union(*texts)) == sum(map(len, texts))  # a pair turned round is the same pair

    if name not in ("sst", "cfimdb", "paraphrase", "sts"):
        return
    # The test split is made of known words, and its labels stand beside it.
    assert words(splits["dev"]) | words(splits["test"]) <= words(splits["train"])
    labelled = load(folder, name, test=task_config(name, {}).test.replace("-student", ""))["test"]
    assert [(row.id, row.texts) for row in labelled.rows] == [
        (row.id, row.texts) for row in splits["test"].rows
    ]
    assert labelled.labelled and not splits["test"].labelled
