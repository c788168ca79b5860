"""A real HTTP server on the loopback interface that speaks the chat-completions protocol, or fails to."""

import json
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from random import Random
from types import SimpleNamespace
from typing import NamedTuple

import pytest


class Seen(NamedTuple):
    """A request as it came in."""

    time: float
    body: dict
    authorization: str


class ChatServer(ThreadingHTTPServer):
    """`act(number, body)` gives what to do with the request of that number, counted from 0.

    That is a text, to be the reply, or one of the functions below, called with the handler.
    """

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, act: Callable[[int, dict], object]):
        super().__init__(("127.0.0.1", 0), Handler)
        self.act = act
        self.seen: list[Seen] = []
        self.mutex = threading.Lock()
        self.closing = threading.Event()
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"

    def handle_error(self, request, client_address):
        pass  # clients that were killed, or had no patience

    def close(self) -> None:
        self.closing.set()
        self.shutdown()
        self.server_close()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        server = self.server
        with server.mutex:
            number = len(server.seen)
            server.seen.append(Seen(time.monotonic(), body, self.headers.get("Authorization", "")))
        act = server.act(number, body)
        says(act)(self) if isinstance(act, str) else act(self)

    def answer(self, content: bytes, status: int = 200, length: int | None = None, **headers: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content) if length is None else length))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *arguments):
        pass


def says(text, reason="stop", tokens=(20, 10)):
    """A chat completion; without tokens, it does not say what it took."""
    reply = {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "tiny",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": reason}],
    }
    if tokens:
        reply["usage"] = dict(prompt_tokens=tokens[0], completion_tokens=tokens[1], total_tokens=sum(tokens))
    return lambda handler: handler.answer(json.dumps(reply).encode())


def fails(status, message="no", code=None, **headers):
    """An error in OpenAI's form."""
    error = {"error": {"message": message, "type": "error", "code": code}}
    return lambda handler: handler.answer(json.dumps(error).encode(), status, **headers)


def sends(content):
    """These bytes, whatever they are."""
    return lambda handler: handler.answer(content)


def hangs(handler):
    """No answer until the server closes."""
    handler.server.closing.wait(30)
    handler.close_connection = True


def truncates(handler):
    """Half of a chat completion, and the end of the connection."""
    handler.answer(b'{"id": "chatcmpl-1", "choices": [{"index"', length=400)
    handler.close_connection = True


def drops(handler):
    """The end of the connection."""
    handler.close_connection = True


def paraphrase(number: int, body: dict) -> str:
    """A text that depends on prompt and seed alone, and is near no other."""
    draw = Random(json.dumps([body["messages"], body.get("seed")]))
    text = f"has {' '.join(str(draw.randrange(10**6)) for _ in range(4))} ."
    return f'Here is a paraphrased version of the review:\n\n"{text}"'


@pytest.fixture
def serve(monkeypatch):
    """The function `serve(act=paraphrase)` -> ChatServer; no proxy stands between."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    servers = []

    def start(act=paraphrase):
        servers.append(ChatServer(act))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


@pytest.fixture
def acts():
    """What the server can do, as `acts.NAME`."""
    names = (says, fails, sends, hangs, truncates, drops, paraphrase)
    return SimpleNamespace(**{function.__name__: function for function in names})
