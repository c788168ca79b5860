"""The part of a split that --limit takes: by content alone, classes in proportion, the same everywhere."""

from collections import Counter
from random import Random

import pytest

from multitask.config.task_config import task_config
from multitask.config.task_kinds import make_task
from multitask.data.limit import Limit, shares
from multitask.data.readers import Example, Examples
from multitask.tasks import splits
from multitask.tasks.splits import load_split, tokenize_split


def memory(labels) -> Examples:
    return Examples("", tuple(Example(str(i), ("a",), label, i) for i, label in enumerate(labels)))


def chosen(labels, count, content="x") -> list[int]:
    return [int(row.id) for row in Limit(count, content).kept(memory(labels))]


@pytest.mark.parametrize("seed", range(20))
def test_shares_are_those_of_largest_remainder(seed):
    """Beside Hamilton's method written out with fractions; a class without a row gets one where it can."""
    draw = Random(seed)
    counts = {str(i): draw.choice([1, 2, 3, 50, 400]) for i in range(draw.randint(1, 9))}
    total = sum(counts.values())
    for limit in range(1, total):
        found = dict(shares(counts, limit))
        quotas = {name: limit * count / total for name, count in counts.items()}
        floors = {name: int(quota) for name, quota in quotas.items()}
        order = sorted(counts, key=lambda name: (-round(quotas[name] - floors[name], 9), name))
        wanted = {n: floors[n] + (n in order[: limit - sum(floors.values())]) for n in counts}
        assert sum(found.values()) == limit and all(found[n] <= counts[n] for n in counts)
        if all(wanted.values()) or limit < len(counts):
            assert found == wanted
        else:  # the largest classes give the rows
            assert all(found[n] == 1 if wanted[n] == 0 else 1 <= found[n] <= wanted[n] for n in counts)


def test_a_part_is_a_function_of_number_and_content():
    labels = Random(0).choices("abc", [9, 4, 1], k=300)
    part = chosen(labels, 40)
    assert part == sorted(set(part)) == chosen(labels, 40) and len(part) == 40
    assert part != chosen(labels, 40, "y") and part != list(range(40))
    assert dict(Counter(labels[i] for i in part)) == dict(shares(Counter(labels), 40))
    assert chosen(labels, 300) == chosen(labels, 1000) == list(range(300))
    # One row of each class, and of the largest where there are fewer rows than classes.
    rare = ["a"] * 97 + ["b", "c"] + ["a"]
    assert {rare[i] for i in chosen(rare, 3)} == {"a", "b", "c"} and rare[chosen(rare, 1)[0]] == "a"


@pytest.mark.parametrize("labels", [[i / 7 for i in range(200)], [None] * 200, [("O",)] * 200])
def test_labels_that_are_not_classes_are_drawn_plainly(labels):
    """Every row has the same chance: over many contents each comes about equally often."""
    drawn = Counter(i for content in range(300) for i in chosen(labels, 20, str(content)))
    assert sum(drawn.values()) == 6000 and set(drawn) == set(range(200)) and 8 < min(drawn.values()) < 60


def test_every_way_of_reading_takes_the_same_rows(tmp_path, tiny_tokenizer, monkeypatch):
    draw = Random(1)
    rows = [(f"text {i}" if i % 9 else "", draw.choice("aab")) for i in range(90)]
    content = "text,label\n" + "".join(f"{text},{label}\n" for text, label in rows)
    found = set()
    for name, small in (("one.csv", 0), ("two.csv", 10**9)):
        (tmp_path / name).write_text(content)
        monkeypatch.setattr(splits, "SMALL", small)
        config = task_config("t", {"type": "classification", "train": name})
        for _ in range(2):  # written, then found in the cache
            task = make_task("t", config)
            examples = task.load(tmp_path, "train")
            store, notes = tokenize_split(task, examples, "train", tiny_tokenizer, tmp_path / "cache", 10)
            found.add(tuple((row.id, row.label, row.texts) for row in store.rows))
            assert store.rejected.count == 10 and store.rejected.rows == 90 and len(notes) == 6
        part, _ = load_split(make_task("t", config), tmp_path, "train", 10)
        found.add(tuple((row.id, row.label, row.texts) for row in part.rows))
        assert len(part.rejects) == 10  # a limit hides no reject
    assert len(found) == 1 and len(found.pop()) == 10


def test_the_first_400_of_sst_have_all_classes_in_proportion(shared):
    task = make_task("sst", task_config("sst", {}))
    whole, _ = load_split(task, shared / "data", "train")
    part, _ = load_split(task, shared / "data", "train", 400)
    counts, all_counts = (Counter(row.label for row in rows.rows) for rows in (part, whole))
    assert counts == dict(shares(all_counts, 400)) and min(counts.values()) > 40
    assert all(abs(counts[label] - 400 * all_counts[label] / len(whole)) < 1 for label in all_counts)
