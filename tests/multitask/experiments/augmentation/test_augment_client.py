"""Requests to a real local server that misbehaves: what is tried again, what is paid, what is kept.

Run: pytest tests/multitask/experiments/augment/test_augment_client.py
"""

import json
import threading
import time
from collections import Counter
from email.utils import formatdate

import pytest

from minbert import InputError
from multitask.experiments.augmentation.attempt import OVERHEAD, bound_on_tokens
from multitask.experiments.augmentation.cache import Journal, Reply
from multitask.experiments.augmentation.client import ChatClient, Endpoint, Limits, NoReply

PRICES = {"price_in": 1.0, "price_out": 2.0}


def endpoint(server, **changes):
    settings = {"model": "tiny", "concurrency": 4, "timeout": 0.3, "retries": 3, "backoff": 0.001}
    return Endpoint(server if isinstance(server, str) else server.url, **(settings | changes))


def ask(where, cache, count=1, limits=None, prompt="say it otherwise", **changes):
    """-> (answers, client, cost of the cache) of `count` requests that differ."""
    to = endpoint(where, **changes)
    with Journal(cache) as journal, ChatClient(to, journal, limits or Limits(**PRICES)) as client:
        answers = client.ask([(to.request(prompt, seed), str(seed)) for seed in range(count)])
        return answers, client, journal.cost


def in_turn(*acts):
    """An `act` of the server: one after the other, the last one again and again."""
    return lambda number, body: acts[min(number, len(acts) - 1)]


def most_of(to, prompt="say it otherwise"):
    """The most that a request may cost, at PRICES."""
    tokens = len(prompt.encode()) + OVERHEAD
    return (tokens * PRICES["price_in"] + to.max_tokens * PRICES["price_out"]) / 1e6


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache.jsonl"


def test_a_reply_is_kept_and_asked_for_once(serve, cache, acts):
    server = serve(lambda number, body: acts.says(f"reply {body['seed']}"))
    answers, _, cost = ask(server, cache, count=10)
    assert [answer.text for answer in answers] == [f"reply {seed}" for seed in range(10)]
    assert cost == pytest.approx(10 * (20 * 1 + 10 * 2) / 1e6)
    again, client, same = ask(server, cache, count=10)
    assert again == answers and same == cost and len(server.seen) == 10
    assert client.journal.requests == 10


def test_a_request_holds_what_was_set(serve, cache, acts):
    server = serve(in_turn("fine"))
    ask(server, cache, temperature=0.3, max_tokens=50, body={"top_p": 0.9, "temperature": None})
    assert server.seen[0].body == {
        "model": "tiny",
        "messages": [{"role": "user", "content": "say it otherwise"}],
        "max_tokens": 50,
        "seed": 0,
        "top_p": 0.9,
    }


@pytest.mark.parametrize("setting", [{"temperature": 0.1}, {"model": "other"}, {"prompt": "another"}])
def test_other_settings_ask_anew(serve, cache, setting):
    server = serve(in_turn("fine"))
    ask(server, cache)
    ask(server, cache, **setting)
    assert len(server.seen) == 2


@pytest.mark.parametrize(
    ("trouble", "paid"),
    [
        ("429", False),
        ("500", False),
        ("503", False),
        ("time-out", True),
        ("malformed", True),
        ("no object", True),
        ("no choices", True),
        ("an error in place of choices", True),
        ("not a text", True),
        ("truncated", True),
        ("dropped", True),
    ],
)
def test_trouble_is_tried_again_and_paid_where_it_may_have_cost(serve, cache, acts, trouble, paid):
    troubles = {
        "429": acts.fails(429),
        "500": acts.fails(500),
        "503": acts.fails(503),
        "time-out": acts.hangs,
        "malformed": acts.sends(b'{"choices": ['),
        "no object": acts.sends(b"[1]"),
        "no choices": acts.sends(b'{"choices": []}'),
        "an error in place of choices": acts.sends(b'{"error": {"message": "busy"}}'),
        "not a text": acts.sends(b'{"choices": [{"message": {"content": 3}}]}'),
        "truncated": acts.truncates,
        "dropped": acts.drops,
    }
    server = serve(in_turn(troubles[trouble], troubles[trouble], "fine"))
    (answer,), client, cost = ask(server, cache)
    assert answer.text == "fine" and len(server.seen) == 3
    most = most_of(client.endpoint)
    assert cost == pytest.approx(2 * most * paid + 40e-6)
    with Journal(cache) as journal:  # the accounts are those of the file
        assert (journal.cost, journal.requests) == (pytest.approx(cost), 3)


def test_retries_are_bounded(serve, cache, acts):
    server = serve(lambda number, body: acts.fails(500) if body["seed"] == 1 else "fine")
    answers, _, _ = ask(server, cache, count=3, retries=5)
    assert answers[1] == NoReply("no reply: HTTP 500, no")
    assert Counter(seen.body["seed"] for seen in server.seen) == {0: 1, 1: 6, 2: 1}


@pytest.mark.parametrize("date", [False, True])
def test_retry_after_is_honoured(serve, cache, acts, date):
    def act(number, body):
        # A date has whole seconds: two from now are at least one away.
        value = formatdate(time.time() + 2, usegmt=True) if date else "0.4"
        return "fine" if number else acts.fails(429, Retry_After=value)

    server = serve(act)
    (answer,), _, _ = ask(server, cache)
    assert answer.text == "fine"
    assert server.seen[1].time - server.seen[0].time >= (0.95 if date else 0.4)


def test_while_one_has_to_wait_all_do(serve, cache, acts):
    server = serve(in_turn(acts.fails(429, Retry_After="0.4"), "fine"))
    ask(server, cache, count=5, concurrency=1)
    assert all(seen.time - server.seen[0].time >= 0.4 for seen in server.seen[1:])
    assert len(server.seen) == 6


def test_an_endpoint_that_asks_for_an_hour_ends_the_run(serve, cache, acts):
    server = serve(in_turn(acts.fails(429, Retry_After="3600")))
    with pytest.raises(InputError, match="asks to wait 3600 seconds"):
        ask(server, cache)
    assert len(server.seen) == 1


def test_no_more_requests_at_once_than_allowed(serve, cache, acts):
    gate = threading.Barrier(3, timeout=10)

    def act(number, body):
        if number < 6:
            gate.wait()  # three are there at the same time, or this fails
        return "fine"

    server = serve(act)
    answers, _, _ = ask(server, cache, count=30, concurrency=3, timeout=20)
    assert all(isinstance(answer, Reply) for answer in answers)
    assert server.most_at_once == 3


@pytest.mark.parametrize("concurrency", [1, 8])
def test_the_cost_cap_is_not_overshot(serve, cache, acts, concurrency):
    # Each reply costs as much as is possible, and some fail after they may have cost.
    most = most_of(endpoint("http://h/v1"))
    full = (len("say it otherwise") + OVERHEAD, 256)
    server = serve(lambda number, body: acts.truncates if number % 4 == 3 else acts.says("fine", tokens=full))
    cap = 10.5 * most
    answers, client, cost = ask(
        server, cache, 40, Limits(max_cost=cap, **PRICES), concurrency=concurrency, timeout=20
    )
    assert len(server.seen) == 10 and cost == pytest.approx(10 * most) and cost <= cap
    assert sum(isinstance(answer, Reply) for answer in answers) == 8
    assert "cost cap" in client.stopped
    assert sum(answer == NoReply("the run stops", asked=False) for answer in answers) >= 30
    ask(server, cache, 40, Limits(max_cost=cap, **PRICES))  # the cap is that of all runs together
    assert len(server.seen) == 10
    ask(server, cache, 40, Limits(max_cost=12.5 * most, **PRICES))
    assert len(server.seen) == 12


def test_what_a_reply_left_of_its_bound_is_used(serve, cache, acts):
    server = serve(in_turn("fine"))
    most = most_of(endpoint("http://h/v1"))
    answers, client, cost = ask(server, cache, 40, Limits(max_cost=2 * most, **PRICES), concurrency=8)
    assert len(server.seen) > 2 and cost <= 2 * most
    # It stops only where one more could cost too much.
    assert client.stopped is None or cost + most > 2 * most


def test_a_reply_that_does_not_say_what_it_took_costs_the_most(serve, cache, acts):
    server = serve(in_turn(acts.says("fine", tokens=None)))
    _, client, cost = ask(server, cache)
    assert cost == pytest.approx(most_of(client.endpoint))


def test_the_number_of_requests_is_bounded_over_all_runs(serve, cache, acts):
    server = serve(in_turn(acts.fails(500), "fine"))
    _, client, _ = ask(server, cache, 10, Limits(max_requests=4), concurrency=2)
    assert len(server.seen) == 4 and "--max-requests" in client.stopped
    ask(server, cache, 10, Limits(max_requests=6))
    assert len(server.seen) == 6
    assert Counter(seen.body["seed"] for seen in server.seen).most_common(1)[0][1] == 2  # the one that failed


@pytest.mark.parametrize(("status", "advice"), [(401, "OPENAI_API_KEY"), (403, "key"), (404, "/v1")])
def test_a_refusal_ends_the_run_at_once(serve, cache, acts, monkeypatch, status, advice):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret-1")
    server = serve(in_turn(acts.fails(status, "Incorrect key: sk-secret-1")))
    with pytest.raises(InputError) as error:
        ask(server, cache, count=20, concurrency=1)
    assert len(server.seen) == 1
    assert f"HTTP {status}, Incorrect key: ***" in str(error.value) and advice in str(error.value)
    assert server.seen[0].authorization == "Bearer sk-secret-1"
    assert "sk-secret-1" not in str(error.value) + cache.read_text()


def test_an_empty_account_ends_the_run_at_once(serve, cache, acts):
    server = serve(in_turn(acts.fails(429, "You exceeded your quota", code="insufficient_quota")))
    with pytest.raises(InputError, match="quota; add credit"):
        ask(server, cache, count=20, concurrency=1)
    assert len(server.seen) == 1


def test_a_request_that_is_refused_is_not_repeated(serve, cache, acts):
    server = serve(lambda number, body: acts.fails(400, "bad") if body["seed"] == 1 else "fine")
    answers, _, _ = ask(server, cache, count=3)
    assert answers[1] == NoReply("no reply: HTTP 400, bad") and len(server.seen) == 3


@pytest.mark.parametrize("count", [1, 20])
def test_a_dead_endpoint_ends_with_an_error(serve, cache, count):
    server = serve()
    url = server.url
    server.close()
    with pytest.raises(InputError, match="no connection .* check that the endpoint is up"):
        ask(url, cache, count)
    with Journal(cache) as journal:
        assert journal.cost == 0 and 4 <= journal.requests <= 7 * 4  # 1 or 3 .. 7 requests, 4 attempts each


def test_an_endpoint_that_dies_ends_the_run_and_keeps_what_came(serve, cache, acts):
    server = serve(lambda number, body: "fine" if number < 5 else acts.fails(502))
    with pytest.raises(InputError, match="HTTP 502"):
        ask(server, cache, count=30, concurrency=1)
    assert len(server.seen) == 5 + 3 * 4  # three requests, four attempts each
    with Journal(cache) as journal:
        assert len(journal.replies) == 5


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
    with Journal(cache) as journal:
        assert len(journal.replies) == 3


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"url": "localhost:8000"}, "http://localhost:8000/v1"),
        ({"url": "http://[x"}, "give a URL"),
        ({"url": "https://me:sk-1@host/v1"}, "OPENAI_API_KEY"),
        ({"concurrency": 0}, "at least 1"),
        ({"retries": -1}, "at least 0"),
        ({"timeout": 0.0}, "above 0"),
        ({"temperature": float("nan")}, "finite"),
    ],
)
def test_wrong_settings_are_refused(settings, message):
    with pytest.raises(InputError, match=message) as error:
        Endpoint(**({"url": "http://host/v1", "model": "m"} | settings))
    assert "sk-1" not in str(error.value)


def test_a_cost_cap_needs_prices():
    with pytest.raises(InputError, match="--price-in and --price-out"):
        Limits(max_cost=1.0, price_in=1.0)


def test_no_text_has_more_tokens_than_its_bound():
    body = {"messages": [{"role": "user", "content": "naïve – 字"}], "max_completion_tokens": 9, "n": 2}
    assert bound_on_tokens(body) == (6 + 1 + 3 + 1 + 3 + OVERHEAD, 18)


def test_a_journal_is_read_back(cache):
    reply = Reply("a\u2028b", "stop", 1, 2, 0.5)
    with Journal(cache) as journal:
        first, second = journal.begin("a", 1.0), journal.begin("b", 2.0)
        journal.finish(second, "b", reply)
        journal.fail(first, "HTTP 500", 0.25)
    with Journal(cache) as journal:
        assert (journal.replies, journal.cost, journal.requests) == ({"b": reply}, 0.75, 2)
        assert journal.notes == []


def test_a_request_under_way_at_a_kill_counts_as_paid(cache):
    with Journal(cache) as journal:
        journal.begin("a", 1.5)
    for _ in range(2):  # and is not counted again by the next run
        with Journal(cache) as journal:
            assert (journal.cost, journal.requests) == (
                1.5,
                1,
            ) and "1 requests were under way" in journal.notes[0]


def test_a_line_that_a_kill_cut_off_goes(cache):
    with Journal(cache) as journal:
        journal.finish(journal.begin("a", 1.0), "a", Reply("text", None, None, None, 1.0))
    whole = cache.read_bytes()
    for cut in (whole + b'{"requ', whole + b'{"request": 2, "key": "b', whole[:-1]):
        cache.write_bytes(cut)
        with Journal(cache) as journal:
            journal.begin("b", 0.0)
        requests = [json.loads(line)["request"] for line in cache.read_text().splitlines()]
        assert requests == ([1, 2] if cut == whole[:-1] else [1, 1, 2])


@pytest.mark.parametrize(
    "content", ["no journal", "id\ttext\n1\ta", '{"a": 1}\n', "[]\n", '{"request": 1}\n']
)
def test_a_file_that_is_no_journal_is_left_alone(cache, content):
    cache.write_text(content)
    with pytest.raises(InputError, match="cache.jsonl:1 is no line of a journal"):
        Journal(cache)
    assert cache.read_text() == content


def test_two_cannot_write_one_journal(cache):
    with Journal(cache):
        with pytest.raises(InputError, match="in use by another augment"):
            Journal(cache)
    Journal(cache).close()
