"""A real Prometheus scrapes a real vLLM under our own load, by the rules and the scrape job that we
render, all their windows divided by 60: whatever has no data then is listed with its reason
(tests/data/empty-series.yaml), and two faults are paged and taken back (test_paged.py has more).
"""

import contextlib
import hashlib
import itertools
import json
import time

import pytest
import yaml
from tests.e2e.guarded import REVOKED, place, ring, stopped
from tests.e2e.streams import COMPLETION, request
from tests.e2e.wire import Wire

import pages
from board_parts import EMPTY, excuse, panel_queries, rule_queries
from deployctl.targets.history import Release
from paging_parts import Pager
from process_shell import until
from prometheus_parts import NodeExporter

pytestmark = [pytest.mark.vllm, pytest.mark.prometheus]

LIMITED = "the-key-of-a-pipeline"
RUN = "ran-1"  # the load test's


def with_a_limit():
    """The keys of guarded.py, and one that may ask once a minute."""
    document = json.loads(ring())
    sha256 = hashlib.sha256(LIMITED.encode()).hexdigest()
    limits = {"requests_per_minute": 1}
    document["keys"].append({"name": "ci", "sha256": sha256, "limits": limits})
    return json.dumps(document).encode()


@pytest.fixture(scope="module")
def engine(keyed_engine):
    place(keyed_engine.secrets / "keys.json", with_a_limit())
    return keyed_engine


@pytest.fixture(scope="module")
def release(engine):
    return Release.model_validate_json((engine.folder / "releases" / "000001.json").read_bytes())


@pytest.fixture(scope="module")
def began():
    return time.monotonic()


@pytest.fixture(scope="module")
def pager(engine, release, began, tmp_path_factory):
    """Prometheus and what belongs to it, after a load of ours."""
    folder = tmp_path_factory.mktemp("scraped")
    textfiles = folder / "textfiles"
    textfiles.mkdir()
    with contextlib.ExitStack() as kept:
        exporter = NodeExporter(folder, textfiles)
        kept.callback(exporter.end)
        pager = Pager(folder, release, engine.folder / "operator_token", exporter)
        kept.callback(pager.close)
        put_load_on(engine, folder / RUN)
        told = (folder / RUN / "metrics.prom").read_text()
        # With the commit, as a pipeline pushes it.
        (textfiles / f"{RUN}.prom").write_text(told.replace("{", '{commit="0a1b2c3",'))
        until(lambda: pager.prometheus.now(f'deployctl_loadtest_load{{run="{RUN}"}}'))
        yield pager


def put_load_on(engine, out):
    """Our load test, and a key over its limit."""
    words = ["--users", 4, "--duration", "14s", "--warmup", "2s", "--slo", "ttft_p95=60s"]
    engine.deployctl("loadtest", engine.name, *words, "--output-tokens", 32, "--out", out)
    asked = [engine.complete(LIMITED).status for _ in range(3)]
    assert asked[-1] == 429, asked


@pytest.fixture(scope="module")
def noise(pager, engine):
    """A key that was revoked is used on and on, until somebody is told and a while after."""

    def use():
        for _ in range(300):  # for seconds: what comes within one scrape is no rate
            assert engine.ask("GET", "/v1/models", key=REVOKED).status == 401
            time.sleep(0.01)

    return pager.pages("VllmStrangersAtTheDoor", use)


def test_a_revoked_keys_noise_is_paged_and_over_with_it(noise):
    assert noise < 60


def test_a_hung_engine_is_paged_and_over_when_it_goes_on(pager, engine):
    with contextlib.closing(Wire(engine.port)) as wire, contextlib.ExitStack() as hanging:

        def hang():
            hanging.enter_context(stopped(engine.core()))
            wire.send(request(engine, "/v1/completions", {**COMPLETION, "max_tokens": 3}))

        pager.pages("VllmEngineHung", hang, hanging.close)
        assert wire.read().status == 200


def test_every_rule_is_evaluated(pager):
    assert [rule for rule in pager.prometheus.rules() if rule["health"] != "ok"] == []


def test_every_panel_and_every_rule_has_data_or_a_reason_not_to(
    pager, noise, engine, release, began
):
    queries = panel_queries(
        release.plan.engine.version, service=engine.name, __rate_interval="5s"
    ) | rule_queries(list(itertools.chain(*pager.rules)))
    since_s = time.monotonic() - began
    empty = {n: q for n, q in queries.items() if not pager.prometheus.has_data(q, since_s)}
    assert {name: query for name, query in empty.items() if not excuse(query)} == {}
    # A reason that nothing needs any more would hide what breaks next.
    assert set(map(excuse, empty.values())) == set(yaml.safe_load(EMPTY.read_text()))


def test_the_page_is_the_one_that_is_recorded(pager, engine, release, pytestconfig):
    """Which other tests read: every name of it, with its labels."""
    version, page = release.plan.engine.version, engine.figures()
    if pytestconfig.getoption("--update-golden"):
        pages.record(version, page)
    assert pages.names(page) == pages.names(pages.recorded(version))
