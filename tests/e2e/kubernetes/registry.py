"""A registry that has no image: by its name it says whether there is none, for whom, or how often.

The nodes of `../shared/kube` pull `registry.test:5000/…` from this machine, over plain HTTP.
"""

import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

ADDRESS = ("10.89.0.1", 5000)  # of this machine, as the nodes see it
MISSING, PRIVATE, LIMITED = (f"registry.test:5000/{name}:1" for name in ("none", "own", "often"))
_SAYS = {
    "none": (404, "MANIFEST_UNKNOWN", "manifest unknown"),
    "own": (401, "UNAUTHORIZED", "authentication required"),
    "often": (429, "TOOMANYREQUESTS", "you have reached your pull rate limit"),
}


class _Answers(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        name = self.path.removeprefix("/v2/").partition("/")[0]
        status, code, message = _SAYS.get(name, (200, "", ""))
        body = json.dumps({"errors": [{"code": code, "message": message}]}).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        if status == 401:
            self.send_header("WWW-Authenticate", 'Basic realm="registry.test"')
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    do_HEAD = do_GET  # noqa: N815  as http.server calls it

    def log_message(self, *_):
        """Says nothing."""


class _Server(ThreadingHTTPServer):
    allow_reuse_port = True  # two test runs may have one each: they say the same


@contextmanager
def serving():
    """Runs it meanwhile."""
    server = _Server(ADDRESS, _Answers)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
