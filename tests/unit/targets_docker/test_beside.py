"""DockerDriver with an engine that comes up beside the one that serves, on a Docker engine that is
all memory."""

import pytest
import yaml
from tests.unit.targets_docker.conftest import quiet
from tests.unit.targets_docker.test_replicas import Compose, names

from deployctl.errors import DockerError
from deployctl.spec.settings import Settings
from deployctl.targets.docker import DockerDriver, running
from deployctl.targets.docker.commands import Result
from deployctl.targets.history import replicas
from deployctl.targets.several import HostDriver

FILES = ("compose.yaml", "compose.second.yaml", "compose.volumes.yaml")


@pytest.fixture
def commands(engine):
    return Compose(engine)


@pytest.fixture
def driver(commands, tmp_path, monkeypatch):
    settings = Settings(state_dir=tmp_path / "state")
    driver = HostDriver(DockerDriver(settings, run=commands, environment={}))
    monkeypatch.setattr(driver.gateway, "begin", lambda *given: None)
    monkeypatch.setattr(driver.gateway, "monitor_port", lambda: 20190)
    return driver


@pytest.fixture
def make(release):
    return lambda revision, **more: release(revision=revision, gateway=True, **more)


@pytest.fixture
def both(driver, make):
    """Revision 1, and revision 2, which came up beside it."""
    first, second = make(1), make(2, env={"A": "1"})
    driver.start(first, quiet)
    driver.start(second, quiet, serves=first)
    return first, second


def test_each_has_a_container_and_volumes_of_its_own(driver, engine, commands, both):
    assert names(engine) == {("engine", "1"), ("engine-b", "2")}
    assert set(engine.filled) == {
        f"deployctl-tiny_{what}{place}" for what in ("secrets", "door") for place in ("", "-b")
    }
    rendered = yaml.safe_load(both[1].bundle.files["compose.yaml"])
    assert commands.started["engine-b"][0] == rendered["services"]["engine"]
    states = [driver.state(each) for each in both]
    assert [(s.condition, s.container) for s in states] == [
        ("running", "deployctl-tiny-engine-1"), ("running", "deployctl-tiny-engine-b-1"),
    ]  # fmt: skip
    logs = [list(driver.logs(each, tail=None, follow=False)) for each in both]
    assert logs == [["of engine"], ["of engine-b"]]


def test_each_is_reached_by_its_own_name(driver, both):
    found = [driver.endpoint(each) for each in both]
    assert [each.upstream for each in found] == [
        "deployctl-tiny-engine-1:8000", "deployctl-tiny-engine-b-1:8000",
    ]  # fmt: skip
    at = "http://127.0.0.1:20190/engines/tiny-engine"
    assert [each.url for each in found] == [f"{at}-1", f"{at}-b-1"]


def test_keys_come_to_either_door(driver, engine, both, tmp_path):
    (tmp_path / "state" / "docker" / "tiny" / "operator_token").write_text("another")
    for each in both:
        driver.publish_keys(each)
    tokens = [engine.filled[f"deployctl-tiny_secrets{n}"]["operator_token"] for n in ("", "-b")]
    assert tokens == [b"another", b"another"]


@pytest.mark.parametrize(("ends", "stays"), [(0, ("engine-b", "2")), (1, ("engine", "1"))])
def test_one_ends_and_the_other_is_not_touched_and_the_last_takes_all(
    driver, engine, both, ends, stays
):
    driver.stop(both[ends], quiet)
    assert names(engine) == {stays}
    assert len(engine.filled) == 2
    driver.stop(both[ends], quiet)  # nothing is left of it
    assert names(engine) == {stays}
    driver.stop(both[1 - ends], quiet)
    assert (engine.found, engine.filled) == ([], {})
    assert engine.did[-1] == ("remove", "deployctl-tiny")
    logs = [list(driver.logs(each, tail=None, follow=False)) for each in both]
    assert logs == [["of engine"], ["of engine-b"]]


def test_the_next_one_has_the_place_that_is_free(driver, engine, both, make):
    driver.stop(both[0], quiet)
    driver.start(make(3), quiet, serves=both[1])
    assert names(engine) == {("engine", "3"), ("engine-b", "2")}


def test_one_that_was_started_stays_where_it_is(driver, engine, both):
    driver.start(both[1], quiet)  # a deployctl that was killed began it
    assert names(engine) == {("engine", "1"), ("engine-b", "2")}


def test_what_comes_up_beside_none_leaves_nothing_in_either_place(driver, engine, both, make):
    """Nobody has a record of them any more."""
    driver.start(make(3), quiet)
    assert names(engine) == {("engine", "3")}
    assert set(engine.filled) == {"deployctl-tiny_secrets", "deployctl-tiny_door"}


def test_replicas_take_the_place_of_one_that_had_taken_over(driver, engine, both, make):
    driver.stop(both[0], quiet)
    several = make(3, replicas=2)
    one, more = replicas(several)
    driver.start(more, quiet)
    assert names(engine) == {("engine-b", "2"), ("engine-1", "3")}
    driver.stop(both[1], quiet)
    driver.start(one, quiet)
    assert names(engine) == {("engine", "3"), ("engine-1", "3")}


def test_one_takes_over_from_replicas(driver, engine, make):
    several = make(1, replicas=2)
    driver.start(several, quiet)
    driver.stop(replicas(several)[0], quiet)
    driver.start(make(2), quiet)
    assert names(engine) == {("engine", "2"), ("engine-1", "1")}
    driver.stop(several, quiet)
    assert names(engine) == {("engine", "2")}


def test_what_runs_is_compared_by_the_name_that_it_is_rendered_with(
    driver, engine, both, monkeypatch
):
    monkeypatch.setattr(running, "connect", lambda address: engine)
    engine.image_environment = lambda container: []
    driver.stop(both[0], quiet)
    found = running.running_files("tiny", environment={"DOCKER_HOST": "unix:///docker.sock"})
    assert found.source == "container deployctl-tiny-engine-b-1"
    assert list(yaml.safe_load(found.files["compose.yaml"])["services"]) == ["engine"]


def test_of_an_update_that_failed_no_file_is_taken_for_what_runs(
    driver, engine, both, make, tmp_path, monkeypatch
):
    """That which has the second place holds the digest of what runs there, and is no whole file."""
    monkeypatch.setattr(running, "connect", lambda address: engine)
    engine.image_environment = lambda container: []
    driver.stop(both[0], quiet)
    files = [str(tmp_path / "state" / "docker" / "tiny" / "project" / name) for name in FILES]
    engine.found[0].labels["com.docker.compose.project.config_files"] = ",".join(files)
    asked = {"environment": {"DOCKER_HOST": "unix:///docker.sock"}}
    assert running.running_files("tiny", **asked).source == files[0]
    third = make(3, env={"A": "2"})
    driver.start(third, quiet, serves=both[1])
    driver.stop(third, quiet)
    assert running.running_files("tiny", **asked).source == "container deployctl-tiny-engine-b-1"


@pytest.mark.parametrize("place", ["", "-b"])
def test_where_compose_makes_no_container_no_secrets_stay(
    driver, engine, commands, make, monkeypatch, place
):
    """Nothing of the engine was there to be removed, and its volumes were left."""
    first, second = make(1), make(2, env={"A": "1"})
    driver.start(first, quiet)
    if not place:  # the second one has the second place
        driver.start(second, quiet, serves=first)
        driver.stop(first, quiet)
        first, second = second, make(3, env={"A": "2"})
    there = set(engine.filled)
    monkeypatch.setattr(type(commands), "__call__", lambda *_: Result(1, "", "no such image"))
    with pytest.raises(DockerError):
        driver.start(second, quiet, serves=first)
    added = {f"deployctl-tiny_{what}{place}" for what in ("secrets", "door")}
    assert set(engine.filled) - there == added
    driver.stop(second, quiet)
    assert set(engine.filled) == there
