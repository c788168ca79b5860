"""A hub on the loopback that speaks as much of the Hugging Face hub's protocol as huggingface_hub 2 uses.

Small files come from the hub itself, their ETag is the id of the git blob; large ones (*.safetensors, *.bin)
by a redirect to a second server, the CDN, with sha256 and size in X-Linked-ETag and X-Linked-Size. What is to
go wrong is said by the attributes of HubServer.
"""

import hashlib
import json
import random
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from fnmatch import fnmatch
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote, unquote, urlsplit

from huggingface_hub import constants
from huggingface_hub.utils import close_session

LARGE = ("*.safetensors", "*.bin")

# A model: what is needed of it, what says how its sentences are pooled, and what is not needed.
NAME = "owner/tiny"
CONFIG = json.dumps(
    {"model_type": "bert", "vocab_size": 30, "hidden_size": 8, "num_attention_heads": 2}
).encode()
WEIGHTS = random.Random(0).randbytes(300_000)
UNNEEDED = {
    "README.md": b"# a model",
    "pytorch_model.bin": b"pickle",
    "onnx/model.onnx": b"graph",
    "a.py": b"1",
}
SMALL = {
    "config.json": CONFIG,
    "model.safetensors": WEIGHTS,
    "vocab.txt": b"[PAD]\n",
    "tokenizer_config.json": b"{}",
}
POOLING = {
    "modules.json": json.dumps([{"path": ""}, {"path": "1_Pooling"}, {"path": "2_Normalize"}]).encode()
}
POOLING |= {"1_Pooling/config.json": b'{"pooling_mode_mean_tokens": true}'}


class Request(NamedTuple):
    server: str  # hub or cdn
    method: str
    path: str
    headers: dict[str, str]


@dataclass
class HubServer:
    """Models by name: revision -> commit, commit -> files. A context manager that runs both servers.

    By a file's name: `cuts` are the bytes after which one answer after the other breaks off, `stalls` the
    place where the server waits for `released`, `lies` the content that is sent in place of the true one.
    By the end of a path: `answers` are the status and headers of an answer without content, `pages` a text.
    `gated` and `token`: without the token, gated models' files are refused.
    """

    revisions: dict[str, dict[str, str]] = field(default_factory=dict)
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)
    cuts: dict[str, list[int]] = field(default_factory=dict)
    stalls: dict[str, int] = field(default_factory=dict)
    lies: dict[str, bytes] = field(default_factory=dict)
    answers: dict[str, tuple[int, dict[str, str]]] = field(default_factory=dict)
    pages: dict[str, str] = field(default_factory=dict)
    etags: dict[str, str] = field(default_factory=dict)
    listed_too: list[str] = field(default_factory=list)
    gated: set[str] = field(default_factory=set)
    token: str = "hf_good"
    ranges: bool = True
    released: threading.Event = field(default_factory=threading.Event)
    stalled: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> "HubServer":
        self._servers = {name: self._start(name) for name in ("hub", "cdn")}
        return self

    def __exit__(self, *error) -> None:
        self.released.set()
        for server in self._servers.values():
            server.shutdown()
            server.server_close()

    def _start(self, name: str) -> ThreadingHTTPServer:
        server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        server.daemon_threads = True
        server.state, server.role = self, name
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        return server

    def url(self, name: str = "hub") -> str:
        return f"http://127.0.0.1:{self._servers[name].server_port}"

    def add(self, name: str, files: dict[str, bytes], revision: str = "main") -> str:
        """Commits the files to a revision of a model, and returns the commit."""
        content = [(file, hashlib.sha1(data).hexdigest()) for file, data in sorted(files.items())]
        commit = hashlib.sha1(json.dumps([name, content]).encode()).hexdigest()
        self.revisions.setdefault(name, {})[revision] = commit
        self.commits[commit] = dict(files)
        return commit

    def asked(self, ending: str = "", method: str | None = None, server: str | None = None) -> list[Request]:
        """The requests, in their order, whose path ends so."""
        return [
            request
            for request in self.requests
            if request.path.endswith(ending)
            and method in (None, request.method)
            and server in (None, request.server)
            and "agent-harnesses" not in request.path
        ]


@contextmanager
def asked_by_huggingface_hub(folder: Path, monkeypatch) -> Iterator[HubServer]:
    """A server that huggingface_hub takes for the hub; it holds owner/tiny, and the cache is empty."""
    with HubServer() as server:
        template = server.url() + "/{repo_id}/resolve/{revision}/{filename}"
        for name, value in {
            "HF_HUB_OFFLINE": False,
            "ENDPOINT": server.url(),
            "HUGGINGFACE_CO_URL_TEMPLATE": template,
            "HF_HUB_CACHE": str(folder / "cache"),
            "HF_TOKEN_PATH": str(folder / "token"),
            "HF_HUB_DISABLE_TELEMETRY": True,
            "HF_HUB_ETAG_TIMEOUT": 1,
            "HF_HUB_DOWNLOAD_TIMEOUT": 1,
        }.items():
            monkeypatch.setattr(constants, name, value)
        monkeypatch.delenv("HF_TOKEN", raising=False)
        server.add(NAME, SMALL | POOLING | UNNEEDED)
        yield server
        close_session()


def contents(folder: Path) -> dict[str, bytes]:
    """Path below a folder -> bytes, without the record."""
    files = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    files.pop("hub.json", None)
    return files


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def git_blob(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def is_large(file: str) -> bool:
    return any(fnmatch(file, pattern) for pattern in LARGE)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else each answer waits for 40 ms

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def log_message(self, *arguments) -> None:
        pass

    @property
    def hub(self) -> HubServer:
        return self.server.state

    def _answer(self) -> None:
        path = unquote(urlsplit(self.path).path)
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.hub.requests.append(Request(self.server.role, self.command, path, headers))
        for ending, (status, headers) in self.hub.answers.items():
            if path.endswith(ending):
                return self._send(status, headers)
        for ending, page in self.hub.pages.items():
            if path.endswith(ending):
                return self._send(200, {"Content-Type": "text/html"}, page.encode())
        if self.server.role == "cdn":
            _, commit, file = path.split("/", 2)
            return self._send_file(file, self.hub.commits[commit][file], {})
        if match := re.fullmatch(r"/api/models/(.+)/(revision|tree)/(.+)", path):
            return self._list(match[1], unquote(match[3]), match[2])
        if match := re.fullmatch(r"/(.+?)/resolve/([^/]+)/(.+)", path):
            return self._resolve(*match.groups())
        self._send(404, {})

    def _commit(self, name: str, revision: str) -> str | None:
        """The commit of a revision; where there is none, the answer is sent."""
        if name not in self.hub.revisions:
            self._send(404, {"X-Error-Code": "RepoNotFound"})
            return None
        known = self.hub.revisions[name]
        commit = known.get(
            revision, revision if revision in known.values() | self.hub.commits.keys() else None
        )
        if commit is None:
            self._send(404, {"X-Error-Code": "RevisionNotFound"})
        return commit

    def _list(self, name: str, revision: str, kind: str) -> None:
        commit = self._commit(name, revision)
        if commit is None:
            return
        files = self.hub.commits[commit]
        if kind == "revision":
            siblings = [{"rfilename": file} for file in [*files, *self.hub.listed_too]]
            content = {"id": name, "modelId": name, "sha": commit, "siblings": siblings}
        else:
            content = [_tree_entry(file, data) for file, data in files.items()]
        self._send(200, {"Content-Type": "application/json"}, json.dumps(content).encode())

    def _resolve(self, name: str, revision: str, file: str) -> None:
        commit = self._commit(name, revision)
        if commit is None:
            return
        given = self.headers.get("Authorization")
        if name in self.hub.gated and given != f"Bearer {self.hub.token}":
            return self._send(403 if given else 401, {"X-Error-Code": "GatedRepo"})
        if file not in self.hub.commits[commit]:
            return self._send(404, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": commit})
        data = self.hub.commits[commit][file]
        if not is_large(file):
            etag = self.hub.etags.get(file, git_blob(data))
            return self._send_file(file, data, {"X-Repo-Commit": commit, "ETag": f'"{etag}"'})
        headers = {
            "X-Repo-Commit": commit,
            "X-Linked-Size": str(len(data)),
            "X-Linked-ETag": f'"{self.hub.etags.get(file, sha256(data))}"',
            "Location": f"{self.hub.url('cdn')}/{commit}/{quote(file)}?signature=secret",
        }
        self._send(302, headers)

    def _send_file(self, file: str, data: bytes, headers: dict[str, str]) -> None:
        if self.command == "GET":
            data = self.hub.lies.get(file, data)
        start, status = 0, 200
        wanted = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if wanted and self.hub.ranges:
            start, status = int(wanted[1]), 206
            headers = headers | {"Content-Range": f"bytes {start}-{len(data) - 1}/{len(data)}"}
            if start >= len(data):
                return self._send(416, {})
        cuts = self.hub.cuts.get(file)
        cut = cuts.pop(0) if cuts and self.command == "GET" else None
        stall = self.hub.stalls.get(file)
        self._send(status, headers, data[start:], cut, None if stall is None else max(0, stall - start))

    def _send(
        self,
        status: int,
        headers: dict[str, str],
        content: bytes = b"",
        cut: int | None = None,
        stall: int | None = None,
    ) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command == "HEAD":
            return
        try:
            if stall is not None:
                self.wfile.write(content[:stall])
                self.hub.stalled.set()
                self.hub.released.wait(60)
                content = content[stall:]
            self.wfile.write(content if cut is None else content[:cut])
            self.close_connection = self.close_connection or cut is not None
        except (BrokenPipeError, ConnectionResetError):  # the other side has gone
            self.close_connection = True


def _tree_entry(file: str, data: bytes) -> dict:
    entry = {"type": "file", "path": file, "size": len(data), "oid": git_blob(data)}
    if is_large(file):
        entry["lfs"] = {"oid": sha256(data), "size": len(data), "pointerSize": 134}
    return entry
