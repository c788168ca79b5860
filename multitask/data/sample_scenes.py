"""Pairs of scenes for the sample corpus, with a similarity from 0 to 5.

A scene has four parts: who, does what, to what, where. The similarity adds up how well the parts
agree: the same (also by a synonym), of the same kind, or nothing in common.
"""

from random import Random
from typing import NamedTuple

from multitask.data.sample_held_out import draw_positions, is_held_out

# Each entry is one meaning: its synonyms. Entries of one kind stand in one row.
# fmt: off
WHO = (
    (("woman", "lady"), ("man", "gentleman"), ("grandmother",), ("grandfather",)),
    (("boy", "lad"), ("girl",), ("baby", "toddler"), ("teenager",)),
    (("cook", "chef"), ("waiter",), ("baker",)),
    (("policeman", "constable"), ("fireman",), ("guard",)),
)
ACTIONS = (  # ((present participle, past participle), ...), and the objects that it takes
    (((("slicing", "sliced"), ("cutting", "cut")), (("peeling", "peeled"),), (("washing", "washed"),),
      (("frying", "fried"),)),
     ((("leek",), ("carrot",), ("potato",)), (("fish",), ("steak",), ("sausage",)))),
    (((("carrying", "carried"), ("lifting", "lifted")), (("dragging", "dragged"), ("pulling", "pulled")),
      (("painting", "painted"),), (("repairing", "repaired"), ("fixing", "fixed"))),
     ((("chair", "seat"), ("table",), ("shelf",)), (("bicycle", "bike"), ("cart",), ("boat",)))),
    (((("reading", "read"),), (("writing", "written"),), (("folding", "folded"),),
      (("hiding", "hidden"),)),
     ((("letter",), ("note", "message"), ("postcard",)), (("book",), ("poem",), ("report",)))),
)
WHERE = (
    (("kitchen",), ("bedroom",), ("hallway", "corridor"), ("basement", "cellar")),
    (("garden", "yard"), ("park",), ("forest", "woods"), ("meadow",)),
    (("street", "road"), ("square",), ("station",), ("market",)),
)
# fmt: on
TEMPLATES = (
    "A {who} is {doing} a {what} in the {where} .",
    "The {who} is {doing} the {what} in the {where} .",
    "A {what} is being {done} by a {who} in the {where} .",
    "In the {where} , a {who} is {doing} a {what} .",
    "There is a {who} {doing} a {what} in the {where} .",
)
HELD_OUT = (
    "In the {where} , a {what} is being {done} by a {who} .",
    "There is a {what} being {done} by a {who} in the {where} .",
    "In the {where} there is a {who} {doing} the {what} .",
)
WEIGHTS = (1.1, 1.7, 1.4, 0.8)  # who, action, what, where; they add up to 5
SAME_KIND = 0.5


class Scene(NamedTuple):
    """Positions: (kind, member) of each part; the group of actions decides which objects there are."""

    group: int
    who: tuple[int, int]
    action: int
    what: tuple[int, int]
    where: tuple[int, int]


def similarity(one: Scene, other: Scene) -> float:
    """The weighted agreement of the parts, with one decimal, from 0.0 to 5.0."""
    kinds = (
        agreement(one.who, other.who),
        agreement((one.group, one.action), (other.group, other.action)),
        agreement((one.group, *one.what), (other.group, *other.what)),
        agreement(one.where, other.where),
    )
    return round(sum(weight * kind for weight, kind in zip(WEIGHTS, kinds, strict=True)), 1)


def agreement(one: tuple[int, ...], other: tuple[int, ...]) -> float:
    if one == other:
        return 1.0
    return SAME_KIND if one[:-1] == other[:-1] else 0.0


def draw_scene_pair(random: Random, held_out: bool) -> tuple[tuple[str, str], float]:
    """Two scenes and their similarity; the second shares from no part to all parts with the first."""
    one = draw_scene(random, held_out)
    kept = random.randrange(5)
    other = vary(random, one, kept, held_out)
    templates = list(TEMPLATES)
    random.shuffle(templates)
    if held_out:
        templates.insert(0, random.choice(HELD_OUT))
    pair = [say(random, one, templates[0]), say(random, other, templates[1])]
    random.shuffle(pair)
    return (pair[0], pair[1]), similarity(one, other)


def draw_scene(random: Random, held_out: bool) -> Scene:
    """A scene whose object and place stand together in its own split only."""
    group = random.randrange(len(ACTIONS))
    actions, objects = ACTIONS[group]
    members = [(kind, member) for kind, row in enumerate(objects) for member in range(len(row))]
    places = [(kind, member) for kind, row in enumerate(WHERE) for member in range(len(row))]
    what, where = draw_positions(random, members, places, held_out)
    return Scene(
        group,
        draw_part(random, WHO),
        random.randrange(len(actions)),
        members[what],
        places[where],
    )


def vary(random: Random, scene: Scene, kept: int, held_out: bool) -> Scene:
    """Another scene that agrees with `scene` in about `kept` of its four parts."""
    parts = ["who", "action", "what", "where"]
    random.shuffle(parts)
    while True:
        fresh = draw_scene(random, held_out)
        if fresh.group != scene.group:
            if kept > 2:
                continue
            same = {part: getattr(scene, part) for part in parts[:kept] if part in ("who", "where")}
        else:
            same = {part: getattr(scene, part) for part in parts[:kept]}
        other = fresh._replace(**same)
        if is_held_out(position(other), flat(WHERE, other.where)) == held_out:
            return other


def position(scene: Scene) -> int:
    return flat(ACTIONS[scene.group][1], scene.what)


def flat(rows: tuple, part: tuple[int, int]) -> int:
    """The position of a (kind, member) when all rows stand one after the other."""
    return sum(len(row) for row in rows[: part[0]]) + part[1]


def draw_part(random: Random, rows: tuple) -> tuple[int, int]:
    kind = random.randrange(len(rows))
    return kind, random.randrange(len(rows[kind]))


def say(random: Random, scene: Scene, template: str) -> str:
    actions, objects = ACTIONS[scene.group]
    doing, done = random.choice(actions[scene.action])
    words = {
        "who": random.choice(WHO[scene.who[0]][scene.who[1]]),
        "what": random.choice(objects[scene.what[0]][scene.what[1]]),
        "where": random.choice(WHERE[scene.where[0]][scene.where[1]]),
    }
    return template.format(doing=doing, done=done, **words)
