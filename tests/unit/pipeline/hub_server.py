"""As much of the Hub as a push speaks to: repositories, the upload of large files, commits."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class Hub:
    """What the server holds, and how it answers."""

    repos: dict[str, dict[str, Any]] = field(default_factory=dict)
    large: dict[str, bytes] = field(default_factory=dict)
    commits: list[dict[str, bytes]] = field(default_factory=list)
    refuse: int | None = None
    tokens: set[str] = field(default_factory=set)
    endpoint: str = ""


class _Handler(BaseHTTPRequestHandler):
    hub: Hub

    def log_message(self, *_: Any) -> None:
        pass

    def _body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("content-length") or 0))

    def _answer(self, status: int, content: Any = None, **headers: str) -> None:
        body = json.dumps(content or {}).encode()
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        repo = self.path.removeprefix("/api/models/").partition("?")[0].removesuffix("/revision/main")
        if repo not in self.hub.repos:
            self._answer(404, {"error": "Repository not found"}, X_Error_Code="RepoNotFound")
            return
        held = self.hub.repos[repo]
        files = [{"rfilename": name} for name in held["files"]]
        self._answer(200, {"id": repo, "private": held["private"], "siblings": files, "sha": COMMIT})

    def do_PUT(self) -> None:
        self.hub.large[self.path.rpartition("/")[2]] = self._body()
        self._answer(200)

    def do_POST(self) -> None:
        body = self._body()
        self.hub.tokens.add(self.headers.get("authorization", ""))
        if self.hub.refuse is not None:
            self._answer(self.hub.refuse, {"error": "not with this token"})
        elif self.path == "/api/repos/create":
            asked = json.loads(body)
            name = f"{asked['organization']}/{asked['name']}" if asked.get("organization") else asked["name"]
            new = {"private": asked.get("visibility") == "private", "files": [".gitattributes"]}
            self.hub.repos.setdefault(name, new)
            self._answer(200, {"url": f"{self.hub.endpoint}/{name}"})
        elif self.path == "/api/validate-yaml":
            self._answer(200, {"errors": [], "warnings": []})
        elif self.path.endswith("/preupload/main"):
            self._preupload(json.loads(body)["files"])
        elif self.path.endswith("/info/lfs/objects/batch"):
            self._batch(json.loads(body)["objects"])
        elif "/commit/" in self.path:
            self._commit(body)
        else:
            self._answer(404, {"error": self.path})

    def _preupload(self, files: list[dict[str, Any]]) -> None:
        modes = [
            {
                "path": one["path"],
                "uploadMode": "lfs" if one["path"].endswith(".safetensors") else "regular",
                "shouldIgnore": False,
            }
            for one in files
        ]
        self._answer(200, {"files": modes})

    def _batch(self, objects: list[dict[str, Any]]) -> None:
        def upload(oid: str) -> dict[str, Any]:
            return {"upload": {"href": f"{self.hub.endpoint}/large/{oid}", "header": {}}}

        asked = [{**one, "authenticated": True, "actions": upload(one["oid"])} for one in objects]
        self._answer(200, {"transfer": "basic", "objects": asked})

    def _commit(self, body: bytes) -> None:
        repo = self.path.removeprefix("/api/models/").partition("/commit/")[0]
        held: dict[str, bytes] = {}
        for line in body.decode().splitlines():
            entry = json.loads(line)
            if entry["key"] == "file":
                held[entry["value"]["path"]] = base64.b64decode(entry["value"]["content"])
            elif entry["key"] == "lfsFile":
                held[entry["value"]["path"]] = self.hub.large[entry["value"]["oid"]]
        self.hub.commits.append(held)
        self.hub.repos[repo]["files"] = sorted({*self.hub.repos[repo]["files"], *held})
        self._answer(200, {"commitUrl": f"{self.hub.endpoint}/{repo}/commit/{COMMIT}", "commitOid": COMMIT})


@contextmanager
def hub_server() -> Iterator[Hub]:
    """Run the server on a free port of the loopback address."""
    hub = Hub()
    handler = type("Handler", (_Handler,), {"hub": hub})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    hub.endpoint = f"http://127.0.0.1:{server.server_address[1]}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
