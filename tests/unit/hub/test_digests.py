"""Digests of a folder's files: read once, and never believed of a file that may have changed."""

import hashlib
import os

import pytest

from deployctl.errors import ModelError
from deployctl.events import silent
from deployctl.hub import digests
from deployctl.hub.listing import Listing, StoredFile

OLD_NS = 1_700_000_000_000_000_000


@pytest.fixture
def listing(tmp_path):
    folder = tmp_path / "awq"
    (folder / "sub").mkdir(parents=True)
    files = []
    for name, content in (("config.json", b"{}"), ("sub/a.txt", b"x" * 5000)):
        (folder / name).write_bytes(content)
        os.utime(folder / name, ns=(OLD_NS, OLD_NS))
        files.append(StoredFile(name, len(content), ""))
    return Listing(str(folder), "", tuple(files))


@pytest.fixture
def summed(monkeypatch):
    """The names of the files that were read."""
    names, real = [], digests._sum

    def read(path, *rest):
        names.append(path.name)
        return real(path, *rest)

    monkeypatch.setattr(digests, "_sum", read)
    return names


def test_each_file_is_read_once(listing, summed, tmp_path):
    found = digests.digested(listing, tmp_path / "memory", silent)
    assert [file.digest for file in found.files] == [
        hashlib.sha256(content).hexdigest() for content in (b"{}", b"x" * 5000)
    ]
    assert digests.digested(listing, tmp_path / "memory", silent) == found
    assert sorted(summed) == ["a.txt", "config.json"]
    digests.forget(tmp_path / "awq", tmp_path / "memory")
    digests.digested(listing, tmp_path / "memory", silent)
    assert len(summed) == 4


def test_a_file_that_changed_is_read_again_and_is_another_checkpoint(listing, summed, tmp_path):
    before = digests.digested(listing, tmp_path / "memory", silent)
    file = tmp_path / "awq" / "config.json"
    file.write_bytes(b"[]")
    os.utime(file, ns=(OLD_NS, OLD_NS))  # its own time says nothing: the system's does
    after = digests.digested(listing, tmp_path / "memory", silent)
    assert summed[2:] == ["config.json"]
    assert digests.whole_digest(before) != digests.whole_digest(after)


def test_one_changed_a_moment_ago_is_not_remembered(listing, summed, tmp_path):
    (tmp_path / "awq" / "config.json").write_bytes(b"{}")
    for _ in range(2):
        digests.digested(listing, tmp_path / "memory", silent)
    assert summed.count("config.json") == 2
    assert summed.count("a.txt") == 1


def test_one_that_changes_while_it_is_read_is_refused(listing, monkeypatch, tmp_path):
    real = digests._sum

    def read(path, *rest):
        found = real(path, *rest)
        path.write_bytes(b"longer than it was")
        return found

    monkeypatch.setattr(digests, "_sum", read)
    with pytest.raises(ModelError, match="changed while it was read"):
        digests.digested(listing, tmp_path / "memory", silent)


def test_the_whole_is_the_same_under_any_folder_s_name(listing, tmp_path):
    found = digests.digested(listing, tmp_path / "memory", silent)
    (tmp_path / "awq").rename(tmp_path / "other")
    moved = Listing(str(tmp_path / "other"), "", listing.files)
    again = digests.digested(moved, tmp_path / "memory", silent)
    assert digests.whole_digest(found) == digests.whole_digest(again)
