"""A release on disk, and a Hugging Face Hub of one loopback port."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch

from brainof.contract import InputContract, ModalityContract
from brainof.model import BrainOF
from brainof.prepare import default_chain
from brainof.release import save_release

CONTRACT = InputContract(
    modalities={
        "eeg": ModalityContract(
            units={"eeg": "V"},
            steps=default_chain("eeg").to_steps(),
            sfreqs=[256.0],
            window_seconds=(4.0, 4.0),
            frames=["head"],
        )
    }
)


@pytest.fixture
def contract() -> InputContract:
    return CONTRACT


@pytest.fixture
def model() -> BrainOF:
    torch.manual_seed(3)
    return BrainOF.from_preset("debug").eval()


@pytest.fixture
def release(tmp_path, model) -> Path:
    folder = tmp_path / "release"
    save_release(folder, model, CONTRACT, steps=4)
    return folder


class FakeHub:
    """The endpoints of the Hub that loading and pushing a model call, over commits held in memory."""

    def __init__(self) -> None:
        self.repos: dict[str, list[tuple[str, dict[str, bytes]]]] = {}
        self.branches: dict[tuple[str, str], int] = {}
        self.requests: list[str] = []
        self.lfs: dict[str, bytes] = {}
        self.cut: set[str] = set()
        self.status: int | None = None
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def answer(self, status: int, body: bytes = b"", headers: dict | None = None, length: int | None = None):
                self.send_response(status)
                for key, value in (headers or {}).items():
                    self.send_header(key, value)
                self.send_header("Content-Length", str(len(body) if length is None else length))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(body)

            def json(self, values, status: int = 200):
                self.answer(status, json.dumps(values).encode(), {"Content-Type": "application/json"})

            def missing(self, code: str):
                self.answer(404, b"{}", {"X-Error-Code": code})

            def do_HEAD(self):
                self.do_GET()

            def do_GET(self):
                hub.requests.append(f"{self.command} {self.path}")
                path = self.path.partition("?")[0]
                if hub.status:
                    return self.answer(hub.status, b"{}")
                found = re.fullmatch(r"/api/models/([^/]+/[^/]+)/(revision|tree)/([^/]+)", path)
                resolve = re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path)
                repo, revision = (found[1], found[3]) if found else (resolve[1], resolve[2])
                if repo not in hub.repos:
                    return self.missing("RepoNotFound")
                commit = hub.commit(repo, revision)
                if commit is None:
                    return self.missing("RevisionNotFound")
                sha, files = commit
                if resolve:
                    return self.file(sha, resolve[3], files)
                if found[2] == "revision":
                    return self.json({"id": repo, "sha": sha, "siblings": [{"rfilename": name} for name in files]})
                return self.json([hub.entry(name, content) for name, content in files.items()])

            def file(self, sha: str, name: str, files: dict[str, bytes]):
                content = files[name]
                headers = {"X-Repo-Commit": sha, "ETag": f'"{hashlib.sha256(content).hexdigest()}"'}
                if name in hub.cut and self.command == "GET":
                    self.answer(200, content[: len(content) // 2], headers, length=len(content))
                    self.close_connection = True
                    return None
                return self.answer(200, content, headers)

            def body(self) -> bytes:
                return self.rfile.read(int(self.headers.get("Content-Length", 0)))

            def do_PUT(self):
                hub.requests.append(f"PUT {self.path}")
                hub.lfs[self.path.rpartition("/")[2]] = self.body()
                self.answer(200)

            def do_POST(self):
                hub.requests.append(f"POST {self.path}")
                path, body = self.path.partition("?")[0], self.body()
                if hub.status:
                    return self.answer(hub.status, b"{}")
                if path == "/api/repos/create":
                    values = json.loads(body)
                    repo = f"{values['organization']}/{values['name']}"
                    status = 409 if repo in hub.repos else 200
                    hub.repos.setdefault(repo, [hub.new_commit({".gitattributes": b""})])
                    return self.json({"url": f"{hub.url}/{repo}"}, status)
                if path == "/api/validate-yaml":
                    return self.json({"errors": [], "warnings": []})
                if path.endswith("/info/lfs/objects/batch"):
                    objects = [
                        {**entry, "actions": {"upload": {"href": f"{hub.url}/lfs/{entry['oid']}"}}}
                        for entry in json.loads(body)["objects"]
                    ]
                    return self.json({"transfer": "basic", "objects": objects})
                repo, verb, branch = re.fullmatch(r"/api/models/([^/]+/[^/]+)/(\w+)/([^/]+)", path).groups()
                if verb == "branch":
                    hub.branches.setdefault((repo, branch), len(hub.repos[repo]) - 1)
                    return self.json({})
                if verb == "preupload":
                    return self.json(
                        {
                            "files": [
                                {
                                    "path": file["path"],
                                    "uploadMode": "lfs" if file["path"].endswith(".safetensors") else "regular",
                                    "shouldIgnore": False,
                                }
                                for file in json.loads(body)["files"]
                            ]
                        }
                    )
                files = dict(hub.commit(repo, branch)[1])
                for line in map(json.loads, body.splitlines()):
                    value = line["value"]
                    if line["key"] == "file":
                        files[value["path"]] = base64.b64decode(value["content"])
                    elif line["key"] == "lfsFile":
                        files[value["path"]] = hub.lfs[value["oid"]]
                    elif line["key"] == "deletedFile":
                        del files[value["path"]]
                sha = hub.push(repo, files, branch)
                return self.json({"commitUrl": f"{hub.url}/{repo}/commit/{sha}", "commitOid": sha})

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()

    @staticmethod
    def new_commit(files: dict[str, bytes]) -> tuple[str, dict[str, bytes]]:
        text = repr(sorted((name, hashlib.sha1(content).hexdigest()) for name, content in files.items()))
        return hashlib.sha1(text.encode()).hexdigest(), files

    def push(self, repo: str, files: dict[str, bytes], branch: str = "main") -> str:
        self.repos.setdefault(repo, []).append(self.new_commit(files))
        self.branches[repo, branch] = len(self.repos[repo]) - 1
        return self.repos[repo][-1][0]

    def put(self, repo: str, folder: Path) -> str:
        return self.push(repo, {path.name: path.read_bytes() for path in folder.iterdir()})

    def commit(self, repo: str, revision: str) -> tuple[str, dict[str, bytes]] | None:
        for commit in self.repos[repo]:
            if commit[0] == revision:
                return commit
        number = self.branches.get((repo, revision), 0 if revision == "main" else None)
        return None if number is None else self.repos[repo][number]

    @staticmethod
    def entry(name: str, content: bytes) -> dict:
        entry = {"type": "file", "path": name, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}
        if name.endswith(".safetensors"):
            entry["lfs"] = {"oid": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 134}
        return entry


@pytest.fixture
def hub(tmp_path, monkeypatch) -> FakeHub:
    """HF_ENDPOINT leads to a FakeHub and the cache to an empty folder; no token, nothing but loopback."""
    constants = pytest.importorskip("huggingface_hub.constants")
    fake = FakeHub()
    # huggingface_hub reads the environment when it is imported, which another test may have done
    monkeypatch.setenv("HF_ENDPOINT", fake.url)
    monkeypatch.setattr(constants, "ENDPOINT", fake.url)
    template = fake.url + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    monkeypatch.setenv("HF_TOKEN", "hf_test")
    monkeypatch.chdir(tmp_path)
    yield fake
    fake.close()
