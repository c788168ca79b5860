"""Requests to a real local server that misbehaves: what is tried again, what is paid, what is kept."""

import json
import os
import signal
import threading
import time
from collections import Counter
from email.utils import formatdate

import pytest

from minbert import InputError
from multitask.experiments.augmentation.cache import Failure, Reply, ReplyCache
from multitask.experiments.augmentation.client import (
    OVERHEAD,
    ChatClient,
    Endpoint,
    Limits,
    _retry_after,
    bound_on_tokens,
)

PROMPT = "say it otherwise"
PRICES = {"price_in": 1.0, "price_out": 2.0}
MOST = (len(PROMPT) + OVERHEAD + 2 * 256) / 1e6  # that a request may cost


def ask(where, cache, count=1, limits=None, prompt=PROMPT, **changes):
    """-> (answers, client, cost of the cache) of `count` requests that differ."""
    settings = {"model": "tiny", "concurrency": 4, "timeout": 0.3, "retries": 3, "backoff": 0.001}
    to = Endpoint(where if isinstance(where, str) else where.url, **(settings | changes))
    with ReplyCache(cache) as replies, ChatClient(to, replies, limits or Limits(**PRICES)) as client:
        answers = client.ask([(to.request(prompt, seed), str(seed)) for seed in range(count)])
        return answers, client, replies.cost


def in_turn(*acts):
    """An `act` of the server: one after the other, the last one again and again."""
    return lambda number, body: acts[min(number, len(acts) - 1)]


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache.jsonl"


def test_a_reply_is_kept_and_asked_for_once(serve, cache, acts):
    server = serve(lambda number, body: acts.says(f"reply {body['seed']}"))
    answers, _, cost = ask(server, cache, count=10)
    assert [answer.text for answer in answers] == [f"reply {seed}" for seed in range(10)]
    assert cost == pytest.approx(10 * (20 * 1 + 10 * 2) / 1e6)
    again, client, same = ask(server, cache, count=10)
    assert again == answers and same == cost and len(server.seen) == client.cache.requests == 10


def test_a_request_has_what_was_set_and_other_settings_ask_anew(serve, cache):
    server = serve(in_turn("fine"))
    ask(server, cache, temperature=0.3, max_tokens=50, body={"top_p": 0.9, "temperature": None})
    assert server.seen[0].body == {
        "model": "tiny",
        "messages": [{"role": "user", "content": PROMPT}],
        "max_tokens": 50,
        "seed": 0,
        "top_p": 0.9,
    }
    for number, setting in enumerate(({"temperature": 0.1}, {"model": "other"}, {"prompt": "another"})):
        ask(server, cache, **setting)
        assert len(server.seen) == 2 + number


TROUBLES = {
    "429": (lambda acts: acts.fails(429), False),
    "503": (lambda acts: acts.fails(503), False),
    "time-out": (lambda acts: acts.hangs, True),
    "malformed": (lambda acts: acts.sends(b'{"choices": ['), True),
    "no choices": (lambda acts: acts.sends(b'{"choices": []}'), True),
    "not a text": (lambda acts: acts.sends(b'{"choices": [{"message": {"content": 3}}]}'), True),
    "truncated": (lambda acts: acts.truncates, True),
    "dropped": (lambda acts: acts.drops, True),
}


@pytest.mark.parametrize("name", TROUBLES)
def test_trouble_is_tried_again_and_paid_where_it_may_have_cost(serve, cache, acts, name):
    trouble, paid = TROUBLES[name]
    server = serve(in_turn(trouble(acts), trouble(acts), "fine"))
    (answer,), _, cost = ask(server, cache)
    assert answer.text == "fine" and len(server.seen) == 3
    assert cost == pytest.approx(2 * MOST * paid + 40e-6)
    with ReplyCache(cache) as replies:  # the accounts are those of the file
        assert (replies.cost, replies.requests) == (pytest.approx(cost), 3)


def test_a_reply_without_its_tokens_costs_the_most(serve, cache, acts):
    assert ask(serve(in_turn(acts.says("fine", tokens=None))), cache)[2] == pytest.approx(MOST)


@pytest.mark.parametrize(("status", "times"), [(500, 6), (400, 1)])
def test_retries_are_bounded_and_a_request_at_fault_has_none(serve, cache, acts, status, times):
    server = serve(lambda number, body: acts.fails(status) if body["seed"] == 1 else "fine")
    answers, _, _ = ask(server, cache, count=3, retries=5)
    assert answers[1].reason == f"HTTP {status}, no"
    assert Counter(seen.body["seed"] for seen in server.seen) == {0: 1, 1: times, 2: 1}


def test_retry_after_holds_for_all_requests(serve, cache, acts):
    server = serve(lambda number, body: "fine" if number else acts.fails(429, Retry_After="0.4"))
    ask(server, cache, count=5, concurrency=1)
    assert len(server.seen) == 6 and all(s.time - server.seen[0].time >= 0.4 for s in server.seen[1:])
    assert _retry_after(formatdate(time.time() + 100, usegmt=True)) == pytest.approx(100, abs=2)
    assert _retry_after("soon") is None and _retry_after(None) is None


def test_no_more_requests_at_once_than_allowed(cache, monkeypatch):
    gate, free = threading.Barrier(3, timeout=10), threading.Semaphore(3)

    def send(client, body, limits, bound):
        assert free.acquire(blocking=False)
        if body["seed"] < 6:
            gate.wait()  # three are there at the same time, or this fails
        time.sleep(0.001)
        free.release()
        return Reply("fine", "stop", 1, 1, 0.0)

    monkeypatch.setattr("multitask.experiments.augmentation.client.send", send)
    answers, _, _ = ask("http://localhost/v1", cache, count=30, concurrency=3)
    assert all(isinstance(answer, Reply) for answer in answers)


def test_ctrl_c_waits_for_what_is_under_way(serve, cache):
    def act(number, body):
        if number == 5:
            os.kill(os.getpid(), signal.SIGINT)
        return "fine"

    server = serve(act)
    before = signal.signal(
        signal.SIGINT, signal.default_int_handler
    )  # a job in the background has it ignored
    try:
        with pytest.raises(KeyboardInterrupt):
            ask(server, cache, count=40, timeout=20)
    finally:
        signal.signal(signal.SIGINT, before)
    with ReplyCache(cache) as replies:
        assert 5 <= len(replies.replies) == len(server.seen) < 40 and replies.notes == []


@pytest.mark.parametrize("concurrency", [1, 8])
def test_the_cost_cap_is_not_overshot(serve, cache, acts, concurrency):
    # Each reply costs as much as is possible, and some fail after they may have cost.
    full = (len(PROMPT) + OVERHEAD, 256)
    server = serve(lambda number, body: acts.truncates if number % 4 == 3 else acts.says("fine", tokens=full))
    limits = Limits(max_cost=10.5 * MOST, **PRICES)
    answers, client, cost = ask(server, cache, 40, limits, concurrency=concurrency, timeout=20)
    assert len(server.seen) == 10 and cost == pytest.approx(10 * MOST) and "cost cap" in client.stopped
    assert sum(isinstance(answer, Reply) for answer in answers) == 8 and answers.count(None) >= 30
    ask(server, cache, 40, limits)  # the cap is that of all runs together
    assert len(server.seen) == 10
    ask(server, cache, 40, Limits(max_cost=12.5 * MOST, **PRICES))
    assert len(server.seen) == 12


def test_what_a_reply_left_of_its_bound_is_used(serve, cache):
    server = serve(in_turn("fine"))
    _, client, cost = ask(server, cache, 40, Limits(max_cost=2 * MOST, **PRICES), concurrency=8)
    assert len(server.seen) > 2 and cost <= 2 * MOST
    # It stops only where one more could cost too much.
    assert client.stopped is None or cost + MOST > 2 * MOST


def test_the_number_of_requests_is_bounded_over_all_runs(serve, cache, acts):
    server = serve(in_turn(acts.fails(500), "fine"))
    _, client, _ = ask(server, cache, 10, Limits(max_requests=4), concurrency=2)
    assert len(server.seen) == 4 and "--max-requests" in client.stopped
    ask(server, cache, 10, Limits(max_requests=6))
    assert len(server.seen) == 6
    assert Counter(seen.body["seed"] for seen in server.seen).most_common(1)[0][1] == 2  # the one that failed


@pytest.mark.parametrize(
    ("status", "options", "message"),
    [
        (401, {}, r"HTTP 401, no key \*\*\*; set the environment variable OPENAI_API_KEY"),
        (403, {}, r"HTTP 403, no key \*\*\*; ask with a key that may"),
        (404, {}, r"HTTP 404, no key \*\*\*; check --endpoint .it often ends in /v1"),
        (429, {"code": "insufficient_quota"}, r"no key \*\*\*; add credit"),
        (429, {"Retry_After": "3600"}, "asks to wait 3600 seconds"),
    ],
)
def test_a_refusal_ends_the_run_at_once(serve, cache, acts, monkeypatch, status, options, message):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret-1")
    server = serve(in_turn(acts.fails(status, "no key sk-secret-1", **options)))
    with pytest.raises(InputError, match=message) as error:
        ask(server, cache, count=20, concurrency=1)
    assert len(server.seen) == 1 and server.seen[0].authorization == "Bearer sk-secret-1"
    assert "sk-secret-1" not in str(error.value) + cache.read_text()


@pytest.mark.parametrize("count", [1, 20])
def test_a_dead_endpoint_ends_with_an_error(serve, cache, count):
    server = serve()
    url = server.url
    server.close()
    with pytest.raises(InputError, match="no connection .* check that the endpoint is up"):
        ask(url, cache, count)
    with ReplyCache(cache) as replies:
        assert replies.cost == 0 and 4 <= replies.requests <= 7 * 4  # 1 or 3 .. 7 requests, 4 attempts each


def test_an_endpoint_that_dies_ends_the_run_and_keeps_what_came(serve, cache, acts):
    server = serve(lambda number, body: "fine" if number < 5 else acts.fails(502))
    with pytest.raises(InputError, match="HTTP 502"):
        ask(server, cache, count=30, concurrency=1)
    assert len(server.seen) == 5 + 3 * 4  # three requests, four attempts each
    with ReplyCache(cache) as replies:
        assert len(replies.replies) == 5


def test_replies_under_way_at_a_refusal_are_kept(serve, cache, acts):
    all_there = threading.Barrier(4, timeout=10)
    refused = threading.Event()

    def refuse(handler):
        acts.fails(401)(handler)
        refused.set()

    def act(number, body):
        all_there.wait()
        if body["seed"] == 0:
            return refuse
        refused.wait(10)
        return "fine"

    with pytest.raises(InputError, match="HTTP 401"):
        ask(serve(act), cache, count=4, concurrency=4, timeout=20)
    with ReplyCache(cache) as replies:
        assert len(replies.replies) == 3


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"url": "localhost:8000"}, "http://localhost:8000/v1"),
        ({"url": "http://[x"}, "give a URL"),
        ({"url": "https://me:sk-1@host/v1"}, "OPENAI_API_KEY"),
        ({"retries": -1}, "at least 0"),
        ({"timeout": 0.0}, "above 0"),
        ({"temperature": float("nan")}, "finite"),
    ],
)
def test_wrong_settings_are_refused(settings, message):
    with pytest.raises(InputError, match=message) as error:
        Endpoint(**({"url": "http://host/v1", "model": "m"} | settings))
    assert "sk-1" not in str(error.value)


def test_no_text_has_more_tokens_than_its_bound():
    body = {"messages": [{"role": "user", "content": "naïve – 字"}], "max_completion_tokens": 9, "n": 2}
    assert bound_on_tokens(body) == (6 + 1 + 3 + 1 + 3 + OVERHEAD, 18)


# The cache.


def test_a_cache_is_read_back_and_used_by_one_process(cache):
    reply = Reply("a\u2028b", "stop", 1, 2, 0.5)
    with ReplyCache(cache) as replies:
        first, second, third = (
            replies.begin(key, bound) for key, bound in (("a", 1.0), ("b", 2.0), ("c", 1.5))
        )
        replies.end(second, "b", reply)
        replies.end(first, "a", Failure("HTTP 500", 0.25))
        with pytest.raises(InputError, match="in use by another augment"):
            ReplyCache(cache)
    for _ in range(2):  # one under way at a kill counts as paid, and not again by the next run
        with ReplyCache(cache) as replies:
            assert (replies.replies, replies.cost, replies.requests) == ({"b": reply}, 0.75 + 1.5, third)
            assert "1 requests were under way" in replies.notes[0] and replies.most == replies.cost


def test_a_line_that_a_kill_cut_off_is_removed(cache):
    with ReplyCache(cache) as replies:
        replies.end(replies.begin("a", 1.0), "a", Reply("text", None, None, None, 1.0))
    whole = cache.read_bytes()
    for cut in (whole + b'{"requ', whole + b'{"request": 2, "key": "b', whole[:-1]):
        cache.write_bytes(cut)
        with ReplyCache(cache) as replies:
            replies.begin("b", 0.0)
        requests = [json.loads(line)["request"] for line in cache.read_text().splitlines()]
        assert requests == ([1, 2] if cut == whole[:-1] else [1, 1, 2])


@pytest.mark.parametrize("content", ["text", "id\ttext\n1\ta", '{"a": 1}\n', "[]\n", '{"request": 1}\n'])
def test_a_file_of_another_format_is_left_alone(cache, content):
    cache.write_text(content)
    with pytest.raises(InputError, match="cache.jsonl:1 is not a line of a cache"):
        ReplyCache(cache)
    assert cache.read_text() == content


@pytest.mark.parametrize("cost", ["NaN", "Infinity", "1e999", "-1.0", '"0.1"', "null", "true"])
@pytest.mark.parametrize("where", ["bound", "reply", "error"])
def test_costs_of_a_journal_that_no_budget_can_hold_are_refused(tmp_path, cost, where):
    """NaN would switch the cap off."""
    begun = f'{{"request": 1, "key": "a", "bound": {cost if where == "bound" else 0.5}}}\n'
    tokens = '"finish_reason": null, "prompt_tokens": null, "completion_tokens": null'
    reply = f'{{"request": 1, "key": "a", "reply": {{"text": "x", {tokens}, "cost": {cost}}}}}\n'
    ends = {"bound": "", "reply": reply, "error": f'{{"request": 1, "error": "x", "cost": {cost}}}\n'}
    path = tmp_path / "cache.jsonl"
    path.write_text(begun + ends[where])
    line = 1 if where == "bound" else 2
    with pytest.raises(InputError, match=f"cache.jsonl:{line}.*; give another --cache"):
        ReplyCache(path)
    for price in (float("nan"), float("inf"), -1.0):
        with pytest.raises(InputError, match="price-in is .*; .*at least 0 and finite"):
            Limits(price_in=price)
