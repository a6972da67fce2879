"""Keys that several state folders change: what the door goes by counts, and no change is lost."""

from contextlib import nullcontext
from datetime import timedelta

import pytest
from tests.unit.targets_docker.conftest import quiet
from tests.unit.targets_docker.memory import Killed

from deployctl.errors import DockerError, LockedError
from deployctl.spec.settings import Settings
from deployctl.targets import keys
from deployctl.targets.docker import enginelock
from deployctl.targets.docker.driver import DockerDriver
from deployctl.targets.docker.enginelock import held_shortly
from deployctl.targets.docker.sharedkeys import SharedKeys, learn, published

THERE = {"api_key": b"k", "operator_token": b"t", "keys.json": b'{"version": 1, "keys": []}'}

# What was noted of them before there was a digest of each.
FORMER = "8d772e0842f073afff8ad1659722532355de11fccef70c8231bb781f76a76e90"


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "fresh" / "docker" / "tiny"


@pytest.fixture
def running(engine, container):
    """An engine's container, and the keys that it has."""
    made = container()
    engine.carriers.secrets[made.id] = dict(THERE)
    return made


def alices(engine, container):
    """What the container has, which was started from another state folder of this host."""
    container.attrs["Mounts"][0]["Source"] = "/home/alice/project/secrets"
    engine.carriers.secrets[container.id] = lambda: engine.filled["/home/alice/project/secrets"]
    return engine.filled.setdefault("/home/alice/project/secrets", dict(THERE))


def test_a_state_folder_that_knows_nothing_learns_them(engine, running, folder):
    learn(engine, running, folder)
    assert {name: (folder / name).read_bytes() for name in THERE} == THERE
    assert {(folder / name).stat().st_mode & 0o777 for name in THERE} == {0o600}


def test_what_others_changed_is_learnt_and_what_was_changed_here_stays(engine, running, folder):
    learn(engine, running, folder)
    (folder / "api_key").write_text("mine")  # and killed before it was given to the door
    learn(engine, running, folder)
    assert (folder / "api_key").read_text() == "mine"
    engine.carriers.secrets[running.id]["keys.json"] = b"theirs"
    learn(engine, running, folder)
    assert (folder / "keys.json").read_bytes() == b"theirs"


def test_what_was_given_from_here_is_known(engine, running, folder):
    folder.mkdir(parents=True)
    (folder / "operator_token").write_text("mine")
    published(folder, THERE)
    learn(engine, running, folder)
    assert (folder / "operator_token").read_text() == "mine"


@pytest.mark.parametrize("theirs", [None, b"theirs"])
def test_what_an_older_deployctl_noted_as_given_is_known(engine, running, folder, theirs):
    """It noted one digest of all files. A key that was revoked here while the engine was stopped
    opens nothing again after an upgrade, unless others have changed what is there."""
    learn(engine, running, folder)
    (folder / "published").write_text(FORMER)
    (folder / "keys.json").write_bytes(b"mine")
    if theirs:
        engine.carriers.secrets[running.id]["keys.json"] = theirs
    learn(engine, running, folder)
    assert (folder / "keys.json").read_bytes() == (theirs or b"mine")


def test_keys_of_an_older_deployctl_are_the_state_folder_s(engine, running, folder):
    folder.mkdir(parents=True)
    (folder / "operator_token").write_text("mine")
    learn(engine, running, folder)
    assert (folder / "operator_token").read_text() == "mine"
    assert not (folder / "api_key").exists()


def test_a_fresh_state_folder_can_ask_the_service(engine, running, release, commands, tmp_path):
    fresh = DockerDriver(Settings(state_dir=tmp_path / "fresh"), run=commands, environment={})
    assert fresh.endpoint(release()).operator_token == "t"


def test_keys_are_given_where_the_container_has_them_from(
    engine, running, release, driver, commands, tmp_path
):
    """It was started from another state folder of this host."""
    there = alices(engine, running)
    folder = tmp_path / "state" / "docker" / "tiny"
    driver.learn_keys("tiny")
    (folder / "keys.json").write_bytes(b"changed")
    driver.publish_keys(release())
    assert there == {**THERE, "keys.json": b"changed"}
    assert not (folder / "project").exists()


def test_what_a_purge_leaves_says_nothing_of_keys(engine, running, driver, tmp_path):
    driver.learn_keys("tiny")
    driver.purge("tiny", quiet)
    keys.forget(tmp_path / "state" / "docker" / "tiny")
    names = {path.name for path in (tmp_path / "state" / "docker" / "tiny").iterdir()}
    assert names == {"keys.lock"}


def test_keys_that_were_removed_elsewhere_open_nothing_again(engine, running, folder):
    """`down --volumes` and `up` of another state folder: the keys of before are not given again."""
    learn(engine, running, folder)
    engine.carriers.secrets[running.id] = {"api_key": b"new", "operator_token": b"new"}
    learn(engine, running, folder)
    assert not (folder / "keys.json").exists()
    assert (folder / "api_key").read_bytes() == b"new"


def test_what_others_changed_takes_nothing_of_what_was_changed_here(engine, running, folder):
    learn(engine, running, folder)
    (folder / "api_key").write_text("wanted")  # by an `up` that loads for minutes
    engine.carriers.secrets[running.id]["keys.json"] = b"theirs"
    learn(engine, running, folder)
    assert (folder / "api_key").read_text() == "wanted"
    assert (folder / "keys.json").read_bytes() == b"theirs"


def test_a_key_that_is_revoked_while_others_changes_are_looked_at_opens_nothing_again(
    engine, running, folder
):
    """By another deployctl with this state folder, before this one has the lock."""
    learn(engine, running, folder)
    there = {**THERE, "keys.json": b"of others, with the key"}

    def looked_at_before_it_is_revoked():
        found = dict(there)
        there["keys.json"] = b"of others, without the key"
        (folder / "keys.json").write_bytes(there["keys.json"])
        published(folder, there)
        engine.carriers.secrets[running.id] = there
        return found

    engine.carriers.secrets[running.id] = looked_at_before_it_is_revoked
    learn(engine, running, folder)
    assert (folder / "keys.json").read_bytes() == b"of others, without the key"


def test_of_two_who_change_them_at_once_neither_loses_what_the_other_did(
    engine, running, release, driver, commands, tmp_path
):
    there = alices(engine, running)
    other = DockerDriver(Settings(state_dir=tmp_path / "other"), run=commands, environment={})
    places = {driver: tmp_path / "state", other: tmp_path / "other"}
    for each in places:
        each.learn_keys("tiny")
    for each, root in places.items():
        file = root / "docker" / "tiny" / "keys.json"
        with each.changing_keys("tiny"):
            file.write_bytes(file.read_bytes() + each._state_dir.name.encode())
            each.publish_keys(release())
    assert there["keys.json"].endswith(b"stateother")


def test_while_one_changes_them_another_waits(driver, running, engine, monkeypatch):
    monkeypatch.setattr(keys, "PATIENCE_S", 0.0)
    monkeypatch.setattr(enginelock, "LASTS_S", 0)
    other = held_shortly(engine.carriers, "tiny", "keys", "deployctl", patience_s=0)
    with (
        other,
        pytest.raises(LockedError, match="the keys of tiny are being changed by deployctl"),
        driver.changing_keys("tiny"),
    ):
        pass
    with driver.changing_keys("tiny"), driver.changing_keys("tiny"):
        pass
    assert engine.carriers.made == {}


def test_one_that_was_killed_elsewhere_while_it_changed_them_is_waited_for(engine, tmp_path):
    """Its lock is over half a minute after its last sign: until then it could be at work."""
    killed = held_shortly(engine.carriers, "tiny", "keys", "deployctl", patience_s=0)
    with pytest.raises(Killed), killed:
        engine.carriers.fuse = 0
    engine.carriers.fuse, engine.carriers.killed = None, False

    def sleep(seconds):
        engine.carriers.clock += timedelta(seconds=seconds)

    with SharedKeys(lambda: engine, tmp_path, sleep=sleep).changing("tiny"):
        pass


def test_keys_whose_folder_is_gone_are_not_said_to_be_given(engine, running, release, driver):
    """A state folder that was emptied: the container still has the old one, without a name."""
    driver.learn_keys("tiny")
    engine.carriers.secrets[running.id] = {}
    for ask in (lambda: driver.publish_keys(release()), lambda: driver.learn_keys("tiny")):
        with pytest.raises(DockerError, match="the folder that it has them from is gone"):
            ask()


def test_keys_that_do_not_come_to_the_door_are_not_said_to_be_given(
    engine, running, release, driver
):
    driver.learn_keys("tiny")  # the container goes on with what it had
    file = driver._state_dir / "docker" / "tiny" / "keys.json"
    file.write_bytes(b"changed")
    with pytest.raises(DockerError, match="cannot be given keys"):
        driver.publish_keys(release())


@pytest.mark.parametrize("status", ["exited", "running"])
def test_a_container_whose_folder_is_gone_can_be_taken_down(engine, container, folder, status):
    stopped = container(status=status)

    def refuses():
        raise DockerError("bind source path does not exist")

    engine.carriers.secrets[stopped.id] = refuses
    with nullcontext() if status == "exited" else pytest.raises(DockerError):
        learn(engine, stopped, folder)
