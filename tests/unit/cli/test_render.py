"""`deployctl render`, as a user runs it."""

import json
import sys
from typing import NamedTuple

import pytest
import yaml

from deployctl.cli.app import main
from known import tiny_folder


@pytest.fixture
def model(tmp_path):
    return tiny_folder(tmp_path / "we $ird `name`: {x}", tie_word_embeddings=True)


class Done(NamedTuple):
    stdout: str
    stderr: str


@pytest.fixture
def render(model, tmp_path, monkeypatch, capsys):
    def run(*words, code=0, model=model):
        source = ["--model", str(model)] if model else []
        monkeypatch.setattr(sys, "argv", ["deployctl", "render", *source, "--gpu", "cpu", *words])
        with pytest.raises(SystemExit) as ended:
            main()
        done = Done(*capsys.readouterr())
        assert ended.value.code == code, done.stderr
        return done

    monkeypatch.chdir(tmp_path)
    return run


def test_without_a_folder_the_main_file_is_the_answer(render, tmp_path):
    assert render("--target", "docker").stdout.startswith("# Rendered by deployctl")
    assert render("--target", "process").stdout.startswith("#!/bin/sh\n")
    assert len(list(tmp_path.iterdir())) == 1


def test_what_is_shown_commands_no_terminal_and_no_runner_of_a_job(render, monkeypatch, tmp_path):
    trick = "--env=X=\x1b]0;taken\x07\n::stop-commands::x"
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    done = render("--target", "process", trick)
    assert "\x1b" not in done.stdout
    assert "\n::stop-commands::x" not in done.stdout
    assert "-o DIR writes them" in done.stderr
    assert "warning" not in render("--target", "process", trick, "-o", "out").stderr
    assert "\x1b]0;taken\x07\n::stop-commands::x" in (tmp_path / "out" / "run.sh").read_text()


def test_a_name_full_of_tricks_is_only_a_name(render, model, tmp_path):
    render("--target", "docker", "-o", "out")
    text = (tmp_path / "out" / "compose.yaml").read_text()
    assert "we $$ird `name`: {x}" in text
    assert "name: deployctl-we-ird-name-x" in text


def test_a_folder_gets_a_readme_and_a_place_for_secrets(render, tmp_path):
    done = render("--target", "docker", "-o", "out", "--expose")
    assert done.stdout == ""
    assert "rendered" in done.stderr
    readme = (tmp_path / "out" / "README.md").read_text()
    assert "docker compose up --detach --wait" in readme
    assert "secrets/api_key" in readme
    assert (tmp_path / "out" / "secrets" / ".gitignore").read_text().startswith("*")


def test_json_is_a_documented_document(render, tmp_path):
    document = json.loads(render("--target", "docker", "--output", "json", "-o", "out").stdout)
    assert document["version"] == 1
    (service,) = document["services"]
    assert service["target"] == "docker"
    assert service["folder"] == "out"
    assert service["files"][service["main_file"]] == (tmp_path / "out" / "compose.yaml").read_text()


def test_several_services_get_a_folder_each(render, model, tmp_path):
    (tmp_path / "fleet.yaml").write_text(
        f"model: '{model}'\nname: one\nport: 8001\n---\nmodel: '{model}'\nname: two\nport: 8002\n"
    )
    refused = render("-f", "fleet.yaml", "--target", "docker", code=2, model=None)
    assert "-o DIR" in refused.stderr
    render("-f", "fleet.yaml", "--target", "docker", "-o", "out", model=None)
    assert "deployctl-one" in (tmp_path / "out" / "one" / "compose.yaml").read_text()
    assert "deployctl-two" in (tmp_path / "out" / "two" / "compose.yaml").read_text()


def test_a_foreign_folder_is_refused(render, model):
    before = sorted(p.name for p in model.iterdir())
    refused = render("--target", "docker", "-o", str(model), code=2)
    assert "did not render" in refused.stderr
    assert sorted(p.name for p in model.iterdir()) == before


def test_an_unknown_target_is_named_with_those_there_are(render):
    refused = render("--target", "foo", code=2).stderr
    assert refused.startswith("error: invalid value for '--target': 'foo' is not one of 'process'")


def test_a_key_shows_in_no_file(render, tmp_path):
    key = tmp_path / "key"
    key.write_text("s3cret-key")
    for target in ("docker", "process"):
        render("--target", target, "--api-key-file", str(key), "-o", target)
        for file in (tmp_path / target).rglob("*"):
            assert file.is_dir() or "s3cret-key" not in file.read_text()


def test_monitoring_of_several_services_is_one_folder(render, model, tmp_path):
    (tmp_path / "fleet.yaml").write_text(
        "".join(
            f"---\nmodel: {json.dumps(str(model))}\nname: s{n}\nport: {n}\nexpose: true\n"
            for n in (8000, 8001)
        )
    )
    (tmp_path / "who.yaml").write_text("receivers: [{name: a, kind: webhook, url_file: u}]\n")
    words = ["--target", "monitoring", "-f", "fleet.yaml", "--receivers", "who.yaml"]
    words += ["--scrape-host", "box", "-o", "out"]
    for _ in range(2):
        assert "of 2 services" in render(*words, model=None).stderr
    scrape = (tmp_path / "out/prometheus/scrape.yaml").read_text()
    assert "box:8000" in scrape
    assert "box:8001" in scrape
    told = (tmp_path / "out/alertmanager/alertmanager.yaml").read_text()
    assert str(tmp_path / "u") in told
    document = json.loads(render(*words[:-2], "--output", "json", model=None).stdout)
    assert set(document) == {"version", "folder", "files"}


@pytest.mark.parametrize(
    ("more", "port"), [([], 20190), (["--monitor-port", "docker=20191"], 20191)]
)
def test_behind_a_gateway_of_docker_its_monitor_is_scraped_wherever_that_is(
    render, tmp_path, monkeypatch, more, port
):
    monkeypatch.setenv("DEPLOYCTL_TARGET", "docker")
    words = ["--gateway", "--target", "monitoring", "-o", "out", *more]
    assert "monitoring of 1 service in" in render(*words).stderr
    scrape = (tmp_path / "out/prometheus/scrape.yaml").read_text()
    assert scrape.count(f'"127.0.0.1:{port}"') == 2  # the engine, and the gateway itself
    assert "/services/" in scrape


@pytest.mark.parametrize(("more", "scraped"), [([], 0), (["--monitor-port", "process=20191"], 1)])
def test_a_gateway_of_processes_is_scraped_where_its_port_is_said(render, tmp_path, more, scraped):
    render("--gateway", "--target", "monitoring", "-o", "out", *more)
    scrape = (tmp_path / "out/prometheus/scrape.yaml").read_text()
    assert scrape.count('"127.0.0.1:20191"') == scrape.count("deployctl_gateway") == scraped
    assert "127.0.0.1:8000" in scrape


def test_a_host_with_both_gateways_has_both_scraped(render, model, tmp_path):
    (tmp_path / "fleet.yaml").write_text(
        "".join(
            f"---\nmodel: {json.dumps(str(model))}\nname: a-{target}\ntarget: {target}\n"
            f"port: {port}\ngateway: true\ngateway_port: {port + 80}\n"
            for target, port in (("docker", 8000), ("process", 8001))
        )
    )
    words = ["--monitor-port", "process=20192", "--monitor-port", "docker=20191"]
    render("--target", "monitoring", "-f", "fleet.yaml", *words, "-o", "out", model=None)
    scrape = yaml.safe_load((tmp_path / "out/prometheus/scrape.yaml").read_text())
    found = {
        job["job_name"]: job["static_configs"][0]["targets"] for job in scrape["scrape_configs"]
    }
    assert found == {
        "deployctl-a-docker": ["127.0.0.1:20191"],
        "deployctl-a-process": ["127.0.0.1:8001"],
        "deployctl_gateway": ["127.0.0.1:20191", "127.0.0.1:20192"],
    }


@pytest.mark.parametrize(("more", "helps"), [([], True), (["--gateway", "--expose"], False)])
def test_to_expose_it_is_the_hint_where_that_helps(render, more, helps):
    words = ["--target", "monitoring", "--scrape-host", "a", *more, "-o", "x"]
    said = render(*words, code=3).stderr
    assert "leave --scrape-host out" in said
    assert ("--expose" in said) == helps


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--target", "monitoring"], 2, "do not fit on one output"),
        (["--target", "monitoring", "--scrape-host", "a:1", "-o", "x"], 2, "no name of a host"),
        (["--target", "monitoring", "--scrape-host", "a", "-o", "x"], 3, "on loopback alone"),
        (["--target", "docker", "--scrape-host", "a"], 2, "goes with --target monitoring"),
        (["--target", "docker", "--receivers", "a"], 2, "goes with --target monitoring"),
        (["--target", "docker", "--monitor-port", "a"], 2, "goes with --target monitoring"),
        (["--target", "monitoring", "--monitor-port", "process=1", "-o", "x"], 2, "no service of"),
        (["--target", "monitoring", "--monitor-port", "20191", "-o", "x"], 2, "is not TARGET=PORT"),
        (["--target", "monitoring", "--monitor-port", "docker=65536", "-o", "x"], 2, "TARGET=PORT"),
        (["--target", "monitoring", "--receivers", "no.yaml", "-o", "x"], 2, "no such file"),
    ],
)
def test_what_monitoring_does_not_take(render, tmp_path, words, code, said):
    assert said in render(*words, code=code).stderr
    assert not (tmp_path / "x").exists()


def test_what_rendering_refuses_says_of_which_service_it_is(render, model, tmp_path):
    other = f"---\nmodel: {json.dumps(str(model))}\nname: other\nport: 8001\n"
    file = tmp_path / "two.yaml"
    first = f"model: {json.dumps(str(model))}\nname: one\n"
    file.write_text(f"{first}{other}env: {{VLLM_USE_RUST_FRONTEND: '1'}}\n")
    words = ("-f", "two.yaml", "-o", "out", "--target")
    done = render(*words, "docker", code=3, model=None)
    assert "at: two.yaml: services/1/env/VLLM_USE_RUST_FRONTEND\n" in done.stderr
    done = render(*words, "helm", code=2, model=None)
    assert "at: two.yaml: services/0/model\n" in done.stderr  # a folder of this machine
