"""A stand-in of the model hub on loopback: the part of its HTTP API that ``huggingface_hub`` asks for models.

Repositories are in memory, revisions are commits, files of weights go by Git LFS's batch API and all others within
the commit. What it cannot stand for: Xet storage, redirects to a CDN, rate limits, and whatever the real hub does
beside its documented API.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

import yaml

TOKEN = "hf_standin"
BREAK, STALL = 0, -1
_PAGE = 3
"""Files of a listing at a time, so that it takes several pages."""


@dataclass
class Repository:
    private: bool = False
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    """Of branches and tags, to commits."""

    def commit(self, files: dict[str, bytes]) -> str:
        content = [(name, hashlib.sha256(files[name]).hexdigest()) for name in sorted(files)]
        oid = hashlib.sha1(json.dumps([len(self.commits), content]).encode()).hexdigest()
        self.commits[oid] = files
        self.names["main"] = oid
        return oid

    def at(self, revision: str) -> str | None:
        return revision if revision in self.commits else self.names.get(revision)

    @property
    def files(self) -> dict[str, bytes]:
        return self.commits[self.names["main"]]


class HubStandIn:
    """Serves while it is entered; ``requests`` holds what was asked, as ``"GET /path"``.

    ``fail`` maps a pattern of requests to how those that match are answered, one after the other: by a status (200 as
    usual), broken off (``BREAK``) after half of their body, or left there (``STALL``) until who asks is gone.
    """

    def __init__(self) -> None:
        self.repositories: dict[str, Repository] = {}
        self.objects: dict[str, bytes] = {}
        self.requests: list[str] = []
        self.fail: dict[str, list[int]] = {}
        self.stalled = threading.Event()
        self.damage: bytes | None = None
        hub = self

        class Bound(_Handler):
            def __init__(self, *arguments: Any) -> None:
                self.hub = hub
                super().__init__(*arguments)

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Bound)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> HubStandIn:
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def make(self, name: str, files: dict[str, bytes], *, private: bool = False) -> str:
        repository = self.repositories.setdefault(name, Repository(private))
        return repository.commit(files)

    def asked(self, pattern: str) -> list[str]:
        return [request for request in self.requests if re.search(pattern, request)]


class _Handler(BaseHTTPRequestHandler):
    hub: HubStandIn
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments: Any) -> None:
        pass

    def handle(self) -> None:
        with suppress(ConnectionError):  # of who was killed
            super().handle()

    def do_GET(self) -> None:
        self._answer()

    do_HEAD = do_POST = do_PUT = do_GET

    def _answer(self) -> None:
        path = unquote(urlsplit(self.path).path)
        request = f"{self.command} {path}"
        self.hub.requests.append(request + (f" {self.headers['Range']}" if self.headers["Range"] else ""))
        length = int(self.headers["Content-Length"] or 0)
        failing = next((left for pattern, left in self.hub.fail.items() if left and re.search(pattern, request)), None)
        self._fails = failing.pop(0) if failing else 200
        if self._fails not in (200, BREAK, STALL):
            self.rfile.read(length)
            return self._send(self._fails, {"error": "the stand-in fails as it was told"})
        if self._fails != 200 and self.command != "GET":
            self.rfile.read(length // 2)
            return self._give_up()
        body = self.rfile.read(length)
        signed_in = self.headers["Authorization"] == f"Bearer {TOKEN}"
        if path.startswith("/lfs/"):  # signed links: no token
            self.hub.objects[path.removeprefix("/lfs/")] = body
            return self._send(200, {})
        if path == "/api/validate-yaml":
            return self._validated(json.loads(body)["content"])
        if self.command not in ("GET", "HEAD") and not signed_in:
            return self._send(401, {"error": "Invalid username or password."})
        if path == "/api/repos/create":
            return self._create(json.loads(body))
        found = re.fullmatch(r"(?:/api/models)?/([^/]+/[^/]+?)(?:\.git)?(/.*)?", path)
        repository = self.hub.repositories.get(found[1]) if found else None
        if found is None or repository is None or (repository.private and not signed_in):
            return self._send(401 if not signed_in else 404, {"error": "Repository not found"}, error="RepoNotFound")
        action, _, rest = (found[2] or "").removeprefix("/").partition("/")
        return self._of_repository(found[1], repository, action, rest, body)

    def _of_repository(self, name: str, repository: Repository, action: str, rest: str, body: bytes) -> None:
        if action == "info":  # info/lfs/objects/batch
            return self._batch(json.loads(body))
        revision, _, path = rest.partition("/")
        commit = repository.at(revision or "main")
        if commit is None:
            return self._send(404, {"error": f"Invalid rev id: {revision}"}, error="RevisionNotFound")
        files = repository.commits[commit]
        if action in ("", "revision"):
            siblings = [{"rfilename": file} for file in files]
            return self._send(200, {"id": name, "sha": commit, "private": repository.private, "siblings": siblings})
        if action == "tree":
            return self._tree(files)
        if action == "resolve":
            return self._file(files, path, commit)
        if action == "preupload":
            modes = [
                {
                    "path": file["path"],
                    "uploadMode": "lfs" if file["path"].endswith(".safetensors") else "regular",
                    "shouldIgnore": False,
                    "oid": _oid(file["path"], files[file["path"]]) if file["path"] in files else None,
                }
                for file in json.loads(body)["files"]
            ]
            return self._send(200, {"files": modes})
        if action == "commit":
            return self._commit(name, repository, body)
        return self._send(404, {"error": "not of the stand-in"})

    def _create(self, asked: dict[str, Any]) -> None:
        name = f"{asked['organization']}/{asked['name']}"
        if asked["organization"] == "others":
            return self._send(403, {"error": "You don't have the rights"})
        status = 409 if name in self.hub.repositories else 200
        if status == 200:
            self.hub.make(name, {".gitattributes": b"*.safetensors lfs"}, private=asked.get("visibility") == "private")
        return self._send(status, {"url": f"{self.hub.url}/{name}"})

    def _validated(self, content: str) -> None:
        parts = content.split("---\n")
        good = len(parts) >= 3 and not parts[0] and isinstance(yaml.safe_load(parts[1]), dict)
        self._send(200 if good else 400, {"errors": [] if good else [{"message": "no metadata"}], "warnings": []})

    def _batch(self, asked: dict[str, Any]) -> None:
        def answer(wanted: dict[str, Any]) -> dict[str, Any]:
            if wanted["oid"] in self.hub.objects:
                return wanted
            return {**wanted, "actions": {"upload": {"href": f"{self.hub.url}/lfs/{wanted['oid']}"}}}

        self._send(200, {"transfer": "basic", "objects": [answer(wanted) for wanted in asked["objects"]]})

    def _commit(self, name: str, repository: Repository, body: bytes) -> None:
        lines = [json.loads(line) for line in body.splitlines()]
        if lines[0]["value"].get("parentCommit", repository.names["main"]) != repository.names["main"]:
            return self._send(412, {"error": "A commit has happened since. Please refresh and try again."})
        files = dict(repository.files)
        for line in lines[1:]:
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = self.hub.objects[value["oid"]]
            elif line["key"] == "deletedFile":
                del files[value["path"]]
        oid = repository.commit(files)
        return self._send(200, {"commitUrl": f"{self.hub.url}/{name}/commit/{oid}", "commitOid": oid})

    def _tree(self, files: dict[str, bytes]) -> None:
        first = int(re.search(r"cursor=(\d+)", self.path)[1]) if "cursor=" in self.path else 0  # type: ignore[index]
        entries: list[dict[str, Any]] = []
        for file in sorted(files)[first : first + _PAGE]:
            content = files[file]
            entry: dict[str, Any] = {"type": "file", "path": file, "size": len(content), "oid": _git(content)}
            if file.endswith(".safetensors"):
                entry["lfs"] = {"oid": _oid(file, content), "size": len(content), "pointerSize": 134}
            entries.append(entry)
        path = self.path.partition("?")[0]
        more = first + _PAGE < len(files)
        url = f"{self.hub.url}{path}?recursive=True&cursor={first + _PAGE}"
        self._send(200, entries, {"Link": f'<{url}>; rel="next"'} if more else {})

    def _file(self, files: dict[str, bytes], path: str, commit: str) -> None:
        if path not in files:
            return self._send(404, {"error": "Entry not found"}, error="EntryNotFound")
        content = files[path]
        headers = {"X-Repo-Commit": commit, "ETag": f'"{_oid(path, content)}"', "Accept-Ranges": "bytes"}
        if self.hub.damage is not None and path.endswith(".safetensors"):
            content = content[: -len(self.hub.damage)] + self.hub.damage
        status, whole = 200, len(content)
        if wanted := self.headers["Range"]:
            start = int(re.fullmatch(r"bytes=(\d+)-\d*", wanted)[1])  # type: ignore[index]
            status, content = 206, content[start:]
            headers["Content-Range"] = f"bytes {start}-{whole - 1}/{whole}"
        return self._send(status, content, headers)

    def _send(self, status: int, value: Any, headers: dict[str, str] | None = None, error: str | None = None) -> None:
        body = value if isinstance(value, bytes) else json.dumps(value).encode()
        self.send_response(status)
        given = {"Content-Length": str(len(body)), **({"X-Error-Code": error} if error else {}), **(headers or {})}
        if self.command == "GET" and isinstance(value, list | dict):
            given["Content-Type"] = "application/json"
        for name, text in given.items():
            self.send_header(name, text)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body[: len(body) // 2] if self._fails in (BREAK, STALL) else body)
        if self._fails in (BREAK, STALL):
            self._give_up()

    def _give_up(self) -> None:
        if self._fails == STALL:
            self.hub.stalled.set()
            self.rfile.read()  # until the other side is gone
        self.close_connection = True
        self.connection.close()


def _git(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def _oid(path: str, content: bytes) -> str:
    return hashlib.sha256(content).hexdigest() if path.endswith(".safetensors") else _git(content)
