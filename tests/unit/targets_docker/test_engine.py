"""Where the Docker engine is, and what is said when it is not there."""

import io
import os
import select
import subprocess
import tarfile
from unittest.mock import Mock

import pytest
from docker.errors import NotFound

from deployctl.errors import DockerError
from deployctl.targets.docker import commands
from deployctl.targets.docker.address import Address, find
from deployctl.targets.docker.carriers import Carriers, archive
from deployctl.targets.docker.engine import DockerEngine, connect
from deployctl.targets.docker.translate import unreachable


def answering(text):
    return lambda words, environment: commands.Result(0, text + "\n", "")


@pytest.mark.parametrize(
    ("environment", "context", "url", "remote", "hostname"),
    [
        ({}, "unix:///var/run/docker.sock", "unix:///var/run/docker.sock", False, "127.0.0.1"),
        ({}, "ssh://ops@gpu1", "ssh://ops@gpu1", True, "gpu1"),
        ({"DOCKER_HOST": "tcp://10.0.0.7:1"}, "unix:///x", "tcp://10.0.0.7:1", True, "10.0.0.7"),
        ({"DOCKER_HOST": "tcp://[fd00::1]:2376"}, "", "tcp://[fd00::1]:2376", True, "fd00::1"),
        ({"DOCKER_HOST": "unix:///run/me.sock"}, "", "unix:///run/me.sock", False, "127.0.0.1"),
        # With both it is said by the docker command which it is.
        ({"DOCKER_HOST": "tcp://a:1", "DOCKER_CONTEXT": "b"}, "ssh://b", "ssh://b", True, "b"),
        ({}, "", "unix:///var/run/docker.sock", False, "127.0.0.1"),
    ],
)  # fmt: skip
def test_find(environment, context, url, remote, hostname):
    assert find(environment, answering(context)) == (url, remote, hostname)


@pytest.mark.parametrize("url", ["tcp://[::1", "tcp://h:port", "tcp://me:word@h:99999"])
def test_what_is_no_address_is_refused(url):
    with pytest.raises(DockerError, match="names no engine") as caught:
        find({"DOCKER_HOST": url}, answering(""))
    assert "word" not in caught.value.where


def test_a_context_that_there_is_none_of_is_not_this_machines_engine():
    """clean removed images there, and status told of services."""
    said = 'context "gpu1": context not found: open /home/ann/.docker/contexts/meta.json: no such'
    with pytest.raises(DockerError, match=r'"gpu1": context not found$') as caught:
        find({"DOCKER_CONTEXT": "gpu1"}, lambda *_: commands.Result(1, "\n", said))
    assert "docker context ls" in caught.value.hint


def test_no_engine_there(tmp_path):
    with pytest.raises(DockerError, match="Docker is not running") as caught:
        connect(find({"DOCKER_HOST": f"unix://{tmp_path}/none.sock"}, answering("")))
    assert caught.value.where.endswith("none.sock")
    assert caught.value.__cause__ is not None


@pytest.mark.parametrize(
    ("url", "first"), [("tcp://10.0.0.7:2375", (5, 60)), ("https://h:2376", (5, 60)), ("fd://", 60)]
)
def test_an_address_at_which_nobody_answers_is_found_out_in_seconds(monkeypatch, url, first):
    """The SDK waited a minute to be let in. What it does later adds to its number."""
    client = Mock()
    monkeypatch.setattr("docker.from_env", made := Mock(return_value=client))
    connect.__wrapped__(Address(url, remote=True, hostname="h"))
    assert made.call_args.kwargs["timeout"] == first
    assert client.api.timeout == 60


def test_one_that_does_not_answer_is_said_in_our_words():
    said = "HTTPConnectionPool(host='h'): Connection to h timed out. (connect timeout=5)"
    assert unreachable(said, "tcp://h:2375").message == "the Docker engine does not answer"


def test_no_docker_command(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DockerError, match="docker is not installed") as caught:
        commands.run(["docker", "version"], {})
    assert "docs.docker.com" in caught.value.hint


def test_a_command_is_heard_out():
    script = "echo $WORD; echo loud >&2; exit 3"
    assert commands.run(["sh", "-c", script], {"WORD": "out"}) == (3, "out\n", "loud\n")


def test_an_interrupt_ends_the_command_and_its_children(monkeypatch):
    grandchildren = []

    def interrupted(child, *args, **kwargs):
        grandchildren.append(int(child.stdout.readline()))
        raise KeyboardInterrupt

    monkeypatch.setattr(subprocess.Popen, "communicate", interrupted)
    with pytest.raises(KeyboardInterrupt):
        commands.run(["sh", "-c", "sleep 300 & echo $!; wait"], {})
    assert _ends(grandchildren[0])


def _ends(pid):
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([descriptor], [], [], 5)[0])  # readable once it has ended
    finally:
        os.close(descriptor)


def test_a_file_that_is_written_anew_has_another_time():
    def times(now):
        with tarfile.open(fileobj=io.BytesIO(archive({"api_key": b"k", "x/y": b""}, now))) as tar:
            return {entry.name: (entry.mtime, entry.mode, entry.size) for entry in tar}

    assert times(1000.25) == {"api_key": (1000.25, 0o444, 1), "x/y": (1000.25, 0o444, 0)}
    assert times(1000.5)["api_key"] != times(1000.25)["api_key"]


@pytest.mark.parametrize("there", [True, False])
def test_what_cannot_be_removed_from_a_volume_is_written_over(there):
    """Through a container that is never started nothing can be removed."""
    volume = {"api_key": b"former", **({"keys.json": b"former"} if there else {})}
    DockerEngine(Docker(volume), Address("ssh://ops@gpu1", True, "gpu1")).write_volume(
        "v", "image", {"api_key": b"new"}, in_place_of={"keys.json": b"none"}
    )
    assert volume == {"api_key": b"new", **({"keys.json": b"none"} if there else {})}


class Docker:
    """A client whose every container is a carrier of the same volume."""

    def __init__(self, volume):
        self.containers = self
        self._volume = volume

    def create(self, image, **options):
        return self

    def get_archive(self, path):
        if path.rpartition("/")[2] not in self._volume:
            raise NotFound(path)
        return iter([]), {}

    def put_archive(self, path, data):
        with tarfile.open(fileobj=io.BytesIO(data)) as tar:
            self._volume.update({each.name: tar.extractfile(each).read() for each in tar})

    def remove(self, *, force):
        pass


def test_no_permission():
    error = unreachable("PermissionError(13, 'Permission denied')", "unix:///var/run/docker.sock")
    assert "may not use Docker" in error.message
    assert "usermod" in error.hint


def test_what_is_written_to_a_volume_of_this_machine_is_on_its_disk(tmp_path, monkeypatch):
    """File and folder; of a disk that is not here, or not ours to open, nobody can tell."""
    (tmp_path / "1").write_bytes(b"keys")
    synced = []
    monkeypatch.setattr(os, "fsync", lambda file: synced.append(os.fstat(file).st_ino))
    client = Mock()
    client.volumes.get.return_value.attrs = {"Mountpoint": str(tmp_path)}
    carriers = Carriers(client, "unix:///x")
    carriers.settle("deployctl-tiny_keys", "1")
    assert synced == [path.stat().st_ino for path in (tmp_path / "1", tmp_path)]
    client.volumes.get.return_value.attrs = {"Mountpoint": "/none/here"}
    carriers.settle("deployctl-tiny_keys", "1")
    client.volumes.get.side_effect = NotFound("no such volume")
    carriers.settle("deployctl-tiny_keys", "1")
    assert len(synced) == 2
