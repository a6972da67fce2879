"""The program that downloads, with a huggingface_hub that is all memory and no real time."""

import errno
import hashlib
import json

import huggingface_hub
import pytest
from huggingface_hub import file_download

from deployctl.hub.program import download
from deployctl.hub.program.place import DownloadError

CONTENT = bytes(range(256)) * 40
SHA = hashlib.sha256(CONTENT).hexdigest()
COMMIT = "0123456789abcdef0123456789abcdef01234567"


class LostError(Exception):
    """As a connection that was cut; where there was an answer, with it."""

    def __init__(self, status=0, **headers):
        super().__init__("lost http://cdn/x?Signature=secret")
        if status:
            self.response = type("Response", (), {"status_code": status, "headers": headers})


class Net:
    """What http_get does, call for call: sends so many bytes, then raises."""

    def __init__(self, *calls):
        self.calls, self.asked, self.sleeps = list(calls), [], []

    def __call__(self, url, stream, *, resume_size, headers, expected_size):
        self.asked.append((url, resume_size, headers.get("authorization")))
        sent, error = self.calls.pop(0) if self.calls else (len(CONTENT), None)
        stream.write(CONTENT[resume_size:sent])
        if error:
            raise error


@pytest.fixture
def world(tmp_path, monkeypatch):
    def make(*calls, free=10**12, **more):
        net = Net(*calls)
        usage = type("A disk that was made up", (), {"free": free})
        monkeypatch.setattr(file_download, "http_get", net)
        monkeypatch.setattr(download.time, "sleep", net.sleeps.append)
        monkeypatch.setattr(download.shutil, "disk_usage", lambda _: usage)
        file = {"name": "model.safetensors", "size": len(CONTENT), "digest": SHA}
        job = {"model": "org/m", "commit": COMMIT, "revision": "main", "endpoint": "http://hub"}
        job |= {"token": "t", "cache": str(tmp_path / "hub"), "files": [file], **more}
        return job, net

    return make


def done(job):
    lines = []
    download.run(job, lambda **line: lines.append(line))
    assert lines[-1]["event"] == "done"
    return lines


def failure(job):
    with pytest.raises(DownloadError) as caught:
        download.run(job, lambda **_: None)
    return caught.value.line


def stored(tmp_path):
    return tmp_path / "hub/models--org--m"


def test_it_lands_where_huggingface_hub_finds_it(world, tmp_path):
    job, net = world()
    lines = done(job)
    found = huggingface_hub.try_to_load_from_cache(
        "org/m", "model.safetensors", cache_dir=tmp_path / "hub"
    )
    assert found == f"{lines[-1]['path']}/model.safetensors"
    assert found.startswith(
        huggingface_hub.snapshot_download(  # as vLLM asks where there is no network
            "org/m", cache_dir=tmp_path / "hub", local_files_only=True, ignore_patterns="*"
        )
    )
    assert (stored(tmp_path) / "blobs" / SHA).read_bytes() == CONTENT
    assert net.asked == [
        (f"http://hub/org/m/resolve/{COMMIT}/model.safetensors", 0, "Bearer t"),
    ]


def test_what_is_whole_is_hashed_once(world, monkeypatch):
    job, net = world()
    done(job)
    monkeypatch.setattr(download, "digest_of", None)
    monkeypatch.setattr("deployctl.hub.program.place.digest_of", None)
    assert done(job)[-1]["downloaded"] == 0
    assert len(net.asked) == 1


def test_a_cut_goes_on_as_long_as_something_comes(world):
    cuts = [(1000 * n, LostError()) for n in range(1, 9)]
    job, net = world(*cuts)
    done(job)
    assert [resumed for _, resumed, _ in net.asked] == [1000 * n for n in range(9)]


def test_it_gives_up_when_nothing_comes_and_keeps_what_came(world, tmp_path):
    job, net = world((1000, LostError()), *[(1000, LostError())] * 4)
    line = failure(job)
    assert line["kind"] == "network"
    assert "Signature" not in json.dumps(line)
    assert len(net.sleeps) == 4
    assert not (stored(tmp_path) / "snapshots").exists()
    net.calls.clear()
    done(job)
    assert net.asked[-1][1] == 1000


def test_a_beginning_that_is_wrong_is_thrown_away_and_all_is_fetched(world, tmp_path):
    job, net = world((1000, LostError(404)))
    failure(job)
    partial = next(stored(tmp_path).glob("blobs/*incomplete"))
    partial.write_bytes(b"?" * 1000)
    done(job)
    assert [resumed for _, resumed, _ in net.asked] == [0, 1000, 0]


def test_a_wrong_digest_is_no_file(world, tmp_path):
    job, _ = world()
    job["files"][0]["digest"] = "0" * 64
    assert failure(job)["kind"] == "digest"
    assert list(stored(tmp_path).glob("blobs/*")) == []


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_refusal_is_not_tried_again(world, status):
    job, net = world((0, LostError(status, **{"X-Error-Code": "GatedRepo"})))
    line = failure(job)
    assert (line["kind"], line["status"]) == ("http", status)
    assert line["headers"] == {"X-Error-Code": "GatedRepo"}
    assert net.sleeps == []


def test_a_disk_without_room_is_told_before_anything_is_fetched(world):
    job, net = world(free=len(CONTENT) - 1)
    line = failure(job)
    assert (line["kind"], line["need"], line["free"]) == ("room", len(CONTENT), len(CONTENT) - 1)
    assert net.asked == []


def test_what_is_there_already_needs_no_room(world):
    job, _ = world((1000, LostError(404)), free=len(CONTENT))
    failure(job)
    job, _ = world(free=len(CONTENT) - 1000)
    done(job)


def test_a_disk_that_fills_up_meanwhile(world):
    job, net = world((1000, OSError(errno.ENOSPC, "No space left on device")))
    assert failure(job)["kind"] == "full"
    assert net.sleeps == []


def test_a_cache_that_may_not_be_written(world):
    job, _ = world((0, PermissionError(errno.EACCES, "Permission denied", "/cache/x")))
    assert failure(job) == {"event": "error", "kind": "denied", "path": "/cache/x"}


def test_the_same_bytes_under_two_names_come_once(world, tmp_path):
    job, net = world()
    job["files"].append({**job["files"][0], "name": "copy.safetensors"})
    done(job)
    assert len(net.asked) == 1
    assert len(list(stored(tmp_path).glob("snapshots/*/*"))) == 2


def test_a_mirror_without_digests_says_them_in_the_etag(world, monkeypatch):
    job, _ = world()
    job["files"][0]["digest"] = ""
    answer = type("Metadata", (), {"etag": SHA})
    monkeypatch.setattr(huggingface_hub, "get_hf_file_metadata", lambda *_, **__: answer)
    done(job)
    job["files"][0]["digest"] = ""
    done(job)
    answer.etag = "W/x"
    job["files"] = [{"name": "other.safetensors", "size": 3, "digest": ""}]
    assert failure(job)["kind"] == "mirror"


def test_beyond_what_http_gives_the_hub_s_own_way_is_taken(world, monkeypatch, tmp_path):
    job, net = world()
    monkeypatch.setattr(download, "HTTP_MOST", 1)

    def by_xet(model, name, *, cache_dir, **_):
        path = cache_dir / "models--org--m/snapshots" / COMMIT / name
        path.parent.mkdir(parents=True)
        path.write_bytes(CONTENT)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", by_xet)
    done(job)
    assert net.asked == []


def test_into_a_folder_nothing_but_the_files(world, tmp_path):
    job, _ = world(folder=str(tmp_path / "bundle"))
    done(job)
    names = [path.name for path in (tmp_path / "bundle").iterdir() if path.name[0] != "."]
    assert names == ["model.safetensors"]


def test_offline_it_looks_and_says_what_is_missing(world):
    job, net = world(offline=True)
    assert failure(job)["files"] == ["model.safetensors"]
    del job["offline"]
    done(job)
    job["offline"], job["files"][0]["digest"] = True, ""
    done(job)
    assert len(net.asked) == 1


def test_offline_a_file_is_known_by_the_digest_that_names_it(world, tmp_path):
    job, _ = world()
    done(job)
    job["offline"], job["files"][0]["digest"] = True, ""
    (stored(tmp_path) / "blobs" / SHA).write_bytes(b"?" * len(CONTENT))
    assert failure(job)["kind"] == "missing"
