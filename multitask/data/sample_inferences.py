"""Triplets of scenes for the sample corpus: a sentence, one that follows, one that cannot be true too.

They are made of the same parts as the pairs with a similarity (sample_scenes.py), whose test split's
combinations they leave out.
"""

from random import Random

from multitask.data.sample_scenes import TEMPLATES, Scene, draw_scene, say, vary

# What follows says less: it leaves out the place, or says the same in another way.
SHORTER = ("A {who} is {doing} a {what} .", "Someone is {doing} a {what} in the {where} .", *TEMPLATES)


def draw_triplet(random: Random) -> tuple[str, str, str]:
    """(sentence, entailed sentence, contradicting sentence)"""
    scene = draw_scene(random, held_out=False)
    other = _contradiction(random, scene)
    first, last = random.sample(TEMPLATES, 2)
    weaker = random.choice([template for template in SHORTER if template != first])
    return say(random, scene, first), say(random, scene, weaker), say(random, other, last)


def _contradiction(random: Random, scene: Scene) -> Scene:
    """A scene that shares most with the given one, but not what is done to what."""
    while True:
        other = vary(random, scene, random.randrange(2, 4), held_out=False)
        if (other.group, other.action, other.what) != (scene.group, scene.action, scene.what):
            return other
