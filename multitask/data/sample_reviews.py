"""Film reviews for the sample corpus: sentences on five levels, and longer texts that are for or against.

A sentence judges one or two aspects of a film. A negation turns a judgement, an intensifier sharpens
it, and of two judgements joined by a contrast one leads and gives the label: words alone do not tell.
"""

from random import Random

from multitask.data.sample_held_out import draw_positions, is_held_out

# fmt: off
ASPECTS = ("acting", "camera work", "cast", "dialogue", "direction", "editing", "ending", "humor", "music",
           "opening", "pacing", "photography", "plot", "premise", "script", "sound", "story", "tone")
ADJECTIVES = {  # what an adjective says alone, from -2 to 2
    -2: ("abysmal", "appalling", "awful", "dreadful", "horrible", "ghastly", "terrible", "unbearable"),
    -1: ("bad", "clumsy", "dull", "flat", "lifeless", "poor", "stale", "weak"),
    0: ("average", "conventional", "familiar", "ordinary", "routine", "standard"),
    1: ("amusing", "clever", "decent", "engaging", "fresh", "good", "lively", "pleasant"),
    2: ("brilliant", "dazzling", "excellent", "magnificent", "masterful", "splendid", "superb", "wonderful"),
}
# fmt: on
WORDS = tuple(word for words in ADJECTIVES.values() for word in words)
VALUES = {word: value for value, words in ADJECTIVES.items() for word in words}
NEGATIONS = ("not", "never", "n't", "hardly")
INTENSIFIERS = ("very", "truly", "really", "extremely")
SOFTENERS = ("fairly", "almost", "mostly", "rather")
NEGATED = ("not very", "not really", "n't very", "never truly")  # "is n't very good" is merely not good
MODIFIERS = ("", *NEGATIONS, *INTENSIFIERS, *SOFTENERS, *NEGATED)

# {lead} is the judgement that counts, {aside} the other, {thing} the other as "dull plot", {title} a film.
SINGLE = (
    "{lead} .",
    "I think {lead} .",
    "In `` {title} '' {lead} .",
    "All in all , {lead} .",
    "Here is a film in which {lead} .",
)
SINGLE_HELD_OUT = ("All in all , I think {lead} .", "`` {title} '' is a film in which {lead} .")
CONTRAST = (
    "{aside} , but {lead} .",
    "In `` {title} '' {aside} , but {lead} .",
    "In `` {title} '' {lead} , although {aside} .",
    "{aside} , yet {lead} .",
    "{aside} ; however , {lead} .",
    "Although {aside} , {lead} .",
    "{lead} , although {aside} .",
    "{lead} , even if {aside} .",
    "{lead} -LRB- although {aside} -RRB- .",
    "Even if {aside} , I think {lead} .",
    "Despite its {thing} , {lead} .",
    "{lead} in spite of the {thing} .",
    "I think {lead} , despite the {thing} .",
)
CONTRAST_HELD_OUT = (
    "I think {aside} , but all in all {lead} .",
    "In `` {title} '' {lead} , even if {aside} .",
    "In spite of its {thing} , I think {lead} .",
    "Although {aside} , all in all {lead} .",
    "Here is a film in which {aside} , yet {lead} .",
    "{lead} despite the {thing} , I think .",
)
TITLE_STARTS = ("Silent", "Broken", "Golden", "Distant", "Hidden", "Winter", "Paper", "Midnight")
TITLE_ENDS = ("Harbor", "Garden", "Letters", "River", "Mirror", "Station", "Bridge", "Orchard")


def judge(modifier: str, adjective: str) -> int | None:
    """What modifier and adjective say together, from -2 to 2; None where nobody would say it.

    "not good" is -1 and so is "not brilliant"; "very good" is 2; "fairly brilliant" is 1.
    """
    value = VALUES[adjective]
    if not modifier:
        return value
    if value == 0:
        return None
    sign = 1 if value > 0 else -1
    if modifier in NEGATIONS or modifier in NEGATED:
        return -sign
    if modifier in INTENSIFIERS:
        return 2 * sign if abs(value) == 1 else None
    return sign if abs(value) == 2 else None


def draw_sentence(random: Random, held_out: bool) -> tuple[tuple[str], int]:
    """A sentence on a film, with a leading space as in the course's files, and its level 0..4."""
    value = random.randrange(-2, 3)
    contrast = random.random() < 0.7
    if contrast:
        template = random.choice(CONTRAST_HELD_OUT if held_out else CONTRAST)
    else:
        template = random.choice(SINGLE_HELD_OUT if held_out else SINGLE)
    lead = draw_clause(random, value, held_out)
    aspect = lead.partition(" is ")[0].removeprefix("the ")
    aside = thing = aspect
    while aspect in aside:  # nobody contrasts an aspect with itself
        aside = draw_clause(random, random.choice(other_side(value)), held_out)
    while aspect in thing:
        thing = draw_thing(random, random.choice(other_side(value)), held_out)
    title = f"{random.choice(TITLE_STARTS)} {random.choice(TITLE_ENDS)}"
    text = template.format(lead=lead, aside=aside, thing=thing, title=title)
    return (f" {text[0].upper()}{text[1:]}",), value + 2


def other_side(value: int) -> tuple[int, ...]:
    """The values that stand in contrast to a value."""
    if value == 0:
        return (-2, -1, 1, 2)
    return (-2, -1, 0) if value > 0 else (0, 1, 2)


def draw_clause(random: Random, value: int, held_out: bool) -> str:
    """A clause such as "the plot is n't very good" that says `value`."""
    if value == 0 and random.randrange(3) == 0:
        return draw_neither(random, held_out)
    while True:
        aspect, word = draw_positions(random, ASPECTS, WORDS, held_out)
        modifier = random.randrange(len(MODIFIERS)) if random.random() < 0.7 and value else 0
        if modifier and is_held_out(modifier, word) != held_out:
            continue
        if judge(MODIFIERS[modifier], WORDS[word]) == value:
            return f"the {ASPECTS[aspect]} is {MODIFIERS[modifier]} {WORDS[word]}".replace("  ", " ")


def draw_neither(random: Random, held_out: bool) -> str:
    good, bad = draw_positions(random, ADJECTIVES[1], ADJECTIVES[-1], held_out)
    pair = [ADJECTIVES[1][good], ADJECTIVES[-1][bad]]
    random.shuffle(pair)
    return f"the {random.choice(ASPECTS)} is neither {pair[0]} nor {pair[1]}"


def draw_thing(random: Random, value: int, held_out: bool) -> str:
    while True:
        aspect, word = draw_positions(random, ASPECTS, WORDS, held_out)
        if VALUES[WORDS[word]] == value:
            return f"{WORDS[word]} {ASPECTS[aspect]}"


def draw_review(random: Random, held_out: bool) -> tuple[tuple[str], int]:
    """A review of several sentences, and 1 where its judgements add up to praise, 0 to blame."""
    while True:
        sentences, total = [], 0
        favour = random.choice((-1, 1))
        for _ in range(random.randrange(5, 10)):
            (text,), level = draw_sentence(random, held_out)
            if (level - 2) * favour >= 0 or random.randrange(3) == 0:
                sentences.append(text)
                total += level - 2
        if len(sentences) >= 3 and abs(total) >= 3:
            return ("".join(sentences),), int(total > 0)
