"""A checkpoint that is sent to an engine on another host, into carriers that are all memory."""

import hashlib
import io
import tarfile

import pytest
import yaml
from tests.unit.targets_docker.conftest import quiet

from deployctl.errors import InterruptedByUserError, ModelError
from deployctl.render import render_compose
from deployctl.render.candidate import owner_of_caches, with_caches_of
from deployctl.render.compose import checkpoint_volume
from deployctl.targets.docker.checkpoint import VolumeUploader, _tar
from deployctl.targets.docker.commands import Result
from deployctl.targets.driver import ModelFile

DIGEST = "d" * 64


@pytest.fixture
def sent(release, tmp_path):
    """A release whose folder is sent, its files, and the folder."""
    made = release()
    plan = made.plan.model_copy(update={"checkpoint": DIGEST})
    folder = tmp_path / "tiny"
    (folder / "more").mkdir()
    (folder / "more" / "weights").write_bytes(b"w" * 1000)
    files = [
        ModelFile(name, len(content), hashlib.sha256(content).hexdigest())
        for name, content in (("config.json", b"{}"), ("more/weights", b"w" * 1000))
    ]
    bundle = render_compose(plan, made.spec)
    return made.model_copy(update={"plan": plan, "bundle": bundle}), files, folder


def unpacked(folder, file):
    with tarfile.open(fileobj=io.BytesIO(b"".join(_tar(folder, file)))) as tar:
        (entry,) = tar.getmembers()
        return entry.name, entry.mode, tar.extractfile(entry).read()


def test_the_engine_has_the_volume_and_its_canary_too(sent):
    made, _, _ = sent
    document = yaml.safe_load(made.bundle.files["compose.yaml"])
    mount = next(m for m in document["services"]["engine"]["volumes"] if m["source"] == "model")
    assert mount == {
        "type": "volume", "source": "model", "target": "/models/tiny", "read_only": True,
    }  # fmt: skip
    volume = {"name": checkpoint_volume(DIGEST), "external": True}
    assert document["volumes"]["model"] == volume
    tried = with_caches_of("other", made.bundle)
    assert yaml.safe_load(tried.files["compose.yaml"])["volumes"]["model"] == volume
    assert owner_of_caches(made.bundle) == "deployctl-tiny"
    assert owner_of_caches(tried) == "deployctl-other"


def test_files_are_sent_as_they_are_and_those_that_changed_are_not(sent):
    _, files, folder = sent
    assert unpacked(folder, files[1]) == ("more/weights", 0o444, b"w" * 1000)
    (folder / "more" / "weights").write_bytes(b"x" * 1000)
    with pytest.raises(ModelError, match="not what it was"):
        unpacked(folder, files[1])
    (folder / "more" / "weights").write_bytes(b"w")
    with pytest.raises(ModelError, match="not what it was"):
        unpacked(folder, files[1])


def test_what_is_there_is_not_sent_again(sent, engine, commands):
    made, files, folder = sent
    uploader = VolumeUploader(engine, made, commands)
    assert not uploader.is_there()
    assert uploader.upload(folder, files, quiet) == 1002
    assert uploader.is_there()
    assert "--network none" in " ".join(commands.ran[-1][0])
    again = VolumeUploader(engine, made, commands)
    assert again.is_there()


def test_one_that_was_interrupted_goes_on(sent, engine, commands, monkeypatch):
    made, files, folder = sent
    uploader = VolumeUploader(engine, made, commands)
    stream, streamed = engine.carriers.stream, []

    def interrupted(name, where, tar):
        if streamed:
            raise KeyboardInterrupt
        streamed.append(name)
        stream(name, where, tar)

    monkeypatch.setattr(engine.carriers, "stream", interrupted)
    with pytest.raises(InterruptedByUserError, match="interrupted while tiny was sent"):
        uploader.upload(folder, files, quiet)
    assert not uploader.is_there()
    monkeypatch.setattr(engine.carriers, "stream", stream)
    assert uploader.upload(folder, files, quiet) == 1000


def test_what_came_wrong_is_removed(sent, engine, commands):
    made, files, folder = sent
    commands.answers["sha256sum"] = Result(1, "more/weights: FAILED\n", "sha256sum: WARNING: 1 …")
    uploader = VolumeUploader(engine, made, commands)
    with pytest.raises(ModelError, match="not what was sent: more/weights"):
        uploader.upload(folder, files, quiet)
    assert checkpoint_volume(DIGEST) not in engine.carriers.volumes_made
    commands.answers.clear()
    assert uploader.upload(folder, files, quiet) == 1002
