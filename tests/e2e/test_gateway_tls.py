"""TLS of the gateway as clients meet it: a certificate that is renewed under them, the openai
client, streams over HTTP/2, and ten thousand that hold a connection and say nothing; and who is
told where it is renewed no more."""

import http.client
import json
import os
import resource
import shutil
import signal
import socket
import ssl
import subprocess
import time

import pytest
from tests.e2e.gateway_parts import Users, needs_caddy

import ports
from deployctl.render.alerting import PROBES, Scope, host_groups
from deployctl.render.monitoring import Watched
from deployctl.render.monitoring.prometheus import probe_jobs
from deployctl.targets.history import Release
from deployctl.targets.process import procfs
from process_shell import PATIENCE_S, Shell, until
from prometheus_parts import BlackboxExporter, Prometheus

pytestmark = pytest.mark.night

IDLE = 10_000
LIFETIME = "2m"  # Caddy renews when a third of it is left
FASTER = 600  # than they are, our rules: a quarter of those two minutes is left for six seconds


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """A shell with a service behind TLS, at `shell.url`."""
    needs_caddy()
    made = Shell(tmp_path_factory.mktemp("tls"), ports.free())
    behind = ["--domain", "localhost", "--tls", "internal", "--gateway-port", ports.free()]
    code, out, err = made.up(*behind, "--output", "json", token_s="0.02")
    try:
        assert code == 0, err
        told = json.loads(out)["services"][0]
        made.url, made.ca = told["url"].removesuffix("/v1"), told["gateway"]["ca_file"]
        made.place = ("127.0.0.1", int(behind[-1]))
        made.trust = ssl.create_default_context(cafile=made.ca)
        yield made
    finally:
        made.end()


def secured(shell):
    plain = socket.create_connection(shell.place, timeout=PATIENCE_S)
    return shell.trust.wrap_socket(plain, server_hostname="localhost")


def certificate(shell):
    with secured(shell) as connection:
        return connection.getpeercert()


def shorten(shell, renewed="5s"):
    """Has the gateway's certificates live for minutes, and nothing else of it changed. `renewed`:
    how often it looks whether they are to be."""
    folder = shell.state / "gateway"
    document = json.loads((folder / "caddy.json").read_text())
    automation = document["apps"]["tls"]["automation"]
    automation["policies"][0]["issuers"][0]["lifetime"] = LIFETIME
    automation["renew_interval"] = renewed
    (folder / "caddy.json").write_text(json.dumps(document))
    for old in folder.glob("data/certificates/local/*"):  # that is good for half a day
        shutil.rmtree(old)
    os.kill(proxy(shell), signal.SIGKILL)  # and it is started again


def proxy(shell):
    return json.loads((shell.state / "gateway" / "engine.json").read_text())["pid"]


def another(shell, serial):
    try:
        return certificate(shell)["serialNumber"] != serial
    except OSError:
        return False  # it is being started


def test_a_certificate_is_renewed_while_requests_run(served):
    long = certificate(served)["serialNumber"]
    shorten(served)
    until(lambda: another(served, long))
    first = certificate(served)
    ends = ssl.cert_time_to_seconds(first["notAfter"])
    assert ends < time.time() + 180
    with Users(served.url, ca=served.ca) as users:
        until(lambda: certificate(served)["serialNumber"] != first["serialNumber"])
        renewed = time.time()
        asked = len(users.asked)
        until(lambda: time.time() > ends + 5)  # whoever had a connection has it still
        until(lambda: len(users.asked) > asked)
    assert renewed < ends
    assert users.failed == []


def test_the_openai_client_verifies_it_and_streams(served):
    openai, httpx = pytest.importorskip("openai"), pytest.importorskip("httpx")
    with (
        httpx.Client(verify=served.trust) as http,
        openai.OpenAI(base_url=f"{served.url}/v1", api_key="none", http_client=http) as client,
    ):
        model = client.models.list().data[0].id
        asked = {"model": model, "prompt": "Hello", "max_tokens": 8, "stream": True}
        parts = list(client.completions.create(**asked))
    assert len(parts) >= 8
    with (
        openai.OpenAI(base_url=f"{served.url}/v1", api_key="none", max_retries=0) as stranger,
        pytest.raises(openai.APIConnectionError) as refused,
    ):
        stranger.models.list()
    assert "CERTIFICATE_VERIFY_FAILED" in str(refused.value.__cause__)


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_it_streams_over_http2(served):
    body = {"model": "tiny", "prompt": "Hello", "max_tokens": 50, "stream": True}
    words = ["curl", "--silent", "--no-buffer", "--http2", "--cacert", served.ca]
    words += ["--write-out", "%{http_version} %{time_starttransfer} %{time_total}"]
    words += ["--json", json.dumps(body), f"{served.url}/v1/completions"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=PATIENCE_S, check=True)
    *events, last = done.stdout.strip().splitlines()
    version, first, total = last.split()
    assert version == "2"
    assert len([each for each in events if each.startswith("data: ")]) > 50
    assert float(total) - float(first) > 0.5  # 50 tokens of 20 ms: they came as they were made


def test_ten_thousand_that_say_nothing_keep_nobody_out(served):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < IDLE + 2_000:
        pytest.skip(f"a process may open {hard} files, and this needs {IDLE + 2_000}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    resident = lambda: procfs.resident_bytes([procfs.identify(proxy(served))])  # noqa: E731
    idle, before = [], resident()
    try:
        for _ in range(IDLE):
            where = "localhost", served.place[1]
            idle.append(http.client.HTTPSConnection(*where, context=served.trust))
            asks(idle[-1])
        print(f"{(resident() - before) / IDLE / 1024:.0f} KiB for each of them")
        with Users(served.url, ca=served.ca) as users:
            until(lambda: len(users.asked) > 20)
        print(f"a request had its answer after {users.longest_s:.2f} s at most")
        assert users.failed == []
        assert resident() < 2**30
        for connection in idle[:: IDLE // 20]:  # and each of them may ask again
            kept = connection.sock
            asks(connection)
            assert connection.sock is kept
    finally:
        for connection in idle:
            connection.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def asks(connection):
    connection.request("GET", "/nobody")
    answer = connection.getresponse()
    assert (answer.status, answer.read()[:1]) == (404, b"{")


@pytest.fixture
def told(served, tmp_path):
    """A Prometheus with our rules, whose blackbox-exporter looks at the gateway as we say."""
    exporter = BlackboxExporter(tmp_path)
    try:
        file = served.state / "process" / "tiny" / "releases" / "000001.json"
        release = Release.model_validate_json(file.read_bytes())
        service = Watched(release.plan, release.spec, f"127.0.0.1:{served.port}", "")
        jobs = probe_jobs([service], exporter.at)
        machine = Scope("", release.plan.engine.version, (), interval_s=FASTER, faster=FASTER)
        prometheus = Prometheus(tmp_path, {"scrape_configs": jobs}, host_groups(machine))
        prometheus.exporter = exporter
        yield prometheus
        prometheus.end()
    finally:
        exporter.end()


def severities(prometheus, alert):
    found = prometheus.now(f'ALERTS{{alertname="{alert}",alertstate="firing"}}')
    return {labels["severity"] for labels, _ in found}


@pytest.mark.prometheus
def test_one_that_is_renewed_no_more_is_told_of_before_and_after_its_end(served, told):
    long = certificate(served)["serialNumber"]
    shorten(served)
    until(lambda: another(served, long))
    first, began = certificate(served), time.time()
    ends = ssl.cert_time_to_seconds(first["notAfter"])
    seen = f'probe_ssl_earliest_cert_expiry{{job="{PROBES}"}}'
    until(lambda: [at for _, at in told.now(seen)] == [ends])
    until(lambda: another(served, first["serialNumber"]))
    until(lambda: told.now(seen)[0][1] > ends)
    told_of = 'ALERTS{alertname="CertificateExpiring"}'
    assert not told.has_data(told_of, int(time.time() - began))

    shorten(served, renewed="1h")
    renewed = told.now(seen)[0][1]
    until(lambda: (found := told.now(seen)) and found[0][1] > renewed)
    last = told.now(seen)[0][1]
    until(lambda: severities(told, "CertificateExpiring") == {"warning"})
    until(lambda: severities(told, "CertificateExpiring") == {"warning", "critical"})
    assert time.time() < last
    until(lambda: time.time() > last + 5)
    assert severities(told, "CertificateExpiring") == {"warning", "critical"}  # as clients see it
    assert severities(told, "CertificateProbeFailing") == set()

    os.kill(proxy(served), signal.SIGSTOP)
    until(lambda: severities(told, "CertificateProbeFailing") == {"critical"})
    told.exporter.end()
    until(lambda: severities(told, "CertificateProbeFailing") == {"warning"})
