"""A model hub of one's own on loopback: the routes that huggingface_hub 2 and datasets 5 ask for repositories, lists, trees and files.

    with HubServer() as hub:
        hub.add("org/talks", {"train.jsonl": b"..."})
        hub.add_model("org/tuned", "---\\nbase_model: org/base\\n---\\n# A model", downloads=7)
        hub.fail("org/busy", 429, {"Retry-After": "1"}, times=2)
        subprocess.run(..., env={**os.environ, **hub.environment(cache)})

The libraries read their address when they are imported, so a test that uses them starts a process of its own with `environment`.
"""

from __future__ import annotations

import base64
import hashlib
import json
import threading
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlencode, urlsplit

import yaml

_FAULTS = {401: ("GatedRepo", "Access to this repository is restricted."), 404: ("RepoNotFound", "Repository not found"), 500: ("", "The hub is broken.")}


@dataclass
class Repo:
    """One repository. `status`: what every request for it is answered with instead (401: gated, 404, 500); `revisions`: branch or tag -> files."""

    kind: str
    name: str
    revisions: dict[str, dict[str, bytes]]
    status: int = 200
    about: dict[str, Any] = field(default_factory=dict)

    def commit(self, revision: str) -> str | None:
        """The commit that a branch, a tag or a commit names; None when there is none."""
        commits = {name: hashlib.sha1(repr((self.name, sorted(files.items()))).encode()).hexdigest() for name, files in self.revisions.items()}
        return commits.get(revision) or next((commit for commit in commits.values() if commit == revision), None)

    def files(self, revision: str) -> dict[str, bytes]:
        """The files of a revision."""
        if revision in self.revisions:
            return self.revisions[revision]
        return next(files for name, files in self.revisions.items() if self.commit(name) == revision)


@dataclass
class Fault:
    """What requests whose address has `part` in it are answered with instead: a status with headers, and a body that need not be JSON.

    `times`: so often, then no more (0: always); `seconds`: it comes so late, `drip`: and then byte by byte, ten a second.
    """

    part: str
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    times: int = 0
    seconds: float = 0.0
    drip: bool = False
    met: int = 0


class HubServer:
    """The server; `requests` are the method and path of all that was asked, in order; `page`: rows of a list that one answer holds;
    `tokens`: those that are good (None: all are)."""

    def __init__(self) -> None:
        self._repos: dict[tuple[str, str], Repo] = {}
        self.requests: list[str] = []
        self.page = 100
        self.tokens: set[str] | None = None
        self.faults: list[Fault] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> HubServer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def add(self, name: str, files: Mapping[str, bytes], *, kind: str = "datasets", revision: str = "main", status: int = 200, **about: Any) -> Repo:
        """Put files into a repository, whole; `kind` is datasets or models, `about` what the card says (tags, downloads, cardData, ...)."""
        repo = self._repos.setdefault((kind, name), Repo(kind, name, {}))
        repo.revisions[revision] = dict(files)
        repo.status, repo.about = status, {**repo.about, **about}
        return repo

    def add_model(self, name: str, card: str = "", files: Mapping[str, bytes] | None = None, **about: Any) -> Repo:
        """A model with a card. The Hub's tags, its cardData and its place in the model tree are made of the card's front matter and the files."""
        front = _front(card)
        there = {"README.md": card.encode(), **(files or {})}
        library, pipeline = (value if isinstance(value := front.get(name), str) else None for name in ("library_name", "pipeline_tag"))
        parents = [one for one in _list(front.get("base_model")) if isinstance(one, str)]
        relation = front.get("base_model_relation") or ("adapter" if "adapter_config.json" in there else "merge" if len(parents) > 1 else
                                                        "quantized" if any(one.endswith(".gguf") for one in there) else "finetune")
        tags: list[Any] = [*([library] if library else []), *_list(front.get("tags")), *(f"dataset:{one}" for one in _list(front.get("datasets"))),
                *_list(front.get("language")), *(f"base_model:{one}" for one in parents), *(f"base_model:{relation}:{one}" for one in parents),
                *([f"license:{front['license']}"] if "license" in front else []), *(["gguf"] if any(one.endswith(".gguf") for one in there) else [])]
        tree = {"baseModels": {"relation": relation, "models": [{"_id": "0" * 24, "id": one} for one in parents]}} if parents else {}
        known = {"tags": [tag for tag in tags if isinstance(tag, str)], "cardData": front or None, "pipeline_tag": pipeline, "library_name": library,
                 "config": _mapping(there.get("config.json", b"")), **tree}
        return self.add(name, there, kind="models", **{key: value for key, value in known.items() if value is not None}, **about)

    def fail(self, part: str, status: int = 200, headers: Mapping[str, str] | None = None, **how: Any) -> Fault:
        """Answer what has `part` in its address wrongly (see Fault)."""
        self.faults.append(Fault(part, status, headers or {}, **how))
        return self.faults[-1]

    def fault(self, address: str) -> Fault | None:
        """The fault that a request meets."""
        for one in self.faults:
            if one.part in unquote(address) and (not one.times or one.met < one.times):
                one.met += 1
                return one
        return None

    def children(self, name: str) -> dict[str, int]:
        """How many models were made from one, by relation."""
        trees = [repo.about.get("baseModels") or {} for repo in self.all("models")]
        return dict(Counter(tree["relation"] for tree in trees if any(one["id"] == name for one in tree.get("models", ()))))

    def environment(self, cache: Path) -> dict[str, str]:
        """What a process needs to take this for the Hub, with empty caches and no token."""
        return {"TUNELAB_CACHE": str(cache / "tunelab"),
                "HF_ENDPOINT": self.url, "HF_HOME": str(cache), "HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_XET": "1", "HF_HUB_OFFLINE": "0",
                "HF_DATASETS_OFFLINE": "0", "HF_HUB_DISABLE_PROGRESS_BARS": "1", "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1", "HF_TOKEN": ""}

    def find(self, kind: str, parts: list[str]) -> tuple[Repo | None, list[str]]:
        """The repository that a path begins with (ORG/NAME, or NAME alone), and the rest of the path."""
        for size in (2, 1):
            repo = self._repos.get((kind, "/".join(parts[:size])))
            if repo is not None:
                return repo, parts[size:]
        return None, parts[2:]

    def all(self, kind: str) -> list[Repo]:
        """Every repository of a kind, for a listing."""
        return [repo for (one, _), repo in self._repos.items() if one == kind]


def _handler(hub: HubServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

        def do_HEAD(self) -> None:
            self._answer()

        def do_GET(self) -> None:
            self._answer()

        def do_POST(self) -> None:
            self._answer(self.rfile.read(int(self.headers.get("Content-Length") or 0)))

        def _answer(self, body: bytes = b"") -> None:
            split = urlsplit(self.path)
            hub.requests.append(f"{self.command} {split.path}")
            parts = [unquote(part) for part in split.path.split("/") if part]
            token = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
            fault = hub.fault(self.path)
            if fault is not None:
                time.sleep(fault.seconds)
                self._drip(fault) if fault.drip else self._send(fault.status, fault.body, "application/json", fault.headers)
            elif token and hub.tokens is not None and token not in hub.tokens:
                self._send(401, b"", "application/json", {"X-Error-Message": "Invalid credentials in Authorization header"})
            elif parts == ["api", "models"]:
                self._models(parse_qs(split.query))
            elif parts == ["api", "datasets"]:
                self._json([_about(repo, "main") for repo in hub.all(parts[1])])
            elif len(parts) > 2 and parts[0] == "api" and parts[1] in ("datasets", "models"):
                self._api(*hub.find(parts[1], parts[2:]), body)
            elif parts and parts[0] == "datasets":
                self._file(*hub.find("datasets", parts[1:]))
            elif "resolve" in parts:
                self._file(*hub.find("models", parts))
            else:
                self._fault(404, "EntryNotFound", "There is no such page.")

        def _models(self, asked: dict[str, list[str]]) -> None:
            """A page of the list of models, and in Link where the next is."""
            found = [about for repo in hub.all("models") if _fits(about := _about(repo, "main"), asked)]
            sort = asked.get("sort", ["trendingScore"])[0]
            found.sort(key=lambda about: about.get(sort) or (0 if sort not in ("lastModified", "createdAt") else ""), reverse=True)
            begin = int(base64.b64decode(asked["cursor"][0])) if "cursor" in asked else 0
            end = begin + min(hub.page, int(asked.get("limit", ["1000"])[0]))
            links = {}
            if end < len(found):
                query = urlencode({**asked, "cursor": base64.b64encode(str(end).encode()).decode()}, doseq=True)
                links = {"Link": f'<{hub.url}/api/models?{query}>; rel="next"'}
            page = [_expanded(about, asked.get("expand", [])) for about in found[begin:end]]
            self._send(200, json.dumps(page).encode(), "application/json", links)

        def _drip(self, fault: Fault) -> None:
            self.send_response(fault.status)
            self.send_header("Content-Length", str(len(fault.body)))
            self.end_headers()
            try:
                for byte in fault.body:
                    self.wfile.write(bytes([byte]))
                    self.wfile.flush()
                    time.sleep(0.1)
            except OSError:  # the other side has had enough
                self.close_connection = True

        def _api(self, repo: Repo | None, rest: list[str], body: bytes) -> None:
            revision = rest[1] if len(rest) > 1 else "main"
            if repo is None or repo.status != 200:
                self._fault(404 if repo is None else repo.status)
            elif rest and rest[0] == "refs":
                branches = [{"name": name, "ref": f"refs/heads/{name}", "targetCommit": repo.commit(name)} for name in repo.revisions]
                self._json({"branches": branches, "converts": [], "tags": []})
            elif repo.commit(revision) is None:
                self._fault(404, "RevisionNotFound", f"Invalid rev id: {revision}")
            elif not rest or rest[0] == "revision":
                asked = parse_qs(urlsplit(self.path).query).get("expand", [])
                about = _about(repo, revision)
                if "childrenModelCount" in asked:
                    about["childrenModelCount"] = hub.children(repo.name)
                self._json(_expanded(about, asked))
            elif rest[0] == "tree":
                self._tree(repo, revision, "/".join(rest[2:]))
            elif rest[0] == "paths-info":
                self._paths(repo, revision, body)
            else:
                self._fault(404, "EntryNotFound", "There is no such route.")

        def _tree(self, repo: Repo, revision: str, folder: str) -> None:
            recursive = parse_qs(urlsplit(self.path).query).get("recursive", ["false"])[0].lower() in ("true", "1")
            found = _entries(repo.files(revision), folder, recursive=recursive)
            if folder and not found:
                self._fault(404, "EntryNotFound", f"{folder} does not exist on {revision}")
            else:
                self._json(found)

        def _paths(self, repo: Repo, revision: str, body: bytes) -> None:
            asked = json.loads(body)["paths"] if body[:1] == b"{" else parse_qs(body.decode()).get("paths", [])
            files = repo.files(revision)
            folders = {"/".join(name.split("/")[:depth]) for name in files for depth in range(1, name.count("/") + 1)}
            self._json([_entry(name, files.get(name)) for name in ([asked] if isinstance(asked, str) else asked) if name in files or name in folders])

        def _file(self, repo: Repo | None, rest: list[str]) -> None:
            if repo is None or repo.status != 200:
                self._fault(404 if repo is None else repo.status)
                return
            revision, name = rest[1] if len(rest) > 1 else "main", "/".join(rest[2:])
            commit = repo.commit(revision)
            content = repo.files(revision).get(name) if commit is not None else None
            if content is None:
                self._fault(404, "RevisionNotFound" if commit is None else "EntryNotFound", "Not found")
                return
            first, last, whole = 0, len(content) - 1, len(content)
            wanted = (self.headers.get("Range") or "").removeprefix("bytes=")
            if wanted:
                begin, _, end = wanted.partition("-")
                first, last = (int(begin), min(int(end or last), last)) if begin else (max(0, whole - int(end)), last)
            headers = {"ETag": f'"{_oid(content)}"', "X-Repo-Commit": str(commit), "Accept-Ranges": "bytes"}
            headers |= {"Content-Range": f"bytes {first}-{last}/{whole}"} if wanted else {}
            self._send(206 if wanted else 200, content[first : last + 1], "application/octet-stream", headers)

        def _json(self, value: Any) -> None:
            self._send(200, json.dumps(value).encode(), "application/json", {})

        def _fault(self, status: int, code: str = "", message: str = "") -> None:
            known = _FAULTS.get(status, ("", ""))
            said = {"X-Error-Code": code or known[0], "X-Error-Message": message or known[1]}
            self._send(status, json.dumps({"error": message or known[1]}).encode(), "application/json", {key: text for key, text in said.items() if text})

        def _send(self, status: int, content: bytes, kind: str, headers: Mapping[str, str]) -> None:
            self.send_response(status)
            for key, value in {"Content-Type": kind, "Content-Length": str(len(content)), **headers}.items():
                self.send_header(key, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

    return Handler


def _about(repo: Repo, revision: str) -> dict[str, Any]:
    siblings = [{"rfilename": name} for name in sorted(repo.files(revision))]
    return {"_id": "0" * 24, "id": repo.name, "author": repo.name.split("/")[0], "sha": repo.commit(revision), "private": False, "gated": False,
            "disabled": False, "downloads": 0, "likes": 0, "tags": [], "lastModified": "2026-01-01T00:00:00.000Z",
            "createdAt": "2026-01-01T00:00:00.000Z", "siblings": siblings, **repo.about}


def _expanded(about: dict[str, Any], asked: list[str]) -> dict[str, Any]:
    """Only what was asked for with expand, if anything was."""
    return {key: value for key, value in about.items() if not asked or key in ("_id", "id", *asked)}


def _fits(about: dict[str, Any], asked: dict[str, list[str]]) -> bool:
    """Whether a model is in a list with these filters."""
    tags = {*about["tags"], about.get("pipeline_tag"), about.get("library_name")}
    return (all(one in tags for one in asked.get("filter", [])) and asked.get("pipeline_tag", [about.get("pipeline_tag")])[0] == about.get("pipeline_tag")
            and asked.get("author", [about["author"]])[0].lower() == about["author"].lower()
            and asked.get("search", [""])[0].lower() in about["id"].lower())


def _front(card: str) -> dict[str, Any]:
    """A card's front matter; what is no YAML or no mapping the Hub does not read."""
    try:
        found = yaml.safe_load(card.split("---")[1]) if card.startswith("---") else {}
    except (yaml.YAMLError, ValueError):
        found = {}
    return json.loads(json.dumps(found, default=str)) if isinstance(found, dict) else {}


def _mapping(content: bytes) -> dict[str, Any] | None:
    try:
        return dict(json.loads(content))
    except (ValueError, TypeError):
        return None


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]


def _entries(files: Mapping[str, bytes], folder: str, *, recursive: bool) -> list[dict[str, Any]]:
    prefix = f"{folder}/" if folder else ""
    found: dict[str, dict[str, Any]] = {}
    for name, content in sorted(files.items()):
        if not name.startswith(prefix):
            continue
        inside = name[len(prefix):].split("/")
        for depth in range(1, len(inside) if recursive else min(len(inside), 2)):
            part = prefix + "/".join(inside[:depth])
            found.setdefault(part, _entry(part, None))
        if recursive or len(inside) == 1:
            found[name] = _entry(name, content)
    return list(found.values())


def _entry(name: str, content: bytes | None) -> dict[str, Any]:
    if content is None:
        return {"type": "directory", "path": name, "oid": hashlib.sha1(name.encode()).hexdigest(), "size": 0}
    return {"type": "file", "path": name, "oid": _oid(content), "size": len(content)}


def _oid(content: bytes) -> str:
    """The name that git gives a file."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
