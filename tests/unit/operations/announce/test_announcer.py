"""Who is told of what, and what becomes of the work where nobody listens."""

import json
import os
import stat
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from deployctl.engines.vllm import exported
from deployctl.errors import SpecError, TargetError
from deployctl.operations.announce import textfile
from deployctl.operations.announce.announcer import Announcer
from deployctl.operations.announce.happening import Happening, of_load
from deployctl.spec.settings import Settings
from deployctl.targets.store import ServiceRef, Store
from verdict_parts import MISSED, made

REF = ServiceRef("process", "tiny")
GRAFANA = "https://grafana.example/g"


@pytest.fixture
def heard():
    """What came to Grafana and to the Pushgateway: requests, with an answer of 200 each."""
    return []


@pytest.fixture
def announcer(tmp_path, heard):
    """Makes one that tells whatever is set; `told` are its warnings."""
    token = tmp_path / "token"
    token.write_text("glsa_1\n")

    def make(answer=None, **settings):
        def handler(request):
            heard.append(request)
            if isinstance(answer, Exception):
                raise answer
            return answer or httpx.Response(200, json={"message": "Annotation added", "id": 1})

        told = []
        found = Announcer(
            Settings(grafana_token_file=token, **settings),
            told.append,
            httpx.MockTransport(handler),
        )
        found.told = told
        return found

    return make


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "state")


def bodies(heard):
    return [json.loads(request.content) for request in heard]


def test_a_release_is_an_annotation_with_the_tags_of_our_dashboards(
    announcer, heard, store, make_release
):
    with announcer(grafana_url=GRAFANA).change(store, REF):
        store.save(REF, make_release(1, "deployed"))
    (request,) = heard
    assert (request.method, str(request.url)) == ("POST", f"{GRAFANA}/api/annotations")
    assert request.headers["authorization"] == "Bearer glsa_1"
    (body,) = bodies(heard)
    assert body.pop("time") > 1.7e12  # milliseconds
    assert body["tags"] == ["deployctl", "release", "tiny", "revision-1"]
    assert body["text"].startswith("revision 1 of tiny deployed by up: ")
    assert "timeEnd" not in body


def test_one_that_failed_is_told_too_and_the_error_goes_on(announcer, heard, store, make_release):
    store.save(REF, make_release(1, "deployed"))
    failed = make_release(2, "failed").model_copy(
        update={"message": "it died", "reason": "rollback to 1"}
    )

    def dies():
        with announcer(grafana_url=GRAFANA).change(store, REF):
            store.save(REF, failed)
            raise TargetError("died")

    with pytest.raises(TargetError, match="died"):
        dies()
    (body,) = bodies(heard)
    assert body["tags"] == ["deployctl", "rollback", "tiny", "revision-2", "failed"]
    assert body["text"] == "revision 2 of tiny failed by rollback to 1: it died"


def test_where_nothing_was_made_nothing_is_told(announcer, heard, store, make_release):
    store.save(REF, make_release(1, "deployed"))
    with announcer(grafana_url=GRAFANA).change(store, REF):
        pass
    assert heard == []


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (
            httpx.ConnectError("refused"),
            "Grafana was not told: refused (https://grafana.example/g)",
        ),
        (httpx.ReadTimeout("x"), "Grafana was not told: no answer within 5.0 s (https://grafa"),
        (httpx.Response(401, text="{}"), "Grafana was not told: HTTP 401: {} (https://grafana."),
    ],
)
def test_a_grafana_that_does_not_listen_is_a_warning(announcer, store, make_release, answer, said):
    deaf = announcer(answer, grafana_url=GRAFANA)
    with deaf.change(store, REF):
        store.save(REF, make_release(1, "deployed"))
    (event,) = deaf.told
    assert event.kind == "warning"
    assert event.text.startswith(said)
    assert "glsa" not in event.text


def test_a_token_that_cannot_be_read_is_a_warning(announcer, heard, tmp_path):
    deaf = announcer(grafana_url=GRAFANA)
    (tmp_path / "token").unlink()
    deaf.happened(Happening("trial", "tiny", "x", 1.0))
    assert "token" in deaf.told[0].text
    assert heard == []


def test_a_load_test_is_a_region(announcer, heard):
    result, _ = made(MISSED)
    announcer(grafana_url=GRAFANA).loaded(result, Path("results/m-1"))
    (body,) = bodies(heard)
    assert body["time"] == 1795506300_000
    assert body["timeEnd"] == body["time"] + round(1000 * result.window_s[1])
    assert body["tags"] == ["deployctl", "loadtest", "m", "failed"]
    for word in ("missed", "TTFT p95", "results/m-1"):
        assert word in body["text"]


def test_texts_are_one_line_whatever_a_model_is_called():
    result, _ = made(model="m\x1b[31m\nx")
    assert of_load(result, "f\n").annotation()["text"].isprintable()


def test_results_go_to_a_pushgateway_by_service_and_commit(announcer, heard, monkeypatch):
    monkeypatch.setenv("DEPLOYCTL_COMMIT", "1f2e")
    result, _ = made(model="org/m")
    pushing = announcer(pushgateway_url="http://push.example:9091/")
    pushing.measured(result, Path("results/m-1"))
    (request,) = heard
    assert request.method == "PUT"  # in the place of what the same commit had before
    path = "/metrics/job/deployctl_loadtest/commit/1f2e/service@base64/b3JnL20="
    assert request.url.path == path
    families = {f.name: f for f in text_string_to_metric_families(request.content.decode())}
    latencies = families["deployctl_loadtest_latency_seconds"].samples
    found = {(s.labels["kind"], s.labels["percentile"]): s.value for s in latencies}
    assert found["ttft", "p95"] == result.latency.ttft_s.p95
    assert pushing.told == []


def test_without_a_commit_it_is_said_and_a_pushgateway_that_is_gone_loses_nothing(
    announcer, monkeypatch
):
    for variable in ("DEPLOYCTL_COMMIT", "GITHUB_SHA", "CI_COMMIT_SHA"):
        monkeypatch.delenv(variable, raising=False)
    gone = announcer(httpx.ConnectError("refused"), pushgateway_url="http://push.example")
    gone.measured(made()[0], Path("results/m-1"))
    assert [event.kind for event in gone.told] == ["warning"] * 2
    assert "set DEPLOYCTL_COMMIT" in gone.told[0].text
    assert "the Pushgateway was not told: refused (http://push.example" in gone.told[1].text


def test_the_commit_is_the_pipelines(monkeypatch):
    monkeypatch.delenv("DEPLOYCTL_COMMIT", raising=False)
    monkeypatch.setenv("CI_COMMIT_SHA", "c1")
    assert Settings().commit == "c1"
    monkeypatch.setenv("GITHUB_SHA", "c2")
    assert Settings().commit == "c2"
    monkeypatch.setenv("DEPLOYCTL_COMMIT", "c3")
    assert Settings().commit == "c3"


def test_an_interrupted_load_test_is_nobodys_figure(announcer, heard, tmp_path):
    result = made()[0]
    telling = announcer(pushgateway_url="http://push.example", textfile_dir=tmp_path)
    telling.measured(type(result)(**{**vars(result), "interrupted": True}), Path("results/m-1"))
    assert heard == []
    assert not list(tmp_path.glob("*.prom"))


def test_node_exporter_finds_releases_and_results_as_whole_files(
    announcer, store, make_release, tmp_path
):
    folder = tmp_path / "textfiles"
    folder.mkdir()
    telling = announcer(textfile_dir=folder)
    before = os.umask(0o077)
    try:
        with telling.change(store, REF):
            store.save(REF, make_release(3, "deployed"))
        telling.measured(made(model="org/m")[0], Path("results/m-1"))
    finally:
        os.umask(before)
    release = folder / "deployctl_release_process_tiny.prom"
    assert {file.name for file in folder.iterdir()} == {
        release.name, "deployctl_loadtest_org-m.prom",
    }  # fmt: skip
    assert all(stat.S_IMODE(file.stat().st_mode) == 0o644 for file in folder.iterdir())
    assert 'deployctl_release_revision{service="tiny",target="process"} 3.0' in release.read_text()
    with telling.change(store, REF):
        store.save(REF, make_release(3, "removed"))
    page = release.read_text()
    assert 'deployctl_release_revision{service="tiny",target="process"} 0.0' in page
    assert 'status="removed",target="process"} 1.0' in page
    assert telling.told == []


def test_a_folder_that_is_not_there_is_said_and_not_made(announcer, store, make_release, tmp_path):
    telling = announcer(textfile_dir=tmp_path / "typo")
    with telling.change(store, REF):
        store.save(REF, make_release(1, "deployed"))
    (event,) = telling.told
    assert "there is no such folder" in event.text
    assert not (tmp_path / "typo").exists()


def test_a_services_file_goes_with_its_records(announcer, store, make_release, tmp_path):
    file = textfile.path(tmp_path, "release", "process", "tiny")
    file.write_text("old\n")
    with announcer(textfile_dir=tmp_path).change(store, REF):
        pass
    assert not file.exists()


def test_names_kinds_labels_and_texts_are_those_of_the_table(make_release):
    said = {
        name: metric for name, metric in exported.of(exported.newest()).items()
        if name.startswith("deployctl_release_")
    }  # fmt: skip
    text = textfile.Releases("process", [make_release(1, "deployed")]).text()
    families = list(text_string_to_metric_families(text))
    assert {family.name for family in families} == set(said)
    for family in families:
        assert family.type == said[family.name].kind
        assert family.documentation == exported.help_of(family.name, exported.newest())
        assert all(set(sample.labels) == said[family.name].labels for sample in family.samples)


@pytest.mark.parametrize(
    "address",
    ["grafana.example", "ftp://g", "http://", "http://u:secret@g", "http://g:x", "http://g?x"],
)
def test_an_address_that_is_none_is_refused_before_anything_is_done(monkeypatch, address):
    monkeypatch.setenv("DEPLOYCTL_GRAFANA_URL", address)
    with pytest.raises(SpecError) as caught:
        Settings()
    assert caught.value.where == "DEPLOYCTL_GRAFANA_URL"
    assert "secret" not in str(vars(caught.value))
