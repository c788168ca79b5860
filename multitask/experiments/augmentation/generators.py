"""Generators of new texts: paraphrases by a language model, edits of words, copies."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random
from typing import Any

from minbert import InputError
from multitask.config.option_types import within
from multitask.data.records import read_text
from multitask.experiments.augmentation.cache import Failure, Reply, ReplyCache, request_key
from multitask.experiments.augmentation.client import ChatClient, Endpoint, Limits, bound_on_tokens
from multitask.experiments.augmentation.filter import NEAR
from multitask.experiments.augmentation.prompt import Prompt, make_prompt
from multitask.experiments.augmentation.reply import Rejection, read_reply, treebank_spacing
from multitask.experiments.augmentation.table import Request, TrainingTable
from multitask.experiments.augmentation.words import edit_words, read_synonyms

Advance = Callable[[], object]


class Generator:
    """Makes texts for requests while `open` lasts.

    `name` is that of --method, `mark` stands in new rows' ids. A text whose closeness to a training text is
    `near` or more is rejected; None keeps all. `stopped` says why no more texts are made.
    """

    name: str
    mark: str
    near: float | None
    stopped: str | None = None

    @contextmanager
    def open(self, table: TrainingTable, seed: int) -> Iterator[None]:
        self._seed = seed
        yield

    def text(self, request: Request, attempt: int) -> str:
        """Returns a text for a request. Attempts count from 0."""
        raise NotImplementedError

    def generate(
        self, requests: Sequence[Request], attempt: int, advance: Advance
    ) -> list[str | Rejection | None]:
        """Returns a text for each request, or why there is none; None where it was not tried."""
        texts = []
        for request in requests:
            texts.append(self.text(request, attempt))
            advance()
        return texts

    def summary(self) -> dict[str, Any]:
        """Returns the settings that decide the texts, and what they cost."""
        return {}


@dataclass
class Paraphrases(Generator):
    """Paraphrases by a language model, spaced as the training texts are. `cache` and `template` are files."""

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
    def open(self, table: TrainingTable, seed: int) -> Iterator[None]:
        self._seed, self._treebank, self._prompt = seed, table.treebank, self._prompt_of(table, seed)
        with ReplyCache(self.cache) as cache, ChatClient(self.endpoint, cache, self.limits) as client:
            table.notes += cache.notes
            self._client, self._before, self._replies = client, cache.requests, Counter()
            yield

    @property
    def stopped(self) -> str | None:
        return self._client.stopped

    def generate(
        self, requests: Sequence[Request], attempt: int, advance: Advance
    ) -> list[str | Rejection | None]:
        asked = [self._body(self._prompt, request, attempt, self._seed) for request in requests]
        answers = self._client.ask(asked, advance)
        return [self._read(request, answer) for request, answer in zip(requests, answers, strict=True)]

    def preview(self, table: TrainingTable, requests: Sequence[Request], seed: int) -> dict[str, Any]:
        """Returns how many HTTP requests the first attempt takes, their highest cost, and a prompt."""
        prompt = self._prompt_of(table, seed)
        asked = [self._body(prompt, request, 0, seed) for request in requests]
        known: set[str] = set()
        if self.cache.is_file():
            with ReplyCache(self.cache) as cache:
                known = set(cache.replies)
        new = [body for body, name in asked if request_key(body, name) not in known]
        return {
            "requests": len(new),
            "cached": len(asked) - len(new),
            "cost_at_most": sum(map(self.limits.bound, new)),
            "prompt": asked[0][0]["messages"][0]["content"] if asked else None,
        }

    def summary(self) -> dict[str, Any]:
        """Tokens are those of the replies in use, `requests` those of this run, `cost` that of the cache."""
        cache = self._client.cache
        priced = self.limits.price_in is not None or self.limits.price_out is not None
        return {
            "endpoint": asdict(self.endpoint),
            "prompt_sha256": self._prompt.hash,
            "treebank_spacing": self._treebank,
            "requests": cache.requests - self._before,
            "requests_of_all_runs": cache.requests,
            "replies": self._replies["replies"],
            "prompt_tokens": self._replies["prompt_tokens"],
            "completion_tokens": self._replies["completion_tokens"],
            "cost": cache.cost if priced else None,
        }

    def _prompt_of(self, table: TrainingTable, seed: int) -> Prompt:
        template = None if self.template is None else read_text(self.template)
        texts = {label: [row.texts[0] for row in rows] for label, rows in table.by_label.items()}
        return make_prompt(table.task.config.type, table.labels, texts, seed, template)

    def _body(self, prompt: Prompt, request: Request, attempt: int, seed: int) -> tuple[dict[str, Any], str]:
        """Returns the JSON body of a request, and the name of the attempt, which also decides its seed."""
        name = request.attempt(attempt)
        draw = Random(f"{seed} {name}").randrange(2**31)
        filled = prompt.fill(request.source.texts[0], str(request.source.label))
        return self.endpoint.request(filled, draw), name

    def _read(self, request: Request, answer: Reply | Failure | None) -> str | Rejection | None:
        if not isinstance(answer, Reply):
            return answer and Rejection(f"no reply: {answer.reason}")
        self._replies.update(
            replies=1,
            prompt_tokens=answer.prompt_tokens or 0,
            completion_tokens=answer.completion_tokens or 0,
        )
        source, label = request.source.texts[0], str(request.source.label)
        text = read_reply(answer.text, answer.finish_reason, source, label, self._prompt.meanings)
        return treebank_spacing(text) if self._treebank and isinstance(text, str) else text


@dataclass
class WordEdits(Generator):
    """Edits of a text's words, see `edit_words`; by design they are near the training texts."""

    synonyms: Path | None = None
    share: float = 0.1
    near: float | None = 1.0
    name = "words"
    mark = "w"

    def __post_init__(self):
        within("share", self.share, 0, 1, "above 0 and at most 1", self.share > 0)

    @contextmanager
    def open(self, table: TrainingTable, seed: int) -> Iterator[None]:
        self._synonyms, notes = read_synonyms(self.synonyms) if self.synonyms else ({}, [])
        table.notes += notes
        with super().open(table, seed):
            yield

    def text(self, request: Request, attempt: int) -> str:
        draw = Random(f"{self._seed} {request.attempt(attempt)}")
        return edit_words(request.source.texts[0], draw, self._synonyms, self.share)

    def summary(self) -> dict[str, Any]:
        return {"share": self.share, "synonyms": len(self._synonyms)}


class Copies(Generator):
    """The training texts themselves once more, under new ids."""

    near = None
    name = "resample"
    mark = "r"

    def text(self, request: Request, attempt: int) -> str:
        return request.source.texts[0]
