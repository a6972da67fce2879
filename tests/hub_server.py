"""A Hub, the CDN that it redirects to, and their user: on real sockets, with real faults."""

import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

from process_shell import Shell

COMMIT = "0123456789abcdef0123456789abcdef01234567"
TOKEN = "hf_secret_of_the_test"
LARGE = 1024  # bytes from which a file is kept by LFS, and comes from the CDN


def git_sha1(content):
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


class Hub:
    """Files of one model, until the `with` ends; `faults` are what is to go wrong, each once, by
    file name. On another `host` than the loopback, programs in containers reach it too.
    """

    def __init__(self, files, host="127.0.0.1"):
        self.files, self.model, self.commit = dict(files), "org/tiny", COMMIT
        self.lists = dict(files)  # what is listed, where that is another than what is sent
        self.faults = {}  # name -> list of ("cut", bytes) | ("status", code, headers) | ("hold",)
        self.served = []  # (host, method, path, range, authorization, status)
        self.held = threading.Event()  # set when a request is being held
        self.release = threading.Event()
        self.ranges = True
        self.token = None
        self.servers = [ThreadingHTTPServer((host, 0), self._handler(n)) for n in "hc"]
        self.url = f"http://{host}:{self.servers[0].server_port}"
        # By another name the same machine is another host, to which a token must not go.
        name = "localhost" if host == "127.0.0.1" else host
        self.cdn = f"http://{name}:{self.servers[1].server_port}"
        for server in self.servers:
            server.daemon_threads = True
            threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        """From now on the Hub is down."""
        self.release.set()
        for server in self.servers:
            server.shutdown()
            server.server_close()

    def gets(self, name, host="c"):
        return [s for s in self.served if s[0] == host and s[1] == "GET" and s[2].endswith(name)]

    def _handler(hub, kind):  # noqa: N805
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def do_HEAD(self):
                self.do_GET()

            def do_GET(self):
                path = unquote(urlsplit(self.path).path)
                try:
                    hub.answer(self, kind, path)
                except (BrokenPipeError, ConnectionResetError):
                    self.close_connection = True

        return Handler

    def answer(self, to, kind, path):
        if path.startswith(f"/api/models/{self.model}"):
            return self._list(to, kind, path)
        prefix = f"/{self.model}/resolve/{self.commit}/"
        name = path.removeprefix(prefix)
        if not path.startswith(prefix) or name not in self.files:
            code = "EntryNotFound" if self.commit in path else "RevisionNotFound"
            return self._say(to, kind, path, 404, {"X-Error-Code": code})
        content = self.files[name]
        if kind == "h" and len(content) >= LARGE:
            there = {"Location": f"{self.cdn}{path}?Signature=secret"}
            return self._say(to, kind, path, 302, there)
        fault = self.faults[name].pop(0) if self.faults.get(name) else ("none",)
        if fault[0] == "status":
            return self._say(to, kind, path, fault[1], fault[2])
        return self._send(to, kind, path, content, fault)

    def _list(self, to, kind, path):
        if self.token and to.headers.get("Authorization") != f"Bearer {self.token}":
            return self._say(to, kind, path, 401, {"X-Error-Code": "GatedRepo"})
        listed = [_listed(name, content) for name, content in self.lists.items()]
        body = json.dumps({"sha": self.commit, "siblings": listed}).encode()
        return self._say(to, kind, path, 200, {"Content-Type": "application/json"}, body)

    def _send(self, to, kind, path, content, fault):
        asked = to.headers.get("Range") if self.ranges else None
        start = int(asked.removeprefix("bytes=").split("-")[0]) if asked else 0
        end = len(content)
        if asked and asked.split("-")[1]:
            end = min(end, int(asked.split("-")[1]) + 1)
        headers = {"ETag": f'"{hashlib.sha256(content).hexdigest()}"'}
        if asked:
            headers["Content-Range"] = f"bytes {start}-{end - 1}/{len(content)}"
        body = content[start:end]
        sent = body[: fault[1]] if fault[0] in ("cut", "hold") else body
        self._say(to, kind, path, 206 if asked else 200, headers, sent, length=len(body))
        if fault[0] == "hold":
            to.wfile.flush()
            self.held.set()
            self.release.wait(60)
        if fault[0] in ("cut", "hold"):
            to.close_connection = True

    def _say(self, to, kind, path, status, headers, body=b"", length=None):
        seen = (to.headers.get("Range"), to.headers.get("Authorization"))
        self.served.append((kind, to.command, path, *seen, status))
        to.send_response(status)
        for name, value in headers.items():
            to.send_header(name, value)
        to.send_header("X-Repo-Commit", self.commit)
        to.send_header("Content-Length", str(len(body) if length is None else length))
        to.end_headers()
        if to.command != "HEAD":
            to.wfile.write(body)


def _listed(name, content):
    listed = {"rfilename": name, "size": len(content), "blobId": git_sha1(content)}
    if len(content) >= LARGE:
        listed["lfs"] = {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}
    return listed


class User(Shell):
    """Runs `deployctl` with a Hub and a cache of its own."""

    def __init__(self, folder, hub, port):
        super().__init__(folder, port)
        self.cache = folder / "hf" / "hub"
        for name in list(self.environment):
            if name.startswith("HF_") or name.lower().endswith("_proxy"):
                del self.environment[name]
        self.environment |= {"HF_HOME": str(folder / "hf"), "HF_ENDPOINT": hub.url}

    def ask(self, *words, code=0):
        got, out, err = self.run(*words)
        assert got == code, err
        assert TOKEN not in out + err
        return out, err

    def words(self, verb, *more, model="org/tiny"):
        return [verb, "--model", model, "--gpu", "cpu", "--port", self.port, *more]

    def fetch(self, *more, code=0, model="org/tiny"):
        out, err = self.ask(*self.words("fetch", *more, "--output=json", model=model), code=code)
        return json.loads(out)["services"][0] if out else err

    def blobs(self):
        return sorted((self.cache / "models--org--tiny" / "blobs").iterdir())

    def whole(self, hub):
        """That what an engine would find is what the Hub has, and nothing else."""
        snapshot = self.cache / "models--org--tiny" / "snapshots" / hub.commit
        wanted = ["config.json", "model.safetensors", "tokenizer.json"]
        assert sorted(p.name for p in snapshot.iterdir()) == wanted
        for name in wanted:
            assert (snapshot / name).read_bytes() == hub.files[name]
        assert not [p for p in self.blobs() if "incomplete" in p.name]
