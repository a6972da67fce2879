"""Debian's Prometheus and exporters on loopback, as tests start them and ask them."""

import json
import shutil
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from contextlib import suppress
from pathlib import Path

import yaml

import ports
from deployctl.promql import LabelMatcher
from deployctl.render.alerting import Objectives, Scope, host_groups, rule_groups
from deployctl.render.monitoring import monitoring_files
from deployctl.render.monitoring.prometheus import probe_module
from process_shell import until

FASTER = 60  # every window of the rules is divided by this: an hour is a minute
EVERY_S = 1  # between two scrapes: a minute, in the time of such rules
# All of them promised, and none ever missed on a busy machine.
WANTED = Objectives(ttft_s=100.0, itl_s=20.0, e2e_s=500.0)


class Program:
    """A server of Debian's that runs until it is ended; `ready` is where it says that it is."""

    def __init__(self, folder, name, words, port, ready):
        self.url = f"http://127.0.0.1:{port}"
        self._log = folder / f"{name}.log"
        with self._log.open("w") as log:
            command = [shutil.which(name), *map(str, words)]
            self._process = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder)
        try:
            until(lambda: self._answers(ready))
        except BaseException:
            self.end()
            raise

    def _answers(self, path):
        assert self._process.poll() is None, self._log.read_text()
        with suppress(urllib.error.URLError, ConnectionError):
            return self.ask(path) is not None
        return False

    def ask(self, path, **form):
        """What it answers; a POST where there is a form."""
        data = urllib.parse.urlencode(form).encode() if form else None
        with urllib.request.urlopen(f"{self.url}{path}", data, timeout=30) as answer:
            return answer.read()

    def end(self):
        """No process of it runs on."""
        self._process.terminate()
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


class Prometheus(Program):
    """With a configuration as a document; it writes into a folder of its own."""

    def __init__(self, folder, config, *rules):
        files = []
        for number, groups in enumerate(rules):
            file = folder / f"rules-{number}.yaml"
            file.write_text(yaml.safe_dump({"groups": groups}))
            files.append(str(file))
        often = {"scrape_interval": f"{EVERY_S}s", "evaluation_interval": f"{EVERY_S}s"}
        port = ports.free()
        itself = {"job_name": "itself", "static_configs": [{"targets": [f"127.0.0.1:{port}"]}]}
        whole = {"global": often, "rule_files": files, **config}
        whole["scrape_configs"] = [*config["scrape_configs"], itself]
        (folder / "prometheus.yml").write_text(yaml.safe_dump(whole))
        words = ["--config.file=prometheus.yml", "--storage.tsdb.path=data"]
        words += [f"--web.listen-address=127.0.0.1:{port}", "--rules.alert.resend-delay=1s"]
        super().__init__(folder, "prometheus", words, port, "/-/ready")

    def _data(self, path, **form):
        try:
            answer = json.loads(self.ask(f"/api/v1/{path}", **form))
        except urllib.error.HTTPError as error:
            raise AssertionError((form, error.read().decode())) from error
        assert not answer.get("warnings"), (form, answer)
        return answer["data"]

    def now(self, query):
        """Each series of a query's result, as (labels, value)."""
        found = self._data("query", query=query)["result"]
        return [(series["metric"], float(series["value"][1])) for series in found]

    def has_data(self, query, seconds):
        """Whether any moment of the last seconds has a number, as a panel would show it."""
        end = time.time()
        span = {"start": end - seconds, "end": end, "step": EVERY_S}
        found = self._data("query_range", query=query, **span)["result"]
        return any(value != "NaN" for series in found for _, value in series["values"])

    def rules(self):
        """Every rule, as Prometheus evaluated it last."""
        return [rule for group in self._data("rules")["groups"] for rule in group["rules"]]

    def firing(self):
        """The names of the alerts that fire."""
        alerts = self._data("alerts")["alerts"]
        return {a["labels"]["alertname"] for a in alerts if a["state"] == "firing"}


class NodeExporter(Program):
    """Of this machine's memory and disks, with the files of a folder as metrics of their own."""

    def __init__(self, folder, textfiles, *words):
        port = ports.free()
        words = [f"--web.listen-address=127.0.0.1:{port}", *words]
        words += ["--collector.disable-defaults", "--collector.meminfo", "--collector.filesystem"]
        words += ["--collector.textfile", f"--collector.textfile.directory={textfiles}"]
        super().__init__(folder, "prometheus-node-exporter", words, port, "/metrics")


class BlackboxExporter(Program):
    """With our configuration of it; `at` is where it listens."""

    def __init__(self, folder):
        file, port = folder / "blackbox.yaml", ports.free()
        file.write_text(yaml.safe_dump(probe_module()))
        self.at = f"127.0.0.1:{port}"
        words = [f"--config.file={file}", f"--web.listen-address={self.at}"]
        super().__init__(folder, "prometheus-blackbox-exporter", words, port, "/-/healthy")


def scrape(name, program, **labels):
    """A scrape job of one of them."""
    target = {"targets": [program.url.removeprefix("http://")], "labels": labels}
    return {"job_name": name, "static_configs": [target]}


def scope_of(release, faster=FASTER):
    """A release as our renderers see it, with everything so much faster."""
    plan, spec = release.plan, release.spec
    return Scope(
        plan.name,
        plan.engine.version,
        (LabelMatcher("service", "=", plan.name),),
        speculates=True,
        startup_s=spec.startup_timeout or plan.startup_budget_s,
        interval_s=EVERY_S * faster,
        faster=faster,
    )


def groups_of(release, faster=FASTER):
    """Our rules of the service, and of its machine."""
    scope = scope_of(release, faster)
    machine = Scope("", scope.version, (), interval_s=scope.interval_s, faster=faster)
    return rule_groups(scope, WANTED), host_groups(machine, gateways=True)


def job_of(release, token):
    """What we render for a Prometheus to scrape of a service; `token` is its token's file."""
    files = monitoring_files(release.plan, release.spec)
    (job,) = yaml.safe_load(files["monitoring/scrape.yaml"])["scrape_configs"]
    job["authorization"]["credentials_file"] = str(Path(token).resolve())
    return {**job, "scrape_interval": f"{EVERY_S}s"}
