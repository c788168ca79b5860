"""Plain sentences for the sample corpus: what its other training sets say, without labels."""

from collections.abc import Callable
from random import Random

from multitask.data.sample_entities import draw_tagged
from multitask.data.sample_news import draw_story
from multitask.data.sample_questions import draw_question_pair
from multitask.data.sample_reviews import draw_sentence
from multitask.data.sample_scenes import draw_scene_pair

SOURCES: tuple[Callable[[Random], str], ...] = (
    lambda random: draw_sentence(random, held_out=False)[0][0].strip(),
    lambda random: draw_question_pair(random, held_out=False)[0][0],
    lambda random: draw_scene_pair(random, held_out=False)[0][0],
    lambda random: " ".join(draw_tagged(random, held_out=False)[0]),
    lambda random: draw_story(random, held_out=False)[0][0],
)


def draw_text(random: Random) -> str:
    """A sentence of any kind that training sets hold; of a news story the title."""
    return random.choice(SOURCES)(random)
