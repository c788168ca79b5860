"""The three ways to a new text of a class: a paraphrase by a language model, an edit of words, a copy."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random
from typing import Any, NamedTuple, Protocol

from minbert import InputError
from multitask.config.option_types import within
from multitask.data.readers import Example, read_text
from multitask.experiments.augmentation.attempt import bound_on_tokens
from multitask.experiments.augmentation.cache import Journal, request_key
from multitask.experiments.augmentation.client import ChatClient, Endpoint, Limits, NoReply
from multitask.experiments.augmentation.filter import NEAR
from multitask.experiments.augmentation.prompt import Prompt, make_prompt
from multitask.experiments.augmentation.reply import Rejection, read_reply
from multitask.experiments.augmentation.table import TrainingTable
from multitask.experiments.augmentation.treebank import treebank_spacing
from multitask.experiments.augmentation.words import Synonyms, edit_words, read_synonyms

Advance = Callable[[], object]


class Slot(NamedTuple):
    """A text that is wanted: of the class of `source`, the `variant`-th one made from it."""

    source: Example
    variant: int

    def attempt(self, number: int) -> str:
        """A name of its own for each attempt at each slot of a table."""
        return f"{self.source.line}/{self.variant}/{number}"


class Writer(Protocol):
    """Makes texts for slots. `stopped` says why it makes no more."""

    stopped: str | None

    def write(self, slots: Sequence[Slot], attempt: int, advance: Advance) -> list[str | Rejection | None]:
        """A text for each slot, or why there is none; None where it was not tried. Attempts count from 0."""

    def summary(self) -> dict[str, Any]:
        """What of the writer decides its texts, and what they cost."""


class Method(Protocol):
    """`mark` stands in new rows' ids; from `near` on a text is too close to training texts, None: never."""

    name: str
    mark: str
    near: float | None

    def open(self, table: TrainingTable, seed: int) -> Any:
        """A context with the method's writer."""


@dataclass(frozen=True)
class Paraphrases:
    """Paraphrases by a language model. `cache` and `template` are files."""

    endpoint: Endpoint
    cache: Path
    limits: Limits = Limits()
    template: Path | None = None
    near: float | None = NEAR
    name = "paraphrase"
    mark = "p"

    def __post_init__(self):
        longest = bound_on_tokens(self.endpoint.request("", 0))[1]
        if self.limits.max_cost is not None and not longest:
            raise InputError(
                "--max-cost needs a limit on the length of replies; leave max_tokens in the request, or put "
                "max_completion_tokens into --body"
            )

    @contextmanager
    def open(self, table: TrainingTable, seed: int) -> Iterator["Paraphraser"]:
        prompt = self.prompt(table, seed)
        with Journal(self.cache) as journal, ChatClient(self.endpoint, journal, self.limits) as client:
            table.notes += journal.notes
            yield Paraphraser(self, client, prompt, table, seed)

    def prompt(self, table: TrainingTable, seed: int) -> Prompt:
        template = None if self.template is None else read_text(self.template)
        texts = {label: [row.texts[0] for row in rows] for label, rows in table.by_label.items()}
        return make_prompt(table.task.config.type, table.labels, texts, seed, template)

    def request(self, prompt: Prompt, slot: Slot, attempt: int, seed: int) -> tuple[dict[str, Any], str]:
        """The body of a request, and the name of the attempt, which also decides its seed."""
        name = slot.attempt(attempt)
        draw = Random(f"{seed} {name}").randrange(2**31)
        return self.endpoint.request(prompt.fill(slot.source.texts[0], str(slot.source.label)), draw), name

    def preview(self, table: TrainingTable, slots: Sequence[Slot], seed: int) -> dict[str, Any]:
        """How many requests the first attempt at all slots takes, at what cost at most, and a prompt."""
        prompt = self.prompt(table, seed)
        requests = [self.request(prompt, slot, 0, seed) for slot in slots]
        known: set[str] = set()
        if self.cache.is_file():
            with Journal(self.cache) as journal:
                known = set(journal.replies)
        new = [body for body, name in requests if request_key(body, name) not in known]
        return {
            "requests": len(new),
            "cached": len(requests) - len(new),
            "cost_at_most": sum(self.limits.cost(*bound_on_tokens(body)) for body in new),
            "prompt": requests[0][0]["messages"][0]["content"] if requests else None,
        }


class Paraphraser:
    """Writes paraphrases, spaced as the training texts are."""

    def __init__(
        self, method: Paraphrases, client: ChatClient, prompt: Prompt, table: TrainingTable, seed: int
    ):
        self.method = method
        self._client = client
        self._prompt = prompt
        self._treebank = table.treebank
        self._seed = seed
        self._before = client.journal.requests
        self._replies = Counter()

    @property
    def stopped(self) -> str | None:
        return self._client.stopped

    def write(self, slots: Sequence[Slot], attempt: int, advance: Advance) -> list[str | Rejection | None]:
        requests = [self.method.request(self._prompt, slot, attempt, self._seed) for slot in slots]
        answers = self._client.ask(requests, advance)
        return [self._read(slot, answer) for slot, answer in zip(slots, answers, strict=True)]

    def _read(self, slot: Slot, answer) -> str | Rejection | None:
        if isinstance(answer, NoReply):
            return Rejection(answer.reason) if answer.asked else None
        self._replies.update(
            replies=1,
            prompt_tokens=answer.prompt_tokens or 0,
            completion_tokens=answer.completion_tokens or 0,
        )
        text = read_reply(
            answer.text,
            answer.finish_reason,
            slot.source.texts[0],
            str(slot.source.label),
            self._prompt.meanings,
        )
        return treebank_spacing(text) if self._treebank and isinstance(text, str) else text

    def summary(self) -> dict[str, Any]:
        """Tokens are those of the replies in use, `requests` those of this run, `cost` that of the cache."""
        journal, limits = self._client.journal, self.method.limits
        priced = limits.price_in is not None or limits.price_out is not None
        return {
            "endpoint": asdict(self.method.endpoint),
            "prompt_sha256": self._prompt.hash,
            "treebank_spacing": self._treebank,
            "requests": journal.requests - self._before,
            "requests_of_all_runs": journal.requests,
            "replies": self._replies["replies"],
            "prompt_tokens": self._replies["prompt_tokens"],
            "completion_tokens": self._replies["completion_tokens"],
            "cost": journal.cost if priced else None,
        }


@dataclass(frozen=True)
class WordEdits:
    """Edits of a text's words, see augment_words; near the training texts they are by design."""

    synonyms: Path | None = None
    share: float = 0.1
    near: float | None = 1.0
    name = "words"
    mark = "w"

    def __post_init__(self):
        within("share", self.share, 0, 1, "above 0 and at most 1", self.share > 0)

    @contextmanager
    def open(self, table: TrainingTable, seed: int) -> Iterator["WordEditor"]:
        synonyms, notes = read_synonyms(self.synonyms) if self.synonyms else ({}, [])
        table.notes += notes
        yield WordEditor(self, synonyms, seed)


class WordEditor:
    stopped = None

    def __init__(self, method: WordEdits, synonyms: Synonyms, seed: int):
        self._method = method
        self._synonyms = synonyms
        self._seed = seed

    def write(self, slots: Sequence[Slot], attempt: int, advance: Advance) -> list[str | Rejection | None]:
        texts = []
        for slot in slots:
            draw = Random(f"{self._seed} {slot.attempt(attempt)}")
            texts.append(edit_words(slot.source.texts[0], draw, self._synonyms, self._method.share))
            advance()
        return texts

    def summary(self) -> dict[str, Any]:
        return {"share": self._method.share, "synonyms": len(self._synonyms)}


@dataclass(frozen=True)
class Copies:
    """The training texts themselves once more, under new ids."""

    near: float | None = None
    name = "resample"
    mark = "r"
    stopped = None

    @contextmanager
    def open(self, table: TrainingTable, seed: int) -> Iterator["Copies"]:
        yield self

    def write(self, slots: Sequence[Slot], attempt: int, advance: Advance) -> list[str | Rejection | None]:
        for _ in slots:
            advance()
        return [slot.source.texts[0] for slot in slots]

    def summary(self) -> dict[str, Any]:
        return {}
