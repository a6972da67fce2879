"""A small fake of GitHub's REST API, for tests: comments and pull requests of one repository.

It keeps what it is sent and answers as GitHub does where deployctl asks: pages of comments, a
comment written or changed, open pull requests by their head.
"""

import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

BOT = "github-actions[bot]"
TOKEN = "token-of-the-fake"


class FakeGitHub:
    """Its state, and the server on a free port of this machine while it is entered."""

    def __init__(self, repository="org/app"):
        self.repository = repository
        self.comments = []  # id, user, body, issue
        self.pulls = []  # number, head: {sha, label}
        self.asked = []  # (method, path) of every request
        self.refuses = 0  # a status that every request is answered with, where it is one

    def __enter__(self):
        github = self

        class Handler(BaseHTTPRequestHandler):
            def answer(self):
                length = int(self.headers.get("Content-Length") or 0)
                body = json.loads(self.rfile.read(length)) if length else None
                authorized = self.headers.get("Authorization") == f"Bearer {TOKEN}"
                status, answer = github.answer(self.command, self.path, body, authorized)
                content = json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_POST = do_PATCH = answer  # noqa: N815

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
        if below == "/pulls" and method == "GET":
            owner, _, branch = query["head"].partition(":")
            return 200, [p for p in self.pulls if p["head"]["label"] == f"{owner}:{branch}"]
        return 404, {"message": "Not Found"}
