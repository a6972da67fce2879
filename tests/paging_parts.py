"""From a rule to who is paged: Prometheus with our rules, a real Alertmanager, and a receiver of
its webhook that keeps what it is told.
"""

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import yaml

import ports
from process_shell import PATIENCE_S
from prometheus_parts import FASTER, Program, Prometheus, groups_of, job_of, scrape

RELATIVES = Path(__file__).parent / "data" / "alert-relatives.yaml"


class Receiver:
    """A webhook: what fires and what has ended, in the order that it was told."""

    def __init__(self):
        told = self.told = []

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                told.extend(json.loads(body)["alerts"])
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def end(self):
        self._server.shutdown()
        self._server.server_close()


class Alertmanager(Program):
    """It tells one webhook of every alert by itself, at once, and of its end."""

    def __init__(self, folder, webhook):
        route = {"receiver": "hook", "group_by": ["..."], "group_wait": "0s",
                 "group_interval": "1s", "repeat_interval": "1h"}  # fmt: skip
        hook = {"name": "hook", "webhook_configs": [{"url": webhook, "send_resolved": True}]}
        file = folder / "alertmanager.yml"
        file.write_text(yaml.safe_dump({"route": route, "receivers": [hook]}))
        port = ports.free()
        words = [f"--config.file={file}", f"--web.listen-address=127.0.0.1:{port}"]
        words += [f"--storage.path={folder / 'alertmanager'}", "--cluster.listen-address="]
        super().__init__(folder, "prometheus-alertmanager", words, port, "/-/ready")


class Pager:
    """All three, and what they say of a service and its machine."""

    def __init__(self, folder, release, token, *exporters, faster=FASTER):
        self._parts = []
        try:
            self._receiver = self._kept(Receiver())
            manager = self._kept(Alertmanager(folder, self._receiver.url))
            jobs = [job_of(release, token)]
            jobs += [scrape(f"exporter-{n}", each) for n, each in enumerate(exporters)]
            target = {"targets": [manager.url.removeprefix("http://")]}
            config = {
                "scrape_configs": jobs,
                "alerting": {"alertmanagers": [{"static_configs": [target]}]},
            }
            self.rules = groups_of(release, faster)
            self.prometheus = self._kept(Prometheus(folder, config, *self.rules))
        except BaseException:
            self.close()
            raise

    def _kept(self, part):
        self._parts.append(part)
        return part

    def close(self):
        for part in reversed(self._parts):
            part.end()

    def told(self, alert, status, since=0):
        """Whether the webhook was told so of an alert, after the first so many words."""
        words = self._receiver.told[since:]
        return any(w["labels"]["alertname"] == alert and w["status"] == status for w in words)

    def quiet(self, but=frozenset()):
        """Whether nothing fires but these, and the webhook was told of every other one's end."""
        last = {w["fingerprint"]: w for w in self._receiver.told}.values()
        told = {w["labels"]["alertname"] for w in last if w["status"] == "firing"}
        return told | self.prometheus.firing() <= but

    def pages(self, alert, provoke, mend=lambda: None, patience_s=PATIENCE_S):
        """What one fault comes to: the alert reaches the webhook while it lasts, and after it no
        alert is left; nothing but it and its relatives was told. Seconds until it was told."""

        def wait(condition, else_said):
            deadline = time.monotonic() + patience_s
            while not condition():
                assert time.monotonic() < deadline, f"{else_said}: {self._state()}"
                time.sleep(0.1)

        # A machine whose disk is full already says so all the while.
        ill = {name for name in self.prometheus.firing() if name.startswith("Host")} - {alert}
        wait(lambda: self.quiet(ill), "it is not quiet before")
        since = len(self._receiver.told)
        began = time.monotonic()
        try:
            provoke()
            wait(lambda: self.told(alert, "firing", since), f"{alert} is not told")
            seconds = time.monotonic() - began
        finally:
            mend()
        wait(lambda: self.told(alert, "resolved", since), f"{alert} stays")
        wait(lambda: self.quiet(ill), "something fires on")
        told = self._receiver.told[since:]
        strangers = {w["labels"]["alertname"] for w in told} - {alert} - relatives(alert)
        assert strangers == set(), [w for w in told if w["labels"]["alertname"] in strangers]
        for word in told:
            assert word["annotations"]["summary"]
            assert word["annotations"]["runbook_url"].endswith(f"/{word['labels']['alertname']}.md")
        return seconds

    def _state(self):
        """What fires and what the webhook was told, for who reads a failure."""
        words = [(w["status"], w["labels"]["alertname"]) for w in self._receiver.told]
        return f"firing: {self.prometheus.firing()}; told: {words}"


def relatives(alert):
    """Alerts that may fire beside it."""
    return set(yaml.safe_load(RELATIVES.read_text()).get(alert, ()))
