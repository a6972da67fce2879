"""The Docker driver and the door before its engine: keys, closing, and releases of before it."""

import json

import yaml
from tests.unit.targets_docker.conftest import FETCHES, quiet

from deployctl.spec.settings import Settings
from deployctl.targets.docker import DockerDriver
from deployctl.targets.docker.keptkeys import KeptKeys
from process_parts import before_the_door

# publish_keys


def test_a_running_door_gets_the_keys_as_they_are_now(driver, engine, release, container, tmp_path):
    token = tmp_path / "token"
    token.write_text("hf_abc")
    running = release(**FETCHES, hf_token_file=token)
    driver.start(running, quiet)
    container()
    made = engine.made.copy()
    (tmp_path / "state" / "docker" / "tiny" / "keys.json").write_text("{}")
    token.unlink()  # what the engine was given stays
    driver.publish_keys(running)
    assert engine.made == made  # neither dropped nor made again
    secrets = engine.filled["deployctl-tiny_secrets"]
    assert secrets.keys() == {"keys.json", "operator_token", "hf_token"}
    assert KeptKeys(engine.carriers).kept("tiny")["keys.json"] == b"{}"


def test_keys_of_a_stopped_service_are_kept_by_the_engine(
    driver, engine, release, container, commands, tmp_path
):
    """A pipeline's runner adds one, and is gone before the next start."""
    stopped = release()
    driver.start(stopped, quiet)
    container()
    driver.stop(stopped, quiet)
    (tmp_path / "state" / "docker" / "tiny" / "keys.json").write_text("{}")
    driver.publish_keys(stopped)
    fresh = DockerDriver(Settings(state_dir=tmp_path / "fresh"), run=commands, environment={})
    with fresh.changing("tiny", "deployctl up", quiet):
        fresh.start(stopped, quiet)
    assert engine.filled["deployctl-tiny_secrets"]["keys.json"] == b"{}"


def test_named_keys_that_are_gone_on_this_side_are_no_keys_on_the_other(
    driver, engine, release, container, tmp_path
):
    service = tmp_path / "state" / "docker" / "tiny"
    service.mkdir(parents=True)
    (service / "api_key").write_text("s3cret")
    (service / "keys.json").write_text("{}")
    running = release(local=False, name="tiny", api_key_file="unused")
    driver.start(running, quiet)
    container()
    (service / "keys.json").unlink()
    driver.publish_keys(running)
    told = engine.filled["deployctl-tiny_secrets"]["keys.json"]
    assert json.loads(told) == {"version": 1, "keys": []}
    assert KeptKeys(engine.carriers).kept("tiny").keys() == {"api_key", "operator_token"}


def test_a_door_that_had_no_named_keys_is_told_of_none(driver, engine, release, container):
    running = release()
    driver.start(running, quiet)
    container()
    driver.publish_keys(running)
    assert engine.filled["deployctl-tiny_secrets"].keys() == {"operator_token"}


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


def test_a_release_of_before_the_door_starts_again(driver, engine, release, tmp_path):
    service = tmp_path / "state" / "docker" / "tiny"
    service.mkdir(parents=True)
    (service / "api_key").write_text("s3cret")
    old = before_the_door(release(revision=2, local=False, name="tiny", expose=True))
    driver.start(old, quiet)
    assert engine.filled.keys() == {"deployctl-tiny_secrets"}
    assert engine.filled["deployctl-tiny_secrets"]["api_key"] == b"s3cret"
    overlay = yaml.safe_load((service / "project" / "compose.volumes.yaml").read_text())
    assert overlay["volumes"].keys() == {"secrets"}
    assert not (service / "project" / "door").exists()
    endpoint = driver.endpoint(old)
    assert (endpoint.api_key, endpoint.operator_token) == ("s3cret", None)
