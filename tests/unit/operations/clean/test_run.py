"""`clean` on a Hub cache and folders of its own."""

import json
import os
import shutil
import sys
import time
from types import SimpleNamespace
from unittest.mock import Mock

import huggingface_hub
import pytest

from deployctl import targets
from deployctl.cli.app import main
from deployctl.errors import DockerError, StateError
from deployctl.operations.clean import hubcache
from deployctl.operations.clean import run as cleaning
from deployctl.operations.clean.decide import DiskPiece
from deployctl.spec.settings import Settings
from deployctl.targets import brought, open_store
from deployctl.targets.brought import Brought
from deployctl.targets.docker import address, commands
from deployctl.targets.store import ServiceRef

OLD, NEW = "a" * 40, "b" * 40
LONG_AGO = 1_700_000_000


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """Two revisions of a model, which share a file."""
    root = tmp_path / "hub"
    repository = root / "models--org--model"
    (repository / "blobs").mkdir(parents=True)
    files = {OLD: ("shared", "old"), NEW: ("shared", "new")}
    for commit, names in files.items():
        (repository / "snapshots" / commit).mkdir(parents=True)
        for name in names:
            blob = repository / "blobs" / name
            blob.write_bytes(name.encode() * 1000)
            os.utime(blob, (LONG_AGO, LONG_AGO))
            (repository / "snapshots" / commit / name).symlink_to(blob)
    scan = huggingface_hub.scan_cache_dir
    monkeypatch.setattr(huggingface_hub, "scan_cache_dir", lambda: scan(root))
    return repository


@pytest.fixture
def services(make_release, tmp_path, monkeypatch, cache):
    """A service that was updated from one revision to the other, both brought by us."""
    monkeypatch.setenv("DEPLOYCTL_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("DEPLOYCTL_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.delenv("DOCKER_HOST")
    settings = Settings()
    store, ref = open_store(settings), ServiceRef("process", "tiny")
    for number, (commit, status) in enumerate([(OLD, "superseded"), (NEW, "deployed")], 1):
        plan = {"model": "org/model", "model_local": False, "revision": commit}
        store.save(ref, make_release(number, status, plan))
        brought.note(settings.state_dir, Brought("model", f"org/model@{commit}"))
        log = store.folder(ref) / "runs" / f"{number:06d}" / "engine.log"
        log.parent.mkdir(parents=True)
        log.write_text("said")
    (settings.cache_dir / "engine" / "forgotten").mkdir(parents=True)
    return store.folder(ref)


def run(monkeypatch, capsys, *words):
    monkeypatch.setattr(sys, "argv", ["deployctl", "clean", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    done = capsys.readouterr()
    assert ended.value.code == 0, done.err
    return done


def test_nothing_goes_until_it_is_said(services, cache, monkeypatch, capsys):
    done = run(monkeypatch, capsys, "--keep", "1")
    assert "goes" in done.out
    assert "nothing was removed: --yes removes it" in done.err
    document = json.loads(run(monkeypatch, capsys, "--keep", "1", "--output", "json").out)
    assert document["removed"] is False
    assert (cache / "snapshots" / OLD).exists()
    assert document["bytes"] == len("old") * 1000 + len("said")  # what is shared stays
    assert json.loads(run(monkeypatch, capsys, "--output", "json").out)["bytes"] == 0
    nothing = run(monkeypatch, capsys, "--all", "--output", "json").out
    assert [p["name"] for p in json.loads(nothing)["pieces"] if p["goes"]] == [
        "compile caches of forgotten"
    ]


def test_what_no_kept_revision_needs_goes(services, cache, monkeypatch, capsys):
    run(monkeypatch, capsys, "--keep", "1", "--yes")
    assert not (cache / "snapshots" / OLD).exists()
    assert sorted(path.name for path in (cache / "blobs").iterdir()) == ["new", "shared"]
    assert [path.name for path in (services / "runs").iterdir()] == ["000002"]
    assert sorted(p.name for p in (services / "releases").iterdir()) == [
        "000001.json",
        "000002.json",
    ]
    gone = DiskPiece("model", "m", OLD, 1, True, of="org/model")
    assert hubcache.freed([gone]) == 0


def test_a_repository_that_has_the_commits_of_another_is_not_taken_for_it(services, cache):
    """One that was renamed on the Hub, under both names."""
    renamed = cache.with_name("models--old--name")
    shutil.copytree(cache, renamed, symlinks=True)
    for link in renamed.glob("snapshots/*/*"):
        name = link.name
        link.unlink()
        link.symlink_to(renamed / "blobs" / name)
    (piece,) = (p for p in hubcache.pieces(()) if (p.of, p.place) == ("org/model", OLD))
    for _ in range(2):  # whichever of the two is looked at first
        hubcache.remove([piece])
        assert not (cache / "snapshots" / OLD).exists()
        assert (renamed / "snapshots" / OLD / "old").read_bytes()


def test_what_a_link_leads_to_outside_the_cache_stays(
    services, cache, monkeypatch, capsys, tmp_path
):
    own = tmp_path / "mine"
    own.write_bytes(b"weights")
    os.utime(own, (LONG_AGO, LONG_AGO))
    (cache / "snapshots" / OLD / "own").symlink_to(own)
    caches, theirs = tmp_path / "cache" / "engine", tmp_path / "theirs"
    theirs.mkdir()
    (caches / "linked").symlink_to(theirs)
    run(monkeypatch, capsys, "--keep", "1", "--yes", "--all")
    assert own.read_bytes() == b"weights"
    assert theirs.is_dir()
    assert not (caches / "forgotten").exists()


def test_what_cannot_be_removed_is_not_called_removed(services, cache, monkeypatch):
    monkeypatch.setattr(shutil, "rmtree", Mock(side_effect=PermissionError))
    monkeypatch.setattr(os, "remove", Mock(side_effect=PermissionError))
    pieces = [piece for piece in hubcache.pieces(()) if piece.place == OLD]
    with pytest.raises(StateError, match=f"{OLD} is still there"):
        hubcache.remove(pieces)


def test_an_up_that_begins_while_a_person_is_asked_keeps_its_model(
    services, cache, make_release, monkeypatch, capsys
):
    def begins():
        plan = {"model": "org/model", "model_local": False, "revision": OLD}
        store = open_store(Settings())
        store.save(ServiceRef("process", "other"), make_release(1, "pending", plan))
        return True

    monkeypatch.setattr("deployctl.cli.clean._wanted", begins)
    run(monkeypatch, capsys, "--keep", "1")
    assert (cache / "snapshots" / OLD).exists()
    assert [path.name for path in (services / "runs").iterdir()] == ["000002"]


IMAGE = "vllm/vllm-openai:v1"


@pytest.fixture
def engine(services, monkeypatch):
    """A Docker engine that has an image and no service."""
    there = {"Images": [{"Size": 1, "RepoTags": [IMAGE]}]}
    dropped = []
    engine = SimpleNamespace(
        disk_use=lambda: there,
        identity=lambda: "this one",
        dropped=dropped,
        drop_image=dropped.append,
    )
    monkeypatch.setattr(cleaning, "_engine", lambda: engine)
    recorded = cleaning._recorded
    monkeypatch.setattr(
        cleaning, "_recorded", lambda store, of: {} if of == "docker" else recorded(store, of)
    )
    return engine


@pytest.mark.parametrize("others", [0, 1])
def test_the_locks_of_shared_cards_go_with_their_container_where_no_other_has_them(engine, others):
    made = {"Name": "deployctl_turns", "Labels": {"io.deployctl.turns": "all"}}
    made |= {"UsageData": {"RefCount": 1 + others, "Size": 0}, "CreatedAt": "2026-01-01T00:00:00Z"}
    engine.disk_use = lambda: {"Volumes": [made]}
    removed = []
    engine.carriers = SimpleNamespace(
        find=lambda name: name, remove=removed.append, drop_volume=removed.append
    )
    brought.note(Settings().state_dir, Brought("image", IMAGE, "this one"))
    looked = cleaning.look()
    cleaning.remove(looked)
    assert [fate.goes for fate in looked.fates if fate.piece.sort == "turns"] == [not others]
    assert removed == ([] if others else ["deployctl_turns"] * 2)


@pytest.mark.parametrize("hours", [1, 25])
def test_an_image_that_was_pulled_today_stays_for_an_up_that_is_to_come(engine, hours):
    """`deployctl fetch` leaves no record."""
    image = Brought("image", IMAGE, "this one")
    for came in (LONG_AGO, time.time() - hours * 3600):  # it was removed, and pulled again
        brought.note(Settings().state_dir, image, lambda came=came: came)
    goes = {piece.sort for piece in cleaning.look().going} & {"image"}
    assert goes == ({"image"} if hours > 24 else set())


@pytest.mark.parametrize("line", ['["image", "{}", 1, "another"]', '["image", "{}", 1]'])
def test_what_was_pulled_to_another_engine_is_not_taken_for_what_this_one_has(engine, line):
    (Settings().state_dir / "brought.jsonl").write_text(line.replace("{}", IMAGE) + "\n")
    assert "image" not in {fate.piece.sort for fate in cleaning.look().fates}


def test_of_another_host_its_engine_alone_is_looked_at(
    engine, cache, monkeypatch, capsys, tmp_path
):
    """Of what this machine's services need, nothing is known there."""
    monkeypatch.setenv("DEPLOYCTL_HOST", "ssh://ops@gpu1")
    monkeypatch.setenv("DOCKER_HOST", "")
    there = tmp_path / "state" / "hosts" / "ops@gpu1"
    brought.note(there, Brought("image", IMAGE, "this one"), lambda: LONG_AGO)
    log = there / "docker" / "gone" / "logs" / "000001.log"
    log.parent.mkdir(parents=True)
    log.write_text("said")
    done = run(monkeypatch, capsys, "--yes", "--all", "--output", "json")
    assert os.environ["DOCKER_HOST"] == "ssh://ops@gpu1"
    pieces = json.loads(done.out)["pieces"]
    assert [(each["sort"], each["goes"]) for each in pieces] == [("log", True), ("image", True)]
    assert (log.exists(), engine.dropped) == (False, [IMAGE])
    assert (cache / "snapshots" / OLD).exists()


def test_another_host_that_does_not_answer_is_an_error(services, monkeypatch, capsys):
    """Of this machine something is looked at all the same; of that one, nothing would be."""
    away = Mock(side_effect=DockerError("the host does not answer", where="ssh://ops@gpu1"))
    monkeypatch.setattr(cleaning, "_engine", away)
    monkeypatch.setattr(cleaning, "_recorded", lambda store, of: {})
    monkeypatch.setenv("DOCKER_HOST", "")
    monkeypatch.setattr(sys, "argv", ["deployctl", "clean", "--host", "ssh://ops@gpu1"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 4
    assert "the host does not answer" in capsys.readouterr().err


def test_an_engine_that_a_context_names_is_looked_at(services, monkeypatch, tmp_path):
    """As one of DOCKER_HOST is, though nothing was done with it from here: colima's."""
    said = commands.Result(0, "unix:///home/ann/.colima/docker.sock\n", "")
    monkeypatch.setattr(commands, "run", lambda *_: said)
    monkeypatch.setattr(targets, "_SOCKET", tmp_path / "none")
    monkeypatch.setattr(cleaning, "_engine", Mock(side_effect=DockerError("it was asked")))
    monkeypatch.setattr(cleaning, "_recorded", lambda store, of: {})
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    assert cleaning.look().unknown == ()
    assert not targets._engine_may_be_here()  # others' services there are asked for
    (tmp_path / "config.json").write_text(json.dumps({"currentContext": "colima"}))
    address._of_context.cache_clear()
    assert cleaning.look().unknown == ("Docker: it was asked",)
    assert targets._engine_may_be_here()


def test_what_was_brought_is_the_last_thousand_each_once(tmp_path):
    for number in range(3):
        brought.note(tmp_path, Brought("model", "again"), lambda number=number: number)
    assert brought.read(tmp_path) == {Brought("model", "again"): 2}
    lines = [json.dumps(["model", str(number), number]) for number in range(1200)]
    (tmp_path / "brought.jsonl").write_text("\n".join(["{", *lines, '["model"']))
    brought.note(tmp_path, Brought("model", "7", ""), lambda: 5000)
    found = brought.read(tmp_path)
    assert len(found) == len((tmp_path / "brought.jsonl").read_text().splitlines()) == 1000
    assert list(found)[-1] == Brought("model", "7")
    assert next(iter(found)) == Brought("model", "201")


def test_a_record_that_cannot_be_read_stops_everything(services, cache, monkeypatch, capsys):
    (services / "releases" / "000001.json").write_text("{")
    monkeypatch.setattr(sys, "argv", ["deployctl", "clean", "--keep", "1", "--yes"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 4
    assert "the record is damaged" in capsys.readouterr().err
    assert (cache / "snapshots" / OLD).exists()
