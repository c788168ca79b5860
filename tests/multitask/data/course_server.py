"""A local server that does what servers do: ranges, errors, drops, wrong content."""

import hashlib
import random
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from multitask.data.download import Blob, Patience

NAME = "sts-dev.csv"
CONTENT = random.Random(0).randbytes(300_000)
QUICK = Patience(attempts=3, timeout=5, pause=0.001)


def git_id(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


BLOB = Blob(git_id(CONTENT), len(CONTENT))
UNSIZED = Blob(BLOB.id)


class Server(ThreadingHTTPServer):
    """Answers by a list of answers, one a request, the last one again and again; notes what was asked."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers = [{}]
        self.ranges = []
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.silent = threading.Event()

    def answer(self, *answers):
        self.answers = list(answers)


class Handler(BaseHTTPRequestHandler):
    """An answer's keys: status, content, ranges, cut, length, silent, headers, chunked."""

    def do_GET(self):
        answers = self.server.answers
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        asked = self.headers.get("Range")
        self.server.ranges.append(asked)
        if answer.get("silent"):
            self.server.silent.wait(20)
            return
        status, content = answer.get("status", 200), answer.get("content", CONTENT)
        headers = dict(answer.get("headers", {}))
        if status == 200 and asked and answer.get("ranges", True):
            start = int(asked.removeprefix("bytes=").removesuffix("-"))
            if start >= len(content):
                status, content = 416, b""
            else:
                headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
                status, content = 206, content[start:]
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if answer.get("length", True):
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[: answer.get("cut", len(content))])
        self.close_connection = True

    def log_message(self, *arguments):
        pass


def names_in(folder):
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]
