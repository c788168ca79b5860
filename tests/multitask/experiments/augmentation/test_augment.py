"""From a training file to a balanced one: what is wanted, kept, written, and that it trains."""

import csv
import hashlib
import json
import random
import time
from collections import Counter

import pytest

from minbert import InputError
from multitask.config.task_config import task_config
from multitask.data.readers import read_table
from multitask.experiments.augmentation.augment import augment
from multitask.experiments.augmentation.client import Endpoint
from multitask.experiments.augmentation.filter import NEAR, word_pairs
from multitask.experiments.augmentation.generators import Copies, Paraphrases, WordEdits

SST = {"texts": ["sentence"], "label": "sentiment", "parse_label": int}
TRAIN, DEV = "ids-sst-train.csv", "ids-sst-dev.csv"


def labels_of(path):
    table = read_table(path, **SST)
    assert not table.rejects
    return Counter(row.label for row in table.rows)


def paraphrases(server, tmp_path, **changes):
    settings = {"model": "tiny", "concurrency": 4, "timeout": 5.0, "retries": 3, "backoff": 0.001}
    return Paraphrases(Endpoint(server.url, **(settings | changes)), tmp_path / "cache.jsonl")


@pytest.fixture
def data(tmp_path):
    """50 training rows of classes 0, 1, 2, 4 with 20, 12, 10 and 8, spaced as usual; 12 of dev."""
    draw = random.Random(1)
    words = [f"{a}{b}" for a in "bdfgklmn" for b in ("ab", "ek", "il", "on", "ut")]
    folder = tmp_path / "data"
    folder.mkdir()
    for name, labels in ((TRAIN, [0] * 20 + [1] * 12 + [2] * 10 + [4] * 8), (DEV, [0, 1, 2, 3] * 3)):
        draw.shuffle(labels)
        with open(folder / name, "w", encoding="utf-8", newline="") as file:
            table = csv.writer(file, delimiter="\t", lineterminator="\n")
            table.writerow(["", "id", "sentence", "sentiment"])
            for i, label in enumerate(labels):
                text = " ".join(draw.choices(words, k=draw.randint(4, 12)))
                table.writerow([i, f"{name[8]}{i}", f" {text} .", label])
    return folder


def rows_of(path):
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.reader(file, delimiter="\t"))


def test_paraphrases_balance_the_classes(serve, data, tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret-2")
    server, out = serve(), tmp_path / "out.csv"
    summary = augment("sst", data, out, paraphrases(server, tmp_path))
    assert labels_of(out) == {0: 20, 1: 20, 2: 20, 4: 20}
    assert out.read_bytes().startswith((data / TRAIN).read_bytes())
    old, new = rows_of(data / TRAIN), rows_of(out)
    by_id = {row[1]: row for row in old[1:]}
    assert [row[0] for row in new[1:]] == [str(i) for i in range(80)]
    assert len({row[1] for row in new}) == 81
    prompts = {seen.body["messages"][0]["content"].splitlines()[-1]: seen.body for seen in server.seen}
    for row in new[51:]:
        source = by_id[row[1].rpartition("-p")[0]]
        assert row[3] == source[3] and row[2].startswith(" has ")
        assert f"{source[2].strip()}\t{source[3]}" in prompts
    # Each row of a class is used once before one is used again.
    uses = Counter(row[1].rpartition("-p")[0] for row in new[51:] if row[3] == "4")
    assert len(uses) == 8 and max(uses.values()) - min(uses.values()) == 1
    assert summary.added == 30 and len(server.seen) == 30
    assert summary.notes[-1].startswith("the class 3 has no training row")

    written = json.loads((tmp_path / "out.csv.json").read_text())
    assert written == summary.as_dict() | {"rejected": {}}
    assert written["classes"]["4"] == {"before": 8, "after": 20, "missing": 0}
    assert written["train_sha256"] == hashlib.sha256((data / TRAIN).read_bytes()).hexdigest()
    facts = written["method"]
    assert (facts["requests"], facts["replies"], facts["prompt_tokens"], facts["cost"]) == (30, 30, 600, None)
    assert facts["endpoint"]["model"] == "tiny" and len(facts["prompt_sha256"]) == 64
    assert not any("sk-secret-2" in path.read_text() for path in tmp_path.glob("*.*"))
    assert not any(row[2].strip() in (tmp_path / "out.csv.json").read_text() for row in old[1:])


def test_misbehaviour_of_all_kinds_is_tried_again_and_a_second_run_asks_nothing(serve, data, tmp_path, acts):
    rejected = {
        "empty": acts.says(None),
        "wrong label": acts.says('"A fine reply"\nSentiment score: 9'),
        "cut off": acts.says('"A fine reply"', reason="length"),
        "more than one line": acts.says("One line\nand one more"),
    }
    troubles = [
        acts.fails(429, Retry_After="0.01"),
        acts.fails(500),
        acts.truncates,
        acts.drops,
        acts.sends(b"{"),
    ]
    bad = [*rejected.values(), *troubles]
    tries = Counter()

    def act(number, body):
        time.sleep(0.02 * (number % 2))  # so that replies come back in another order each time
        seed = body["seed"]
        tries[seed] += 1
        place = seed % (len(bad) + 3)
        if place < len(rejected) or place < len(bad) and tries[seed] == 1:
            return bad[place]
        return acts.paraphrase(number, body)

    server, out = serve(act), tmp_path / "out.csv"
    first = augment("sst", data, out, paraphrases(server, tmp_path), attempts=6)
    assert labels_of(out) == {0: 20, 1: 20, 2: 20, 4: 20} and first.rejected.keys() == rejected.keys()
    assert first.method["replies"] == 30 + sum(first.rejected.values())  # troubles are not rejected texts
    content, asked = out.read_bytes(), len(server.seen)
    again = augment("sst", data, out, paraphrases(server, tmp_path), attempts=6)
    assert out.read_bytes() == content and len(server.seen) == asked
    assert again.method["requests"] == 0 and first.rejected == again.rejected
    augment("sst", data, tmp_path / "other.csv", paraphrases(server, tmp_path / "elsewhere"), attempts=6)
    assert (tmp_path / "other.csv").read_bytes() == content and len(server.seen) > asked


def test_a_reply_that_comes_twice_is_kept_once(serve, data, tmp_path):
    server = serve(lambda number, body: "This same reply comes every time")
    out = tmp_path / "out.csv"
    summary = augment("sst", data, out, paraphrases(server, tmp_path), attempts=2)
    # Twice for each of 30 slots but the one that got it, and twice for another source of the other 29.
    assert len(server.seen) == 1 + 4 * 29
    assert summary.added == 1 and summary.rejected == {"near a training text or an earlier new one": 4 * 29}
    assert sum(count.missing for count in summary.classes.values()) == 29


def test_nothing_close_to_dev_or_train_is_kept(serve, data, tmp_path, acts):
    dev, train = (rows_of(data / name)[1:] for name in (DEV, TRAIN))

    def act(number, body):
        rows = (dev, train, None)[number % 3]
        if rows is None:
            return acts.paraphrase(number, body)
        return " ".join(["other", *rows[number % len(rows)][2].split()[1:]])  # near, and not the same

    out = tmp_path / "out.csv"
    summary = augment("sst", data, out, paraphrases(serve(act), tmp_path, concurrency=1), attempts=1)
    kept = [word_pairs(row[2]) for row in rows_of(out)[51:]]
    assert len(kept) == summary.added < 20
    for pairs in (word_pairs(row[2]) for row in [*dev, *train]):
        assert all(len(mine & pairs) < NEAR * len(mine | pairs) for mine in kept)
    assert summary.rejected["near a text of dev or test"] > 5
    assert summary.rejected["near a training text or an earlier new one"] > 5


def test_copies_are_training_rows_under_new_ids(data, tmp_path):
    augment("sst", data, tmp_path / "first.csv", Copies())
    old, new = rows_of(data / TRAIN), rows_of(tmp_path / "first.csv")
    texts = {row[1]: row[2:] for row in old}
    assert all(texts[row[1].rpartition("-r")[0]] == row[2:] for row in new[51:])
    assert (
        labels_of(tmp_path / "first.csv") == {0: 20, 1: 20, 2: 20, 4: 20} and len({r[1] for r in new}) == 81
    )
    # What it wrote can be augmented too.
    config = task_config("sst", {"train": str(tmp_path / "first.csv")})
    augment("sst", data, tmp_path / "second.csv", Copies(), config=config, per_class=30)
    assert labels_of(tmp_path / "second.csv") == dict.fromkeys((0, 1, 2, 4), 30)
    assert len({row[1] for row in rows_of(tmp_path / "second.csv")}) == 121
    summary = augment("sst", data, tmp_path / "third.csv", Copies(), per_class=11)
    assert labels_of(tmp_path / "third.csv") == {0: 20, 1: 12, 2: 11, 4: 11} and summary.added == 4


def test_word_edits_are_new_texts_of_the_sources_words(data, tmp_path):
    out = tmp_path / "out.csv"
    summary = augment("sst", data, out, WordEdits(), attempts=20)
    old, new = rows_of(data / TRAIN), rows_of(out)
    texts = {row[1]: row[2].split() for row in old}
    assert summary.added == 30
    for row in new[51:]:
        assert set(row[2].split()) <= set(texts[row[1].rpartition("-w")[0]])
    pairs = [frozenset(word_pairs(row[2])) for row in new[1:]]
    assert len(set(pairs)) == len(pairs) and summary.added == 30
    augment("sst", data, tmp_path / "again.csv", WordEdits(), attempts=20)
    assert (tmp_path / "again.csv").read_bytes() == out.read_bytes()
    augment("sst", data, tmp_path / "other.csv", WordEdits(), attempts=20, seed=1)
    assert (tmp_path / "other.csv").read_bytes() != out.read_bytes()


def test_the_check_keeps_what_a_run_agrees_with(tiny_config, tiny_data, tmp_path):
    from multitask import train

    augment("sst", tiny_data, tmp_path / "copies.csv", Copies())
    copies = {"train": str(tmp_path / "copies.csv")}
    run = train(tiny_config(tasks={"sst": copies}, train={"epochs": 1}))
    assert run.scores["step"] == -(-sum(labels_of(tmp_path / "copies.csv").values()) // 8)

    old = read_table(tiny_data / TRAIN, **SST)
    kept = {}
    for distance in (None, 0, 1, 4):
        out = tmp_path / f"out{distance}.csv"
        settings = {} if distance is None else {"check": run.folder, "check_distance": distance}
        summary = augment("sst", tiny_data, out, WordEdits(), attempts=1, per_class=30, **settings)
        kept[distance] = {row.texts[0]: row.label for row in read_table(out, **SST).rows[len(old.rows) :]}
    assert 105 <= sum(summary.rejected.values()) + summary.added <= 2 * 105
    assert kept[4].keys() >= kept[None].keys() and len(kept[0]) < len(kept[1]) < len(kept[4])
    for distance in (0, 1):
        texts, labels = zip(*(kept[distance] | kept[None]).items(), strict=True)
        predicted = run.predict("sst", list(texts))
        fits = {t for t, p, label in zip(texts, predicted, labels, strict=True) if abs(p - label) <= distance}
        assert fits & kept[None].keys() <= kept[distance].keys() <= fits  # nothing that fits is lost


def test_another_format_stays_as_it_is(tmp_path):
    (tmp_path / "a.csv").write_bytes(b'y,note,t\r\nup,"x ""1""","a, b c d"\r\nup,,e f g h\r\ndown,z,i j k l')
    config = task_config("mine", {"type": "classification", "train": "a.csv", "text": "t", "label": "y"})
    augment("mine", tmp_path, tmp_path / "out.csv", WordEdits(), config=config, attempts=9)
    content = (tmp_path / "out.csv").read_bytes()
    assert content.startswith((tmp_path / "a.csv").read_bytes() + b"\r\ndown,,") and content.endswith(b"\r\n")

    lines = ['{"id": "a", "t": "one two three", "y": 1}', '{"id": "b", "t": "four five six", "y": 1}']
    lines.append('{"id": "c", "t": "seven é eight", "y": 0}')
    (tmp_path / "a.jsonl").write_text("\n".join(lines), encoding="utf-8")
    config = task_config("mine", {"type": "classification", "train": "a.jsonl", "text": "t", "label": "y"})
    augment("mine", tmp_path, tmp_path / "out.jsonl", Copies(), config=config)
    *old, new = (tmp_path / "out.jsonl").read_text(encoding="utf-8").splitlines()
    assert old == lines and json.loads(new) == {"id": "c-r1", "t": "seven é eight", "y": 0}


def test_quotes_tabs_and_treebank_spacing(serve, data, tmp_path):
    lines = (data / TRAIN).read_text().splitlines()
    spaced = "\n".join([lines[0], *(line.replace(" .", " , is n't it .") for line in lines[1:])])
    (data / TRAIN).write_text(spaced)
    count = iter(range(10**6))
    words = 'It isn\'t w{0} x{0} y{0} "z{0}",\tis it ({0})?'
    server = serve(lambda number, body: words.format(next(count)))
    augment("sst", data, tmp_path / "out.csv", paraphrases(server, tmp_path))
    new = rows_of(tmp_path / "out.csv")[51:]
    assert len(new) == 30
    assert all(row[2].startswith(" It is n't w") and row[2].endswith(" -RRB- ?") for row in new)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"task": "sts"}, "classifications of single texts"),
        ({"out": "ids-sst-train.csv"}, "training file itself"),
        ({"out": "out.jsonl"}, "another ending"),
        ({"out": DEV}, "was not written by augment"),
        ({"attempts": 0}, "at least 1"),
        ({"check_distance": 5}, "from 0 to 4"),
        ({"method": WordEdits(near=0.0)}, "above 0"),
    ],
)
def test_what_cannot_be_used_is_refused_and_nothing_written(data, arguments, message):
    settings = {"task": "sst", "out": "new.csv", "method": Copies()} | arguments
    settings["out"] = data / settings["out"]
    before = {path: path.read_bytes() for path in data.iterdir()}
    with pytest.raises(InputError, match=message):
        augment(data=data, **settings)
    assert {path: path.read_bytes() for path in data.iterdir()} == before
