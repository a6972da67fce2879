"""The Docker driver and the door before its engine: keys, closing, and releases of before it."""

import json
import stat

import pytest
import yaml
from tests.unit.targets_docker.conftest import FETCHES, LOCAL, REMOTE, quiet

from deployctl.errors import DockerError
from process_parts import before_the_door

# publish_keys


def test_a_running_door_gets_the_keys_as_they_are_now(driver, release, container, tmp_path):
    token = tmp_path / "token"
    token.write_text("hf_abc")
    running = release(**FETCHES, hf_token_file=token)
    driver.start(running, quiet)
    container()
    secrets = tmp_path / "state" / "docker" / "tiny" / "project" / "secrets"
    mounted = secrets.stat().st_ino
    (tmp_path / "state" / "docker" / "tiny" / "keys.json").write_text("{}")
    token.unlink()  # what the engine was given stays
    driver.publish_keys(running)
    names = {path.name for path in secrets.iterdir()}
    assert names >= {"keys.json", "operator_token", "hf_token", ".gitignore"}
    assert secrets.stat().st_ino == mounted
    assert stat.S_IMODE((secrets / "keys.json").stat().st_mode) == 0o444


def test_keys_of_a_stopped_service_wait_for_its_next_start(driver, release, container, tmp_path):
    stopped = release()
    driver.start(stopped, quiet)
    container()
    driver.stop(stopped, quiet)
    driver.publish_keys(stopped)
    container()  # which has them from a folder that is gone
    with pytest.raises(DockerError, match="is gone"):
        driver.publish_keys(stopped)
    assert not (tmp_path / "state" / "docker" / "tiny" / "project").exists()


def test_a_volume_in_use_gets_the_keys_where_it_stands(
    driver, engine, release, container, tmp_path
):
    engine.address = REMOTE
    running = release(local=False, name="tiny", api_key_file="unused")
    service = tmp_path / "state" / "docker" / "tiny"
    service.mkdir(parents=True)
    (service / "api_key").write_text("s3cret")
    driver.start(running, quiet)
    container()
    made = engine.made.copy()
    (service / "keys.json").write_text("{}")
    driver.publish_keys(running)
    assert engine.made == made  # neither dropped nor made again
    assert engine.filled["deployctl-tiny_secrets"].keys() == {
        "api_key", "keys.json", "operator_token",
    }  # fmt: skip


@pytest.mark.parametrize("address", [LOCAL, REMOTE])
def test_named_keys_that_are_gone_on_this_side_are_no_keys_on_the_other(
    driver, engine, release, container, tmp_path, address
):
    engine.address = address
    service = tmp_path / "state" / "docker" / "tiny"
    service.mkdir(parents=True)
    (service / "api_key").write_text("s3cret")
    (service / "keys.json").write_text("{}")
    running = release(local=False, name="tiny", api_key_file="unused")
    driver.start(running, quiet)
    container()
    (service / "keys.json").unlink()
    driver.publish_keys(running)
    if address.remote:
        told = engine.filled["deployctl-tiny_secrets"]["keys.json"]
    else:
        told = (service / "project" / "secrets" / "keys.json").read_bytes()
    assert json.loads(told) == {"version": 1, "keys": []}


def test_a_door_that_had_no_named_keys_is_told_of_none(driver, release, container, tmp_path):
    running = release()
    driver.start(running, quiet)
    container()
    driver.publish_keys(running)
    secrets = tmp_path / "state" / "docker" / "tiny" / "project" / "secrets"
    assert not (secrets / "keys.json").exists()


def test_what_runs_without_a_door_has_no_keys_to_give(driver, engine, release, container):
    running = before_the_door(release())
    container()
    driver.publish_keys(running)
    assert engine.filled == {}


# close_door


def test_the_door_is_closed_by_a_file_in_its_container_and_once(driver, engine, release, container):
    container()
    engine.codes = [0, 1]
    assert [driver.close_door(release()) for _ in range(2)] == [True, False]
    script = engine.did[0][1]
    rendered = json.loads(release().bundle.files["door/door.json"])
    assert f"touch {rendered['drain_file']}" in script


def test_what_is_behind_a_closed_door_is_not_waited_for(driver, engine, release, container):
    container()
    driver.stop(release(), quiet)
    container()
    engine.codes = [0]
    driver.close_door(release())
    driver.stop(release(), quiet)
    patient, brief = engine.graces
    assert brief < patient == 60


def test_what_does_not_run_or_has_no_door_has_none_to_close(driver, engine, release, container):
    assert not driver.close_door(release())
    container(status="exited")
    assert not driver.close_door(release())
    engine.found.clear()
    container()
    assert not driver.close_door(before_the_door(release()))
    assert engine.did == []


# Releases of the time before the door: a rollback starts them as they were


@pytest.mark.parametrize("address", [LOCAL, REMOTE])
def test_a_release_of_before_the_door_starts_again(driver, engine, release, address, tmp_path):
    engine.address = address
    service = tmp_path / "state" / "docker" / "tiny"
    service.mkdir(parents=True)
    (service / "api_key").write_text("s3cret")
    old = before_the_door(release(revision=2, local=False, name="tiny", expose=True))
    driver.start(old, quiet)
    if address.remote:
        assert engine.filled.keys() == {"deployctl-tiny_secrets"}
        assert engine.filled["deployctl-tiny_secrets"]["api_key"] == b"s3cret"
        overlay = yaml.safe_load((service / "project" / "compose.remote.yaml").read_text())
        assert overlay["volumes"].keys() == {"secrets"}
    else:
        assert (service / "project" / "secrets" / "api_key").read_text() == "s3cret"
    assert not (service / "project" / "door").exists()
    endpoint = driver.endpoint(old)
    assert (endpoint.api_key, endpoint.operator_token) == ("s3cret", None)
