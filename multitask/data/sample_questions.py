"""Pairs of questions for the sample corpus: the same question in other words, or one that only looks so.

A question has a meaning: a frame, what stands in its two places, and a word that has synonyms and an
opposite. Two templates of the frame say one meaning differently, often with a negation ("not closed"
for "open"). Most negatives exchange the roles or turn the meaning round with the same few words, so
that counting words does not tell them from paraphrases: a word in place of another may be its synonym
or its opposite. Opposites leave no middle here: what is not cold is hot.
"""

from dataclasses import dataclass, replace
from enum import Enum
from random import Random

from multitask.data.sample_held_out import draw_positions, is_held_out


class Roles(Enum):
    """What it means to exchange {a} and {b} of a frame."""

    DIRECTED = "another question"
    SYMMETRIC = "the same question"
    FIXED = "impossible"


@dataclass(frozen=True)
class Choice:
    """Words that mean the same, and words for the opposite or for something else in the same place."""

    same: tuple[str, ...]
    other: tuple[str, ...]


@dataclass(frozen=True)
class Frame:
    """A kind of question. Templates name {a} and {b}; {word} and {other}, its opposite; {no}, a negation."""

    weight: int  # how often it is drawn, in relation to the others
    roles: Roles
    templates: tuple[str, ...]
    held_out: tuple[str, ...]
    a: tuple[str, ...]
    b: tuple[str, ...]
    words: tuple[Choice, ...]


@dataclass(frozen=True)
class Meaning:
    """What a question asks: positions in the frame's lists, and whether the word stands for its opposite."""

    frame: Frame
    a: int
    b: int
    word: int
    opposite: bool


# fmt: off
CITIES = ("Athens", "Berlin", "Boston", "Cairo", "Dublin", "Lisbon", "London", "Madrid", "Oslo", "Paris",
          "Prague", "Tokyo")
FOODS = ("butter", "coffee", "cream", "honey", "juice", "milk", "oil", "rice", "sugar", "tea", "water",
         "yogurt")
PEOPLE = ("artists", "bakers", "bankers", "doctors", "drivers", "farmers", "judges", "lawyers", "nurses",
          "pilots", "sailors", "teachers")
SUBJECTS = ("algebra", "biology", "chemistry", "drawing", "geography", "grammar", "history", "law", "logic",
            "music", "physics", "poetry")
PLACES = ("bakery", "bridge", "cinema", "gate", "harbor", "library", "market", "museum", "pool", "station",
          "theater", "tunnel")
DEVICES = ("alarm", "camera", "clock", "engine", "heater", "lamp", "laptop", "oven", "phone", "printer",
           "radio", "toaster")
PERSONS = ("aunt", "boss", "brother", "cousin", "father", "landlord", "mother", "neighbor", "roommate",
           "sister", "tenant", "uncle")
TIMES = ("at night", "in winter", "on Sundays", "after lunch", "this week", "right now", "before noon")
# fmt: on
WHY = (
    "Why is {the} {a} {no} {word} {b} ?",
    "How come {the} {a} is {no} {word} {b} ?",
    "For what reason is {the} {a} {no} {word} {b} ?",
    "I want to know why {the} {a} is {no} {word} {b} .",
    "What is the reason that {b} {the} {a} is {no} {word} ?",
)
WHY_HELD_OUT = (
    "I want to know for what reason {the} {a} is {no} {word} {b} .",
    "Why is it that {b} {the} {a} is {no} {word} ?",
    "How come that {b} {the} {a} is {no} {word} ?",
)


def why(owner: str, things: tuple[str, ...], words: tuple[Choice, ...]) -> Frame:
    """A frame about what state a thing is in; each word and its negated opposite mean the same."""
    templates, held_out = (
        tuple(template.replace("{the}", owner) for template in group) for group in (WHY, WHY_HELD_OUT)
    )
    return Frame(4, Roles.FIXED, templates, held_out, things, TIMES, words)


FRAMES = (
    why(
        "the",
        PLACES,
        (
            Choice(("open", "unlocked", "accessible"), ("closed", "shut", "locked")),
            Choice(("safe", "secure", "harmless"), ("unsafe", "dangerous", "risky")),
            Choice(("clean", "spotless", "tidy"), ("dirty", "filthy", "grubby")),
            Choice(("full", "crowded", "packed"), ("empty", "deserted", "vacant")),
        ),
    ),
    why(
        "my",
        DEVICES,
        (
            Choice(("on", "running", "active"), ("off", "stopped", "idle")),
            Choice(("broken", "faulty", "defective"), ("intact", "working", "flawless")),
            Choice(("hot", "warm", "heated"), ("cold", "cool", "chilly")),
            Choice(("quiet", "silent", "muted"), ("noisy", "loud", "audible")),
        ),
    ),
    why(
        "my",
        PERSONS,
        (
            Choice(("present", "here", "around"), ("absent", "away", "missing")),
            Choice(("healthy", "well", "fit"), ("ill", "sick", "unwell")),
            Choice(("calm", "relaxed", "peaceful"), ("angry", "furious", "upset")),
            Choice(("honest", "truthful", "sincere"), ("dishonest", "deceitful", "lying")),
        ),
    ),
    Frame(
        weight=1,
        roles=Roles.DIRECTED,
        templates=(
            "How do I get from {a} to {b} by {word} ?",
            "What is the best way to reach {b} by {word} from {a} ?",
            "How can I take the {word} from {a} to {b} ?",
            "I am in {a} . How do I get to {b} by {word} ?",
            "What is the way to {b} from {a} by {word} ?",
            "I want to reach {b} by {word} . How do I get there from {a} ?",
        ),
        held_out=(
            "I am in {a} . What is the best way to {b} by {word} ?",
            "How can I reach {b} from {a} by {word} ?",
            "I want to take the {word} to {b} . How do I get there from {a} ?",
        ),
        a=CITIES,
        b=CITIES,
        words=(Choice(("train",), ("bus", "coach")), Choice(("ship", "boat"), ("plane", "flight"))),
    ),
    Frame(
        weight=1,
        roles=Roles.DIRECTED,
        templates=(
            "Can I use {b} instead of {a} in {word} ?",
            "Can I replace {a} with {b} in {word} ?",
            "Is it fine to take {b} instead of {a} for {word} ?",
            "May the {a} in {word} be replaced with {b} ?",
            "Can {b} be used instead of {a} for {word} ?",
            "My {word} has no {a} . Can I use {b} ?",
        ),
        held_out=(
            "Is it fine to replace {a} with {b} for {word} ?",
            "May {b} be used instead of {a} in my {word} ?",
            "My {word} has no {a} . Is it fine to take {b} ?",
        ),
        a=FOODS,
        b=FOODS,
        words=(Choice(("soup", "broth"), ("cake",)), Choice(("bread", "toast"), ("sauce", "gravy"))),
    ),
    Frame(
        weight=1,
        roles=Roles.DIRECTED,
        templates=(
            "Why do {a} {word} {b} ?",
            "Why are {b} {word}ed by {a} ?",
            "For what reason do {a} {word} {b} ?",
            "What makes {a} {word} {b} ?",
            "What is the reason that {b} are {word}ed by {a} ?",
            "I want to know why {a} {word} {b} .",
        ),
        held_out=(
            "For what reason are {b} {word}ed by {a} ?",
            "I want to know why {b} are {word}ed by {a} .",
            "What is the reason that {a} {word} {b} ?",
        ),
        a=PEOPLE,
        b=PEOPLE,
        words=(
            Choice(("trust",), ("doubt",)),
            Choice(("respect", "honor"), ("insult", "mock")),
            Choice(("help", "assist"), ("attack", "harm")),
            Choice(("reward",), ("punish",)),
        ),
    ),
    Frame(
        weight=1,
        roles=Roles.DIRECTED,
        templates=(
            "Is {a} {word} than {b} ?",
            "Is it true that {a} is {word} than {b} ?",
            "Is it true that {b} is {other} than {a} ?",
            "Would you say that {a} is {word} than {b} ?",
            "Would you say that {b} is {other} than {a} ?",
            "I want to know if {a} is {word} than {b} .",
        ),
        held_out=(
            "Is it right to say that {a} is {word} than {b} ?",
            "I want to know if it is true that {b} is {other} than {a} .",
            "Would you say that it is true that {a} is {word} than {b} ?",
        ),
        a=SUBJECTS,
        b=SUBJECTS,
        words=(
            Choice(("harder",), ("easier",)),
            Choice(("better",), ("worse",)),
            Choice(("older",), ("newer",)),
        ),
    ),
    Frame(
        weight=3,
        roles=Roles.SYMMETRIC,
        templates=(
            "What is the difference between {a} and {b} for {word} ?",
            "How does {a} differ from {b} for {word} ?",
            "In what way do {a} and {b} differ for {word} ?",
            "What sets {a} apart from {b} for {word} ?",
        ),
        held_out=(
            "How do {a} and {b} differ for {word} ?",
            "In what way does {a} differ from {b} for {word} ?",
        ),
        a=SUBJECTS,
        b=SUBJECTS,
        words=(Choice(("beginners", "novices"), ("experts", "masters")),),
    ),
)
WEIGHTED = tuple(frame for frame in FRAMES for _ in range(frame.weight))
NEGATED = 0.15  # how often a question negates the opposite word; at 0.5 a model from scratch learns nothing


def draw_question_pair(random: Random, held_out: bool) -> tuple[tuple[str, str], int]:
    """Two questions, and 1 where they ask the same, 0 where they do not."""
    frame = random.choice(WEIGHTED)
    duplicate = random.randrange(2)
    word, opposite = random.randrange(len(frame.words)), random.randrange(2) == 1
    meaning = Meaning(frame, *draw_positions(random, frame.a, frame.b, held_out), word, opposite)
    other = meaning if duplicate else change(random, meaning, held_out)
    if frame.roles is Roles.SYMMETRIC and random.randrange(2):
        other = replace(other, a=other.b, b=other.a)
    templates = list(frame.templates)
    random.shuffle(templates)
    if held_out:
        templates.insert(0, random.choice(frame.held_out))
    first = say(random, meaning, templates[0])
    second = say(random, other, templates[1], avoid=first)
    return ((first, second) if random.randrange(2) else (second, first)), duplicate


def change(random: Random, meaning: Meaning, held_out: bool) -> Meaning:
    """Another meaning near the given one: exchanged roles, the opposite word, or another {a}."""
    frame, kind = meaning.frame, random.random()
    if frame.roles is Roles.DIRECTED and kind < 0.75:
        return replace(meaning, a=meaning.b, b=meaning.a)
    if kind < (0.4 if frame.roles is Roles.SYMMETRIC else 0.88):
        return replace(meaning, opposite=not meaning.opposite)
    while True:
        a = random.randrange(len(frame.a))
        taken = a == meaning.a or (frame.a is frame.b and a == meaning.b)
        if not taken and is_held_out(a, meaning.b) == held_out:
            return replace(meaning, a=a)


def say(random: Random, meaning: Meaning, template: str, avoid: str = "") -> str:
    """The meaning in the words of a template, if possible with a synonym that is not in `avoid`."""
    frame, words = meaning.frame, meaning.frame.words[meaning.word]
    negated = "{no}" in template and random.random() < NEGATED
    same, other = (words.same, words.other) if meaning.opposite == negated else (words.other, words.same)
    fresh = [word for word in same if word not in avoid.split()] or same
    text = template.format(
        a=frame.a[meaning.a],
        b=frame.b[meaning.b],
        no="not" if negated else "",
        word=random.choice(fresh),
        other=random.choice(other),
    )
    return " ".join(text.split())
