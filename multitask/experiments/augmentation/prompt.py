"""Builds prompts for a language model: a template, filled with examples of the user's own training data.

The default template is built like the prompt in appendix A.4 of the project's source paper: what the model
does, what each label means, an example of each label, and the text to paraphrase. No torch here.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random
from string import Formatter

from minbert import InputError, did_you_mean

REVIEWS = """\
You are rewriting movie reviews. Each line below is a review and its sentiment score, separated by a tab. \
A sentiment score of {classes}. Here is an example of each score:

{examples}

Please write one paraphrase, of the same sentiment score, of the line below. \
Answer with the paraphrase only, in double quotes, on one line.

{text}\t{label}
"""
TEXTS = """\
You are rewriting texts. Each line below is a text and its label, separated by a tab. \
The label {classes}. Here is an example of each label:

{examples}

Please write one paraphrase, of the same label, of the line below. \
Answer with the paraphrase only, in double quotes, on one line.

{text}\t{label}
"""
TEMPLATES = {"sst": REVIEWS, "cfimdb": REVIEWS}  # by the task's type; all others take TEXTS
MEANINGS = {
    "sst": {
        "0": "negative",
        "1": "somewhat negative",
        "2": "neutral",
        "3": "somewhat positive",
        "4": "positive",
    },
    "cfimdb": {"0": "negative", "1": "positive"},
}
PLACEHOLDERS = {
    "text": "the text to paraphrase, on one line",
    "label": "its label",
    "meaning": "what its label means; the label where nothing is known",
    "classes": "all labels and what they mean",
    "examples": "a line for each label: a training text, a tab, the label",
}
NEEDED = ("text", "label")


@dataclass(frozen=True)
class Prompt:
    """A template with all that is the same for every text; `fill` makes the prompt for one."""

    template: str
    examples: str
    meanings: Mapping[str, str]  # label -> what it means, in the order of the labels

    def fill(self, text: str, label: str) -> str:
        """Returns the prompt for a paraphrase of `text`."""
        return self._format(text=one_line(text), label=label, meaning=self.meanings[label])

    @property
    def hash(self) -> str:
        """SHA-256 of what all prompts share, so that a summary can name the prompt without its texts."""
        return hashlib.sha256(self._format(text="", label="", meaning="").encode("utf-8")).hexdigest()

    def _format(self, **values: str) -> str:
        classes = ", ".join(
            f"{label} means {meaning}" if meaning != label else f"may be {label}"
            for label, meaning in self.meanings.items()
        )
        return self.template.format(classes=classes, examples=self.examples, **values)


def make_prompt(
    kind: str,
    labels: Sequence[str],
    texts: Mapping[str, Sequence[str]],
    seed: int,
    template: str | None = None,
) -> Prompt:
    """Makes the prompt of a task of type `kind`, with an example of each label drawn from its `texts`.

    Raises InputError for a template with an unknown placeholder, or without one that it needs.
    """
    draw = Random(f"{seed} examples")
    shown = [label for label in labels if texts.get(label)]
    draw.shuffle(shown)  # so that their order says nothing
    examples = "\n\n".join(f"{one_line(draw.choice(texts[label]))}\t{label}" for label in shown)
    meanings = {label: MEANINGS.get(kind, {}).get(label, label) for label in labels}
    return Prompt(check_template(template or TEMPLATES.get(kind, TEXTS)), examples, meanings)


def check_template(template: str) -> str:
    """Returns the template. Raises InputError where it cannot be filled; `{{` and `}}` stand for braces."""
    known = ", ".join(f"{{{name}}}" for name in PLACEHOLDERS)
    try:
        parts = list(Formatter().parse(template))
    except ValueError as error:
        raise InputError(
            f"the template has a brace that belongs to no placeholder ({error}); write {{{{ and }}}} for "
            f"braces, and one of {known} for a value"
        ) from None
    found = {name for _, name, _, _ in parts if name is not None}
    for _, name, form, conversion in parts:
        if name is not None and (name not in PLACEHOLDERS or form or conversion):
            raise InputError(
                f"the template has the placeholder {{{name}}}{did_you_mean(name, PLACEHOLDERS)}; "
                f"the accepted ones are {known}, without a format"
            )
    for name in NEEDED:
        if name not in found:
            raise InputError(f"the template has no {{{name}}}, {PLACEHOLDERS[name]}; put it where it belongs")
    return template


def one_line(text: str) -> str:
    """Returns the text with single spaces for all white space, as a line of a prompt needs it."""
    return " ".join(text.split())
