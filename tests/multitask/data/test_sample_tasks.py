"""The generated corpus of the other tasks: real files' formats, right labels, a test split that is new.

Run: pytest tests/multitask/data/test_sample_tasks.py
"""

import csv
import hashlib
import re
from collections import Counter
from pathlib import Path
from random import Random

import pytest

from multitask.config.task_config import task_config
from multitask.config.task_kinds import make_task
from multitask.data import sample_entities as names
from multitask.data.conll import read_tagged
from multitask.data.readers import read_lines
from multitask.data.sample import NEWS, TEXTS, TRIPLETS, write_sample
from multitask.data.sample_held_out import is_held_out
from multitask.data.sample_inferences import draw_triplet
from multitask.data.sample_news import TOPICS
from multitask.metrics.entities import entity_spans


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("sample")
    write_sample(folder)
    return folder


@pytest.fixture(scope="module")
def entities(folder) -> dict:
    return {
        split: read_tagged(folder / "conll2003" / f"eng.{split}", entities=True)
        for split in ("train", "testa", "testb")
    }


@pytest.fixture(scope="module")
def news(folder) -> dict:
    task = make_task("news", task_config("news", {}))
    return {split: task.load(folder, split) for split in ("train", "test")}


def test_the_courses_files_have_not_changed_since_the_first_release(folder):
    digest = hashlib.sha256()
    for path in sorted(folder.glob("*.csv")):
        digest.update(path.name.encode() + path.read_bytes())
    assert digest.hexdigest() == "d50baaafaa109d1cc2864456d48a2ccc3ac43c4ee3b8240ec9e9fa4ea0af29e1"


def test_entities_stand_in_the_format_of_conll_2003(folder, entities):
    content = (folder / "conll2003" / "eng.train").read_text()
    assert content.startswith("-DOCSTART- -X- O O\n\n") and content.count("-DOCSTART-") == 40
    lines = [line.split(" ") for line in content.splitlines() if line]
    assert {len(line) for line in lines} == {4}
    counts = Counter(line[3] for line in lines)
    # IOB1: mostly I-, a B- only where two entities of a type stand side by side.
    assert {tag[0] for tag in counts} == {"O", "B", "I"}
    assert counts["B-ORG"] > 10 and counts["I-ORG"] > 10 * counts["B-ORG"]
    types = {span.type for row in entities["train"].rows for span in entity_spans(row.label)}
    assert types == {"PER", "ORG", "LOC", "MISC"}


def test_sizes_and_no_rejects(folder, entities, news):
    assert {split: len(examples) for split, examples in entities.items()} == {
        "train": 800,
        "testa": 200,
        "testb": 200,
    }
    assert {split: len(examples) for split, examples in news.items()} == NEWS
    assert not any(examples.rejects for examples in (*entities.values(), *news.values()))
    assert len(read_lines(folder / "mlm" / "sentences.txt")) == TEXTS
    with open(folder / "nli" / "nli_for_simcse.csv", encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file)
    assert header == ["sent0", "sent1", "hard_neg"] and len(rows) == TRIPLETS


def entity_texts(examples, type: str) -> list[tuple[str, ...]]:
    return [
        row.words[span.start : span.end]
        for row in examples.rows
        for span in entity_spans(row.label)
        if span.type == type
    ]


def test_names_are_tagged_as_what_they_are(entities):
    for examples in entities.values():
        for person in entity_texts(examples, "PER"):
            assert person[-1] in names.FAMILY + names.FAMILY_HELD_OUT and person[:-1] in {
                (),
                *((first,) for first in names.FIRST),
            }
        for firm in entity_texts(examples, "ORG"):
            town = firm[0] in names.TOWNS + names.TOWNS_HELD_OUT and firm[1:] in {
                (),
                *((club,) for club in names.CLUBS),
            }
            assert town or firm[-1] in names.KINDS or firm[1:] == ("Press", "Agency")
        for row in examples.rows:  # nobody plays against himself
            found = [row.words[span.start : span.end] for span in entity_spans(row.label)]
            assert len(set(found)) == len(found)


def test_a_word_may_be_a_name_or_not_and_a_town_its_team(entities):
    meanings = Counter(
        (word, tag[2:])
        for row in entities["train"].rows
        for word, tag in zip(row.words, row.label, strict=True)
    )
    assert meanings["Eastmoor", "LOC"] and meanings["Eastmoor", "ORG"]
    assert meanings["Baker", "PER"] and meanings["Baker", ""]


def test_the_test_split_has_names_that_training_has_not(entities):
    def words(split):
        return {word for row in entities[split].rows for word in row.words}

    new = {*names.FAMILY_HELD_OUT, *names.TOWNS_HELD_OUT, *names.FIRMS_HELD_OUT}
    assert new.isdisjoint(words("train") | words("testa")) and new <= words("testb")
    rows = entities["testb"].rows
    share = sum(not new.isdisjoint(row.words) for row in rows) / len(rows)
    assert 0.3 < share < 0.9  # partly: the others are made of names that training has


def test_news_stand_in_the_layouts_of_ag_news(folder, news):
    train = (folder / "agnews" / "train.csv").read_text(encoding="utf-8")
    test = (folder / "agnews" / "test.csv").read_text(encoding="utf-8")
    assert train.startswith("label,text,source\n") and test.startswith("label,title,description\n")
    for content in (train, test):  # the scars that the reader has to mend
        assert " #39;s" in content and "\\" in content
    assert not any("#39" in row.texts[0] or "\\" in row.texts[0] for row in news["test"].rows)
    for examples in news.values():
        shares = Counter(row.label for row in examples.rows)
        assert len(shares) == 4 and all(0.19 < n / len(examples) < 0.31 for n in shares.values())


def test_news_are_about_their_topic_and_the_test_split_combines_anew(news):
    labels = task_config("news", {}).labels
    for split, expected in (("train", {False}), ("test", {True})):
        found = set()
        for row in news[split].rows:
            topic, text = TOPICS[labels.index(row.label)], row.texts[0].lower()
            pairs = [
                (who, what)
                for who, subject in enumerate(topic.who)
                for what, deed in enumerate(topic.what)
                if re.search(rf"\b{subject} \w+ {deed}\b", text)
            ]
            assert pairs, text
            found |= {is_held_out(*pair) for pair in pairs}
        assert found == expected


def test_no_text_stands_in_two_splits(entities, news):
    for splits in (news, entities):
        texts = [{row.texts for row in examples.rows} for examples in splits.values()]
        assert len(set().union(*texts)) == sum(map(len, texts))


def test_triplets_entail_and_contradict():
    for seed in range(200):
        sentence, entailed, contradiction = draw_triplet(Random(seed))
        assert len({sentence, entailed, contradiction}) == 3
    # Same object, by its synonym too, in the first two; another action or object in the last.
    things = ("leek", "carrot", "potato", "fish", "steak", "sausage", "letter", "poem", "report", "table")
    for seed in range(200):
        triplet = draw_triplet(Random(seed))
        found = [[thing for thing in things if re.search(rf"\b{thing}\b", text)] for text in triplet]
        assert found[0] == found[1]


def test_plain_sentences_come_from_all_kinds_and_none_from_a_test_split(folder):
    texts = [row.texts[0] for row in read_lines(folder / "mlm" / "sentences.txt").rows]
    assert len(set(texts)) == len(texts)
    for pattern in (r"\bfilm\b|\bplot\b", r"\?$", r"^(The|A) \w+ is \w+ing", r"Press Agency", r" : "):
        assert sum(bool(re.search(pattern, text)) for text in texts) > 20, pattern
    new = {*names.FAMILY_HELD_OUT, *names.TOWNS_HELD_OUT, *names.FIRMS_HELD_OUT}
    assert new.isdisjoint(word for text in texts for word in text.split())
