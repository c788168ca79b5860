"""A hub on the loopback that speaks as much of the Hugging Face hub's protocol as huggingface_hub 2 uses.

The ETag of a small file is the id of its git blob, that of a large one (*.safetensors, *.bin) its sha256.
"""

import hashlib
import json
import re
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple
from urllib.parse import unquote, urlsplit


class Request(NamedTuple):
    method: str
    path: str
    headers: dict[str, str]


@dataclass
class HubServer:
    """Models by name: revision -> commit, commit -> files. A context manager that runs the server.

    By a file's name: `cuts` are the bytes after which one answer after the other breaks off, `stalls` the
    place where the server waits for `released`, `lies` the content that is sent in place of the true one,
    `checksums` those that are listed. By the end of a path: `answers` are the status, headers
    and content, if any, of another answer. Files of `gated` models are refused without the token.
    """

    revisions: dict[str, dict[str, str]] = field(default_factory=dict)
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)
    cuts: dict[str, list[int]] = field(default_factory=dict)
    stalls: dict[str, int] = field(default_factory=dict)
    lies: dict[str, bytes] = field(default_factory=dict)
    checksums: dict[str, str] = field(default_factory=dict)
    answers: dict[str, tuple] = field(default_factory=dict)
    listed_too: list[str] = field(default_factory=list)
    gated: set[str] = field(default_factory=set)
    token: str = "hf_good"
    released: threading.Event = field(default_factory=threading.Event)
    stalled: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> "HubServer":
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        self._server.daemon_threads = True
        self._server.state = self
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *error) -> None:
        self.released.set()
        self._server.shutdown()
        self._server.server_close()

    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def add(self, name: str, files: dict[str, bytes], revision: str = "main") -> str:
        """Commits the files to a revision of a model, and returns the commit."""
        content = [(file, hashlib.sha1(data).hexdigest()) for file, data in sorted(files.items())]
        commit = hashlib.sha1(json.dumps([name, content]).encode()).hexdigest()
        self.revisions.setdefault(name, {})[revision] = commit
        self.commits[commit] = dict(files)
        return commit

    def asked(self, ending: str = "", method: str | None = None) -> list[Request]:
        """Returns the requests, in their order, whose path ends so."""
        return [
            request
            for request in self.requests
            if request.path.endswith(ending)
            and method in (None, request.method)
            and "agent-harnesses" not in request.path
        ]


def checksum(file: str, data: bytes) -> str:
    """The sha256 of a large file, the id of the git blob of a small one."""
    if file.endswith((".safetensors", ".bin")):
        return hashlib.sha256(data).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else each answer waits for 40 ms

    def log_message(self, *arguments) -> None:
        pass

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        hub: HubServer = self.server.state
        path = unquote(urlsplit(self.path).path)
        headers = {name.lower(): value for name, value in self.headers.items()}
        hub.requests.append(Request(self.command, path, headers))
        for ending, answer in hub.answers.items():
            if path.endswith(ending):
                return self._send(*answer)
        listing = re.fullmatch(r"/api/models/(.+)/(revision|tree)/(.+)", path)
        content = re.fullmatch(r"/(.+?)/resolve/([^/]+)/(.+)", path)
        if not (listing or content):
            return self._send(404, {})
        name, revision = (listing[1], unquote(listing[3])) if listing else content.groups()[:2]
        known = hub.revisions.get(name)
        if known is None:
            return self._send(404, {"X-Error-Code": "RepoNotFound"})
        commit = known.get(revision, revision if revision in hub.commits else None)
        if commit is None:
            return self._send(404, {"X-Error-Code": "RevisionNotFound"})
        if listing:
            return self._list(hub, name, commit, listing[2])
        return self._resolve(hub, name, commit, content[3])

    def _list(self, hub: HubServer, name: str, commit: str, kind: str) -> None:
        entries = []
        for file, data in (hub.commits[commit] | dict.fromkeys(hub.listed_too, b"")).items():
            found = hub.checksums.get(file, checksum(file, data))
            entry = {"size": len(data), "blobId": found, "oid": found, "rfilename": file, "path": file}
            if len(found) == 64:
                entry["lfs"] = {"sha256": found, "oid": found, "size": len(data), "pointerSize": 134}
            entries.append(entry | {"type": "file"})
        answer = {"id": name, "sha": commit, "siblings": entries} if kind == "revision" else entries
        self._send(200, {"Content-Type": "application/json"}, json.dumps(answer).encode())

    def _resolve(self, hub: HubServer, name: str, commit: str, file: str) -> None:
        given = self.headers.get("Authorization")
        if name in hub.gated and given != f"Bearer {hub.token}":
            return self._send(403 if given else 401, {"X-Error-Code": "GatedRepo"})
        data = hub.commits[commit][file]
        headers = {"X-Repo-Commit": commit, "ETag": f'"{checksum(file, data)}"'}
        if self.command == "HEAD":
            return self._send(200, headers, data)
        data, status, start = hub.lies.get(file, data), 200, 0
        if wanted := re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", "")):
            status, start = 206, int(wanted[1])
            headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        cut = hub.cuts[file].pop(0) if hub.cuts.get(file) else None
        self._send(status, headers, data[start:], cut, hub.stalls.get(file))

    def _send(
        self,
        status: int,
        headers: dict,
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
                self.server.state.stalled.set()
                self.server.state.released.wait(60)
                content = content[stall:]
            self.wfile.write(content[:cut])
            self.close_connection = self.close_connection or cut is not None
        except (BrokenPipeError, ConnectionResetError):  # the other side has gone
            self.close_connection = True
