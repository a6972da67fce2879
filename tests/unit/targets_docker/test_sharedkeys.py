"""Keys that several state folders change: what the engine keeps counts, and no change is lost."""

from contextlib import nullcontext
from datetime import timedelta

import pytest
from tests.unit.targets_docker.conftest import THERE, quiet
from tests.unit.targets_docker.memory import Killed

from deployctl.errors import DockerError, LockedError
from deployctl.targets import keys
from deployctl.targets.docker import enginelock, published
from deployctl.targets.docker.enginelock import held_shortly
from deployctl.targets.docker.keptkeys import KeptKeys
from deployctl.targets.docker.sharedkeys import SharedKeys, learn

# What was noted of them before there was a digest of each.
FORMER = "8d772e0842f073afff8ad1659722532355de11fccef70c8231bb781f76a76e90"


def test_a_state_folder_that_knows_nothing_learns_them_though_nothing_runs(engine, kept, folder):
    learn(engine, "tiny", folder)
    assert {name: (folder / name).read_bytes() for name in THERE} == THERE
    assert {(folder / name).stat().st_mode & 0o777 for name in THERE} == {0o600}


def test_what_others_changed_is_learnt_and_what_was_changed_here_stays(engine, kept, folder):
    learn(engine, "tiny", folder)
    (folder / "api_key").write_text("mine")  # and killed before the engine was given it
    learn(engine, "tiny", folder)
    assert (folder / "api_key").read_text() == "mine"
    kept(keys_json=b"theirs")
    learn(engine, "tiny", folder)
    assert (folder / "keys.json").read_bytes() == b"theirs"
    assert (folder / "api_key").read_text() == "mine"


def test_what_was_given_from_here_is_known(engine, kept, folder):
    folder.mkdir(parents=True)
    (folder / "operator_token").write_text("mine")
    published.note(folder, THERE)
    learn(engine, "tiny", folder)
    assert (folder / "operator_token").read_text() == "mine"


@pytest.mark.parametrize("theirs", [None, b"theirs"])
def test_what_an_older_deployctl_noted_as_given_is_known(engine, kept, folder, theirs):
    """It noted one digest of all files. A key that was revoked here while the engine was stopped
    opens nothing again after an upgrade, unless others have changed what is there."""
    learn(engine, "tiny", folder)
    (folder / "published").write_text(FORMER)
    (folder / "keys.json").write_bytes(b"mine")
    if theirs:
        kept(keys_json=theirs)
    learn(engine, "tiny", folder)
    assert (folder / "keys.json").read_bytes() == (theirs or b"mine")


def test_a_fresh_state_folder_can_ask_the_service(kept, running, fresh, release):
    assert fresh.endpoint(release()).operator_token == "t"


def test_what_a_purge_leaves_says_nothing_of_keys(kept, driver, tmp_path):
    driver.learn_keys("tiny")
    driver.purge("tiny", quiet)
    keys.forget(tmp_path / "state" / "docker" / "tiny")
    names = {path.name for path in (tmp_path / "state" / "docker" / "tiny").iterdir()}
    assert names == {"keys.lock"}
    assert kept() == {}


@pytest.mark.parametrize("new", [b"new", None])
def test_keys_that_were_removed_elsewhere_open_nothing_again(engine, kept, folder, new):
    """`down --volumes` and `up` of another state folder: the keys of before are not given again."""
    learn(engine, "tiny", folder)
    kept(api_key=new, operator_token=b"new", keys_json=None)
    learn(engine, "tiny", folder)
    assert not (folder / "keys.json").exists()
    assert keys.read_key(folder / "api_key") == (new and new.decode())


@pytest.mark.parametrize("older", [False, True])
def test_a_key_that_was_revoked_opens_nothing_again_after_a_purge(
    engine, kept, driver, fresh, folder, release, older
):
    """By `up` from a state folder that still knows it, one of an older deployctl among them."""
    fresh.learn_keys("tiny")
    if older:
        (folder / "published").unlink()
    with driver.changing("tiny", "deployctl keys revoke", quiet):
        kept(keys_json=b"without it")
    with driver.changing("tiny", "deployctl down", quiet):
        driver.purge("tiny", quiet)
    for content in engine.carriers.volumes_made["deployctl-tiny_keys"][1].values():
        assert len(content) < 200  # nothing of those of before, in neither file
    told = []
    with fresh.changing("tiny", "deployctl up", told.append):
        (said,) = (event.text for event in told if "keys" in event.text)
        assert "were removed, with down --volumes from elsewhere" in said
        assert {path.name for path in folder.iterdir()} == {"keys.lock", "lineage", "published"}
        fresh.start(release(), quiet)
    assert kept().keys() == {"operator_token"}
    assert kept()["operator_token"] != THERE["operator_token"]
    token = kept()["operator_token"]
    with fresh.changing("tiny", "deployctl up", told.append):
        pass
    assert len([event for event in told if "keys" in event.text]) == 1
    assert kept()["operator_token"] == token  # what was begun anew is not taken for one of before


def test_whoever_is_killed_while_keys_are_taken_away_leaves_all_or_none(engine, kept):
    of_engine, steps = KeptKeys(engine.carriers), 0
    while True:
        of_engine.keep("tiny", THERE)
        engine.carriers.fuse = steps
        try:
            of_engine.take_away("tiny")
            break
        except Killed:
            engine.carriers.alive()
        assert kept() == ({} if steps else THERE)
        steps += 1
    assert (steps, kept()) == (2, {})


def test_each_document_is_on_the_disk_before_the_other_is_written_over(engine, kept):
    kept(keys_json=b"without it")
    there = engine.carriers.volumes_made["deployctl-tiny_keys"][1]
    last = [(file, content) for _, file, content in engine.carriers.settled[-2:]]
    assert sorted(last) == sorted(there.items())


def test_a_purge_waits_for_who_changes_the_keys(engine, driver, kept, monkeypatch):
    monkeypatch.setattr(keys, "PATIENCE_S", 0.0)
    monkeypatch.setattr(enginelock, "LASTS_S", 0)
    with (
        held_shortly(engine.carriers, "tiny", "keys", quiet, patience_s=0),
        pytest.raises(LockedError, match="keys of tiny"),
    ):
        driver.purge("tiny", quiet)
    assert kept() == THERE


def test_a_key_that_is_revoked_while_others_changes_are_looked_at_opens_nothing_again(
    engine, kept, folder, monkeypatch
):
    """By another deployctl with this state folder, before this one has the lock."""
    learn(engine, "tiny", folder)
    look, revoked = KeptKeys.kept, b"of others, without the key"
    kept(keys_json=b"of others, with the key")

    def looked_at_before_it_is_revoked(of_engine, service):
        found = look(of_engine, service)
        monkeypatch.undo()
        (folder / "keys.json").write_bytes(revoked)
        published.note(folder, kept(keys_json=revoked))
        return found

    monkeypatch.setattr(KeptKeys, "kept", looked_at_before_it_is_revoked)
    learn(engine, "tiny", folder)
    assert (folder / "keys.json").read_bytes() == revoked


def test_of_two_who_change_them_at_once_neither_loses_what_the_other_did(
    engine, kept, running, release, driver, fresh, tmp_path
):
    places = {driver: tmp_path / "state", fresh: tmp_path / "fresh"}
    for each in places:
        each.learn_keys("tiny")
    for each, root in places.items():
        file = root / "docker" / "tiny" / "keys.json"
        with each.changing_keys("tiny"):
            file.write_bytes(file.read_bytes() + each._state_dir.name.encode())
            each.publish_keys(release())
    assert engine.filled["deployctl-tiny_secrets"]["keys.json"].endswith(b"statefresh")
    assert kept()["keys.json"].endswith(b"statefresh")


@pytest.mark.parametrize("pruned", [False, True])
def test_who_slept_while_another_revoked_a_key_gives_nobody_his_own(
    engine, kept, running, release, driver, fresh, tmp_path, pruned
):
    """A lock that `docker container prune` took is taken again."""
    with driver.changing_keys("tiny"):
        (tmp_path / "state" / "docker" / "tiny" / "keys.json").write_bytes(b"mine, with the key")
        if pruned:
            engine.carriers.prune()
            driver.publish_keys(release())
            assert kept()["keys.json"] == b"mine, with the key"
            return
        engine.carriers.clock += timedelta(seconds=enginelock.LASTS_S + 1)
        with fresh.changing_keys("tiny"):
            (tmp_path / "fresh" / "docker" / "tiny" / "keys.json").write_bytes(b"without it")
            fresh.publish_keys(release())
        with pytest.raises(LockedError, match="changed the keys of tiny while"):
            driver.publish_keys(release())
    assert kept()["keys.json"] == b"without it"
    assert engine.filled["deployctl-tiny_secrets"]["keys.json"] == b"without it"


def test_who_slept_while_another_revoked_a_key_starts_no_engine_with_his_own(
    engine, release, driver, fresh, kept, tmp_path, monkeypatch
):
    """After the engine kept them, before the volume is filled that the new container will have."""
    keep = SharedKeys.keep

    def keeps_and_sleeps(of_driver, service):
        keep(of_driver, service)
        monkeypatch.setattr(SharedKeys, "keep", keep)
        engine.carriers.clock += timedelta(seconds=enginelock.LASTS_S + 1)
        with fresh.changing_keys("tiny"):
            (tmp_path / "fresh" / "docker" / "tiny" / "keys.json").write_bytes(b"without it")
            fresh.publish_keys(release())

    with driver.changing("tiny", "deployctl up", quiet):
        monkeypatch.setattr(SharedKeys, "keep", keeps_and_sleeps)
        with pytest.raises(LockedError, match="changed the keys of tiny while"):
            driver.start(release(), quiet)
    assert engine.filled == {}
    assert kept()["keys.json"] == b"without it"


def test_while_one_changes_them_another_waits(driver, running, engine, monkeypatch):
    monkeypatch.setattr(keys, "PATIENCE_S", 0.0)
    monkeypatch.setattr(enginelock, "LASTS_S", 0)
    other = held_shortly(engine.carriers, "tiny", "keys", quiet, patience_s=0)
    with (
        other,
        pytest.raises(LockedError, match="the keys of tiny are being changed by deployctl"),
        driver.changing_keys("tiny"),
    ):
        pass
    with driver.changing_keys("tiny"), driver.changing_keys("tiny"):
        pass
    assert engine.carriers.made == {}


def test_one_that_was_killed_elsewhere_while_it_changed_them_is_waited_for(engine, kept, tmp_path):
    """Its lock is over half a minute after its last sign: until then it could be at work. Before
    anything is stopped, and whoever waits is told for whom."""
    killed = held_shortly(engine.carriers, "tiny", "keys", quiet, patience_s=0)
    with pytest.raises(Killed), killed:
        engine.carriers.fuse = 0
    engine.carriers.fuse, engine.carriers.killed = None, False
    told, slept = [], []

    def sleep(seconds):
        slept.append(seconds)
        engine.carriers.clock += timedelta(seconds=seconds)

    SharedKeys(lambda: engine, tmp_path, sleep=sleep).settle("tiny", told.append)
    assert 29 < sum(slept) < 32
    waits, taken = (event.text for event in told)
    assert waits.startswith("waiting: the keys of tiny are being changed by deployctl (")
    assert taken.endswith("was killed; its lock is taken")


def test_a_change_of_the_service_waits_for_the_keys_first(engine, driver, monkeypatch):
    monkeypatch.setattr(keys, "PATIENCE_S", 0.0)
    monkeypatch.setattr(enginelock, "LASTS_S", 0)
    with (
        held_shortly(engine.carriers, "tiny", "keys", quiet, patience_s=0),
        pytest.raises(LockedError, match="keys of tiny"),
        driver.changing("tiny", "deployctl up", quiet),
    ):
        pytest.fail("something could be stopped here")


@pytest.mark.parametrize("begun", [False, True])
def test_whoever_is_killed_while_the_engine_is_given_them_leaves_the_former(engine, begun):
    of_engine, steps = KeptKeys(engine.carriers), 0
    while True:
        of_engine.forget("tiny")
        if begun:
            of_engine.keep("tiny", THERE)
        engine.carriers.fuse = steps
        try:
            of_engine.keep("tiny", {"api_key": b"long " * 100})
            break
        except Killed:
            engine.carriers.alive()
        assert of_engine.kept("tiny") == (THERE if begun else None)
        of_engine.keep("tiny", {"api_key": b"again"})
        assert of_engine.kept("tiny") == {"api_key": b"again"}
        steps += 1
    assert steps == (1 if begun else 3)


@pytest.mark.parametrize("former", [None, b"former"])
@pytest.mark.parametrize("room", [0, 1, 2])
def test_an_engine_whose_disk_is_full_at_each_write_loses_no_key(
    engine, release, container, driver, tmp_path, former, room
):
    """Writes: the lock, and what is kept; whatever was said to be given is there for all."""
    with driver.changing("tiny", "deployctl up", quiet):
        driver.start(release(), quiet)
    container()
    file = tmp_path / "state" / "docker" / "tiny" / "keys.json"

    def give(content):
        with driver.changing_keys("tiny"):
            file.write_bytes(content)
            driver.publish_keys(release())

    def there():
        return KeptKeys(engine.carriers).kept("tiny").get("keys.json")

    if former is not None:
        give(former)
    engine.carriers.room = room
    with nullcontext() if room == 2 else pytest.raises(DockerError, match="no space left"):
        give(b"new")
    assert there() == (b"new" if room == 2 else former)
    engine.carriers.room = None
    give(b"newer")
    assert there() == engine.filled["deployctl-tiny_secrets"]["keys.json"] == b"newer"
