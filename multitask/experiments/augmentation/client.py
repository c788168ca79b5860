"""Asks an OpenAI-compatible endpoint for chat completions: concurrently, with retries, within a budget.

The openai library speaks HTTP. Its own retries are off, because each attempt is charged to the budget and
written to the cache before it is sent, replies that cannot be read are tried again too, and a Retry-After
holds for all threads. No torch here.
"""

import os
import random
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field, replace
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

from minbert import InputError, parse_json
from multitask.config.option_types import within
from multitask.experiments.augmentation.cache import Failure, Reply, ReplyCache, request_key

FAILURES_IN_A_ROW = 3  # requests, each with all its retries, after which the endpoint counts as dead
LONGEST_WAIT = 60.0  # seconds between two attempts, unless the endpoint asks for more
LONGEST_REQUESTED_WAIT = 600.0  # seconds; an endpoint that asks for more ends the run
NO_KEY = "none"  # for servers that want some key in the header, such as vLLM without --api-key
OVERHEAD = 200  # tokens that a server's chat template may add to a prompt
RETRIED = (408, 409, 425, 429)  # statuses that may go away; those from 500 on too
REFUSED = (401, 403, 404, 405)  # statuses that every request would get
NOT_SENT = ("ConnectError", "ConnectTimeout", "UnsupportedProtocol", "PoolTimeout")  # names of httpx
ADVICE = {
    401: "set the environment variable OPENAI_API_KEY to a key that it takes",
    403: "ask with a key that may use this model",
    404: "check --endpoint (it often ends in /v1) and --model",
}


@dataclass(frozen=True)
class Endpoint:
    """Address of a language model, and settings of requests to it. Times are in seconds.

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
                "the endpoint's URL has a user name or a query, which would be written down; put the key "
                "into the environment variable OPENAI_API_KEY"
            )
        within("temperature", self.temperature, 0, 2, "from 0 to 2")
        within("timeout", self.timeout, 0, float("inf"), "above 0", self.timeout > 0)
        for name, least in (("max_tokens", 1), ("concurrency", 1), ("retries", 0), ("backoff", 0)):
            within(name.replace("_", "-"), getattr(self, name), least, float("inf"), f"at least {least}")

    def request(self, prompt: str, seed: int) -> dict[str, Any]:
        """Returns the JSON body of a request."""
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
    """Limits on all requests of one cache, over all runs; prices are for a million tokens."""

    max_cost: float | None = None
    max_requests: int | None = None
    price_in: float | None = None
    price_out: float | None = None

    def __post_init__(self):
        for name in ("max_cost", "max_requests", "price_in", "price_out"):
            within(
                name.replace("_", "-"), getattr(self, name), 0, sys.float_info.max, "at least 0 and finite"
            )
        if self.max_cost is not None and None in (self.price_in, self.price_out):
            raise InputError("--max-cost needs --price-in and --price-out, the prices of a million tokens")

    def cost(self, prompt_tokens: int, completion_tokens: int) -> float:
        return (prompt_tokens * (self.price_in or 0) + completion_tokens * (self.price_out or 0)) / 1e6

    def bound(self, body: dict[str, Any]) -> float:
        """Returns the most that a request can cost."""
        return self.cost(*bound_on_tokens(body))


def bound_on_tokens(body: dict[str, Any]) -> tuple[int, int]:
    """Returns the most tokens of prompt and reply: a token of the prompt has at least one byte."""
    prompt = sum(len(str(message["content"]).encode("utf-8")) for message in body["messages"])
    limits = [body.get(name) or 0 for name in ("max_tokens", "max_completion_tokens")]
    return prompt + OVERHEAD, max(limits) * (body.get("n") or 1)


class ChatClient:
    """Asks an endpoint; replies in the cache are taken from there and cost nothing.

    `stopped` says why no more is asked: the budget is used up. Raises InputError for an endpoint that
    refuses (a wrong key, an unknown model) or that answers nothing.
    """

    def __init__(self, endpoint: Endpoint, cache: ReplyCache, limits: Limits):
        try:
            import openai
        except ImportError:
            raise InputError(
                'an endpoint is asked by the openai library; pip install "minbert[augment]"'
            ) from None
        self.endpoint = endpoint
        self.cache = cache
        self.stopped: str | None = None
        self._limits = limits
        self._key = os.environ.get("OPENAI_API_KEY") or NO_KEY
        self._client = openai.OpenAI(
            api_key=self._key, base_url=endpoint.url, max_retries=0, timeout=endpoint.timeout
        )
        self._stop = threading.Event()
        self._settled = threading.Condition()  # guards the cache and what follows
        self._failures: list[Failure] = []  # in a row
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
    ) -> list[Reply | Failure | None]:
        """Returns the answer to each (body, attempt), see `request_key`; None where it was not asked.

        `advance` is called for each. Requests under way when another fails for good, or at Ctrl-C, are waited
        for and kept.
        """
        keys = [request_key(body, attempt) for body, attempt in requests]
        bodies = {key: body for key, (body, _) in zip(keys, requests, strict=True)}
        answers: dict[str, Reply | Failure | None] = {}
        with ThreadPoolExecutor(self.endpoint.concurrency) as pool:
            futures = {pool.submit(self._ask, key, body): key for key, body in bodies.items()}
            try:
                for future in as_completed(futures):
                    answers[futures[future]] = future.result()
                    advance()
            except BaseException:
                self._stop.set()
                raise
        if self._failures and not self._answers:
            raise self._dead(self._failures[-1])
        return [answers[key] for key in keys]

    def _ask(self, key: str, body: dict[str, Any]) -> Reply | Failure | None:
        """Asks until there is a reply; None where the run stops first."""
        if key in self.cache.replies:
            return self.cache.replies[key]
        delay = 0.0
        for retry in range(self.endpoint.retries + 1):
            answer = self._attempt(key, body) if self._wait(delay) else None
            if answer is None or isinstance(answer, Reply):
                return answer
            if answer.ends_run or not answer.again:
                break
            longest = min(LONGEST_WAIT, self.endpoint.backoff * 2**retry)
            delay = longest * random.uniform(0.5, 1.0)  # so that not all come back at once
            self._keep_quiet(answer.wait or 0.0)
        with self._settled:
            self._failures.append(answer)
            dead = len(self._failures) >= FAILURES_IN_A_ROW
        if answer.ends_run or dead:
            self._stop.set()
            raise self._dead(answer)
        return answer

    def _attempt(self, key: str, body: dict[str, Any]) -> Reply | Failure | None:
        """Sends one request; None where the budget does not allow it."""
        bound = self._limits.bound(body)
        request = self._begin(key, bound)
        if request is None:
            return None
        answer: Reply | Failure = Failure("unknown", bound)  # unless we learn better
        try:
            answer = send(self._client, body, self._limits, bound)
            if isinstance(answer, Failure) and self._key != NO_KEY:  # which some servers repeat
                answer = replace(answer, reason=answer.reason.replace(self._key, "***"))
        finally:
            with self._settled:
                self.cache.end(request, key, answer)
                if isinstance(answer, Reply):
                    self._answers += 1
                    self._failures.clear()
                self._settled.notify_all()
        return answer

    def _begin(self, key: str, bound: float) -> int | None:
        """Charges a request to the budget, waiting for others that may give some back; -> its number."""
        cache, limits = self.cache, self._limits
        with self._settled:
            while limits.max_cost is not None and cache.most + bound > limits.max_cost:
                if not cache.under_way:
                    return self._end(f"the next request could go over the cost cap of {limits.max_cost:g}")
                self._settled.wait()
            if limits.max_requests is not None and cache.requests >= limits.max_requests:
                return self._end(f"all {limits.max_requests} requests of --max-requests are used")
            return cache.begin(key, bound)

    def _end(self, reason: str) -> None:
        self.stopped = reason
        self._stop.set()

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
                f"replies so far are kept in {self.cache.path}"
            )
        with self._settled:
            self._quiet_until = max(self._quiet_until, time.monotonic() + seconds)

    def _dead(self, failure: Failure) -> InputError:
        return InputError(
            f"{self.endpoint.url} gave no reply: {failure.reason}; {failure.advice}; replies so far are kept "
            f"in {self.cache.path}"
        )


def send(client, body: dict[str, Any], limits: Limits, bound: float) -> Reply | Failure:
    """Asks an `openai.OpenAI` for one chat completion; it costs `bound` where it does not say its tokens."""
    import openai

    rest = {name: value for name, value in body.items() if name not in ("model", "messages")}
    try:
        raw = client.chat.completions.with_raw_response.create(
            model=body["model"], messages=body["messages"], extra_body=rest
        )
        content = raw.text
    except openai.APIStatusError as error:
        return _status_failure(error)
    except openai.APIConnectionError as error:
        if type(error.__cause__).__name__ in NOT_SENT:
            return Failure(f"no connection ({error.__cause__})")
        timeout = isinstance(error, openai.APITimeoutError)
        return Failure("time-out" if timeout else "the connection broke off", bound)
    try:
        return _read(parse_json(content), limits, bound)
    except (ValueError, TypeError, KeyError, IndexError, AttributeError):
        return Failure("a reply that is not a chat completion", bound)


def _read(reply: dict[str, Any], limits: Limits, bound: float) -> Reply:
    """Reads the first choice of a chat completion; raises what Python raises where a part is missing."""
    choice = reply["choices"][0]
    text, reason = choice["message"].get("content") or "", choice.get("finish_reason")
    if not isinstance(text, str) or not isinstance(reason, str | None):
        raise TypeError
    usage = reply.get("usage") or {}
    tokens = usage.get("prompt_tokens"), usage.get("completion_tokens")
    if not all(isinstance(count, int) and count >= 0 for count in tokens):
        return Reply(text, reason, None, None, bound)
    return Reply(text, reason, *tokens, limits.cost(*tokens))


def _status_failure(error) -> Failure:
    """Converts an HTTP status other than success to a failure, which costs nothing."""
    status, body = error.status_code, error.body
    said = body.get("message") if isinstance(body, dict) else None
    reason = f"HTTP {status}" + (f", {said}" if isinstance(said, str) and said else "")
    if getattr(error, "code", None) == "insufficient_quota":  # a 429 that does not go away
        return Failure(reason, ends_run=True, advice="add credit at the provider")
    if status in RETRIED or status >= 500:
        return Failure(reason, wait=_retry_after(error.response.headers.get("retry-after")))
    advice = ADVICE.get(status, "check --model and the settings of the request")
    return Failure(reason, again=False, ends_run=status in REFUSED, advice=advice)


def _retry_after(value: str | None) -> float | None:
    """Returns the seconds that a Retry-After header asks for, as a number or as a date."""
    for parse in (float, lambda text: parsedate_to_datetime(text).timestamp() - time.time()):
        try:
            return max(0.0, parse(value)) if value is not None else None
        except ValueError:
            continue
    return None
