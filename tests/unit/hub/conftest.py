"""Small checkpoints on disk, and a Hub that lives in memory."""

import json
import struct
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

CONFIG: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "num_hidden_layers": 2,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 256,
    "max_position_embeddings": 512,
    "torch_dtype": "bfloat16",
}
COMMIT = "0123456789abcdef0123456789abcdef01234567"


def safetensors(
    tensors: dict[str, tuple[str, list[int], int]], *, body: bytes | None = None
) -> bytes:
    """A safetensors file of zeros; tensors are name -> (dtype, shape, bytes)."""
    table: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    at = 0
    for name, (dtype, shape, nbytes) in tensors.items():
        table[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + nbytes]}
        at += nbytes
    header = json.dumps(table).encode()
    return struct.pack("<Q", len(header)) + header + (bytes(at) if body is None else body)


WEIGHTS = safetensors({"a.weight": ("BF16", [4, 8], 64), "b.weight": ("F32", [3], 12)})


def write(folder: Path, files: dict[str, Any]) -> Path:
    """Writes files: bytes and text as they are, anything else as JSON."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded(content))
    return folder


def encoded(content: Any) -> bytes:
    if isinstance(content, bytes):
        return content
    return content.encode() if isinstance(content, str) else json.dumps(content).encode()


class FakeHub:
    """Answers like the Hub, and remembers what was asked and how many bytes went out."""

    def __init__(self, files: dict[str, Any], *, name: str = "org/model", **info: Any) -> None:
        self.files = {path: encoded(content) for path, content in files.items()}
        self.name, self.info = name, info
        self.requests: list[httpx.Request] = []
        self.sent: dict[str, int] = {}
        self.ranges = True
        self.first: list[httpx.Response] = []  # answers to give before any other

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        if self.first:
            return self.first.pop(0)
        path = request.url.path
        if path.startswith(f"/api/models/{self.name}"):
            siblings = [{"rfilename": n, "size": len(c)} for n, c in self.files.items()]
            return httpx.Response(200, json={"sha": COMMIT, "siblings": siblings, **self.info})
        prefix = f"/{self.name}/resolve/{COMMIT}/"
        if path.startswith(prefix) and path.removeprefix(prefix) in self.files:
            return self._file(path.removeprefix(prefix), request.headers.get("Range"))
        return httpx.Response(404, headers={"X-Error-Code": "RepoNotFound"})

    def _file(self, name: str, asked: str | None) -> httpx.Response:
        content = self.files[name]
        if asked is None or not self.ranges:
            return httpx.Response(200, content=content)
        start, end = (int(part) for part in asked.removeprefix("bytes=").split("-"))
        part = content[start : end + 1]
        self.sent[name] = self.sent.get(name, 0) + len(part)
        return httpx.Response(206, content=part) if part else httpx.Response(416)

    def client(self) -> httpx.Client:
        return httpx.Client(transport=httpx.MockTransport(self), follow_redirects=True)


@pytest.fixture(autouse=True)
def _no_network(monkeypatch):
    """A Hub that a test forgot to give is a closed port, never the network."""
    for name in ("HF_HUB_OFFLINE", "HF_HOME", "HF_HUB_CACHE", "HF_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")


@pytest.fixture
def kit():
    """This module's helpers, for tests in files beside it."""
    return SimpleNamespace(
        config=dict(CONFIG),
        commit=COMMIT,
        weights=WEIGHTS,
        safetensors=safetensors,
        write=write,
        hub=FakeHub,
    )
