"""Services of an older deployctl, which had their keys from a state folder."""

from contextlib import nullcontext

import pytest
from tests.unit.targets_docker.conftest import THERE, digest_of, quiet

from deployctl.errors import DockerError
from deployctl.targets import keys
from deployctl.targets.docker.keptkeys import KeptKeys
from deployctl.targets.docker.records import EngineRecords
from deployctl.targets.docker.sharedkeys import learn


@pytest.fixture
def mounted(tmp_path):
    """The folder from which an older deployctl's container has its keys."""
    folder = tmp_path / "alice" / "docker" / "tiny" / "project" / "secrets"
    folder.mkdir(parents=True)
    for name, content in THERE.items():
        (folder / name).write_bytes(content)
    return folder


@pytest.fixture
def older(engine, container, release, mounted):
    records = EngineRecords(engine.carriers)
    records.begin("tiny", "abc")
    records.write("tiny", {1: b'{"status": "deployed"}'})
    return container(folder=mounted, digest=digest_of(release()))


def empty(mounted):
    """A state folder is emptied: the container still has the old one, without a name."""
    for path in mounted.iterdir():
        path.unlink()
    mounted.rmdir()


def test_what_the_container_of_an_older_deployctl_has_is_learnt(engine, older, folder):
    learn(engine, "tiny", folder)
    assert {name: (folder / name).read_bytes() for name in THERE} == THERE


def test_keys_of_an_older_deployctl_are_the_state_folder_s(engine, older, folder):
    folder.mkdir(parents=True)
    (folder / "operator_token").write_text("mine")
    learn(engine, "tiny", folder)
    assert (folder / "operator_token").read_text() == "mine"
    assert not (folder / "api_key").exists()


def test_a_container_of_an_older_deployctl_is_given_keys_where_it_has_them_from(
    engine, older, mounted, release, driver, tmp_path
):
    driver.learn_keys("tiny")
    with driver.changing_keys("tiny"):
        (tmp_path / "state" / "docker" / "tiny" / "keys.json").write_bytes(b"changed")
        driver.publish_keys(release())
    assert (mounted / "keys.json").read_bytes() == b"changed"
    assert KeptKeys(engine.carriers).kept("tiny") == {**THERE, "keys.json": b"changed"}


def test_the_next_change_moves_them_over_and_says_so_once(engine, older, mounted, release, fresh):
    """Also from a state folder that knows nothing; and what starts next has them from a volume."""
    told = []
    for _ in range(2):
        with fresh.changing("tiny", "deployctl up", told.append):
            fresh.start(release(), quiet)
    (said,) = (event.text for event in told if "keys" in event.text)
    assert said.startswith("the keys of tiny are kept by the Docker engine from now on; what runs")
    assert str(mounted) in said
    assert KeptKeys(engine.carriers).kept("tiny") == THERE
    assert engine.filled == {}  # it runs as it is wanted, and is left alone
    empty(mounted)
    with fresh.changing("tiny", "deployctl up", quiet):
        fresh.start(release(revision=2), quiet)
    assert engine.filled["deployctl-tiny_secrets"]["operator_token"] == b"t"


def test_keys_of_a_folder_that_is_gone_are_listed_and_not_said_to_be_given(
    engine, older, mounted, release, driver
):
    driver.learn_keys("tiny")
    empty(mounted)
    driver.learn_keys("tiny")  # they are here
    for ask in (lambda: driver.publish_keys(release()), lambda: driver.changing_keys("tiny")):
        with pytest.raises(DockerError, match="keys from is gone"):
            ask()
    assert KeptKeys(engine.carriers).kept("tiny") is None


def test_keys_that_nobody_has_any_more_are_not_said_to_be_none(
    engine, older, mounted, driver, kept
):
    empty(mounted)
    driver.learn_keys("tiny")  # the engine keeps them
    KeptKeys(engine.carriers).forget("tiny")
    keys.forget(driver._state_dir / "docker" / "tiny")
    with pytest.raises(DockerError, match="keys from is gone"):
        driver.learn_keys("tiny")


def test_an_up_that_has_to_make_new_keys_says_so(older, mounted, fresh):
    empty(mounted)
    told = []
    with fresh.changing("tiny", "deployctl up", told.append):
        pass
    (said,) = (event for event in told if "keys" in event.text)
    assert said.kind == "warning"
    assert "is gone: what starts next has new ones" in said.text


def test_what_an_older_deployctl_started_after_a_purge_keeps_its_keys(
    engine, older, mounted, fresh, folder
):
    """It knows nothing of what the engine keeps."""
    KeptKeys(engine.carriers).take_away("tiny")
    with fresh.changing("tiny", "deployctl up", quiet):
        assert (folder / "api_key").read_bytes() == THERE["api_key"]
    assert KeptKeys(engine.carriers).kept("tiny") == THERE


def test_keys_that_do_not_come_to_the_door_are_not_said_to_be_given(
    engine, older, mounted, release, driver
):
    driver.learn_keys("tiny")
    engine.carriers.secrets[older.id] = dict(THERE)  # a folder of before, without a name
    (driver._state_dir / "docker" / "tiny" / "keys.json").write_bytes(b"changed")
    with pytest.raises(DockerError, match="keys from is gone") as caught:
        driver.publish_keys(release())
    assert "deployctl down tiny" in caught.value.hint


@pytest.mark.parametrize("status", ["exited", "running"])
def test_a_container_whose_folder_is_gone_can_be_taken_down(engine, container, folder, status):
    stopped = container(status=status, folder="/gone")

    def refuses():
        raise DockerError("bind source path does not exist")

    engine.carriers.secrets[stopped.id] = refuses
    with nullcontext() if status == "exited" else pytest.raises(DockerError):
        learn(engine, "tiny", folder)
