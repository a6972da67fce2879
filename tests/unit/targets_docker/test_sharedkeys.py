"""Keys that several state folders change: what the door goes by counts, and no change is lost."""

import pytest
from tests.unit.targets_docker.conftest import quiet

from deployctl.spec.settings import Settings
from deployctl.targets import keys
from deployctl.targets.docker.driver import DockerDriver
from deployctl.targets.docker.sharedkeys import learn, published

THERE = {"api_key": b"k", "operator_token": b"t", "keys.json": b'{"version": 1, "keys": []}'}


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "fresh" / "docker" / "tiny"


@pytest.fixture
def running(engine, container):
    """An engine's container, and the keys that it has."""
    made = container()
    engine.carriers.secrets[made.id] = dict(THERE)
    return made


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
    running.attrs["Mounts"][0]["Source"] = "/home/alice/project/secrets"
    engine.filled["/home/alice/project/secrets"] = {}
    folder = tmp_path / "state" / "docker" / "tiny"
    driver.learn_keys("tiny")
    (folder / "keys.json").write_bytes(b"changed")
    driver.publish_keys(release())
    given = engine.filled["/home/alice/project/secrets"]
    assert given == {"operator_token": b"t", "keys.json": b"changed"}
    engine.carriers.secrets[running.id] |= given
    assert not (folder / "project").exists()


def test_what_a_purge_leaves_says_nothing_of_keys(engine, running, driver, tmp_path):
    driver.learn_keys("tiny")
    driver.purge("tiny", quiet)
    keys.forget(tmp_path / "state" / "docker" / "tiny")
    names = {path.name for path in (tmp_path / "state" / "docker" / "tiny").iterdir()}
    assert names == {"keys.lock"}
