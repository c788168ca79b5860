"""One request to an endpoint: its reply, or what went wrong, and whether to try again. No torch here."""

import json
import time
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from typing import Any

from multitask.experiments.augmentation.cache import Reply

OVERHEAD = 200  # tokens that a server's chat template may add to a prompt
LATER = (408, 409, 425, 429)  # statuses that may go away; those from 500 on too
REFUSED = (401, 403, 404, 405)  # statuses that every request would get
ADVICE = {
    401: "set the environment variable OPENAI_API_KEY to a key that it takes",
    403: "ask with a key that may use this model",
    404: "check --endpoint (it often ends in /v1) and --model",
}


class AttemptError(Exception):
    """A request without a usable reply.

    `paid` says whether it may have cost something all the same, `again` whether another attempt may help,
    `ends_run` whether every other request would end so, `wait` for how many seconds the endpoint asks.
    """

    def __init__(
        self,
        message: str,
        paid: bool = False,
        again: bool = True,
        ends_run: bool = False,
        wait: float | None = None,
        advice: str = "check that the endpoint is up, and run the same command again",
    ):
        super().__init__(message)
        self.paid = paid
        self.again = again
        self.ends_run = ends_run
        self.wait = wait
        self.advice = advice


def bound_on_tokens(body: dict[str, Any]) -> tuple[int, int]:
    """The most tokens that a request can take: a token of the prompt has a byte at least."""
    prompt = sum(len(str(message["content"]).encode("utf-8")) for message in body["messages"])
    limits = [body.get(name) or 0 for name in ("max_tokens", "max_completion_tokens")]
    return prompt + OVERHEAD, max(limits) * (body.get("n") or 1)


def send(client, body: dict[str, Any], price: Callable[[int, int], float], bound: float) -> Reply:
    """One chat completion by an `openai.OpenAI`; `price` turns tokens into money. Raises AttemptError.

    Where the reply does not say how many tokens it took, it costs `bound`.
    """
    import openai

    rest = {name: value for name, value in body.items() if name not in ("model", "messages")}
    try:
        raw = client.chat.completions.with_raw_response.create(
            model=body["model"], messages=body["messages"], extra_body=rest
        )
        content = raw.text
    except openai.APIStatusError as error:
        raise _status_error(error) from None
    except openai.APITimeoutError as error:
        raise AttemptError("time-out", paid=_reached(error)) from None
    except openai.APIConnectionError as error:
        reached = _reached(error)
        message = "the connection broke off" if reached else f"no connection ({error.__cause__})"
        raise AttemptError(message, paid=reached) from None
    try:
        return _read(json.loads(content), price, bound)
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError):
        raise AttemptError("a reply that is no chat completion", paid=True) from None


def _read(reply: dict[str, Any], price: Callable[[int, int], float], bound: float) -> Reply:
    """The first choice of a chat completion; other JSON raises what Python raises where a part is missing."""
    choice = reply["choices"][0]
    text, reason = choice["message"].get("content") or "", choice.get("finish_reason")
    if not isinstance(text, str) or not isinstance(reason, str | None):
        raise TypeError
    usage = reply.get("usage") or {}
    tokens = usage.get("prompt_tokens"), usage.get("completion_tokens")
    if not all(isinstance(count, int) and count >= 0 for count in tokens):
        return Reply(text, reason, None, None, bound)
    return Reply(text, reason, *tokens, price(*tokens))


def _status_error(error) -> AttemptError:
    """What an HTTP status other than success means."""
    status, body = error.status_code, error.body
    said = body.get("message") if isinstance(body, dict) else None
    message = f"HTTP {status}" + (f", {said}" if isinstance(said, str) and said else "")
    if getattr(error, "code", None) == "insufficient_quota":  # a 429 that does not go away
        return AttemptError(message, ends_run=True, advice="add credit at the provider")
    if status in LATER or status >= 500:
        return AttemptError(message, wait=_retry_after(error.response.headers))
    advice = ADVICE.get(status, "check --model and the settings of the request")
    return AttemptError(message, again=False, ends_run=status in REFUSED, advice=advice)


def _retry_after(headers) -> float | None:
    """The seconds that a Retry-After header asks for, as a number or as a date."""
    value = headers.get("retry-after")
    if value is None:
        return None
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except ValueError:
        return None


def _reached(error: BaseException) -> bool:
    """Whether a failed request may have reached the endpoint: not where no connection came about."""
    cause = error.__cause__
    while cause is not None:
        if type(cause).__name__ in ("ConnectError", "ConnectTimeout", "UnsupportedProtocol", "PoolTimeout"):
            return False
        cause = cause.__cause__
    return True
