"""News for the sample corpus: a title and a description on one of four topics, with AG News's scars.

The four topics share many of their words (a firm launches a satellite or a share, a team or a delegation wins
a vote), so that it takes more than one word to tell them apart. The test split combines who and what as
training does not.
"""

from random import Random
from typing import NamedTuple

from multitask.data.sample_held_out import draw_positions


class Topic(NamedTuple):
    """Who does what: titles are "{who} {does} {what}", descriptions say it again with `where`."""

    who: tuple[str, ...]
    does: tuple[tuple[str, str], ...]  # present for the title, past for the description
    what: tuple[str, ...]
    where: tuple[str, ...]
    after: tuple[str, ...]


# fmt: off
TOPICS = (  # in the order of the labels, 1 to 4
    Topic(
        ("president", "delegation", "rebel group", "parliament", "border guard", "opposition leader",
         "foreign minister", "peace council"),
        (("rejects", "rejected"), ("wins", "won"), ("delays", "delayed"), ("launches", "launched")),
        ("a vote on the treaty", "an offer of talks", "a cease-fire", "the election", "a new constitution",
         "aid for refugees", "the border deal", "an attack on the capital"),
        ("in the capital", "after weeks of protest", "near the border", "at a summit"),
        ("Observers fear more unrest .", "Thousands marched for peace .", "The army stayed in barracks ."),
    ),
    Topic(
        ("champion", "home team", "young striker", "national side", "veteran coach", "relay team",
         "tennis star", "goalkeeper"),
        (("wins", "won"), ("misses", "missed"), ("rejects", "rejected"), ("opens", "opened")),
        ("the final", "a record transfer", "the season", "the semifinal", "a new contract", "the derby",
         "the opening match", "a gold medal"),
        ("in the last minute", "before a full stadium", "on penalties", "after extra time"),
        ("Fans sang until midnight .", "The rematch is next week .", "An injured knee needs rest ."),
    ),
    Topic(
        ("bank", "steel maker", "airline", "oil company", "retailer", "insurance firm", "car maker",
         "pension fund"),
        (("cuts", "cut"), ("delays", "delayed"), ("launches", "launched"), ("raises", "raised")),
        ("its profit forecast", "a bid for a rival", "the dividend", "five hundred jobs",
         "its share offering", "prices for customers", "a loan to suppliers", "its quarterly earnings"),
        ("in early trading", "as costs rose", "to please investors", "after weak sales"),
        ("Shares fell three percent .", "Analysts had hoped for more .", "The market took it calmly ."),
    ),
    Topic(
        ("software maker", "space agency", "chip designer", "research team", "search engine",
         "satellite builder", "phone maker", "young astronomer"),
        (("launches", "launched"), ("opens", "opened"), ("finds", "found"), ("delays", "delayed")),
        ("a probe to the moon", "a flaw in its browser", "a faster processor", "traces of water on a planet",
         "a free music service", "its new operating system", "a robot for surgery", "an archive of the web"),
        ("in the laboratory", "for home computers", "after years of tests", "on the network"),
        ("Users can download it soon .", "The code is open to all .", "A second test is planned ."),
    ),
)
# fmt: on
PLACES = ("EASTMOOR", "GRAYBRIDGE", "MILLHAVEN", "REDWATER", "STONEBURY", "WHITFORD")
NEUTRAL = ("No details were given .", "It was the second time this year .", "Few had expected it .")


def draw_story(random: Random, held_out: bool) -> tuple[tuple[str, str], int]:
    """(title, description) and the label from 1 to 4."""
    number = random.randrange(len(TOPICS))
    topic = TOPICS[number]
    who, what = draw_positions(random, topic.who, topic.what, held_out)
    does, did = random.choice(topic.does)
    subject, deed = topic.who[who], topic.what[what]
    title = f"{subject} {does} {deed}".title() if random.randrange(2) else f"{deed} : {subject} {does}"
    last = random.choice((*topic.after, *NEUTRAL))
    where = random.choice(topic.where)
    # As in the real files, a backslash stands where a line ended, and an apostrophe lost its ampersand.
    join = random.choice((" ", " ", " ", "\\"))
    owner = random.choice(("The", "The", f"This town #39;s {random.choice(('first', 'own', 'best'))}"))
    description = f"{random.choice(PLACES)} -{join}{owner} {subject} {did} {deed}{join}{where} . {last}"
    return (title[0].upper() + title[1:], description), number + 1
