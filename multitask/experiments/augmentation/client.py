"""Chat completions from any OpenAI-compatible endpoint: several at a time, tried again, never over the cap.

HTTP is the openai library's work. Its own retries are off, so that every attempt is counted and paid from
the budget before it is sent. No torch here.
"""

import os
import random
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from minbert import InputError
from multitask.config.option_types import within
from multitask.experiments.augmentation.attempt import AttemptError, bound_on_tokens, send
from multitask.experiments.augmentation.cache import Journal, Reply, request_key

FAILURES_IN_A_ROW = 3  # requests, each with all its retries, after which the endpoint counts as dead
LONGEST_WAIT = 60.0  # seconds between two attempts, unless the endpoint asks for more
LONGEST_REQUESTED_WAIT = 600.0  # seconds; an endpoint that asks for more ends the run
NO_KEY = "none"  # for servers that want some key in the header, such as vLLM without --api-key


@dataclass(frozen=True)
class Endpoint:
    """Where and how a language model is asked. Times are in seconds.

    `body` is added to each request's JSON; a value of None takes a field out. The key comes from the
    environment variable OPENAI_API_KEY and is never written down.
    """

    url: str
    model: str
    temperature: float = 0.8
    max_tokens: int = 256
    body: dict[str, Any] = field(default_factory=dict)
    concurrency: int = 8
    timeout: float = 60.0
    retries: int = 6
    backoff: float = 1.0

    def __post_init__(self):
        try:
            parts = urlsplit(self.url)
        except ValueError:
            parts = urlsplit("")
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise InputError(f"the endpoint is {self.url!r}; give a URL such as http://localhost:8000/v1")
        if parts.username is not None or parts.query:
            raise InputError(
                "the endpoint's URL holds a user name or a query, which would be written down; put the key "
                "into the environment variable OPENAI_API_KEY"
            )
        within("temperature", self.temperature, 0, 2, "from 0 to 2")
        within("max-tokens", self.max_tokens, 1, float("inf"), "at least 1")
        within("concurrency", self.concurrency, 1, float("inf"), "at least 1")
        within("timeout", self.timeout, 0, float("inf"), "above 0", self.timeout > 0)
        within("retries", self.retries, 0, float("inf"), "at least 0")
        within("backoff", self.backoff, 0, float("inf"), "at least 0")

    def request(self, prompt: str, seed: int) -> dict[str, Any]:
        """The JSON body of a request."""
        fields = {
            "model": self.model,
            "messages": [{"role": "user", "content": prompt}],
            "temperature": self.temperature,
            "max_tokens": self.max_tokens,
            "seed": seed,
        }
        return {name: value for name, value in (fields | self.body).items() if value is not None}


@dataclass(frozen=True)
class Limits:
    """What the requests of one cache may cost in all, over all runs; prices are for a million tokens."""

    max_cost: float | None = None
    max_requests: int | None = None
    price_in: float | None = None
    price_out: float | None = None

    def __post_init__(self):
        for name in ("max_cost", "max_requests", "price_in", "price_out"):
            within(name.replace("_", "-"), getattr(self, name), 0, float("inf"), "at least 0")
        if self.max_cost is not None and None in (self.price_in, self.price_out):
            raise InputError("--max-cost needs --price-in and --price-out, the prices of a million tokens")

    def cost(self, prompt_tokens: int, completion_tokens: int) -> float:
        return (prompt_tokens * (self.price_in or 0) + completion_tokens * (self.price_out or 0)) / 1e6


class Budget:
    """What may still be spent. A request's upper bound is taken before it is sent, and settled after."""

    def __init__(self, limits: Limits, cost: float, requests: int):
        self.limits = limits
        self._cost = cost
        self._reserved: list[float] = []
        self._requests = requests
        self._change = threading.Condition()

    def reserve(self, bound: float) -> str | None:
        """Takes a request from the budget, waiting for others that may give some back; -> why it cannot."""
        limits = self.limits
        with self._change:
            while limits.max_cost is not None and self._cost + sum(self._reserved) + bound > limits.max_cost:
                if not self._reserved:
                    return f"the next request could go over the cost cap of {limits.max_cost:g}"
                self._change.wait()
            if limits.max_requests is not None and self._requests >= limits.max_requests:
                return f"all {limits.max_requests} requests of --max-requests are used"
            self._requests += 1
            self._reserved.append(bound)
            return None

    def settle(self, bound: float, cost: float) -> None:
        with self._change:
            self._reserved.remove(bound)
            self._cost += cost
            self._change.notify_all()


@dataclass(frozen=True)
class NoReply:
    """Why there is no reply; `asked` is False where the run stopped before the endpoint had its say."""

    reason: str
    asked: bool = True


class ChatClient:
    """Asks an endpoint; replies that the journal has are taken from there and cost nothing.

    `stopped` says why no more is asked: the budget is used up. Raises InputError for an endpoint that
    refuses (a wrong key, an unknown model) or that answers nothing.
    """

    def __init__(self, endpoint: Endpoint, journal: Journal, limits: Limits):
        try:
            import openai
        except ImportError:
            raise InputError(
                'an endpoint is asked by the openai library; pip install "minbert[augment]"'
            ) from None
        self.endpoint = endpoint
        self.journal = journal
        self.stopped: str | None = None
        self._limits = limits
        self._budget = Budget(limits, journal.cost, journal.requests)
        self._key = os.environ.get("OPENAI_API_KEY") or NO_KEY
        self._client = openai.OpenAI(
            api_key=self._key, base_url=endpoint.url, max_retries=0, timeout=endpoint.timeout
        )
        self._stop = threading.Event()
        self._mutex = threading.Lock()
        self._failures_in_a_row = 0
        self._last_failure: AttemptError | None = None
        self._answers = 0
        self._quiet_until = 0.0  # the endpoint asked all of us to wait until then

    def __enter__(self) -> "ChatClient":
        return self

    def __exit__(self, *error) -> None:
        self._client.close()

    def ask(
        self,
        requests: Sequence[tuple[dict[str, Any], str]],
        advance: Callable[[], object] = lambda: None,
    ) -> list[Reply | NoReply]:
        """An answer to each (body, attempt), in their order; see `request_key`.

        `advance` is called for each. What is under way when a request fails for good, or at Ctrl-C, is
        waited for and kept.
        """
        keys = [request_key(body, attempt) for body, attempt in requests]
        bodies = {key: body for key, (body, _) in zip(keys, requests, strict=True)}
        answers: dict[str, Reply | NoReply] = {}
        with ThreadPoolExecutor(self.endpoint.concurrency) as pool:
            futures = {pool.submit(self._ask, key, body): key for key, body in bodies.items()}
            try:
                for future in as_completed(futures):
                    answers[futures[future]] = future.result()
                    advance()
            except BaseException:
                self._stop.set()
                raise
        if self._failures_in_a_row and not self._answers:
            raise self._dead(self._last_failure)
        return [answers[key] for key in keys]

    def _ask(self, key: str, body: dict[str, Any]) -> Reply | NoReply:
        if key in self.journal.replies:
            return self.journal.replies[key]
        delay = 0.0
        for retry in range(self.endpoint.retries + 1):
            if not self._wait(delay):
                return NoReply("the run stops", asked=False)
            try:
                reply = self._attempt(key, body)
            except AttemptError as error:
                failure = error
            else:
                return reply or NoReply("the run stops", asked=False)
            if failure.ends_run or not failure.again:
                break
            longest = min(LONGEST_WAIT, self.endpoint.backoff * 2**retry)
            delay = longest * random.uniform(0.5, 1.0)  # so that not all come back at once
            if failure.wait is not None:
                self._keep_quiet(failure.wait)
        self._count_failure(failure)
        return NoReply(f"no reply: {self._without_key(failure)}")

    def _attempt(self, key: str, body: dict[str, Any]) -> Reply | None:
        """One request; None where the budget does not allow it. Raises AttemptError."""
        bound = self._limits.cost(*bound_on_tokens(body))
        refused = self._budget.reserve(bound)
        if refused:
            self.stopped = refused
            self._stop.set()
            return None
        cost = bound  # unless we learn better
        try:
            request = self.journal.begin(key, bound)
            try:
                reply = send(self._client, body, self._limits.cost, bound)
            except AttemptError as error:
                cost = bound if error.paid else 0.0
                self.journal.fail(request, self._without_key(error), cost)
                raise
            cost = reply.cost
            self.journal.finish(request, key, reply)
            with self._mutex:
                self._answers += 1
                self._failures_in_a_row = 0
            return reply
        finally:
            self._budget.settle(bound, cost)

    def _wait(self, delay: float) -> bool:
        """Waits, for as long as the endpoint asked too; False where the run stops."""
        end = time.monotonic() + delay
        while not self._stop.is_set():
            rest = max(end, self._quiet_until) - time.monotonic()
            if rest <= 0:
                return True
            self._stop.wait(rest)
        return False

    def _keep_quiet(self, seconds: float) -> None:
        if seconds > LONGEST_REQUESTED_WAIT:
            self._stop.set()
            raise InputError(
                f"{self.endpoint.url} asks to wait {seconds:.0f} seconds; run the same command again then: "
                f"replies so far are kept in {self.journal.path}"
            )
        with self._mutex:
            self._quiet_until = max(self._quiet_until, time.monotonic() + seconds)

    def _count_failure(self, failure: AttemptError) -> None:
        """Raises InputError where there is no use in going on."""
        with self._mutex:
            self._failures_in_a_row += 1
            self._last_failure = failure
            dead = self._failures_in_a_row >= FAILURES_IN_A_ROW
        if failure.ends_run or dead:
            self._stop.set()
            raise self._dead(failure)

    def _dead(self, failure: AttemptError) -> InputError:
        return InputError(
            f"{self.endpoint.url} gave no reply: {self._without_key(failure)}; {failure.advice}; replies so "
            f"far are kept in {self.journal.path}"
        )

    def _without_key(self, failure: AttemptError) -> str:
        """What went wrong, without the key that some servers repeat."""
        return str(failure).replace(self._key, "***") if self._key != NO_KEY else str(failure)
