"""`clean` on a Hub cache and folders of its own."""

import json
import os
import sys

import huggingface_hub
import pytest

from deployctl.cli.app import main
from deployctl.operations.clean import hubcache
from deployctl.spec.settings import Settings
from deployctl.targets import brought, open_store
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
        brought.note(settings.state_dir, ("model", f"org/model@{commit}"))
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
    assert hubcache.freed([OLD]) == 0


def test_a_record_that_cannot_be_read_stops_everything(services, cache, monkeypatch, capsys):
    (services / "releases" / "000001.json").write_text("{")
    monkeypatch.setattr(sys, "argv", ["deployctl", "clean", "--keep", "1", "--yes"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 4
    assert "the record is damaged" in capsys.readouterr().err
    assert (cache / "snapshots" / OLD).exists()
