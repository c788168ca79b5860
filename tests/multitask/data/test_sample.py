"""The generated corpus: the course's formats, right labels, and a test split that training has not seen."""

import csv
import re
from collections import Counter
from pathlib import Path
from random import Random

import pytest

from multitask.data.readers import integer_label, number_label, read_table
from multitask.data.sample import DATA_SETS, SIZES, write_sample
from multitask.data.sample_held_out import is_held_out
from multitask.data.sample_questions import FRAMES, Meaning, Roles, change, say
from multitask.data.sample_reviews import (
    ASPECTS,
    CONTRAST,
    CONTRAST_HELD_OUT,
    SINGLE,
    SINGLE_HELD_OUT,
    WORDS,
    judge,
)
from multitask.data.sample_scenes import Scene, similarity

PARSERS = {
    "ids-sst": integer_label(0, 4),
    "ids-cfimdb": integer_label(0, 1),
    "quora": integer_label(0, 1),
    "sts": number_label(0, 5),
}
OTHER_FILES = {  # see test_sample_tasks.py
    *("conll2003/eng.train", "conll2003/eng.testa", "conll2003/eng.testb"),
    *("agnews/train.csv", "agnews/test.csv", "nli/nli_for_simcse.csv", "mlm/sentences.txt"),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("sample")
    write_sample(folder)
    return folder


@pytest.fixture(scope="module")
def splits(folder) -> dict:
    """Rows as `readers` gives them: splits[name][split]."""
    result = {}
    for name, data_set in DATA_SETS.items():
        result[name] = {}
        for split in ("train", "dev", "test", "test-student"):
            examples = read_table(
                folder / f"{name}-{split}.csv",
                texts=data_set.texts,
                label=data_set.label,
                parse_label=PARSERS[name],
            )
            assert not examples.rejects
            result[name][split] = examples.rows
    return result


def raw_rows(path: Path) -> list[list[str]]:
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.reader(file, delimiter="\t"))


def words_of(rows) -> set[str]:
    return {word.lower() for row in rows for text in row.texts for word in text.split()}


def test_same_seed_same_bytes(folder, tmp_path):
    write_sample(tmp_path)
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.*"))
    course = {f"{n}-{s}.csv" for n in SIZES for s in ("train", "dev", "test", "test-student")}
    assert set(names) == course | OTHER_FILES and len(names) == len(course | OTHER_FILES)
    for name in names:
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes()


def test_another_seed_gives_other_rows(folder, tmp_path):
    write_sample(tmp_path, seed=1)
    assert (tmp_path / "sts-dev.csv").read_bytes() != (folder / "sts-dev.csv").read_bytes()


@pytest.mark.parametrize(
    ("file", "header"),
    [
        ("ids-sst-train", "\tid\tsentence\tsentiment"),
        ("ids-sst-test", "\tid\tsentence\tsentiment"),
        ("ids-sst-test-student", "0\t\tid\tsentence"),
        ("ids-cfimdb-dev", "\tid\tsentence\tsentiment"),
        ("ids-cfimdb-test-student", "0\t\tid\tsentence"),
        ("quora-train", "\tid\tsentence1\tsentence2\tis_duplicate"),
        ("quora-test-student", "\tid\tsentence1\tsentence2"),
        ("sts-dev", "\tid\tsentence1\tsentence2\tsimilarity"),
        ("sts-test-student", "\tid\tsentence1\tsentence2"),
    ],
)
def test_headers(folder, file, header):
    content = (folder / f"{file}.csv").read_bytes()
    assert content.startswith(header.encode() + b"\n") and content.endswith(b"\n") and b"\r" not in content


def test_student_rows_have_two_index_columns_and_quora_labels_are_floats(folder):
    def rows(name):
        return raw_rows(folder / name)

    assert [row[:2] for row in rows("ids-sst-test-student.csv")[1:3]] == [["1", "0.0"], ["2", "1.0"]]
    assert [row[0] for row in rows("sts-test-student.csv")[1:3]] == ["0", "1"]
    assert {row[4] for row in rows("quora-dev.csv")[1:]} == {"0.0", "1.0"}


def test_sizes_and_ids(splits):
    ids = []
    for name, data_set in splits.items():
        for split, count in SIZES[name]._asdict().items():
            assert len(data_set[split]) == count
            ids += [row.id for row in data_set[split]]
        test, student = data_set["test"], data_set["test-student"]
        assert [(row.id, row.texts) for row in student] == [(row.id, row.texts) for row in test]
        assert all(row.label is None for row in student)
    assert len(set(ids)) == len(ids)
    assert all(re.fullmatch("[0-9a-f]{25}", identifier) for identifier in ids)


def test_single_sentences_start_with_a_space(folder, splits):
    for path in sorted(folder.glob("ids-*.csv")):
        header, *rows = raw_rows(path)
        assert all(re.match(r" \S", row[header.index("sentence")]) for row in rows)
    assert {"n't", "``", "-lrb-"} <= words_of(splits["ids-sst"]["train"])


def test_every_word_of_dev_and_test_occurs_in_train(splits):
    for data_set in splits.values():
        known = words_of(data_set["train"])
        assert words_of(data_set["dev"]) <= known and words_of(data_set["test"]) <= known


def test_no_row_occurs_twice_nor_a_pair_turned_round(splits):
    for data_set in splits.values():
        seen = Counter(
            tuple(sorted(row.texts)) for split in ("train", "dev", "test") for row in data_set[split]
        )
        assert max(seen.values()) == 1


def test_labels_are_balanced(splits):
    for name, share in (("ids-sst", 0.2), ("ids-cfimdb", 0.5), ("quora", 0.5)):
        for split in ("train", "dev", "test"):
            labels = Counter(row.label for row in splits[name][split])
            assert len(labels) == round(1 / share)
            assert all(abs(count / labels.total() - share) < 0.08 for count in labels.values())
    for split in ("train", "dev", "test"):
        similarities = [row.label for row in splits["sts"][split]]
        assert min(similarities) < 0.5 and max(similarities) == 5.0
        assert 2 < sum(similarities) / len(similarities) < 3.5


# Held-out templates and combinations -------------------------------------------------------------------


def pattern(template: str, **alternatives: str) -> re.Pattern:
    """A template as a regular expression, with what may stand in its places."""
    parts = re.split(r"\{(\w+)\}", template)
    parts[::2] = [re.escape(part) for part in parts[::2]]
    parts[1::2] = [f"(?:{alternatives[place]})" for place in parts[1::2]]
    return re.compile("".join(parts), re.IGNORECASE)


def review_patterns(templates) -> list[re.Pattern]:
    clause = r"the (?:camera )?\w+ is [\w' ]+"
    return [
        pattern(template, lead=clause, aside=clause, thing=r"\w+ (?:camera )?\w+", title=r"\w+ \w+")
        for template in templates
    ]


def question_patterns(held_out: bool) -> list[re.Pattern]:
    patterns = []
    for frame in FRAMES:
        words = "|".join(word for choice in frame.words for word in (*choice.same, *choice.other))
        for template in frame.held_out if held_out else frame.templates:
            template = template.replace("{no} ", "{no}")
            places = {"a": "|".join(frame.a), "b": "|".join(frame.b), "no": "not |", "word": words}
            patterns.append(pattern(template, other=words, **places))
    return patterns


def matches(patterns: list[re.Pattern], text: str) -> bool:
    return any(pattern.fullmatch(text.strip()) for pattern in patterns)


def test_templates_of_the_test_split_do_not_occur_in_training(splits):
    trained, held_out = review_patterns((*SINGLE, *CONTRAST)), review_patterns(SINGLE_HELD_OUT)
    held_out += review_patterns(CONTRAST_HELD_OUT)
    for split in ("train", "dev"):
        for row in splits["ids-sst"][split]:
            assert matches(trained, row.texts[0]) and not matches(held_out, row.texts[0])
    assert all(matches(held_out, row.texts[0]) for row in splits["ids-sst"]["test"])

    trained, held_out = question_patterns(held_out=False), question_patterns(held_out=True)
    for row in splits["quora"]["dev"] + splits["quora"]["train"][:1000]:
        assert all(matches(trained, text) and not matches(held_out, text) for text in row.texts)
    for row in splits["quora"]["test"]:
        assert [matches(held_out, text) for text in row.texts].count(True) == 1


def test_combinations_of_the_test_split_do_not_occur_in_training(splits):
    """Unmodified judgements: the aspect and its adjective."""
    found = re.compile(rf"the ({'|'.join(ASPECTS)}) is (\w+) (?:[.,;]|despite|in spite|-)")
    for split, expected in (("train", False), ("dev", False), ("test", True)):
        pairs = {pair for row in splits["ids-sst"][split] for pair in found.findall(row.texts[0])}
        pairs = {pair for pair in pairs if pair[1] in WORDS}
        assert len(pairs) > 50
        assert {is_held_out(ASPECTS.index(aspect), WORDS.index(word)) for aspect, word in pairs} == {expected}


# Labels, worked out another way ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("modifier", "adjective", "value"),
    [
        ("", "splendid", 2),
        ("", "dull", -1),
        ("not", "good", -1),
        ("never", "dull", 1),
        ("n't", "splendid", -1),
        ("not", "terrible", 1),
        ("not very", "good", -1),
        ("very", "good", 2),
        ("truly", "weak", -2),
        ("mostly", "dreadful", -1),
        ("not", "ordinary", None),
        ("very", "superb", None),
    ],
)
def test_judgements_by_hand(modifier, adjective, value):
    assert judge(modifier, adjective) == value


LEVELS = {
    "dreadful": 0,
    "awful": 0,
    "dull": 1,
    "weak": 1,
    "ordinary": 2,
    "good": 3,
    "clever": 3,
    "splendid": 4,
}
CLAUSE = rf"the (?:camera )?\w+ is ({'|'.join(LEVELS)})"
LEADING = (
    rf".*, but (?:all in all )?{CLAUSE} \.",
    rf"despite its .* , {CLAUSE} \.",
    rf"although .* , (?:all in all )?{CLAUSE} \.",
    rf"{CLAUSE} , although .*",
    rf"(?:in `` \w+ \w+ '' )?{CLAUSE} , even if .*",
    rf"in spite of .* , i think {CLAUSE} \.",
)


@pytest.mark.parametrize("leading", LEADING)
def test_the_leading_clause_of_a_contrast_gives_the_label(splits, leading):
    rows = [row for split in ("train", "test") for row in splits["ids-sst"][split]]
    found = [(re.fullmatch(leading, row.texts[0].strip().lower()), row.label) for row in rows]
    checked = [LEVELS[match.group(1)] == label for match, label in found if match]
    assert len(checked) >= 5 and all(checked)


def test_negation_turns_a_judgement(splits):
    negated = re.compile(r"(?:i think )?the \w+ is (?:not|never|n't|hardly) (good|clever|dull|weak) \.")
    rows = [
        (negated.fullmatch(row.texts[0].strip().lower()), row.label) for row in splits["ids-sst"]["train"]
    ]
    labels = {(match.group(1), label) for match, label in rows if match}
    assert labels == {("good", 1), ("clever", 1), ("dull", 3), ("weak", 3)}


def test_directions_of_travel_decide_on_paraphrases(splits):
    cities = "Athens|Berlin|Boston|Cairo|Dublin|Lisbon|London|Madrid|Oslo|Paris|Prague|Tokyo"

    def journey(text):
        origin = re.search(rf"\b(?:from|in) ({cities})\b", text)
        goal = re.search(rf"\b(?:to|reach) ({cities})\b", text)
        return (origin.group(1), goal.group(1)) if origin and goal else None

    pairs = [(row, [journey(text) for text in row.texts]) for row in splits["quora"]["train"]]
    pairs = [(row.label, *journeys) for row, journeys in pairs if all(journeys)]
    assert len(pairs) > 100
    assert all(one == other for label, one, other in pairs if label)
    turned = [one == other[::-1] for label, one, other in pairs if not label]
    assert sum(turned) / len(turned) > 0.6


def test_a_question_can_be_said_with_the_negated_opposite():
    frame = FRAMES[0]
    meaning = Meaning(frame, a=frame.a.index("bridge"), b=0, word=0, opposite=False)
    said = {say(Random(seed), meaning, frame.templates[0]) for seed in range(200)}
    assert said == {
        f"Why is the bridge {state} at night ?"
        for state in ("open", "unlocked", "accessible", "not closed", "not shut", "not locked")
    }


@pytest.mark.parametrize("frame", FRAMES, ids=lambda frame: frame.templates[0])
def test_a_changed_meaning_is_another_one(frame):
    meaning = Meaning(frame, a=1, b=2, word=0, opposite=False)
    changed = [change(Random(seed), meaning, held_out=False) for seed in range(200)]
    assert meaning not in changed
    turned = [other for other in changed if (other.a, other.b) == (2, 1)]
    assert bool(turned) == (frame.roles is Roles.DIRECTED)


def test_similarity_by_hand():
    scene = Scene(group=0, who=(0, 0), action=0, what=(0, 0), where=(0, 0))
    assert similarity(scene, scene) == 5.0
    assert similarity(scene, scene._replace(who=(0, 1))) == pytest.approx(4.5, abs=0.06)
    assert similarity(scene, scene._replace(where=(1, 0))) == 4.2
    nothing = Scene(group=1, who=(1, 0), action=0, what=(0, 0), where=(1, 0))
    assert similarity(scene, nothing) == 0.0
