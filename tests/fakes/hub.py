"""A small Hugging Face over HTTP, for the real huggingface_hub: repositories, Git LFS, commits.

It answers what version 2.4 of the client sends (hf_api.py, _commit_api.py, lfs.py), and refuses what the
service would: another's name, a wrong hash, a commit on another head, a file that was not sent.
"""

import hashlib
import json
import re
import threading
from base64 import b64decode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

OWNER, TOKEN = "asha", "hf_a_made_up_token_of_36_characters_"
_SMALL = 1000  # Bytes of a text that Git holds itself.
_REPO = r"(?P<repo>[\w.-]+/[\w.-]+)"


@dataclass
class Repository:
    """A repository: its files as (mode, content), its commits, the newest last, and the files of each."""

    private: bool
    files: dict[str, tuple[str, bytes]] = field(default_factory=dict)
    commits: list[str] = field(default_factory=list)
    history: dict[str, dict[str, tuple[str, bytes]]] = field(default_factory=dict)


class Hub:
    """The service.

    Attributes:
        repositories: by `owner/name`.
        blobs: what Git LFS holds, by SHA-256.
        sent: the SHA-256 of each object that was sent, in order.
        calls: each request's method and path.
        multipart: bytes of a part, to let large files be sent in parts.
        faults: statuses to answer with, by a method and a part of the path; each is used once.
        before: called before a request is answered, with its method and path.
    """

    def __init__(self) -> None:
        self.repositories: dict[str, Repository] = {}
        self.blobs: dict[str, bytes] = {}
        self.sent: list[str] = []
        self.calls: list[str] = []
        self.multipart: int | None = None
        self.faults: list[tuple[str, str, int]] = []
        self.before: Callable[[str], None] = lambda _call: None
        self.token = TOKEN
        self.url = ""
        self._parts: dict[str, bytes] = {}
        self._lock = threading.Lock()

    def commit(self, repo: str, **files: bytes) -> str:
        """Let somebody else commit files; gives the new head."""
        place = self.repositories[repo]
        place.files |= {name: ("regular", data) for name, data in files.items()}
        place.commits.append(hashlib.sha1(f"{repo}{len(place.commits)}".encode()).hexdigest())  # noqa: S324
        place.history[place.commits[-1]] = dict(place.files)
        return place.commits[-1]

    def content(self, repo: str) -> dict[str, bytes]:
        """The files of a repository."""
        return {name: data for name, (_, data) in self.repositories[repo].files.items()}

    def answer(self, call: str, headers: Any, body: bytes) -> tuple[int, Any, dict[str, str]]:
        """Answer a request with a status, a JSON value and headers."""
        self.calls.append(call)
        self.before(call)
        method, path = call.split(" ", 1)
        for fault in self.faults:
            if fault[0] == method and fault[1] in path:
                self.faults.remove(fault)
                return fault[2], {"error": f"fault {fault[2]} for Bearer {self.token}"}, {}
        if path.startswith("/put/"):
            return self._put(path.removeprefix("/put/"), body)
        if path != "/complete" and headers.get("Authorization") != f"Bearer {self.token}":
            refused = {"X-Error-Message": "Invalid credentials in Authorization header"}
            return 401, {"error": refused["X-Error-Message"]}, refused
        with self._lock:
            for pattern, function in self._routes():
                if match := re.fullmatch(pattern, call):
                    value = function(self, json_lines(body), **match.groupdict())
                    return value if isinstance(value, tuple) else (200, value, {})
        raise AssertionError(f"the client sends what this hub does not know: {call}")

    @staticmethod
    def _routes() -> list[tuple[str, Callable[..., Any]]]:
        return [
            (rf"GET /api/models/{_REPO}(?:/revision/(?P<commit>\w+))?", Hub._info),
            (r"POST /api/repos/create", Hub._create),
            (r"POST /api/validate-yaml", Hub._validate),
            (rf"POST /api/models/{_REPO}/preupload/main", Hub._preupload),
            (rf"POST /{_REPO}\.git/info/lfs/objects/batch", Hub._batch),
            (r"POST /verify", Hub._verify),
            (r"POST /complete", Hub._complete),
            (rf"POST /api/models/{_REPO}/commit/main", Hub._commit),
        ]

    def _missing(self, repo: str) -> tuple[int, Any, dict[str, str]] | None:
        if repo in self.repositories:
            return None
        return 404, {"error": "Repository not found"}, {"X-Error-Code": "RepoNotFound"}

    def _info(self, _body: list[Any], repo: str, commit: str | None) -> Any:
        if missing := self._missing(repo):
            return missing
        place = self.repositories[repo]
        head = commit or place.commits[-1]
        files = []
        for name, (mode, data) in place.history[head].items():
            lfs = {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 134}
            about = {"rfilename": name, "size": len(data), "blobId": _git(data)}
            files.append(
                {**about, **({"lfs": lfs, "blobId": _git(b"pointer" + data)} if mode == "lfs" else {})}
            )
        return {
            "_id": "1",
            "id": repo,
            "modelId": repo,
            "sha": head,
            "private": place.private,
            "siblings": files,
        }

    def _create(self, body: list[Any]) -> Any:
        (asked,) = body
        repo = f"{asked.get('organization') or OWNER}/{asked['name']}"
        if not repo.startswith(f"{OWNER}/"):
            return 403, {"error": "You don't have the rights to create a model under the namespace"}, {}
        if repo in self.repositories:
            return 409, {"error": "You already created this model repo", "url": f"{self.url}/{repo}"}, {}
        private = asked.get("visibility") == "private" or asked.get("private") is True
        self.repositories[repo] = Repository(private, {".gitattributes": ("regular", b"*.onnx lfs\n")})
        self.commit(repo)
        return {"url": f"{self.url}/{repo}", "name": repo}

    def _validate(self, body: list[Any]) -> Any:
        assert body[0]["content"].startswith("---\n")
        return {"errors": [], "warnings": []}

    def _preupload(self, body: list[Any], repo: str) -> Any:
        if missing := self._missing(repo):
            return missing
        here, found = self.repositories[repo].files, []
        for item in body[0]["files"]:
            large = item["size"] > _SMALL or item["path"].endswith((".onnx", ".wav"))
            there = here.get(item["path"])
            oid = None
            if there is not None:
                oid = hashlib.sha256(there[1]).hexdigest() if there[0] == "lfs" else _git(there[1])
            mode = "lfs" if large else "regular"
            found.append({"path": item["path"], "uploadMode": mode, "shouldIgnore": False, "oid": oid})
        return {"files": found}

    def _batch(self, body: list[Any], repo: str) -> Any:
        objects = []
        for item in body[0]["objects"]:
            oid, size = item["oid"], item["size"]
            known: dict[str, Any] = {"oid": oid, "size": size}
            if oid not in self.blobs:
                upload: dict[str, Any] = {"href": f"{self.url}/put/{oid}"}
                if self.multipart is not None:
                    parts = range(1, -(-size // self.multipart) + 1)
                    urls = {str(number): f"{self.url}/put/{oid}/{number}" for number in parts}
                    header = {"chunk_size": str(self.multipart), **urls}
                    upload = {"href": f"{self.url}/complete", "header": header}
                known["actions"] = {"upload": upload, "verify": {"href": f"{self.url}/verify"}}
            objects.append(known)
        return {"transfer": "multipart" if self.multipart else "basic", "objects": objects}

    def _put(self, path: str, body: bytes) -> tuple[int, Any, dict[str, str]]:
        if "/" in path:
            self._parts[path] = body
            return 200, {}, {"ETag": f'"{hashlib.md5(body).hexdigest()}"'}  # noqa: S324
        return self._store(path, body)

    def _complete(self, body: list[Any]) -> tuple[int, Any, dict[str, str]]:
        (asked,) = body
        oid = asked["oid"]
        numbers = [item["partNumber"] for item in asked["parts"]]
        return self._store(oid, b"".join(self._parts[f"{oid}/{number}"] for number in numbers))

    def _store(self, oid: str, body: bytes) -> tuple[int, Any, dict[str, str]]:
        if hashlib.sha256(body).hexdigest() != oid:
            return 400, {"error": "the content is not that of its hash"}, {}
        self.blobs[oid] = body
        self.sent.append(oid)
        return 200, {}, {}

    def _verify(self, body: list[Any]) -> Any:
        held = self.blobs.get(body[0]["oid"])
        return {} if held is not None and len(held) == body[0]["size"] else (404, {"error": "not there"}, {})

    def _commit(self, body: list[Any], repo: str) -> Any:
        if missing := self._missing(repo):
            return missing
        place, header = self.repositories[repo], body[0]["value"]
        if header.get("parentCommit") not in (None, place.commits[-1]):
            return 412, {"error": "A commit has happened since. Please refresh and try again."}, {}
        files = dict(place.files)
        for item in body[1:]:
            key, value = item["key"], item["value"]
            if key == "file":
                files[value["path"]] = ("regular", b64decode(value["content"]))
            elif key == "lfsFile" and value["oid"] in self.blobs:
                files[value["path"]] = ("lfs", self.blobs[value["oid"]])
            elif key == "deletedFile" and value["path"] in files:
                del files[value["path"]]
            else:
                return 400, {"error": f"{key} {value['path']} is not there"}, {}
        place.files = files
        head = self.commit(repo)
        return {"commitUrl": f"{self.url}/{repo}/commit/{head}", "commitOid": head, "hookOutput": ""}


def json_lines(body: bytes) -> list[Any]:
    """Read JSON, or several values of it, one a line."""
    return [json.loads(line) for line in body.splitlines() if line]


def _git(data: bytes) -> str:
    return hashlib.sha1(f"blob {len(data)}\0".encode() + data).hexdigest()  # noqa: S324 - so does Git.


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def _respond(self) -> None:
        if self.headers.get("Transfer-Encoding") == "chunked":
            body = b"".join(self._chunks())
        else:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        call = f"{self.command} {self.path.partition('?')[0]}"
        status, value, headers = self.hub.answer(call, self.headers, body)
        data = json.dumps(value).encode()
        self.send_response(status)
        for name, text in {
            **headers,
            "Content-Length": str(len(data)),
            "Content-Type": "application/json",
        }.items():
            self.send_header(name, text)
        self.end_headers()
        self.wfile.write(data)

    def _chunks(self) -> Iterator[bytes]:
        while size := int(self.rfile.readline().strip(), 16):
            yield self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()

    do_GET = do_POST = do_PUT = _respond  # noqa: N815 - as http.server wants them.

    def log_message(self, *_arguments: Any) -> None:
        """Say nothing."""


@contextmanager
def serving() -> Iterator[Hub]:
    """Serve a hub on this machine until the block ends."""
    hub = Hub()
    handler = type("Handler", (_Handler,), {"hub": hub})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
