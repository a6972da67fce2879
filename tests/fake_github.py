"""A small fake of GitHub's REST API, for tests: what deployctl asks of one repository.

It keeps what it is sent and answers as GitHub does: pages of comments, a comment written or
changed, pull requests by their head, runs and their artefacts (which are kept on another address,
where no token is shown), branches and the files on them.
"""

import base64
import hashlib
import io
import json
import re
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

BOT = "github-actions[bot]"
TOKEN = "token-of-the-fake"


class FakeGitHub:
    """Its state, and the server on a free port of this machine while it is entered."""

    def __init__(self, repository="org/app"):
        self.repository = repository
        self.comments = []  # id, user, body, issue
        self.pulls = []  # number, head: {sha, label}; title and body where one was opened here
        self.artifacts = []  # id, name, files, workflow_run
        self.runs = {}  # by number: conclusion, event
        self.branches = {"main": {}}  # files by their paths
        self.asked = []  # (method, path) of every request
        self.refuses = 0  # a status that every request is answered with, where it is one

    def __enter__(self):
        github = self

        class Handler(BaseHTTPRequestHandler):
            def answer(self):
                length = int(self.headers.get("Content-Length") or 0)
                body = json.loads(self.rfile.read(length)) if length else None
                shown = self.headers.get("Authorization")
                if self.path.startswith("/kept/"):  # by another address: no token is to come there
                    self.send_response(200 if shown is None else 400)
                    content = github.packed(int(self.path.removeprefix("/kept/")))
                else:
                    authorized = shown == f"Bearer {TOKEN}"
                    status, answer = github.answer(self.command, self.path, body, authorized)
                    content = b"" if status == 302 else json.dumps(answer).encode()
                    self.send_response(status)
                    if status == 302:
                        self.send_header("Location", answer)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_POST = do_PATCH = do_PUT = answer  # noqa: N815

            def log_message(self, *_):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def add(self, body, login=BOT, issue=7):
        """Adds a comment, as somebody did before."""
        number = len(self.comments) + 1
        self.comments.append(
            {"id": number, "user": {"login": login}, "body": body, "issue": issue}
            | {"html_url": f"https://github.example/{self.repository}/pull/{issue}#{number}"}
        )
        return self.comments[-1]

    def answer(self, method, path, body, authorized):
        """Status and JSON of one request."""
        split = urlsplit(path)
        query = {name: values[0] for name, values in parse_qs(split.query).items()}
        self.asked.append((method, split.path))
        if self.refuses:
            return self.refuses, {"message": "Resource not accessible by integration"}
        if not authorized:
            return 401, {"message": "Bad credentials"}
        below = split.path.removeprefix(f"/repos/{self.repository}")
        if of_issue := re.fullmatch(r"/issues/(\d+)/comments", below):
            issue = int(of_issue[1])
            if method == "POST":
                return 201, self.add(body["body"], issue=issue)
            size, page = int(query.get("per_page", 30)), int(query.get("page", 1))
            known = [c for c in self.comments if c["issue"] == issue]
            return 200, known[(page - 1) * size : page * size]
        if (one := re.fullmatch(r"/issues/comments/(\d+)", below)) and method == "PATCH":
            self.comments[int(one[1]) - 1]["body"] = body["body"]
            return 200, self.comments[int(one[1]) - 1]
        for known in (self._pulls, self._actions, self._files):
            if answer := known(method, below, query, body):
                return answer
        return 404, {"message": "Not Found"}

    def _pulls(self, method, below, query, body):
        if below == "/pulls" and method == "GET":
            owner, _, branch = query["head"].partition(":")
            return 200, [p for p in self.pulls if p["head"]["label"] == f"{owner}:{branch}"]
        if below == "/pulls" and method == "POST":
            label = f"{self.repository.partition('/')[0]}:{body['head']}"
            number = len(self.pulls) + 1
            url = f"https://github.example/{self.repository}/pull/{number}"
            self.pulls.append({**body, "number": number, "head": {"label": label}, "html_url": url})
            return 201, self.pulls[-1]
        if (one := re.fullmatch(r"/pulls/(\d+)", below)) and method == "PATCH":
            [pull] = [p for p in self.pulls if p["number"] == int(one[1])]
            pull.update(body)
            return 200, pull
        return None

    def add_artifact(self, name, files, run, **of):
        """Adds what a run has left: `files` by name; and the run, green and of main by default."""
        known = {"conclusion": "success", "event": "push", "branch": "main", "ours": True, **of}
        self.runs[run] = {"conclusion": known["conclusion"], "event": known["event"]}
        source = {"id": run, "head_branch": known["branch"], "head_sha": f"{run:040x}"}
        source |= {"repository_id": 1, "head_repository_id": 1 if known["ours"] else 2}
        number = len(self.artifacts) + 1
        made = {"id": number, "name": name, "files": files, "workflow_run": source}
        self.artifacts.insert(0, {**made, "expired": known.get("expired", False)})

    def packed(self, number):
        """An artefact's zip; as it stands where it is bytes."""
        [files] = [each["files"] for each in self.artifacts if each["id"] == number]
        if isinstance(files, bytes):
            return files
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, text in files.items():
                archive.writestr(name, text)
        return buffer.getvalue()

    def _actions(self, method, below, query, body):
        if below == "/actions/artifacts":
            found = [a for a in self.artifacts if query.get("name") in (None, a["name"])]
            shown = [{k: v for k, v in a.items() if k != "files"} for a in found]
            size, page = int(query.get("per_page", 30)), int(query.get("page", 1))
            part = shown[(page - 1) * size : page * size]
            return 200, {"total_count": len(shown), "artifacts": part}
        if one := re.fullmatch(r"/actions/runs/(\d+)", below):
            return 200, self.runs[int(one[1])]
        if one := re.fullmatch(r"/actions/artifacts/(\d+)/zip", below):
            elsewhere = self.url.replace("127.0.0.1", "localhost")
            return 302, f"{elsewhere}/kept/{one[1]}"
        return None

    def _files(self, method, below, query, body):
        if one := re.fullmatch(r"/git/ref/heads/(.+)", below):
            if one[1] not in self.branches:
                return 404, {"message": "Not Found"}
            return 200, {"object": {"sha": f"head of {one[1]}"}}
        if below == "/git/refs" and method == "POST":
            branch = body["ref"].removeprefix("refs/heads/")
            if branch in self.branches:
                return 422, {"message": "Reference already exists"}
            self.branches[branch] = dict(self.branches[body["sha"].removeprefix("head of ")])
            return 201, {}
        if (one := re.fullmatch(r"/git/refs/heads/(.+)", below)) and method == "PATCH":
            self.branches[one[1]] = dict(self.branches[body["sha"].removeprefix("head of ")])
            return 200, {}
        if not (one := re.fullmatch(r"/contents/(.+)", below)):
            return None
        files = self.branches[body["branch"] if method == "PUT" else query["ref"]]
        text = files.get(one[1])
        blob = text is not None and hashlib.sha256(text.encode()).hexdigest()
        if method == "GET":
            if text is None:
                return 404, {"message": "Not Found"}
            content = base64.encodebytes(text.encode()).decode()
            return 200, {"type": "file", "sha": blob, "content": content}
        if blob and body.get("sha") != blob:
            return 409, {"message": f"{one[1]} does not match {body.get('sha')}"}
        files[one[1]] = base64.b64decode(body["content"]).decode()
        return 200, {}
