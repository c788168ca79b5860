"""Sentences with named entities for the sample corpus, tagged in IOB1 as CoNLL-2003 is.

All names are made up. Some words are a name in one place and none in another (a town is also its team, a
"Baker" may be a baker), so that the sentence tells, and not a list of words. The test split has family names,
towns and firms that training never shows.
"""

from random import Random

# fmt: off
FIRST = ("Ada", "Boris", "Clara", "Dario", "Elin", "Felix", "Greta", "Hugo", "Irma", "Jonas", "Klara",
         "Lorenz", "Mira", "Nils", "Olga", "Pavel", "Rosa", "Sven", "Tilda", "Viktor")
FAMILY = ("Aldren", "Baker", "Corvin", "Dunmore", "Estrom", "Falk", "Garnet", "Holvik", "Iverson", "Jessup",
          "Kestrel", "Lindquist", "Mason", "Norvik", "Ostrander", "Porter")
FAMILY_HELD_OUT = ("Quillan", "Rosmer", "Sandvik", "Tolland", "Weaver")
TOWNS = ("Eastmoor", "Westhollow", "Graybridge", "Millhaven", "Northgate", "Oakfield", "Redwater",
         "Saltmarsh", "Stonebury", "Thornby", "Whitford", "Ashcombe")
TOWNS_HELD_OUT = ("Ferndale", "Highcastle", "Larkwood")
LANDS = (("Valdoria", "Valdorian"), ("Kelmark", "Kelmarkish"), ("Ostania", "Ostanian"), ("Brevia", "Brevian"),
         ("Tyrland", "Tyrlandic"), ("Morania", "Moranian"))
FIRMS = ("Harbor", "Pioneer", "Summit", "Granite", "Meridian", "Lantern", "Falcon", "Beacon")
FIRMS_HELD_OUT = ("Juniper", "Cobalt")
KINDS = ("Bank", "Motors", "Airways", "Steel", "Foods", "Insurance")
CLUBS = ("Rovers", "United", "Athletic", "Wanderers")
CUPS = ("Harvest", "Winter", "Silver", "River")
DAYS = ("Monday", "Tuesday", "Thursday", "Friday", "Sunday")
ROLES = ("minister", "coach", "baker", "mason", "judge", "singer", "porter", "mayor")
# fmt: on

# "land" and "people" are a country and its adjective, "team" is a town that plays, "club" its full name.
TEMPLATES = (
    "{person} , the {role} from {town} , arrived in {land} on {day} .",
    "{person} told {firm} that prices in {town} would rise .",
    "{firm} said on {day} it would open a plant near {town} .",
    "{people} {role} {person} met the {role} of {town} on {day} .",
    "The {people} government bought shares of {firm} from {firm} .",
    "{team} beat {team} {score} in the {cup} on {day} .",
    "{club} signed {person} from {club} for {number} crowns .",
    "{town} {date}",
    "{club} {club} {score}",
    "The {role} {person} left {firm} for {agency} .",
    "{agency} reported that the river at {town} rose by {number} inches .",
    "Shares of {firm} fell {number} percent after {person} resigned .",
    "A {role} in {town} sued {firm} on {day} .",
    "{role} and {role} met in {land} , {agency} said .",
    "Results of the {cup} in {land} :",
    "{person} ( {land} ) beat {person} ( {land} ) {score}",
    "In {town} , {people} songs were sung by {person} and a {role} .",
    "On {day} a {role} said that the bank was closed .",
)
TEMPLATES_HELD_OUT = (
    "On {day} {person} left {town} for {land} .",
    "{firm} told {agency} that {person} had resigned .",
    "The {role} of {club} said {team} would win the {cup} .",
    "{people} shares rose {number} percent , {firm} said .",
)


def draw_tagged(random: Random, held_out: bool) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """A sentence as words, and their tags in IOB1."""
    template = random.choice((*TEMPLATES, *TEMPLATES_HELD_OUT) if held_out else TEMPLATES)
    words: list[str] = []
    tags: list[str] = []
    named: set[str] = set()
    before = "O"
    for part in template.split():
        text, type = _fill(random, part[1:-1], held_out) if part[0] == "{" else (part, "O")
        while part[0] == "{" and text in named:  # nobody plays against himself
            text, type = _fill(random, part[1:-1], held_out)
        named.add(text)
        own = text.split()
        words += own
        # IOB1 marks a beginning only where an entity of the same type has just ended.
        marks = ["B" if type == before else "I", *"I" * (len(own) - 1)]
        tags += ["O" if type == "O" else f"{mark}-{type}" for mark in marks]
        before = type
    words[0] = words[0][0].upper() + words[0][1:]
    return tuple(words), tuple(tags)


def _fill(random: Random, place: str, held_out: bool) -> tuple[str, str]:
    """What stands in a place of a template, and its type or O."""

    def choose(known: tuple[str, ...], new: tuple[str, ...]) -> str:
        return random.choice(new if held_out and random.randrange(2) else known)

    match place:
        case "person":
            family = choose(FAMILY, FAMILY_HELD_OUT)
            return (f"{random.choice(FIRST)} {family}" if random.randrange(4) else family), "PER"
        case "town":
            return choose(TOWNS, TOWNS_HELD_OUT), "LOC"
        case "land":
            return random.choice(LANDS)[0], "LOC"
        case "people":
            return random.choice(LANDS)[1], "MISC"
        case "cup":
            return f"{random.choice(CUPS)} Cup", "MISC"
        case "team":
            return choose(TOWNS, TOWNS_HELD_OUT), "ORG"
        case "club":
            return f"{choose(TOWNS, TOWNS_HELD_OUT)} {random.choice(CLUBS)}", "ORG"
        case "firm":
            return f"{choose(FIRMS, FIRMS_HELD_OUT)} {random.choice(KINDS)}", "ORG"
        case "agency":
            return f"{random.choice(LANDS)[0]} Press Agency", "ORG"
    words = {
        "role": random.choice(ROLES),
        "day": random.choice(DAYS),
        "score": f"{random.randrange(6)}-{random.randrange(6)}",
        "number": str(random.randrange(2, 90)),
        "date": f"1998-{random.randrange(1, 13):02}-{random.randrange(1, 29):02}",
    }
    return words[place], "O"
