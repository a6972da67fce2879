"""What ProcessDriver tells the door before a running engine: its keys, and that it is to close."""

import json
import os

import pytest

from deployctl.planning.plan import EnginePlan
from deployctl.targets import keyfile
from deployctl.targets.process import ProcessDriver, procfs
from deployctl.targets.store import ServiceRef, Store
from process_parts import before_the_door


@pytest.fixture
def service(settings):
    folder = settings.state_dir / "process" / "tiny"
    folder.mkdir(parents=True)
    return folder


def test_a_running_door_gets_the_keys_as_they_are_now(settings, make_release, service):
    secrets = service / "runs" / "000001" / "secrets"
    secrets.mkdir(parents=True)  # as the start of a release makes it
    (secrets / "operator_token").write_text("former")
    (service / "operator_token").write_text("token")
    (service / "keys.json").write_text("{}")
    ProcessDriver(settings).publish_keys(make_release())
    assert (secrets / "keys.json").read_text() == "{}"
    assert (secrets / "operator_token").read_text() == "token"
    assert (secrets / "keys.json").stat().st_mode & 0o777 == 0o600


def test_named_keys_that_are_gone_are_none_to_a_running_door(settings, make_release, service):
    """A file that went missing changes nothing for it: the keys in it would be taken still."""
    secrets = service / "runs" / "000001" / "secrets"
    secrets.mkdir(parents=True)
    ProcessDriver(settings).publish_keys(make_release())
    assert not (secrets / "keys.json").exists()
    (service / "keys.json").write_text("{}")
    ProcessDriver(settings).publish_keys(make_release())
    (service / "keys.json").unlink()
    for _ in range(2):
        ProcessDriver(settings).publish_keys(make_release())
        assert keyfile.read(secrets / "keys.json") == keyfile.EMPTY


def test_of_what_does_not_run_or_has_no_door_nothing_is_published(settings, make_release, service):
    ProcessDriver(settings).publish_keys(make_release())
    assert not (service / "runs").exists()


def test_the_door_is_closed_by_a_file_in_the_run_s_folder_and_once(settings, make_release, service):
    driver, release = ProcessDriver(settings), make_release()
    assert not driver.close_door(release)  # it does not run
    run = service / "runs" / "000001"
    (run / "door").mkdir(parents=True)
    us = procfs.identify(os.getpid())
    (run / "supervisor.json").write_text(
        json.dumps({"pid": us.pid, "start": us.start, "boot": procfs.boot_id()})
    )
    assert [driver.close_door(release) for _ in range(2)] == [True, False]
    told = json.loads(release.bundle.files["door/door.json"])["drain_file"]
    assert (run / "door" / told).is_file()


def test_a_release_of_before_the_door_starts_again(settings, make_release, service, monkeypatch):
    (service / "api_key").write_text("s3cret")
    store, ref = Store(settings.state_dir), ServiceRef("process", "tiny")
    store.save(ref, before_the_door(make_release(revision=2, expose=True)))
    (old,) = store.releases(ref)
    driver, started = ProcessDriver(settings), []
    monkeypatch.setattr(
        "deployctl.targets.process.driver.supervise", lambda *words, **more: started.append(words)
    )
    driver.start(old, lambda event: None)
    ((_, environment),) = started
    run = driver._run(old)
    assert environment["VLLM_API_KEY"] == "s3cret"
    assert not {"DEPLOYCTL_DOOR", "PYTHONPATH"} & (environment.keys() - os.environ.keys())
    assert not run.secrets.exists()
    assert not driver.close_door(old)
    driver.publish_keys(old)
    assert not run.secrets.exists()
    endpoint = driver.endpoint(old)
    assert (endpoint.api_key, endpoint.operator_token) == ("s3cret", None)


def test_the_engine_of_a_folder_gets_the_token_for_what_a_flag_names(
    settings, make_release, service, monkeypatch, tmp_path
):
    (tmp_path / "token").write_text("hf_abc")
    driver, given = ProcessDriver(settings), []
    monkeypatch.setattr(
        "deployctl.targets.process.driver.supervise", lambda *words, **more: given.append(words[1])
    )
    for args in ((), ("--tokenizer", "org/other")):
        engine = EnginePlan(name="vllm", version="0.32.0", image="i", args=args)
        release = make_release(plan={"engine": engine}, hf_token_file=tmp_path / "token")
        driver.start(before_the_door(release), lambda event: None)
    told = [(words.get("HF_TOKEN"), words.get("HF_HUB_OFFLINE")) for words in given]
    assert told == [(None, "1"), ("hf_abc", None)]
