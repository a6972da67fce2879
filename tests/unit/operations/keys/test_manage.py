"""keys add, list and revoke, up to what the door then lets in."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from tests.unit.operations.keys.conftest import NOW, add, states

from deployctl.errors import (
    DockerError,
    InputError,
    LockedError,
    NotFoundError,
    PlanRefusedError,
    StateError,
)
from deployctl.operations.keys.manage import list_keys, revoke_key
from deployctl.targets import keys
from deployctl.targets.keyfile import refuse_limited
from deployctl.targets.store import ServiceRef
from deployctl_door.keyfolder import CHECK_S

REF = ServiceRef("process", "tiny")
PROCESSES = ("--served-model-name", "tiny", "--api-server-count", "4")


def test_a_key_opens_the_running_engine_and_is_kept_as_a_hash_alone(service):
    service.begins(expose=True)
    added = add("alice", note="laptop")
    assert len(added.key) > 40
    assert added.counts_from == "now"
    assert added.remarks == ()
    assert service.engine.lets_in(added.key) == "alice"
    assert service.engine.lets_in("the-default-key") == "default"
    for file in service.folder.rglob("*"):
        assert file.is_dir() or added.key not in file.read_text()
    assert service.file.stat().st_mode & 0o777 == 0o600


def test_a_change_is_seen_by_the_door_when_it_returns():
    assert keys.SEEN_S > CHECK_S


def test_a_revoked_key_opens_nothing(service):
    service.begins(expose=True)
    alice, bob = add("alice").key, add("bob").key
    revoked = revoke_key("tiny", "alice", now=lambda: NOW)
    assert (revoked.counts_from, revoked.left) == ("now", 2)
    assert service.engine.lets_in(alice) is None
    assert service.engine.lets_in(bob) == "bob"


def test_the_first_key_closes_a_service_that_had_none_and_the_last_one_does_not_open_it(service):
    service.begins()
    assert list_keys("tiny").open
    assert service.engine.lets_in("whatever") == "anyone"
    added = add("alice")
    assert added.remarks == ("from now on, clients of tiny need a key",)
    assert add("bob").remarks == ()
    assert service.engine.lets_in("whatever") is None
    revoke_key("tiny", "bob")
    assert revoke_key("tiny", "alice").left == 0
    assert not list_keys("tiny").open
    assert service.engine.lets_in(added.key) is None
    assert service.engine.restarts(keyless=True)
    assert service.engine.lets_in("whatever") is None


def test_default_is_revoked_by_its_name_and_comes_back_with_a_new_key(service):
    service.begins(expose=True)
    with pytest.raises(InputError, match="has a key 'default' already"):
        add("default")
    revoked = revoke_key("tiny", "default")
    assert revoked.left == 0
    assert service.engine.lets_in("the-default-key") is None
    assert states(service="tiny") == {"default": "revoked"}
    assert revoke_key("tiny", "default").left == 0  # once more changes nothing
    added = add("default")
    assert states(service="tiny") == {"default": "valid"}
    assert service.engine.lets_in(added.key) == "default"
    assert service.engine.lets_in("the-default-key") is None
    assert (service.folder / "api_key").read_text() == added.key


def test_a_default_key_that_was_revoked_is_not_taken_again(service, tmp_path):
    service.begins(expose=True)
    (tmp_path / "leaked").write_text("the-default-key")
    revoke_key("tiny", "default")
    for name in ("default", "alice"):
        with pytest.raises(InputError, match="default, and was revoked"):
            add(name, key_file=tmp_path / "leaked")
    add("default")
    with pytest.raises(InputError, match="default, and was revoked"):
        add("alice", key_file=tmp_path / "leaked")
    assert service.engine.lets_in("the-default-key") is None


def test_a_default_key_that_is_exchanged_never_opens_by_the_old_one_in_between(
    service, monkeypatch
):
    service.begins(expose=True)
    revoke_key("tiny", "default")
    write, seen = keys.write_private, []

    def watched(path, content, **more):
        write(path, content, **more)
        seen.append(service.engine.lets_in("the-default-key"))

    monkeypatch.setattr(keys, "write_private", watched)
    add("default")
    assert len(seen) >= 3  # the new key, then both as the door sees them
    assert set(seen) == {None}


def test_the_key_default_has_no_properties_of_its_own(service):
    service.begins(expose=True)
    revoke_key("tiny", "default")
    with pytest.raises(InputError, match="neither note"):
        add("default", note="x")
    assert states(service="tiny") == {"default": "revoked"}


def test_a_service_without_an_api_key_has_no_default(service):
    service.begins()
    with pytest.raises(InputError, match="the name of the API key"):
        add("default")
    with pytest.raises(NotFoundError, match="no key 'default'"):
        revoke_key("tiny", "default")
    assert not service.file.exists()


def test_a_name_or_a_key_that_is_taken_changes_nothing(service, tmp_path):
    service.begins(expose=True)
    file = tmp_path / "key"
    file.write_text("a-key-of-my-own\n")
    assert add("ci", key_file=file).key is None  # whoever gave it knows it
    assert service.engine.lets_in("a-key-of-my-own") == "ci"
    before = service.file.read_bytes()
    with pytest.raises(InputError, match="has a key 'ci' already"):
        add("ci")
    with pytest.raises(InputError, match="the key of ci"):
        add("cd", key_file=file)
    for name, owner in (("api_key", "default"), ("operator_token", "the operator")):
        file.write_text((service.folder / name).read_text())
        with pytest.raises(InputError, match=owner):
            add("cd", key_file=file)
    assert service.file.read_bytes() == before


@pytest.mark.parametrize(
    "name", ["", "-a", "a b", "a\n", "a/b", "a" * 64, "é", "operator", "anyone"]
)
def test_what_is_no_name_is_refused(service, name):
    service.begins(expose=True)
    with pytest.raises(InputError) as caught:
        add(name)
    assert caught.value.where == "NAME"
    assert not service.file.exists()


def test_an_unknown_key_or_service_says_which_there_are(service):
    service.begins(expose=True)
    add("alice")
    with pytest.raises(NotFoundError) as caught:
        revoke_key("tiny", "alcie")
    assert caught.value.hint == "did you mean alice?"
    with pytest.raises(NotFoundError) as caught:
        revoke_key("tiny", "zz")
    assert caught.value.hint == "its keys: alice, default"
    with pytest.raises(NotFoundError) as caught:
        list_keys("other", target="process")
    assert caught.value.hint == "known services: tiny"


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("30d", NOW + timedelta(days=30)),
        ("90m", NOW + timedelta(minutes=90)),
        ("12h", NOW + timedelta(hours=12)),
        ("2w", NOW + timedelta(weeks=2)),
        ("2027-01-31", datetime(2027, 1, 31, tzinfo=UTC)),
        ("2027-01-31T18:00+01:00", datetime(2027, 1, 31, 17, tzinfo=UTC)),
        ("2027-01-31T18:00:00Z", datetime(2027, 1, 31, 18, tzinfo=UTC)),
    ],
)
def test_a_key_expires(service, text, moment):
    service.begins(expose=True)
    added = add("alice", expires=text)
    assert datetime.fromisoformat(added.expires) == moment
    assert service.engine.lets_in(added.key, moment.timestamp() - 1) == "alice"
    assert service.engine.lets_in(added.key, moment.timestamp()) is None
    later = {key.name: key.state for key in list_keys("tiny", now=lambda: moment).keys}
    assert later["alice"] == "expired"


@pytest.mark.parametrize(
    "text", ["", "x", "0d", "30", "2026-11-30", "2027-02-30", "2027-01-31T18:00", "9" * 30 + "d"]
)
def test_what_is_no_time_to_expire_at_is_refused(service, text):
    service.begins(expose=True)
    with pytest.raises(InputError) as caught:
        add("alice", expires=text)
    assert caught.value.where == "--expires"


def test_models_and_limits_are_as_the_door_reads_them(service):
    service.begins(expose=True)
    add("alice", model=["tiny", "adapter"], concurrent=2, tokens_per_minute=1000)
    entry = json.loads(service.file.read_bytes())["keys"][0]
    assert entry["models"] == ["tiny", "adapter"]
    assert entry["limits"] == {"concurrent": 2, "tokens_per_minute": 1000}
    listed = next(key for key in list_keys("tiny").keys if key.name == "alice")
    assert listed.limits == {
        "concurrent": 2, "requests_per_minute": None, "tokens_per_minute": 1000,
    }  # fmt: skip


def test_what_is_asked_for_and_not_served_is_said(service):
    service.begins(expose=True)
    assert add("alice", model=["tiny"]).remarks == ()
    assert add("bob", model=["tiy"]).remarks == ("tiny serves tiny, not tiy",)


def test_limits_of_replicas_and_of_several_api_servers(service):
    service.begins(expose=True, replicas=3)
    assert "3 replicas" in add("alice", concurrent=1).remarks[0]
    assert add("bob").remarks == ()
    service.begins(expose=True, args=PROCESSES)
    with pytest.raises(PlanRefusedError, match="4 API-server processes"):
        add("carol", concurrent=1)
    assert "carol" not in states(service="tiny")
    add("dave")


def test_up_refuses_several_api_servers_where_a_key_has_limits(service):
    one, plan = service.begins(expose=True).plan, service.begins(args=PROCESSES).plan
    service.begins(expose=True)
    refuse_limited(service.file, plan)
    add("alice")
    refuse_limited(service.file, plan)
    add("bob", concurrent=1)
    refuse_limited(service.file, one)
    with pytest.raises(PlanRefusedError) as caught:
        refuse_limited(service.file, plan)
    assert caught.value.where == "key bob"


def test_a_key_that_cannot_be_given_as_another_holds_the_lock_is_taken_back(service, monkeypatch):
    service.begins(expose=True)

    def refuses(release):
        raise LockedError("the keys of tiny are being changed by another deployctl")

    monkeypatch.setattr(service.engine, "publish_keys", refuses)
    with pytest.raises(LockedError) as raised:
        add("alice")
    assert "no key was added" in raised.value.hint
    assert [key.name for key in list_keys("tiny").keys] == ["default"]


def test_nobody_else_changes_them_until_they_are_published(service, monkeypatch):
    service.begins(expose=True)
    held, publish = [], service.engine.publish_keys

    def noted(release):
        held.append((service.engine.held, service.file.exists()))
        publish(release)

    monkeypatch.setattr(service.engine, "publish_keys", noted)
    add("alice")
    revoke_key("tiny", "alice")
    assert held == [(1, True), (1, True)]
    assert service.engine.held == 0


def test_a_service_that_does_not_run_takes_them_at_its_next_start(service):
    release = service.begins(expose=True)
    service.engine.running = False
    added = add("alice")
    assert added.counts_from == "next_start"
    assert service.engine.lets_in(added.key) is None
    service.engine.running = True
    service.engine.publish_keys(release)
    assert service.engine.lets_in(added.key) == "alice"


def test_a_target_is_given_the_keys_of_a_service_that_does_not_run(service):
    """A pipeline's state folder is gone before the next start. But for one that was purged: all of
    it is made anew."""
    service.begins(expose=True)
    service.engine.running, service.engine.fault = False, StateError("out of reach")
    with pytest.raises(StateError, match="out of reach") as caught:
        add("alice")
    assert "no key was added" in caught.value.hint
    assert list_keys("tiny").keys[-1].name == "default"
    (service.folder / "api_key").unlink()
    assert add("alice").counts_from == "next_start"


def test_what_was_started_before_there_was_a_door_takes_them_at_the_next_up(service, make_release):
    release = make_release(status="deployed")
    bundle = release.bundle.model_copy(update={"files": {}})
    service.store.save(REF, release.model_copy(update={"bundle": bundle}))
    assert add("alice").counts_from == "next_up"


def test_a_damaged_record_does_not_keep_a_key_from_being_revoked(service):
    service.begins(expose=True)
    alice = add("alice").key
    (service.folder / "releases" / "000009.json").write_text("{")
    revoke_key("tiny", "alice")
    assert service.engine.lets_in(alice) is None


def test_a_key_that_what_runs_could_not_be_given_is_not_added(service):
    service.begins()
    service.engine.fault = StateError("cannot write: No space left on device")
    with pytest.raises(StateError, match="No space") as caught:
        add("alice")
    assert "no key was added" in caught.value.hint
    assert not service.file.exists()
    service.engine.fault = None
    assert service.engine.lets_in("whatever") == "anyone"
    assert add("alice").key


def test_a_key_that_what_runs_was_not_told_of_is_revoked_by_trying_again(service):
    service.begins(expose=True)
    alice = add("alice").key
    service.engine.fault = DockerError("Docker is not running")
    with pytest.raises(DockerError) as caught:
        revoke_key("tiny", "alice")
    assert "is revoked in" in caught.value.hint
    assert "run this again" in caught.value.hint
    assert service.engine.lets_in(alice) == "alice"
    service.engine.fault = None
    with pytest.raises(NotFoundError):
        revoke_key("tiny", "alice")
    assert service.engine.lets_in(alice) is None
