"""What is known of all services, where a place that may have some cannot be asked."""

import json
import sys

import pytest

from deployctl.cli.app import main
from deployctl.errors import InputError, TargetError
from deployctl.operations.deploy import services
from deployctl.operations.deploy.services import ServiceStatus
from deployctl.spec.settings import Settings
from deployctl.targets import open_store
from deployctl.targets.shelf import FileShelf
from deployctl.targets.store import RECORD_VERSION, ServiceRef, Store


@pytest.mark.parametrize("status", ["removed", "failed"])
def test_removed_services_are_no_reason_not_to_say_that_docker_cannot_be_asked(
    make_release, tmp_path, monkeypatch, status
):
    """`status` said that there is no service, exit 0: another state folder's may serve there."""
    monkeypatch.setenv("DEPLOYCTL_STATE_DIR", str(tmp_path / "state"))
    store = open_store(Settings())
    store.save(ServiceRef("process", "tiny"), make_release(status=status))
    if status == "removed":
        with pytest.raises(TargetError, match="whether there is a service is not known: Docker"):
            services.status()
        assert services.status(target="process") == []
    else:
        assert [seen.service for seen in services.status()] == ["tiny"]


def test_one_of_another_state_folder_is_marked_and_none_of_our_failures(
    make_release, tmp_path, monkeypatch, capsys
):
    """`status` of a pipeline ended with 4 for a service that it knew nothing of."""
    shelves = {"docker": lambda: Shared(tmp_path / "docker")}
    store = Store(tmp_path / "state", shelves, shared=["docker"])
    store.save(ServiceRef("process", "mine"), make_release(status="deployed", name="mine"))
    theirs = make_release(status="deployed", name="theirs")
    FileShelf(tmp_path / "docker").write("theirs", 1, document(theirs))
    monkeypatch.setattr(services, "open_store", lambda: (Settings(), store))
    health = {"mine": "serving", "theirs": "dead"}

    def looked(_settings, ref, releases):
        return ServiceStatus(ref.service, ref.target, status="deployed", health=health[ref.service])

    monkeypatch.setattr(services, "look_at", looked)
    code, out = status(monkeypatch, capsys, "--output", "json")
    told = {each["service"]: each["ours"] for each in json.loads(out)["services"]}
    assert (code, told) == (0, {"mine": True, "theirs": False})
    assert "theirs: another state folder's" in status(monkeypatch, capsys)[1]
    assert status(monkeypatch, capsys, "theirs")[0] == 4  # asked for by its name
    health["mine"] = "dead"
    assert status(monkeypatch, capsys)[0] == 4


def test_a_replica_of_a_cluster_has_no_number(make_release, tmp_path, monkeypatch):
    """It was said that there is one engine, whatever number of pods there was."""
    store = Store(tmp_path / "state", {"kubernetes": lambda: FileShelf(tmp_path / "there")})
    release = make_release(status="deployed", name="mine", target="kubernetes", replicas=2)
    store.save(ServiceRef("kubernetes", "mine"), release)
    monkeypatch.setattr(services, "open_store", lambda: (Settings(), store))
    with pytest.raises(InputError, match="replicas have numbers on a host alone") as caught:
        services.logs("mine", "kubernetes", replica=1)
    assert caught.value.where == "--replica"


@pytest.mark.parametrize(
    ("content", "hint"),
    [("{", "deployctl down tiny stops"), ('{"version": 9}', "use that version of deployctl")],
)
def test_what_to_do_about_a_record_that_cannot_be_read(
    tmp_path, monkeypatch, capsys, content, hint
):
    """Of a newer deployctl's it was said that `down` sets it aside, which refuses to."""
    store = Store(tmp_path)
    FileShelf(tmp_path / "process").write("tiny", 1, content.encode())
    monkeypatch.setattr(services, "open_store", lambda: (Settings(), store))
    [seen] = services.status()
    assert seen.hint.startswith(hint)
    monkeypatch.setattr(sys, "argv", ["deployctl", "status"])
    with pytest.raises(SystemExit):
        main()
    assert f" hint: {hint}" in capsys.readouterr().err


def test_the_one_that_runs_is_meant_where_none_is_named(make_release, tmp_path, monkeypatch):
    """`status --connect` wanted a name where another service had been taken down, or had failed."""
    store = Store(tmp_path)
    monkeypatch.setattr(services, "open_store", lambda: (Settings(), store))
    for name, became in (("up", "deployed"), ("down", "removed"), ("bad", "failed")):
        store.save(ServiceRef("process", name), make_release(status=became, name=name))
    assert services.history()[0].service == "up"
    store.save(ServiceRef("process", "up"), make_release(status="removed", name="up"))
    with pytest.raises(InputError, match="say which service"):
        services.history()


class Shared(FileShelf):
    """A shelf of which all is others'."""

    def services(self):
        return []

    def others(self):
        return super().services()


def document(release):
    return json.dumps({"version": RECORD_VERSION, **release.model_dump(mode="json")}).encode()


def status(monkeypatch, capsys, *words):
    monkeypatch.setattr(sys, "argv", ["deployctl", "status", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    return ended.value.code, capsys.readouterr().out
