"""Makes multitask/data/sample.tar.xz, the corpus of `--data sample`: `python scripts/make_sample_corpus.py`.

A generated corpus in the file formats of the course and of the other tasks, so that a run, the tutorial and
the tests need no download. The test splits use templates and combinations of words that training does not
have, made of words that it has; their labels are known, so beside each `-test-student` file stands the same
split with labels as `-test`. Each data set draws from a source of its own: one can change without the others.
"""

import csv
import io
import re
import tarfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from random import Random

SEED = 11711
ARCHIVE = Path(__file__).parents[1] / "multitask" / "data" / "sample.tar.xz"


def lists(text: str) -> dict[str, list[str]]:
    """Parses lines such as `fruit: apple, pear`; a line may go on in the next one behind a backslash."""
    return {name: words.split(", ") for name, words in re.findall("^(.+?): (.+)$", text, re.MULTILINE)}


def templates(text: str) -> tuple[list[str], list[str]]:
    """Parses one template a line; those behind `*` are of the test split only."""
    lines = text.strip().splitlines()
    return [line for line in lines if line[0] != "*"], [line[2:] for line in lines if line[0] == "*"]


class Source(Random):
    """A source of randomness that knows whether it draws for the test split."""

    test = False

    def positions(self, first, second) -> tuple[int, int]:
        """Draws a position in each list, a pair of the split; never the same position of one list."""
        while True:
            one, other = self.randrange(len(first)), self.randrange(len(second))
            if (first is not second or one != other) and self.allows(one, other):
                return one, other

    def allows(self, one: int, other: int) -> bool:
        """Returns True if words at these positions may meet in the split: every fourth pair is the test's."""
        return ((one + other) % 4 == 0) == self.test

    def new_or(self, known, new):
        """Draws a word; half of those of the test split are words that training does not have."""
        return self.choice(new if self.test and self.randrange(2) else known)

    def two_of(self, templates: tuple[list[str], list[str]]) -> list[str]:
        """Draws two templates; in the test split the first one is the split's own."""
        drawn = list(templates[False])
        self.shuffle(drawn)
        return [self.choice(templates[True]), drawn[0]] if self.test else drawn[:2]


# Film reviews: sentences on five levels, and longer texts that are for or against ---------------------------
# A negation turns a judgement, an intensifier sharpens it, and of two judgements joined by a contrast one
# leads and gives the label: words alone do not tell.

REVIEWS = lists("""
aspects: acting, camera work, cast, dialogue, direction, editing, ending, humor, music, opening, pacing, \
photography, plot, premise, script, sound, story, tone
-2: abysmal, appalling, awful, dreadful, horrible, ghastly, terrible, unbearable
-1: bad, clumsy, dull, flat, lifeless, poor, stale, weak
0: average, conventional, familiar, ordinary, routine, standard
1: amusing, clever, decent, engaging, fresh, good, lively, pleasant
2: brilliant, dazzling, excellent, magnificent, masterful, splendid, superb, wonderful
titles: Silent, Broken, Golden, Distant, Hidden, Winter, Paper, Midnight
ends: Harbor, Garden, Letters, River, Mirror, Station, Bridge, Orchard
""")
ASPECTS = REVIEWS["aspects"]
VALUES = {word: value for value in range(-2, 3) for word in REVIEWS[str(value)]}  # of an adjective alone
WORDS = list(VALUES)
INTENSIFIERS = ("very", "truly", "really", "extremely")
SOFTENERS = ("fairly", "almost", "mostly", "rather")
NEGATIONS = ("not", "never", "n't", "hardly")
NEGATED = ("not very", "not really", "n't very", "never truly")  # "is n't very good" is merely not good
MODIFIERS = ("", *NEGATIONS, *INTENSIFIERS, *SOFTENERS, *NEGATED)
# {lead} is the judgement that counts, {aside} the other, {thing} the other as "dull plot", {title} a film.
SINGLE = templates("""
{lead} .
I think {lead} .
In `` {title} '' {lead} .
All in all , {lead} .
Here is a film in which {lead} .
* All in all , I think {lead} .
* `` {title} '' is a film in which {lead} .
""")
CONTRAST = templates("""
{aside} , but {lead} .
In `` {title} '' {aside} , but {lead} .
In `` {title} '' {lead} , although {aside} .
{aside} , yet {lead} .
{aside} ; however , {lead} .
Although {aside} , {lead} .
{lead} , although {aside} .
{lead} , even if {aside} .
{lead} -LRB- although {aside} -RRB- .
Even if {aside} , I think {lead} .
Despite its {thing} , {lead} .
{lead} in spite of the {thing} .
I think {lead} , despite the {thing} .
* I think {aside} , but all in all {lead} .
* In `` {title} '' {lead} , even if {aside} .
* In spite of its {thing} , I think {lead} .
* Although {aside} , all in all {lead} .
* Here is a film in which {aside} , yet {lead} .
* {lead} despite the {thing} , I think .
""")
CONTRARY = {-2: (0, 1, 2), -1: (0, 1, 2), 0: (-2, -1, 1, 2), 1: (-2, -1, 0), 2: (-2, -1, 0)}


def judge(modifier: str, adjective: str) -> int | None:
    """Returns the value of both together, from -2 to 2; None where nobody would say it."""
    value = VALUES[adjective]
    if not modifier or value == 0:
        return None if modifier else value
    sign, strong = (1 if value > 0 else -1), abs(value) == 2
    if modifier in NEGATIONS or modifier in NEGATED:
        return -sign
    if modifier in INTENSIFIERS:
        return None if strong else 2 * sign
    return sign if strong else None


def draw_sentence(source: Source) -> tuple[tuple[str], int]:
    """A sentence on a film, with a leading space as in the course's files, and its level 0..4."""
    value = source.randrange(-2, 3)
    template = source.choice((CONTRAST if source.random() < 0.7 else SINGLE)[source.test])
    lead = _clause(source, value)
    aspect = lead.partition(" is ")[0].removeprefix("the ")
    aside = thing = aspect
    while aspect in aside:  # nobody contrasts an aspect with itself
        aside = _clause(source, source.choice(CONTRARY[value]))
    while aspect in thing:
        thing = _thing(source, source.choice(CONTRARY[value]))
    title = f"{source.choice(REVIEWS['titles'])} {source.choice(REVIEWS['ends'])}"
    text = template.format(lead=lead, aside=aside, thing=thing, title=title)
    return (f" {text[0].upper()}{text[1:]}",), value + 2


def _clause(source: Source, value: int) -> str:
    """Draws a clause of this value, such as "the plot is n't very good"."""
    if value == 0 and source.randrange(3) == 0:
        good, bad = source.positions(REVIEWS["1"], REVIEWS["-1"])
        pair = [REVIEWS["1"][good], REVIEWS["-1"][bad]]
        source.shuffle(pair)
        return f"the {source.choice(ASPECTS)} is neither {pair[0]} nor {pair[1]}"
    while True:
        aspect, word = source.positions(ASPECTS, WORDS)
        modifier = source.randrange(len(MODIFIERS)) if source.random() < 0.7 and value else 0
        if modifier and not source.allows(modifier, word):
            continue
        if judge(MODIFIERS[modifier], WORDS[word]) == value:
            return f"the {ASPECTS[aspect]} is {MODIFIERS[modifier]} {WORDS[word]}".replace("  ", " ")


def _thing(source: Source, value: int) -> str:
    while True:
        aspect, word = source.positions(ASPECTS, WORDS)
        if VALUES[WORDS[word]] == value:
            return f"{WORDS[word]} {ASPECTS[aspect]}"


def draw_review(source: Source) -> tuple[tuple[str], int]:
    """A review of several sentences, and 1 where its judgements add up to praise, 0 to blame."""
    while True:
        sentences, total = [], 0
        favour = source.choice((-1, 1))
        for _ in range(source.randrange(5, 10)):
            (text,), level = draw_sentence(source)
            if (level - 2) * favour >= 0 or source.randrange(3) == 0:
                sentences.append(text)
                total += level - 2
        if len(sentences) >= 3 and abs(total) >= 3:
            return ("".join(sentences),), int(total > 0)


# Pairs of questions: the same one in other words, or one that only looks so ---------------------------------
# Two templates of a frame say one meaning differently, often by a negation ("not closed" for "open"). Most
# negatives exchange {a} and {b} or turn the meaning round with the same few words: counting does not tell.

TOPIC_WORDS = lists("""
cities: Athens, Berlin, Boston, Cairo, Dublin, Lisbon, London, Madrid, Oslo, Paris, Prague, Tokyo
foods: butter, coffee, cream, honey, juice, milk, oil, rice, sugar, tea, water, yogurt
people: artists, bakers, bankers, doctors, drivers, farmers, judges, lawyers, nurses, pilots, \
sailors, teachers
subjects: algebra, biology, chemistry, drawing, geography, grammar, history, law, logic, music, \
physics, poetry
places: bakery, bridge, cinema, gate, harbor, library, market, museum, pool, station, theater, tunnel
devices: alarm, camera, clock, engine, heater, lamp, laptop, oven, phone, printer, radio, toaster
persons: aunt, boss, brother, cousin, father, landlord, mother, neighbor, roommate, sister, tenant, uncle
times: at night, in winter, on Sundays, after lunch, this week, right now, before noon
""")
NEGATED_SHARE = 0.15  # questions that negate the opposite word; at 0.5 a model from scratch learns nothing


class Frame:
    """A kind of question: how often it is drawn, what it means to exchange {a} and {b} ("other" question, the
    "same", or "fixed"), what stands in these places; words with synonyms and, behind a slash, those of the
    opposite; templates. {other} is the opposite of {word}, {no} a negation."""

    def __init__(self, text: str):
        head, *rows = text.strip().splitlines()
        weight, self.swap, a, b = head.split()
        self.weight, self.a, self.b = int(weight), TOPIC_WORDS[a], TOPIC_WORDS[b]
        self.words = [[side.split() for side in row.split("/")] for row in rows if "/" in row]
        self.templates = templates("\n".join(row for row in rows if "/" not in row))


WHY = """
Why is {the} {a} {no} {word} {b} ?
How come {the} {a} is {no} {word} {b} ?
For what reason is {the} {a} {no} {word} {b} ?
I want to know why {the} {a} is {no} {word} {b} .
What is the reason that {b} {the} {a} is {no} {word} ?
* I want to know for what reason {the} {a} is {no} {word} {b} .
* Why is it that {b} {the} {a} is {no} {word} ?
* How come that {b} {the} {a} is {no} {word} ?
"""
WHY_THE, WHY_MY = (WHY.strip().replace("{the}", word) for word in ("the", "my"))
QUESTIONS = """
4 fixed places times
open unlocked accessible / closed shut locked
safe secure harmless / unsafe dangerous risky
clean spotless tidy / dirty filthy grubby
full crowded packed / empty deserted vacant
WHY_THE

4 fixed devices times
on running active / off stopped idle
broken faulty defective / intact working flawless
hot warm heated / cold cool chilly
quiet silent muted / noisy loud audible
WHY_MY

4 fixed persons times
present here around / absent away missing
healthy well fit / ill sick unwell
calm relaxed peaceful / angry furious upset
honest truthful sincere / dishonest deceitful lying
WHY_MY

1 other cities cities
train / bus coach
ship boat / plane flight
How do I get from {a} to {b} by {word} ?
What is the best way to reach {b} by {word} from {a} ?
How can I take the {word} from {a} to {b} ?
I am in {a} . How do I get to {b} by {word} ?
What is the way to {b} from {a} by {word} ?
I want to reach {b} by {word} . How do I get there from {a} ?
* I am in {a} . What is the best way to {b} by {word} ?
* How can I reach {b} from {a} by {word} ?
* I want to take the {word} to {b} . How do I get there from {a} ?

1 other foods foods
soup broth / cake
bread toast / sauce gravy
Can I use {b} instead of {a} in {word} ?
Can I replace {a} with {b} in {word} ?
Is it fine to take {b} instead of {a} for {word} ?
May the {a} in {word} be replaced with {b} ?
Can {b} be used instead of {a} for {word} ?
My {word} has no {a} . Can I use {b} ?
* Is it fine to replace {a} with {b} for {word} ?
* May {b} be used instead of {a} in my {word} ?
* My {word} has no {a} . Is it fine to take {b} ?

1 other people people
trust / doubt
respect honor / insult mock
help assist / attack harm
reward / punish
Why do {a} {word} {b} ?
Why are {b} {word}ed by {a} ?
For what reason do {a} {word} {b} ?
What makes {a} {word} {b} ?
What is the reason that {b} are {word}ed by {a} ?
I want to know why {a} {word} {b} .
* For what reason are {b} {word}ed by {a} ?
* I want to know why {b} are {word}ed by {a} .
* What is the reason that {a} {word} {b} ?

1 other subjects subjects
harder / easier
better / worse
older / newer
Is {a} {word} than {b} ?
Is it true that {a} is {word} than {b} ?
Is it true that {b} is {other} than {a} ?
Would you say that {a} is {word} than {b} ?
Would you say that {b} is {other} than {a} ?
I want to know if {a} is {word} than {b} .
* Is it right to say that {a} is {word} than {b} ?
* I want to know if it is true that {b} is {other} than {a} .
* Would you say that it is true that {a} is {word} than {b} ?

3 same subjects subjects
beginners novices / experts masters
What is the difference between {a} and {b} for {word} ?
How does {a} differ from {b} for {word} ?
In what way do {a} and {b} differ for {word} ?
What sets {a} apart from {b} for {word} ?
* How do {a} and {b} differ for {word} ?
* In what way does {a} differ from {b} for {word} ?
"""
QUESTIONS = QUESTIONS.replace("WHY_THE", WHY_THE).replace("WHY_MY", WHY_MY)
FRAMES = [Frame(text) for text in QUESTIONS.split("\n\n")]
WEIGHTED = [frame for frame in FRAMES for _ in range(frame.weight)]


def draw_questions(source: Source) -> tuple[tuple[str, str], float]:
    """Two questions, and 1.0 where they ask the same, 0.0 where they do not."""
    frame = source.choice(WEIGHTED)
    duplicate = source.randrange(2)
    # A meaning is the positions of {a}, {b} and the word, and whether the word stands for its opposite.
    word, opposite = source.randrange(len(frame.words)), source.randrange(2) == 1
    meaning = (*source.positions(frame.a, frame.b), word, opposite)
    other = meaning if duplicate else _other_meaning(source, frame, *meaning)
    if frame.swap == "same" and source.randrange(2):
        other = (other[1], other[0], *other[2:])
    ways = source.two_of(frame.templates)
    first = _ask(source, frame, meaning, ways[0])
    second = _ask(source, frame, other, ways[1], avoid=first)
    return ((first, second) if source.randrange(2) else (second, first)), float(duplicate)


def _other_meaning(source: Source, frame: Frame, a: int, b: int, word: int, opposite: bool) -> tuple:
    """Another meaning near the given one: exchanged places, the opposite word, or another {a}."""
    kind = source.random()
    if frame.swap == "other" and kind < 0.75:
        return b, a, word, opposite
    if kind < (0.4 if frame.swap == "same" else 0.88):
        return a, b, word, not opposite
    while True:
        new = source.randrange(len(frame.a))
        if new != a and not (frame.a is frame.b and new == b) and source.allows(new, b):
            return new, b, word, opposite


def _ask(source: Source, frame: Frame, meaning: tuple, template: str, avoid: str = "") -> str:
    """The meaning in the words of a template, if possible with a synonym that is not in `avoid`."""
    a, b, word, opposite = meaning
    negated = "{no}" in template and source.random() < NEGATED_SHARE
    same, other = frame.words[word] if opposite == negated else reversed(frame.words[word])
    word = source.choice([word for word in same if word not in avoid.split()] or same)
    places = {"a": frame.a[a], "b": frame.b[b], "no": "not" if negated else "", "word": word}
    return " ".join(template.format(**places, other=source.choice(other)).split())


# Scenes: pairs with a similarity from 0 to 5, and triplets of one that follows and one that contradicts -----
# The similarity adds up how well four parts agree: the same (or a synonym), of the same kind, or nothing.


def kinds(text: str) -> list[list[list[str]]]:
    """Parses one kind a line; an entry is one meaning, with its synonyms between slashes."""
    return [[entry.split("/") for entry in row.split()] for row in text.strip().splitlines()]


WHO = kinds("""
woman/lady man/gentleman grandmother grandfather
boy/lad girl baby/toddler teenager
cook/chef waiter baker
policeman/constable fireman guard
""")
WHERE = kinds("""
kitchen bedroom hallway/corridor basement/cellar
garden/yard park forest/woods meadow
street/road square station market
""")
ACTIONS = [  # actions, each as present and past participle, and the objects that they take
    (kinds(text)[0], kinds(text)[1:])
    for text in """
slicing-sliced/cutting-cut peeling-peeled washing-washed frying-fried
leek carrot potato
fish steak sausage

carrying-carried/lifting-lifted dragging-dragged/pulling-pulled painting-painted \
repairing-repaired/fixing-fixed
chair/seat table shelf
bicycle/bike cart boat

reading-read writing-written folding-folded hiding-hidden
letter note/message postcard
book poem report
""".split("\n\n")
]
SCENES = templates("""
A {who} is {doing} a {what} in the {where} .
The {who} is {doing} the {what} in the {where} .
A {what} is being {done} by a {who} in the {where} .
In the {where} , a {who} is {doing} a {what} .
There is a {who} {doing} a {what} in the {where} .
* In the {where} , a {what} is being {done} by a {who} .
* There is a {what} being {done} by a {who} in the {where} .
* In the {where} there is a {who} {doing} the {what} .
""")
# What follows says less: it leaves out the place, or says the same in another way.
WEAKER = ("A {who} is {doing} a {what} .", "Someone is {doing} a {what} in the {where} .", *SCENES[False])
WEIGHTS = {"who": 1.1, "action": 1.7, "what": 1.4, "where": 0.8}  # they add up to 5


def members(rows: list) -> list[tuple[int, int]]:
    return [(kind, member) for kind, row in enumerate(rows) for member in range(len(row))]


def draw_scene(source: Source) -> dict[str, tuple[int, ...]]:
    """Positions of the parts; an action begins with its group, an object with that of its action."""
    group = source.randrange(len(ACTIONS))
    actions, objects = ACTIONS[group]
    what, where = source.positions(members(objects), members(WHERE))
    kind = source.randrange(len(WHO))
    return {
        "who": (kind, source.randrange(len(WHO[kind]))),
        "action": (group, source.randrange(len(actions))),
        "what": (group, *members(objects)[what]),
        "where": members(WHERE)[where],
    }


def vary(source: Source, scene: dict, kept: int) -> dict:
    """Another scene that agrees with the given one in about `kept` of its four parts."""
    parts = list(WEIGHTS)
    source.shuffle(parts)
    while True:
        other = draw_scene(source)
        same_group = other["action"][0] == scene["action"][0]
        if not same_group and kept > 2:
            continue
        other |= {part: scene[part] for part in parts[:kept] if same_group or part in ("who", "where")}
        group, *what = other["what"]
        if source.allows(members(ACTIONS[group][1]).index(tuple(what)), members(WHERE).index(other["where"])):
            return other


def similarity(one: dict, other: dict) -> float:
    def agreement(part: str) -> float:
        return 1.0 if one[part] == other[part] else 0.5 if one[part][:-1] == other[part][:-1] else 0.0

    return round(sum(weight * agreement(part) for part, weight in WEIGHTS.items()), 1)


def describe(source: Source, scene: dict, template: str) -> str:
    group, action = scene["action"]
    actions, objects = ACTIONS[group]
    doing, done = source.choice(actions[action]).split("-")
    words = {
        part: source.choice(rows[scene[part][-2]][scene[part][-1]])
        for part, rows in (("who", WHO), ("what", objects), ("where", WHERE))
    }
    return template.format(doing=doing, done=done, **words)


def draw_scenes(source: Source) -> tuple[tuple[str, str], float]:
    """Two scenes and their similarity; the second shares from no part to all parts with the first."""
    one = draw_scene(source)
    other = vary(source, one, source.randrange(5))
    ways = source.two_of(SCENES)
    pair = [describe(source, one, ways[0]), describe(source, other, ways[1])]
    source.shuffle(pair)
    return tuple(pair), similarity(one, other)


def draw_triplet(source: Source) -> tuple[str, str, str]:
    """A sentence, one that follows from it, and one that contradicts it by what is done to what."""
    scene = other = draw_scene(source)
    while all(other[part] == scene[part] for part in ("action", "what")):
        other = vary(source, scene, source.randrange(2, 4))
    first, last = source.sample(SCENES[False], 2)
    weaker = source.choice([template for template in WEAKER if template != first])
    return describe(source, scene, first), describe(source, scene, weaker), describe(source, other, last)


# Sentences with named entities, tagged in IOB1 as CoNLL-2003 is ---------------------------------------------
# All names are made up. Some words are a name in one place only (a town is also its team, a "Baker" may be a
# baker). The test split has family names, towns and firms that training never shows.

NAMES = lists("""
first: Ada, Boris, Clara, Dario, Elin, Felix, Greta, Hugo, Irma, Jonas, Klara, Lorenz, Mira, Nils, Olga, \
Pavel, Rosa, Sven, Tilda, Viktor
family: Aldren, Baker, Corvin, Dunmore, Estrom, Falk, Garnet, Holvik, Iverson, Jessup, Kestrel, Lindquist, \
Mason, Norvik, Ostrander, Porter
new family: Quillan, Rosmer, Sandvik, Tolland, Weaver
town: Eastmoor, Westhollow, Graybridge, Millhaven, Northgate, Oakfield, Redwater, Saltmarsh, Stonebury, \
Thornby, Whitford, Ashcombe
new town: Ferndale, Highcastle, Larkwood
land: Valdoria, Kelmark, Ostania, Brevia, Tyrland, Morania
people: Valdorian, Kelmarkish, Ostanian, Brevian, Tyrlandic, Moranian
firm: Harbor, Pioneer, Summit, Granite, Meridian, Lantern, Falcon, Beacon
new firm: Juniper, Cobalt
branch: Bank, Motors, Airways, Steel, Foods, Insurance
club: Rovers, United, Athletic, Wanderers
cup: Harvest, Winter, Silver, River
day: Monday, Tuesday, Thursday, Friday, Sunday
role: minister, coach, baker, mason, judge, singer, porter, mayor
""")
# "land" and "people" are a country and its adjective, "team" is a town that plays, "club" its full name.
TYPES = {"person": "PER", "town": "LOC", "land": "LOC", "people": "MISC", "cup": "MISC"}
TYPES |= dict.fromkeys(("team", "club", "firm", "agency"), "ORG")
REPORTS = templates("""
{person} , the {role} from {town} , arrived in {land} on {day} .
{person} told {firm} that prices in {town} would rise .
{firm} said on {day} it would open a plant near {town} .
{people} {role} {person} met the {role} of {town} on {day} .
The {people} government bought shares of {firm} from {firm} .
{team} beat {team} {score} in the {cup} on {day} .
{club} signed {person} from {club} for {number} crowns .
{town} {date}
{club} {club} {score}
The {role} {person} left {firm} for {agency} .
{agency} reported that the river at {town} rose by {number} inches .
Shares of {firm} fell {number} percent after {person} resigned .
A {role} in {town} sued {firm} on {day} .
{role} and {role} met in {land} , {agency} said .
Results of the {cup} in {land} :
{person} ( {land} ) beat {person} ( {land} ) {score}
In {town} , {people} songs were sung by {person} and a {role} .
On {day} a {role} said that the bank was closed .
* On {day} {person} left {town} for {land} .
* {firm} told {agency} that {person} had resigned .
* The {role} of {club} said {team} would win the {cup} .
* {people} shares rose {number} percent , {firm} said .
""")


def draw_tagged(source: Source) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """A sentence as words, and their tags."""
    words, tags, named, before = [], [], set(), "O"
    for part in source.choice(sum(REPORTS, []) if source.test else REPORTS[False]).split():
        place = part[1:-1] if part[0] == "{" else None
        text = _fill(source, place) if place else part
        while place and text in named:  # nobody plays against himself
            text = _fill(source, place)
        named.add(text)
        own, type = text.split(), TYPES.get(place, "O")
        words += own
        # IOB1 marks a beginning only where an entity of the same type has just ended.
        marks = ["B" if type == before else "I", *"I" * (len(own) - 1)]
        tags += ["O" if type == "O" else f"{mark}-{type}" for mark in marks]
        before = type
    words[0] = words[0][0].upper() + words[0][1:]
    return tuple(words), tuple(tags)


def _fill(source: Source, place: str) -> str:
    def draw(name: str) -> str:
        return source.new_or(NAMES[name], NAMES[f"new {name}"])

    match place:
        case "person":
            family = draw("family")
            return f"{source.choice(NAMES['first'])} {family}" if source.randrange(4) else family
        case "town" | "team":
            return draw("town")
        case "club":
            return f"{draw('town')} {source.choice(NAMES['club'])}"
        case "firm":
            return f"{draw('firm')} {source.choice(NAMES['branch'])}"
        case "land" | "people":
            return source.choice(NAMES[place])
        case "agency":
            return f"{source.choice(NAMES['land'])} Press Agency"
        case "cup":
            return f"{source.choice(NAMES['cup'])} Cup"
    words = {"role": source.choice(NAMES["role"]), "day": source.choice(NAMES["day"])}
    words["score"] = f"{source.randrange(6)}-{source.randrange(6)}"
    words["number"] = str(source.randrange(2, 90))
    words["date"] = f"1998-{source.randrange(1, 13):02}-{source.randrange(1, 29):02}"
    return words[place]


# News on four topics, with AG News's scars -----------------------------------------------------------------
# The topics share many of their words (a firm launches a satellite or a share, a team or a delegation wins a
# vote): it takes more than one word to tell them apart. The test split combines who and what anew.

NEWS = """
who: president, delegation, rebel group, parliament, border guard, opposition leader, foreign minister, \
peace council
does: rejects/rejected, wins/won, delays/delayed, launches/launched
what: a vote on the treaty, an offer of talks, a cease-fire, the election, a new constitution, \
aid for refugees, the border deal, an attack on the capital
where: in the capital, after weeks of protest, near the border, at a summit
end: Observers fear more unrest ., Thousands marched for peace ., The army stayed in barracks .

who: champion, home team, young striker, national side, veteran coach, relay team, tennis star, goalkeeper
does: wins/won, misses/missed, rejects/rejected, opens/opened
what: the final, a record transfer, the season, the semifinal, a new contract, the derby, \
the opening match, a gold medal
where: in the last minute, before a full stadium, on penalties, after extra time
end: Fans sang until midnight ., The rematch is next week ., An injured knee needs rest .

who: bank, steel maker, airline, oil company, retailer, insurance firm, car maker, pension fund
does: cuts/cut, delays/delayed, launches/launched, raises/raised
what: its profit forecast, a bid for a rival, the dividend, five hundred jobs, its share offering, \
prices for customers, a loan to suppliers, its quarterly earnings
where: in early trading, as costs rose, to please investors, after weak sales
end: Shares fell three percent ., Analysts had hoped for more ., The market took it calmly .

who: software maker, space agency, chip designer, research team, search engine, satellite builder, \
phone maker, young astronomer
does: launches/launched, opens/opened, finds/found, delays/delayed
what: a probe to the moon, a flaw in its browser, a faster processor, traces of water on a planet, \
a free music service, its new operating system, a robot for surgery, an archive of the web
where: in the laboratory, for home computers, after years of tests, on the network
end: Users can download it soon ., The code is open to all ., A second test is planned .
"""
TOPICS = [lists(topic) for topic in NEWS.split("\n\n")]  # in the order of the labels, 1 to 4
DATELINES = ("EASTMOOR", "GRAYBRIDGE", "MILLHAVEN", "REDWATER", "STONEBURY", "WHITFORD")
NEUTRAL = ("No details were given .", "It was the second time this year .", "Few had expected it .")


def draw_story(source: Source) -> tuple[tuple[str, str], int]:
    """(title, description) and the label from 1 to 4."""
    number = source.randrange(len(TOPICS))
    topic = TOPICS[number]
    who, what = source.positions(topic["who"], topic["what"])
    does, did = source.choice(topic["does"]).split("/")
    subject, deed = topic["who"][who], topic["what"][what]
    title = f"{subject} {does} {deed}".title() if source.randrange(2) else f"{deed} : {subject} {does}"
    last = source.choice((*topic["end"], *NEUTRAL))
    where = source.choice(topic["where"])
    # As in the real files, a backslash stands where a line ended, and an apostrophe lost its ampersand.
    join = source.choice((" ", " ", " ", "\\"))
    owner = source.choice(("The", "The", f"This town #39;s {source.choice(('first', 'own', 'best'))}"))
    description = f"{source.choice(DATELINES)} -{join}{owner} {subject} {did} {deed}{join}{where} . {last}"
    return (title[0].upper() + title[1:], description), number + 1


# Files -----------------------------------------------------------------------------------------------------

SENTENCE, PAIR = ("sentence",), ("sentence1", "sentence2")
COURSE = {  # name: columns, what draws a row, rows of train, dev and test
    "ids-sst": (SENTENCE, "sentiment", draw_sentence, (4000, 500, 500)),
    "ids-cfimdb": (SENTENCE, "sentiment", draw_review, (600, 150, 200)),
    "quora": (PAIR, "is_duplicate", draw_questions, (8000, 500, 500)),
    "sts": (PAIR, "similarity", draw_scenes, (3000, 500, 500)),
}
PLAIN = (  # a sentence of each kind that the training sets have, without its label; of a news story the title
    lambda source: draw_sentence(source)[0][0].strip(),
    lambda source: draw_questions(source)[0][0],
    lambda source: draw_scenes(source)[0][0],
    lambda source: " ".join(draw_tagged(source)[0]),
    lambda source: draw_story(source)[0][0],
)


def make_corpus() -> dict[str, str]:
    """Returns the text of each file by its name."""
    files = {}
    for name in COURSE:
        files |= course_files(name)

    source, seen = Source(f"{SEED} conll2003"), set()
    for split, count in (("train", 800), ("testa", 200), ("testb", 200)):
        source.test = split == "testb"
        text = ""
        for number, (words, tags) in enumerate(draw_different(source, count, draw_tagged, seen)):
            text += "-DOCSTART- -X- O O\n\n" if number % 20 == 0 else ""
            text += "".join(f"{word} _ _ {tag}\n" for word, tag in zip(words, tags, strict=True)) + "\n"
        files[f"conll2003/eng.{split}"] = text

    source, seen = Source(f"{SEED} agnews"), set()
    train = [
        [label, " ".join(texts), "sample"] for texts, label in draw_different(source, 800, draw_story, seen)
    ]
    source.test = True
    test = [[label, *texts] for texts, label in draw_different(source, 400, draw_story, seen)]
    files["agnews/train.csv"] = table(["label", "text", "source"], train)
    files["agnews/test.csv"] = table(["label", "title", "description"], test)

    triplets = draw_different(Source(f"{SEED} nli"), 600, draw_triplet, set())
    files["nli/nli_for_simcse.csv"] = table(["sent0", "sent1", "hard_neg"], triplets)
    texts = draw_different(Source(f"{SEED} mlm"), 1500, lambda source: source.choice(PLAIN)(source), set())
    files["mlm/sentences.txt"] = "".join(f"{text}\n" for text in texts)
    return files


def course_files(name: str) -> dict[str, str]:
    """Splits of one of the course's data sets; the students' test file lacks the labels, and has, for single
    sentences, one index column more."""
    columns, label, draw, sizes = COURSE[name]
    files, source, seen = {}, Source(f"{SEED} {name}"), {None}
    for split, count in zip(("train", "dev", "test"), sizes, strict=True):
        source.test = split == "test"
        rows = [
            ["".join(source.choice("0123456789abcdef") for _ in range(25)), *texts, target]
            for texts, target in draw_different(source, count, draw, seen, in_either_order)
        ]
        numbered = [[number, *row] for number, row in enumerate(rows)]
        files[f"{name}-{split}.csv"] = table(["", "id", *columns, label], numbered, "\t")
    if columns == SENTENCE:
        head, numbered = ["0", ""], [[number + 1, float(number), *row] for number, row in enumerate(rows)]
    else:
        head = [""]
    student = table([*head, "id", *columns], [row[:-1] for row in numbered], "\t")
    return files | {f"{name}-test-student.csv": student}


def in_either_order(row: tuple) -> tuple | None:
    """Returns the texts of a row without their order; None for two equal texts."""
    return tuple(sorted(row[0])) if len(set(row[0])) == len(row[0]) else None


def draw_different(source: Source, count: int, draw, seen: set, key=lambda row: row) -> Iterator:
    """Draws `count` rows whose keys are not in `seen`, which they join."""
    while count:
        row = draw(source)
        if key(row) not in seen:
            seen.add(key(row))
            count -= 1
            yield row


def table(header: list[str], rows: Iterable, delimiter: str = ",") -> str:
    text = io.StringIO()
    csv.writer(text, delimiter=delimiter, lineterminator="\n").writerows([header, *rows])
    return text.getvalue()


def write_archive(files: dict[str, str], path: Path) -> None:
    with tarfile.open(path, "w:xz", preset=9) as archive:
        for name, text in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content := text.encode())
            archive.addfile(entry, io.BytesIO(content))


if __name__ == "__main__":
    write_archive(make_corpus(), ARCHIVE)
