"""DockerDriver against an engine that is all memory."""

import re
import socket
import stat

import pytest
import yaml
from tests.unit.targets_docker.conftest import (
    FETCHES,
    LOCAL,
    REMOTE,
    Container,
    digest_of,
    quiet,
)

import ports
from deployctl.errors import DockerError, PortTakenError
from deployctl.render.candidate import with_caches_of
from deployctl.targets.docker.commands import Result
from deployctl.targets.docker.keptkeys import KeptKeys
from deployctl.targets.docker.translate import build_hint

# preflight and fetch


def test_what_works_passes(driver, release):
    driver.preflight(release(), None)


def test_no_compose_plugin(driver, commands, release):
    commands.answers["compose version"] = Result(1, "", "unknown command: docker compose")
    with pytest.raises(DockerError, match="no Compose plugin") as caught:
        driver.preflight(release(), None)
    assert "docs.docker.com" in caught.value.hint


def test_an_image_that_nobody_publishes_is_never_pulled(driver, engine, commands, release):
    engine.images.clear()
    with pytest.raises(DockerError, match="there is no image") as caught:
        driver.preflight(release(), None)
    assert caught.value.hint == build_hint("deployctl/vllm-cpu:0.32.0")
    assert not [words for words, _ in commands.ran if "pull" in words]


def test_the_build_hint_is_the_command_that_builds_it():
    hint = build_hint("deployctl/vllm-cpu:0.31.0")
    assert re.search(
        r"docker build -f (/\S+/docker)/cpu.Dockerfile --build-arg VLLM_VERSION=0.31.0 "
        r"-t deployctl/vllm-cpu:0.31.0 \1$",
        hint,
    )
    assert "VLLM_VERSION" not in build_hint("deployctl/vllm-cpu:0.32.0")


def test_a_missing_image_is_pulled_once(driver, engine, commands, release):
    events = []
    there = release()
    driver.fetch(there, events.append)
    assert events == []
    driver.fetch(release(image="vllm/vllm-openai:v0.32.0"), events.append)
    assert commands.ran[-1][0] == ["docker", "pull", "--quiet", "vllm/vllm-openai:v0.32.0"]
    assert events[0].text == "pulling the image vllm/vllm-openai:v0.32.0"


def test_an_image_that_cannot_be_pulled(driver, commands, release):
    commands.answers["docker pull"] = Result(1, "", "Error response from daemon: manifest unknown")
    with pytest.raises(DockerError, match="cannot pull vllm/x:1: manifest unknown"):
        driver.fetch(release(image="vllm/x:1"), quiet)


def test_a_port_that_a_program_has(driver, release, free_port):
    with socket.create_server(("127.0.0.1", free_port)), pytest.raises(PortTakenError):
        driver.preflight(release(port=free_port), None)
    driver.preflight(release(port=free_port), None)


def test_a_port_that_another_container_has_but_not_our_own(driver, engine, release):
    engine.publishers[18250] = Container("web", {"com.docker.compose.project": "shop"})
    with pytest.raises(PortTakenError, match="by the container web"):
        driver.preflight(release(), None)
    engine.publishers[18250] = Container("e", {"com.docker.compose.project": "deployctl-tiny"})
    driver.preflight(release(), None)


def test_a_checkpoint_that_others_may_not_read(driver, release, tmp_path):
    wanted = release()
    weights = tmp_path / "tiny" / "model.safetensors"
    weights.touch(mode=0o600)
    with pytest.raises(DockerError, match="may not read") as caught:
        driver.preflight(wanted, None)
    assert caught.value.where == str(weights)
    weights.chmod(0o644)
    (tmp_path / "tiny").chmod(0o700)
    with pytest.raises(DockerError, match="may not read"):
        driver.preflight(wanted, None)


def test_a_link_that_leads_out_of_the_checkpoint(driver, release, tmp_path):
    wanted = release()
    (tmp_path / "blob").touch()
    inside = tmp_path / "tiny" / "inside"
    inside.symlink_to("config.json")
    driver.preflight(wanted, None)
    (tmp_path / "tiny" / "model.safetensors").symlink_to("../blob")
    with pytest.raises(DockerError, match="leads out of its folder") as caught:
        driver.preflight(wanted, None)
    assert "cp -rL" in caught.value.hint


def test_a_local_folder_and_a_closed_port_are_refused_on_another_host(driver, engine, release):
    engine.address = REMOTE
    with pytest.raises(DockerError, match="engine is on another host") as caught:
        driver.preflight(release(), None)
    assert "Hub id" in caught.value.hint
    with pytest.raises(DockerError, match="loopback") as caught:
        driver.preflight(release(local=False), None)
    assert "--expose" in caught.value.hint
    driver.preflight(release(local=False, expose=True), None)


# start


def test_start_writes_the_project_and_runs_compose(driver, commands, release, tmp_path):
    wanted = release(revision=7)
    driver.start(wanted, quiet)
    folder = tmp_path / "state" / "docker" / "tiny" / "project"
    words, environment = commands.ran[-1]
    assert " ".join(words) == (
        f"docker compose --ansi=never --project-name deployctl-tiny --project-directory {folder} "
        f"--file {folder}/compose.yaml --file {folder}/compose.volumes.yaml "
        "up --detach --no-build --remove-orphans"
    )
    assert environment == {"DEPLOYCTL_REVISION": "7"}
    assert (folder / "compose.yaml").read_text() == wanted.bundle.files["compose.yaml"]


def test_caches_of_another_service_are_there_before_compose_wants_them(driver, engine, release):
    wanted = release()
    driver.start(wanted, quiet)
    assert engine.did == []
    lent = wanted.model_copy(update={"bundle": with_caches_of("big", wanted.bundle)})
    volumes = yaml.safe_load(lent.bundle.files["compose.yaml"])["volumes"]
    assert volumes["hub"] == {"name": "deployctl-big_hub", "external": True}
    driver.start(lent, quiet)
    assert engine.did == [("keep", "deployctl-big", "hub"), ("keep", "deployctl-big", "vllm")]


@pytest.mark.parametrize("address", [LOCAL, REMOTE])
def test_secrets_are_in_a_volume_and_in_no_file_beside_the_project(
    driver, engine, commands, release, tmp_path, address
):
    """A state folder may be gone tomorrow, and an engine on another host sees no file of ours."""
    engine.address = address
    service = tmp_path / "state" / "docker" / "tiny"
    left = service / "project" / "secrets" / "api_key"  # by an older deployctl
    left.parent.mkdir(parents=True)
    left.write_text("former")
    (service / "api_key").write_text("s3cret")
    token = tmp_path / "token"
    token.write_text("hf_abc\n")
    driver.start(release(**FETCHES, expose=True, hf_token_file=token), quiet)
    assert engine.filled.keys() == {"deployctl-tiny_secrets", "deployctl-tiny_door"}
    assert engine.filled["deployctl-tiny_secrets"] == {
        "api_key": b"s3cret",
        "hf_token": b"hf_abc",
        "operator_token": (service / "operator_token").read_bytes(),
    }
    assert {"door.json", "alive.py", "deployctl_door/door.py"} <= (
        engine.filled["deployctl-tiny_door"].keys()
    )
    project = service / "project"
    assert stat.S_IMODE(project.stat().st_mode) == 0o700
    assert [p.name for p in (project / "secrets").iterdir()] == [".gitignore"]
    overlay = yaml.safe_load((project / "compose.volumes.yaml").read_text())
    assert overlay["volumes"]["secrets"] == {"external": True, "name": "deployctl-tiny_secrets"}
    mounts = overlay["services"]["engine"]["volumes"]
    assert [m["target"] for m in mounts] == ["/run/secrets", "/opt/deployctl"]
    assert {m["read_only"] for m in mounts} == {True}
    assert str(project / "compose.volumes.yaml") in commands.ran[-1][0]
    # A later release without them takes them away; the engine keeps the key all the same.
    driver.start(release(revision=2), quiet)
    assert engine.filled["deployctl-tiny_secrets"].keys() == {"operator_token"}
    assert KeptKeys(engine.carriers).kept("tiny")["api_key"] == b"s3cret"


@pytest.mark.parametrize("own", [{"local": True}, {"local": False, "name": "tiny"}])
def test_an_engine_whose_model_is_there_gets_no_token_of_the_hub(
    driver, engine, release, tmp_path, own
):
    token = tmp_path / "token"
    token.write_text("hf_abc\n")
    driver.start(release(**own, hf_token_file=token), quiet)
    assert "hf_token" not in engine.filled["deployctl-tiny_secrets"]


def test_the_engine_of_a_folder_gets_the_token_for_what_a_flag_names(
    driver, engine, release, tmp_path
):
    token = tmp_path / "token"
    token.write_text("hf_abc\n")
    driver.start(release(args=["--tokenizer", "org/other"], hf_token_file=token), quiet)
    assert engine.filled["deployctl-tiny_secrets"]["hf_token"] == b"hf_abc"


def test_what_has_the_volumes_in_use_goes_before_they_are_filled(
    driver, engine, release, container
):
    """A service that was taken over, of which there are no records: nothing has stopped it."""
    container(revision="3")
    driver.start(release(), quiet)
    assert engine.did == [("remove", "deployctl-tiny")]


@pytest.mark.parametrize(
    ("said", "kind", "message", "hint"),
    [
        (
            "Error response from daemon: driver failed programming external connectivity: "
            "Bind for 127.0.0.1:18250 failed: port is already allocated",
            PortTakenError,
            "port 18250 is taken",
            "--port",
        ),
        (
            'Error response from daemon: could not select device driver "nvidia" with '
            "capabilities: [[gpu]]",
            DockerError,
            "cannot give the container a GPU",
            "container toolkit",
        ),
        (
            "Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker "
            "daemon running?",
            DockerError,
            "Docker is not running",
            "systemctl start docker",
        ),
        (
            "permission denied while trying to connect to the Docker daemon socket",
            DockerError,
            "may not use Docker",
            "group docker",
        ),
        (
            'Error response from daemon: invalid mount config for type "bind": bind source path '
            "does not exist: /srv/model",
            DockerError,
            "does not have a folder",
            "Hub id",
        ),
        ("write /var/lib/docker/x: no space left on device", DockerError, "disk is full", "df"),
        ("some\nnews", DockerError, "docker compose failed: news", "doctor"),
    ],
)
def test_what_compose_says_is_translated(driver, commands, release, said, kind, message, hint):
    commands.answers[" up "] = Result(1, "", said)
    with pytest.raises(kind, match=re.escape(message)) as caught:
        driver.start(release(), quiet)
    assert type(caught.value) is kind
    assert hint in caught.value.hint


# state


def test_a_release_is_found_by_its_revision(driver, release, container):
    assert driver.state(release()).condition == "absent"
    container(revision="2")
    assert driver.state(release(revision=1)).condition == "absent"
    state = driver.state(release(revision=2))
    assert (state.condition, state.container) == ("running", "deployctl-tiny-engine-1")
    assert state.memory_bytes == 1024


def test_what_plain_compose_started_is_found_by_its_content(driver, release, container):
    wanted = release()
    container(revision="", digest=digest_of(wanted))
    assert driver.state(wanted).condition == "running"
    assert driver.state(release(args=("--max-model-len", "9"))).condition == "absent"


def test_an_engine_that_dies_while_it_starts_is_dead_though_docker_restarts_it(
    driver, release, container
):
    driver.start(release(), quiet)
    running = container(health="starting", digest=digest_of(release()))
    driver.start(release(), quiet)
    assert driver.state(release()).condition == "running"
    running.attrs["RestartCount"] = 1
    state = driver.state(release())
    assert state.condition == "dead"
    assert "was started again" in state.detail
    running.attrs["State"]["Health"]["Status"] = "healthy"
    assert driver.state(release()).condition == "running"


@pytest.fixture
def free_port():
    return ports.free()
