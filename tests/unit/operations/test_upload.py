"""A folder's checkpoint gets its digest into the bundle, and its files to where that is wanted."""

from types import SimpleNamespace

import pytest

from deployctl.errors import ModelError
from deployctl.events import silent
from deployctl.operations import upload
from deployctl.operations.bundle import ChartOptions


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("DEPLOYCTL_CACHE_DIR", str(tmp_path / "cache"))
    folder = tmp_path / "awq"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"\2\0\0\0\0\0\0\0{}")
    (folder / "README.md").write_text("not for an engine")
    return folder


def prepared(folder, target="kubernetes", local=True):
    return SimpleNamespace(
        target=target, plan=SimpleNamespace(model=str(folder), model_local=local)
    )


def digest_of(folder):
    options = upload.for_a_folder(prepared(folder), ChartOptions(), silent)
    return options.overrides["model"]["digest"]


class Uploader:
    place = "claim model-0"

    def __init__(self, digest, there=False):
        self.digest, self.there, self.sent = digest, there, []

    def is_there(self):
        return self.there

    def upload(self, folder, files, tell):
        self.sent = files
        return sum(file.size for file in files)


def bring(folder, uploader):
    release = SimpleNamespace(revision=3, plan=SimpleNamespace(model=str(folder)))
    return upload.bring(SimpleNamespace(uploader=lambda _: uploader), release, silent)


def test_what_an_engine_reads_decides_which_checkpoint_it_is(folder):
    first = digest_of(folder)
    (folder / "README.md").write_text("other words")
    assert digest_of(folder) == first
    (folder / "config.json").write_text("[]")
    assert digest_of(folder) != first


@pytest.mark.parametrize("place", ["claim", "image", "hostPath"])
def test_a_place_of_the_user_s_own_is_left_alone(folder, place):
    options = ChartOptions(overrides={"model": {place: "x"}})
    assert upload.for_a_folder(prepared(folder), options, silent) is options


def test_other_targets_and_the_hub_s_models_have_none(folder):
    for other in (prepared(folder, target="docker"), prepared("org/m", local=False)):
        assert upload.for_a_folder(other, ChartOptions(), silent) == ChartOptions()


def test_the_files_of_an_engine_are_sent_and_no_others(folder):
    uploader = Uploader(digest_of(folder))
    assert bring(folder, uploader) == 12
    assert [file.name for file in uploader.sent] == ["config.json", "model.safetensors"]
    uploader.there, uploader.sent = True, []
    assert bring(folder, uploader) == 0
    assert uploader.sent == []


def test_another_checkpoint_than_the_release_s_is_not_sent(folder):
    uploader = Uploader("0" * 64)
    with pytest.raises(ModelError, match="files were changed"):
        bring(folder, uploader)
    with pytest.raises(ModelError, match="not where its engine is any"):
        bring(folder / "gone", uploader)
    assert bring(folder / "gone", Uploader("0" * 64, there=True)) == 0


def test_one_that_was_remembered_wrong_is_read_again(folder, monkeypatch):
    uploader = Uploader(digest_of(folder))

    def differs(*_):
        raise ModelError("its digest is another")

    uploader.upload = differs
    forgotten = []
    monkeypatch.setattr(upload.digests, "forget", lambda folder, _: forgotten.append(folder))
    with pytest.raises(ModelError, match="another"):
        bring(folder, uploader)
    assert forgotten == [folder]
