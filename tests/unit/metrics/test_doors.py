"""What a door counted, read as the door itself writes it."""

import pytest

from deployctl.errors import TargetError
from deployctl.metrics import doors
from deployctl.metrics.doors import KeyUse
from deployctl_door.account import Account, Entry


def ended(account, key, route="/v1/completions", status=200, tokens=(0, 0)):
    entry = Entry("id", "POST", route)
    entry.key, entry.status = key, status
    entry.input, entry.output = tokens
    account.ended(entry)


@pytest.fixture
def account():
    made = Account(log=False)
    ended(made, "ci", tokens=(5, 20))
    return made


def counts(account):
    return doors.parse(account.metrics().decode())


def test_what_each_key_did_in_between(account):
    before = counts(account)
    ended(account, "ci", tokens=(7, 30))
    ended(account, "ci", status=502)
    ended(account, "alice", "/v1/models")
    account.refused("ci", "limit")
    account.refused("ci", "limit")
    account.refused("-", "no_key")
    assert doors.used(before, counts(account)) == [
        KeyUse("-", refused={"no_key": 1}),
        KeyUse("alice", 1),
        KeyUse("ci", 2, 1, 7, 30, {"limit": 2}),
    ]


def test_who_watches_is_no_user(account):
    before = counts(account)
    ended(account, "operator", "/metrics")
    assert doors.used(before, counts(account)) == []


def test_after_a_restart_all_is_new(account):
    assert doors.used(None, counts(account)) == [KeyUse("ci", 1, 0, 5, 20)]


def test_the_counters_of_another_process_of_the_engine_are_not_negative(account):
    other = Account(log=False)
    ended(other, "ci", tokens=(1, 2))
    assert doors.used(counts(account), counts(other)) == []


def test_several_doors_are_added_up():
    one, two = KeyUse("ci", 1, 0, 2, 3, {"limit": 1}), KeyUse("ci", 4, 1, 5, 6, {"model": 1})
    assert doors.together([one, KeyUse("alice", 1), two]) == [
        KeyUse("alice", 1),
        KeyUse("ci", 5, 1, 7, 9, {"limit": 1, "model": 1}),
    ]


def test_restarts_by_the_watchdog(account, monkeypatch):
    assert counts(account).engine_restarts is None
    monkeypatch.setenv("DEPLOYCTL_ENGINE_RESTARTS", "3")
    assert counts(account).engine_restarts == 3


def test_an_engine_without_a_door():
    assert doors.parse("# TYPE vllm:num_requests_running gauge\n") is None


@pytest.mark.parametrize(
    "text",
    [
        'deployctl_door_requests_total{route="/v1/models",status="200"} 1\n',  # no key
        'deployctl_door_tokens_total{key="ci",direction="input"} NaN\n',
    ],
)
def test_what_is_no_door(text):
    with pytest.raises(TargetError, match="what the door counted cannot be read"):
        doors.parse(text)
