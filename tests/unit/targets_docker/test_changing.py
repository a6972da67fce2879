"""DockerDriver while a service is changed: under its lock, and with what others made of it."""

from pathlib import Path

import pytest
import yaml
from tests.unit.targets_docker.conftest import digest_of, quiet

from deployctl.errors import AnotherLineageError, LockedError
from deployctl.targets import holder
from deployctl.targets.docker import enginelock
from deployctl.targets.docker.enginelock import name_of
from deployctl.targets.docker.records import EngineRecords
from deployctl.targets.docker.shelf import DockerShelf
from deployctl.targets.store import ServiceRef, Store

REF = ServiceRef("docker", "tiny")


def test_what_runs_already_is_not_started_anew_from_another_folder(
    driver, engine, commands, release, container, tmp_path
):
    """Compose would: the paths of its files are others, and it would load its model again."""
    wanted = release()
    container(digest=digest_of(wanted))
    engine.filled["deployctl-tiny_secrets"] = {"operator_token": b"t"}
    driver.start(wanted, quiet)
    assert not [words for words, _ in commands.ran if "compose" in words]
    assert (tmp_path / "state" / "docker" / "tiny" / "operator_token").is_file()
    driver.start(release(revision=2), quiet)
    assert "up" in commands.ran[-1][0]


def test_a_change_holds_the_lock_and_labels_what_it_starts(driver, engine, commands, release):
    with driver.changing("tiny", "deployctl up", quiet):
        assert name_of("tiny") in engine.carriers.made
        driver.start(release(), quiet)
    assert name_of("tiny") not in engine.carriers.made
    words = commands.ran[-1][0]
    (file,) = [word for word in words if word.endswith("compose.lineage.yaml")]
    labels = yaml.safe_load(Path(file).read_text())["services"]["engine"]["labels"]
    kept = EngineRecords(engine.carriers).kept("tiny")
    assert labels == {"io.deployctl.lineage": kept.lineage}


def test_who_slept_while_others_changed_the_service_changes_nothing(
    driver, engine, commands, release, monkeypatch, tmp_path
):
    """Its lock was over and is free again: what it knows of the service is not so any more."""
    store = Store(tmp_path / "state", {"docker": lambda: DockerShelf(tmp_path, lambda: engine)})
    with driver.changing("tiny", "deployctl up", quiet):
        store.save(REF, release())
        engine.carriers.prune()
        driver.start(release(), quiet)  # a lock that is gone and nothing else is taken again
        commands.ran.clear()
        engine.carriers.prune()
        with monkeypatch.context() as other:
            other.setattr(holder, "person", lambda: "bob@build-2")
            EngineRecords(engine.carriers).write("tiny", {2: b'{"status": "deployed"}'})
        for change in (driver.start, driver.stop):
            with pytest.raises(LockedError, match="others have changed tiny"):
                change(release(), quiet)
        with pytest.raises(LockedError, match="others have changed tiny"):
            driver.purge("tiny", quiet)
        with pytest.raises(LockedError, match="others have changed tiny"):
            store.save(REF, release())
        assert name_of("tiny") not in engine.carriers.made
    assert commands.ran == engine.did == []
    assert set(EngineRecords(engine.carriers).kept("tiny").records) == {1, 2}


def test_who_settled_the_service_writes_its_records_after_the_lock_was_pruned(
    driver, engine, release, monkeypatch, tmp_path
):
    """A `down` of what another process brought up: it drained and stopped, and then it records."""
    place = tmp_path / "state"
    store = Store(place, {"docker": lambda: DockerShelf(place, lambda: engine)})
    with driver.changing("tiny", "deployctl up", quiet), monkeypatch.context() as other:
        other.setattr(holder, "_process", lambda: "pid 1")
        EngineRecords(engine.carriers).write("tiny", {1: release().model_dump_json().encode()})
    with driver.changing("tiny", "deployctl down", quiet):
        engine.carriers.prune()
        store.save(REF, release().model_copy(update={"status": "removed"}))
        with monkeypatch.context() as other:
            other.setattr(holder, "person", lambda: "bob@build-2")
            EngineRecords(engine.carriers).write("tiny", {2: b'{"status": "deployed"}'})
        with pytest.raises(LockedError, match="others have changed tiny"):
            store.save(REF, release())
        with pytest.raises(LockedError, match="others have changed tiny"):
            store.set_aside(REF, 2)


def test_who_lost_the_lock_writes_no_records(driver, engine, release, monkeypatch, tmp_path):
    store = Store(tmp_path / "state", {"docker": lambda: DockerShelf(tmp_path, lambda: engine)})
    with driver.changing("tiny", "deployctl up", quiet):
        engine.carriers.prune()
        with monkeypatch.context() as other:
            other.setattr(holder, "person", lambda: "bob@build-2")
            theirs = enginelock.held(engine.carriers, "tiny", "deployctl down", quiet)
            theirs.__enter__()
        with pytest.raises(LockedError, match="deployctl down"):
            store.save(REF, release())


@pytest.mark.parametrize("work", ["start", "stop"])
def test_who_lost_the_lock_changes_nothing(driver, engine, commands, release, work):
    with driver.changing("tiny", "deployctl up", quiet):
        commands.ran.clear()
        engine.carriers.prune()
        other = enginelock.held(engine.carriers, "tiny", "deployctl down", quiet)
        with other, pytest.raises(LockedError):
            getattr(driver, work)(release(), quiet)
    assert commands.ran == engine.did == []


def test_another_s_service_is_refused_before_anything_and_can_be_taken_over(
    driver, engine, release, tmp_path
):
    with driver.changing("tiny", "deployctl up", quiet):
        Store(tmp_path / "state").save(ServiceRef("docker", "tiny"), release())
    EngineRecords(engine.carriers).forget("tiny")
    EngineRecords(engine.carriers).begin("tiny", "another")
    changing = driver.changing("tiny", "deployctl up", quiet)
    with pytest.raises(AnotherLineageError), changing:
        pass
    assert name_of("tiny") not in engine.carriers.made
    driver.take_over("tiny", "deployctl --take-over", quiet)
    with driver.changing("tiny", "deployctl up", quiet):
        pass
