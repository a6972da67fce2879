"""An engine's carriers that are all memory, and whose user can be killed between any two steps."""

import io
import tarfile
from datetime import UTC, datetime, timedelta

from deployctl.errors import DockerError
from deployctl.targets.docker.carriers import Carrier


class Killed(BaseException):
    """What kill -9 would be: nothing is done any more, not even in a finally."""


class MemoryCarriers:
    """Containers that are never started, and volumes. After `fuse` changes of theirs whoever uses
    them is killed, in the middle of a write where that is the next. After `room` writes their disk
    is full."""

    def __init__(self):
        self.made = {}  # name -> [Carrier, files by path, {volume: where it is mounted}]
        self.volumes_made = {}  # name -> [labels, files by name]
        self.secrets = {}  # container id -> what an engine has at /run/secrets, or what tells it
        self.clock = datetime(2026, 11, 24, 7, tzinfo=UTC)
        self.fuse = None
        self.killed = False
        self.settled = []  # what was on the disk for good, and what it was then
        self.room = None
        self._count = 0

    def alive(self):
        """Another process comes, half a minute later."""
        self.fuse, self.killed = None, False
        self.clock += timedelta(seconds=31)

    def prune(self):
        """`docker container prune`: what was never started goes."""
        self.made.clear()

    def create(self, name, labels, mounts=None):
        if name in self.made:
            return None
        self._write_something()
        self._count += 1
        for volume in mounts or {}:
            self.volumes_made.setdefault(volume, [{}, {}])
        carrier = Carrier(f"id{self._count}", dict(labels), self.clock)
        self.made[name] = [carrier, {}, dict(mounts or {})]
        return carrier

    def find(self, name):
        found = self._found(name)
        return found[0] if found else None

    def remove(self, name):
        self.step()
        for known, (carrier, *_) in list(self.made.items()):
            if name in (known, carrier.id):
                del self.made[known]

    def read(self, name, path):
        if path == "/run/secrets":
            told = self.secrets.get(name)
            return told() if callable(told) else told
        found = self._found(name)
        if found is None:
            return None
        files, prefix = self._files(found, path)
        if prefix in files:
            return {"": files[prefix]}
        return dict(files) if prefix == "" else None

    def write(self, name, folder, files, now=0):
        there, _ = self._files(self._found(name), folder)
        for file, content in files.items():
            path = file if folder != "/" else f"/{file}"
            if 0 in (self.fuse, self.room):
                there[path] = content[: len(content) // 2]
            self._write_something()
            there[path] = content

    def settle(self, volume, file):
        self.settled.append((volume, file, self.volumes_made[volume][1][file]))

    def size(self, name, path):
        found = self.read(name, path)
        return len(found[""]) if found else None

    def stream(self, name, folder, tar):
        with tarfile.open(fileobj=io.BytesIO(b"".join(tar))) as packed:
            for entry in packed:
                self.write(name, folder, {entry.name: packed.extractfile(entry).read()})

    def volumes(self, label):
        self._look()
        return {name: kept[0] for name, kept in self.volumes_made.items() if label in kept[0]}

    def volume(self, name):
        self._look()
        return self.volumes_made[name][0] if name in self.volumes_made else None

    def make_volume(self, name, labels):
        if name not in self.volumes_made:
            self._write_something()
        return self.volumes_made.setdefault(name, [dict(labels), {}])[0]

    def drop_volume(self, name):
        self.step()
        self.volumes_made.pop(name, None)

    def now(self):
        return self.clock

    def _found(self, name):
        self._look()
        for known, found in self.made.items():
            if name in (known, found[0].id):
                return found
        return None

    def _files(self, found, path):
        _, own, mounts = found
        for volume, where in mounts.items():
            if f"{path}/".startswith(f"{where}/"):
                return self.volumes_made[volume][1], path[len(where) + 1 :]
        return own, path

    def _look(self):
        if self.killed:
            raise Killed

    def _write_something(self):
        self.step()
        if self.room == 0:
            raise DockerError("Docker refuses: no space left on device")
        if self.room is not None:
            self.room -= 1

    def step(self):
        self._look()
        if self.fuse == 0:
            self.killed = True
            raise Killed
        if self.fuse is not None:
            self.fuse -= 1
