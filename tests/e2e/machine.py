"""Another machine: a network, mounts and processes of its own, among which a second Docker
engine runs as on any box, its socket, store and bridge at their usual places, and an sshd. Its
loopback is not this machine's, nor is what is published there.
"""

import os
import shutil
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.e2e.docker_parts import START_SECONDS
from tests.e2e.sshd import PATIENCE_S, Sshd

NAME = "gpu1"
TOTAL_GIB, AVAILABLE_GIB = 61, 47  # of memory, as it says
# Runs as the first process of it, and whatever runs in it ends with that one.
_BOOT = """
set -e
hostname {name}
mount --make-rprivate /
mount -t tmpfs tmpfs /run
mkdir /run/sshd
mkdir -p /var/lib/docker
mount --bind {folder}/store /var/lib/docker
mount --bind {folder}/meminfo /proc/meminfo
ip link set lo up
touch /run/ready
until ip link show {link} >/dev/null 2>&1; do sleep 0.05; done
ip addr add {address}/30 dev {link}
ip link set {link} up
until dockerd >>{folder}/dockerd.log 2>&1; do :; done  # on a busy machine its containerd is late
"""


def missing():
    """Why there can be none, or None."""
    absent = [each for each in ("ip", "unshare", "nsenter", "dockerd") if not shutil.which(each)]
    return f"needs {', '.join(absent)}" if absent else None


class Machine:
    """It runs, until `stop`; `ssh` is the way there."""

    def __init__(self, folder):
        self.folder = folder
        folder.mkdir()
        (folder / "store").mkdir()
        kib = 1024 * 1024
        lines = [f"MemTotal: {TOTAL_GIB * kib} kB", f"MemFree: {AVAILABLE_GIB * kib} kB"]
        lines += [f"MemAvailable: {AVAILABLE_GIB * kib} kB", "Buffers: 0 kB", "Cached: 0 kB"]
        (folder / "meminfo").write_text("\n".join(lines) + "\n")
        link, number = f"dct{os.getpid()}", 4 * (os.getpid() % 2**14)  # several runs at once
        ours, self.address = (f"10.217.{at >> 8}.{at & 255}" for at in (number + 1, number + 2))
        boot = _BOOT.format(name=NAME, folder=folder, address=self.address, link=f"{link}b")
        words = ["unshare", "--net", "--mount", "--uts", "--ipc", "--pid", "--fork"]
        words += ["--mount-proc", "--kill-child", "bash", "-c", boot]
        with (folder / "log").open("wb") as log:
            self._process = subprocess.Popen(words, stdout=log, stderr=log)
        try:
            self._until(lambda: self._first() and self.run("test", "-e", "/run/ready"))
            pair = ["ip", "link", "add", f"{link}a", "type", "veth"]
            _done(*pair, "peer", "name", f"{link}b", "netns", self._first())
            _done("ip", "addr", "add", f"{ours}/30", "dev", f"{link}a")
            _done("ip", "link", "set", f"{link}a", "up")
            self._until(lambda: self.run("docker", "version"))
            path = f"SetEnv PATH={folder}/bin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
            self.ssh = Sshd(folder / "sshd", path, address=self.address, inside=self._inside())
        except BaseException:
            self.stop()
            raise

    def run(self, *words):
        """What a command says there; None where it fails."""
        done = subprocess.run(
            [*self._inside(), *map(str, words)], capture_output=True, text=True, timeout=PATIENCE_S
        )
        return (done.stdout.strip() or "done") if done.returncode == 0 else None

    def docker(self, *words):
        """As docker_parts.docker, of the engine there; it is asked without ssh."""
        done = subprocess.run(
            [*self._inside(), "docker", *map(str, words)],
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def has(self, *images):
        """Brings images of this machine there."""
        with subprocess.Popen(["docker", "save", *images], stdout=subprocess.PIPE) as saving:
            load = [*self._inside(), "docker", "load", "--quiet"]
            subprocess.run(load, stdin=saving.stdout, stdout=subprocess.DEVNULL, check=True)

    def put(self, program, text):
        """A program that whoever logs in there finds first."""
        path = self.folder / "bin" / program
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)

    @contextmanager
    def listening(self, port):
        """A program of it has a port of its loopback."""
        script = f"import socket; server = socket.create_server(('127.0.0.1', {port}));"
        script += "print(1); open(0).read()"
        words = [*self._inside(), sys.executable, "-uc", script]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        with subprocess.Popen(words, **pipes) as program:
            program.stdout.readline()
            yield
            program.stdin.close()

    def clear(self):
        """Removes all but images."""
        for each in self.docker("ps", "--all", "--quiet").split():
            self.docker("rm", "--force", "--volumes", each)
        self.docker("volume", "prune", "--all", "--force")
        self.docker("network", "prune", "--force")

    def stop(self):
        """All that runs in it ends with its first process, containers too."""
        if ssh := getattr(self, "ssh", None):
            ssh.stop()
        if self._first():
            self.run("pkill", "-TERM", "-x", "dockerd")  # of its own processes: it sees no others
            with suppress(AssertionError):
                self._until(lambda: not self.run("pgrep", "-x", "dockerd"))
        self._process.kill()
        self._process.wait(PATIENCE_S)

    def _first(self):
        """The pid here of the first process there."""
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")
        return children.read_text().strip() if children.exists() else ""

    def _inside(self):
        return ["nsenter", "--target", self._first(), "--all", "--"]

    def _said(self):
        logs = (self.folder / "log", self.folder / "dockerd.log")
        return "\n".join(log.read_text()[-2000:] for log in logs if log.exists())

    def _until(self, holds):
        end = time.monotonic() + START_SECONDS
        while not holds():
            assert self._process.poll() is None, self._said()
            assert time.monotonic() < end, self._said()
            time.sleep(0.1)


def _done(*words):
    subprocess.run(words, check=True, capture_output=True, timeout=PATIENCE_S)
