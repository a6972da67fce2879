"""A study's figures while it runs."""

import socket
import urllib.request
from types import SimpleNamespace

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

import ports
from deployctl.engines.vllm import exported
from deployctl.errors import InputError, PortTakenError
from deployctl.events import Event, silent
from deployctl.load.locust import Progress
from deployctl.operations import metricsport
from deployctl.operations.tune.live import PREFIX, LiveStudy
from deployctl.tuning import study as studies
from deployctl.tuning.runner import Runner
from deployctl.tuning.trial import Failure
from deployctl_loadtest.result import Setup
from tune_parts import FakeBench, GridSearch, header

BEGINS = Event("phase", "a load", Setup.__new__(Setup))


def read(text):
    """The samples of a page by name, and labels but the service's."""
    return {
        (s.name.removeprefix(PREFIX), *(v for k, v in s.labels.items() if k != "service")): s.value
        for family in text_string_to_metric_families(text)
        for s in family.samples
    }


def page(live):
    registry = CollectorRegistry()
    registry.register(live)
    return generate_latest(registry).decode()


def far(done, failed=0, in_flight=0):
    detail = Progress(at_s=1.0, users=1, done=done, failed=failed, chunks=0, in_flight=in_flight)
    return Event("progress", "", detail)


@pytest.fixture
def study(tmp_path):
    """A study whose bench tells of its loads: `study.seen` are the pages while each was made."""

    class Bench(FakeBench):
        def measure(self, load, seconds, seed):
            live.load(BEGINS)
            for event in (far(3, 1, in_flight=2), far(10, 1)):
                live.load(event)
                seen.append(read(page(live)))
            return super().measure(load, seconds, seed)

    seen, search = [], GridSearch()
    bench = Bench({4: Failure("out_of_memory", "no room", 1.0)})  # the second configuration
    made = studies.create(tmp_path / "study", header())
    live = LiveStudy(made.header, clock=lambda: 1000.0)

    def run():
        live.follow(made, search)
        Runner(made, search, bench, live).run()

    return SimpleNamespace(live=live, seen=seen, run=run)


def test_what_a_study_is_at_and_has_come_to(study):
    before = read(page(study.live))
    assert before["trial",] == 0
    study.run()
    first, second = study.seen[0], study.seen[2]
    assert (first["trial",], first["load", "rate"], first["requests_in_flight",]) == (1, 1.0, 2)
    assert (first["requests_total", "ok"], first["requests_total", "failed"]) == (2, 1)
    assert (second["requests_total", "ok"], second["requests_total", "failed"]) == (11, 2)
    assert "best_goodput_requests_per_second" not in {name for name, *_ in first}
    assert second["best_goodput_requests_per_second", "baseline"] == pytest.approx(1.04)
    after = read(page(study.live))
    assert after["best_goodput_requests_per_second", "max_num_seqs=32"] == pytest.approx(3.3)
    assert after["baseline_goodput_requests_per_second", "baseline"] == pytest.approx(2.6)
    assert (after["starts_total", "started"], after["starts_total", "failed"]) == (3, 1)
    assert (after["measurements_total", "held"], after["measurements_total", "failed"]) == (6, 0)
    assert after["requests_total", "ok"] == 6 * 9
    assert after["requests_in_flight",] == 0
    assert after["server_seconds_total",] == 3 * 3.0 + 1.0 + 6 * 12.5
    assert after["budget_seconds",] == 600.0


def test_a_counter_never_goes_back(study):
    study.run()
    names = [("requests_total", "ok"), ("server_seconds_total",), ("starts_total", "started")]
    for name in names:
        values = [seen[name] for seen in study.seen]
        assert values == sorted(values)


def test_it_exports_what_the_table_says(study):
    study.run()
    said = exported.of(exported.newest())
    for family in text_string_to_metric_families(page(study.live)):
        assert said[family.name].kind == family.type
        assert exported.help_of(family.name, exported.newest()) == family.documentation
        assert {name for s in family.samples for name in s.labels} == said[family.name].labels


@pytest.mark.parametrize(
    ("text", "at"),
    [("9401", "127.0.0.1:9401"), ("0.0.0.0:9401", "0.0.0.0:9401"), ("[::1]:9401", "[::1]:9401")],
)
def test_a_port_is_of_loopback_unless_an_address_is_named(text, at):
    assert str(metricsport.place(text)) == at


@pytest.mark.parametrize(
    ("text", "told"),
    [
        *((text, "neither PORT nor ADDRESS:PORT") for text in ("", "x", "127.0.0.1", "1:", "-1")),
        *((text, f"no port {text}: 1 to 65535") for text in ("0", "65536", "70000")),
        ("0.0.0.0:70000", "no port 70000: 1 to 65535"),
        ("9" * 5000, "no port 9{20}: 1 to 65535"),
    ],
)
def test_what_is_no_port_is_refused(text, told):
    with pytest.raises(InputError, match=told) as refused:
        metricsport.place(text)
    assert refused.value.where == "--metrics-port"


def test_figures_are_shown_as_long_as_they_are_made():
    port, told = ports.free(), []
    with metricsport.shown(str(port), LiveStudy(header()), told.append):
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as answer:
            found = read(answer.read().decode())
        with (
            pytest.raises(PortTakenError),
            metricsport.shown(f"127.0.0.1:{port}", LiveStudy(header()), silent),
        ):
            pass
    assert found["trial",] == 0
    assert told[0].text == f"figures for Prometheus: http://127.0.0.1:{port}/metrics"
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0


def test_an_address_that_is_not_this_machines_is_refused():
    elsewhere = metricsport.shown(f"192.0.2.1:{ports.free()}", LiveStudy(header()), silent)
    with pytest.raises(PortTakenError, match="nobody can listen on port"), elsewhere:
        pass


def test_the_page_of_a_study_has_the_load_that_is_under_way(tune, bench, monkeypatch):
    port, pages = ports.free(), []

    def measure(self, load, seconds, seed):
        self.given["environment"].measure.keywords["tell"](far(5, 1, in_flight=3))
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as answer:
            pages.append(read(answer.read().decode()))
        return FakeBench.measure(self, load, seconds, seed)

    monkeypatch.setattr(bench, "measure", measure)
    code, _, err = tune("--slo", "ttft_p95=500ms", "--study", "s", "--metrics-port", port)
    assert code == 0, err
    assert f"http://127.0.0.1:{port}/metrics" in err
    assert [page["trial",] for page in pages] == [1, 1, 2, 2, 3, 3, 4, 4]
    assert {page["requests_in_flight",] for page in pages} == {3}
    assert [page["requests_total", "ok"] for page in pages] == [4 * n for n in range(1, 9)]


def test_a_taken_port_is_said_before_a_study_begins(tune, bench, place):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        code, _, err = tune("--metrics-port", other.getsockname()[1])
    assert code == 4
    assert "is taken" in err
    assert not (place / "studies").exists()
    assert bench.made == []
    code, _, err = tune("--metrics-port", "70000", "--model", "./nowhere")  # which nobody looks for
    assert (code, "there is no port 70000" in err) == (2, True), err
    code, _, err = tune("--metrics-port", "9401", "--dry-run")
    assert code == 2
    assert "--dry-run" in err
