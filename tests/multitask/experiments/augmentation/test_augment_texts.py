"""Prompts, replies, closeness of texts, edits of words, Treebank spacing: what is done to one text."""

import random
import re
from collections import Counter

import pytest

from minbert import InputError
from multitask.data.readers import read_table
from multitask.experiments.augmentation.filter import NEAR, NearTexts, word_pairs
from multitask.experiments.augmentation.prompt import MEANINGS, check_template, make_prompt
from multitask.experiments.augmentation.reply import Rejection, is_treebank, read_reply, treebank_spacing
from multitask.experiments.augmentation.words import NEGATIONS, edit_words, read_synonyms

SOURCE = "a slow , gentle film about two sisters and a lighthouse ."
GOOD = "Two sisters and their lighthouse carry a calm and tender picture."
SST = MEANINGS["sst"]
LABELS = tuple(SST)
TEXTS = {label: [f"first of {label}", f"second\nof\t{label}"] for label in LABELS}


def test_the_prompt_is_built_like_the_papers():
    prompt = make_prompt("sst", LABELS, TEXTS, seed=3).fill(" one\n line ", "1")
    lines = prompt.splitlines()
    assert lines[0].startswith("You are rewriting movie reviews.")
    assert (
        "0 means negative, 1 means somewhat negative, 2 means neutral, 3 means somewhat positive" in lines[0]
    )
    shown = [line.split("\t") for line in lines if "\t" in line]
    assert shown[-1] == ["one line", "1"]
    assert sorted(label for _, label in shown[:-1]) == list(LABELS)
    assert all(text in (f"first of {label}", f"second of {label}") for text, label in shown[:-1])


def test_the_seed_decides_the_examples_and_the_hash():
    prompts = [make_prompt("sst", LABELS, TEXTS, seed) for seed in (*range(20), 4)]
    assert len({prompt.examples for prompt in prompts}) == len({prompt.hash for prompt in prompts}) > 10
    assert prompts[-1] == prompts[4] and prompts[-1].hash == prompts[4].hash


def test_braces_in_texts_are_not_placeholders():
    prompt = make_prompt("news", ("World", "Sports"), {"World": ["{label}"]}, 0, "{examples}|{text}|{label}")
    assert prompt.fill("{text} {0}", "Sports") == "{label}\tWorld|{text} {0}|Sports"


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{text} {lable}", "did you mean 'label'"),
        ("{text}", "no {label}"),
        ("{text} {label} {", "write {{ and }}"),
        ("{text} {label!r}", "without a format"),
        ("{text} {label} {}", "accepted ones are {text}"),
        ("{{text}} {label}", "no {text}"),
        ("{text} {label} {text.__class__}", "accepted ones are {text}"),
    ],
)
def test_a_template_is_checked(template, message):
    with pytest.raises(InputError, match=re.escape(message)):
        check_template(template)


@pytest.mark.parametrize(
    "reply",
    [
        GOOD,
        f'"{GOOD}"',
        f"“{GOOD}”",
        f'Here is a paraphrased version of the review with the same sentiment score:\n\n"{GOOD}"\n\n'
        "Sentiment score: 3 (somewhat positive)",
        f'Here is a paraphrased version: "{GOOD}" Sentiment score: 3 (somewhat positive)',
        f"Sure! Here's a rephrased version of the line:\n{GOOD}\nScore: 3",
        f'"{GOOD}"\n\n**Sentiment score:** 3',
        f"Sentiment score: 3\n{GOOD}",
        f"{GOOD}\t3",
        f'"{GOOD}"\nSentiment: somewhat positive.',
        f"<think>The score is 0.\nHm.</think>\n{GOOD}",
    ],
)
def test_a_paraphrase_is_found(reply):
    assert read_reply(reply, "stop", SOURCE, "3", SST) == GOOD


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        ("", "empty"),
        ('"..."', "empty"),
        ("Here is a paraphrase:", "empty"),
        (f'"{GOOD}"\nSentiment score: 2 (neutral)', "wrong label"),
        (f'"{GOOD}"\nSentiment: positive', "wrong label"),
        (f'"{GOOD}"\nSentiment score: unclear', "wrong label"),
        (f"{GOOD}\t0", "wrong label"),
        (f"Score: 1\n{GOOD}\nScore: 3", "wrong label"),
        (f"{GOOD}\n{GOOD}", "more than one line"),
        (f'"{GOOD}"\n(I kept the tone of the review.)', "more than one line"),
        (f'"{GOOD}', "quotes do not match"),
        (SOURCE, "same as the source"),
        (f'"{SOURCE.upper().replace(" ,", ",")}!"', "same as the source"),
        ("Fine\x00 film about two sisters", "no plain text"),
        ("Fine \ud800 film about two sisters", "no plain text"),
        ("I'm sorry, but I cannot help with rewriting this text.", "refusal"),
        ("word " * 40, "too long"),
        ("word", "too short"),
    ],
)
def test_all_else_is_rejected(reply, reason):
    assert read_reply(reply, "stop", SOURCE, "3", SST) == Rejection(reason)


def test_a_reply_has_to_have_ended_by_itself():
    ends = {"length": "cut off", "content_filter": "ended by content_filter"}
    assert {end: read_reply(GOOD, end, SOURCE, "3", SST).reason for end in ends} == ends
    assert read_reply(GOOD, None, SOURCE, "3", SST) == GOOD


def test_the_bounds_on_length_are_the_documented_ones():
    for words in (1, 2, 7, 30):
        source = " ".join(f"s{i}" for i in range(words))
        for count in range(1, 100):
            kept = read_reply(" ".join(f"w{i}" for i in range(count)), "stop", source, "3", SST)
            assert isinstance(kept, str) == (max(words, count) <= 3 * min(words, count) + 3)


@pytest.mark.parametrize(
    ("reply", "text"),
    [
        ('"Up" is better than "Cars"', '"Up" is better than "Cars"'),
        ('"A film that calls itself "art" and is none"', 'A film that calls itself "art" and is none'),
        ('A film that calls itself "art"', 'A film that calls itself "art"'),
        ("I can't help but smile at it", "I can't help but smile at it"),
        ("This version of the play is a joy", "This version of the play is a joy"),
    ],
)
def test_quotes_and_words_inside_a_review_stay(reply, text):
    assert read_reply(reply, "stop", SOURCE, "3", SST) == text


def test_labels_may_be_names():
    meanings = {label: label for label in ("World", "Sci/Tech")}
    assert read_reply(f"{GOOD}\nLabel: Sci/Tech", "stop", SOURCE, "Sci/Tech", meanings) == GOOD
    assert read_reply(f"{GOOD}\nLabel: World", "stop", SOURCE, "Sci/Tech", meanings).reason == "wrong label"


def test_closeness_is_the_jaccard_index_of_word_pairs():
    draw = random.Random(0)
    texts = [" ".join(draw.choices("abcde", k=draw.randint(1, 6))) for _ in range(80)]
    near = NearTexts(texts[:50])
    for text in texts[50:]:
        mine = word_pairs(text)
        expected = max(len(mine & word_pairs(old)) / len(mine | word_pairs(old)) for old in texts[:50])
        assert near.nearest(text) == pytest.approx(expected)
    assert NearTexts().nearest("a") == 0
    sentence = [f"w{i}" for i in range(20)]
    near = NearTexts([" ".join(sentence)])

    def changed(*places):
        return near.nearest(" ".join("new" if i in places else word for i, word in enumerate(sentence)))

    assert changed(5) == pytest.approx(19 / 23) and changed(5, 10, 15) == pytest.approx(15 / 27)
    assert changed(3, 7, 11, 15) < NEAR <= 15 / 27
    assert near.nearest(f"  {' '.join(sentence).upper()} !") == 1


def test_edits_change_words_and_invent_none():
    text = "the quick brown fox does n't jump over the lazy dog near the old mill by night"
    words = text.split()
    kinds = Counter()
    for seed in range(200):
        new = edit_words(text, random.Random(seed)).split()
        assert new == edit_words(text, random.Random(seed)).split()
        assert new != words and set(new) <= set(words)
        kinds[len(new) - len(words)] += 1
        assert "n't" in new  # what turns the meaning round is never deleted
    assert set(kinds) == {-2, 0, 2}  # a tenth of 17 words: deleted, swapped, repeated
    assert min(kinds.values()) > 40
    assert all("not" in edit_words("not good", random.Random(seed)).split() for seed in range(30))
    assert "not" in NEGATIONS


def test_synonyms_are_read_and_bad_lines_named(tmp_path):
    path = tmp_path / "synonyms.txt"
    path.write_text("Good\tfine\tnice\nbad\n\ngood\tgreat\r\n\tx\n", encoding="utf-8")
    synonyms, notes = read_synonyms(path)
    assert synonyms == {"good": ["fine", "nice", "great"]}
    assert [note.split(":")[1] for note in notes] == ["2", "5"]
    new = {edit_words("a good day", random.Random(seed), synonyms) for seed in range(60)}
    assert {"a fine day", "a nice day", "a great day"} <= new
    # A single word changes by synonyms only.
    assert edit_words("Dull", random.Random(0)) == "Dull"
    assert edit_words("Dull", random.Random(0), {"dull": ["boring"]}) == "boring"
    path.write_text("nothing\n", encoding="utf-8")
    with pytest.raises(InputError, match="separated by tabs"):
        read_synonyms(path)


@pytest.mark.parametrize(
    ("plain", "treebank"),
    [
        ("It's good, isn't it?", "It 's good , is n't it ?"),
        ("Mr. Roe can't act. He cannot sing!", "Mr. Roe ca n't act . He can not sing !"),
        ('A "must" (if long)...', "A `` must '' -LRB- if long -RRB- ..."),
        ("“Up” – 1,000 laughs; 24/7", "`` Up '' -- 1,000 laughs ; 24\\/7"),
        ("The actors’ best…", "The actors ' best ..."),
    ],
)
def test_treebank_spacing(plain, treebank):
    assert treebank_spacing(plain) == treebank == treebank_spacing(treebank)


def test_treebank_spacing_is_that_of_the_courses_sst(shared):
    table = read_table(shared / "data/ids-sst-train.csv", texts=["sentence"], label=None, parse_label=None)
    texts = [" ".join(row.texts[0].split()) for row in table.rows]
    assert is_treebank(texts) and not is_treebank(["Good, but long."]) and not is_treebank(["Good"])
    assert sum(treebank_spacing(text) == text for text in texts) > 0.99 * len(texts)

    def joined(text):
        """The text as one writes it."""
        text = re.sub(r" ('(?:s|m|d|ll|re|ve)\b|n't|[,:;?!]|\.+)", r"\1", text)
        text = text.replace("`` ", '"').replace(" ''", '"').replace("\\/", "/")
        return text.replace("-LRB- ", "(").replace(" -RRB-", ")").replace("can not", "cannot")

    changed = [text for text in texts if joined(text) != text]
    assert len(changed) > 0.9 * len(texts)
    assert sum(treebank_spacing(joined(text)) == text for text in changed) > 0.99 * len(changed)
