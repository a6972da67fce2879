"""An sshd on loopback, with keys and settings in a folder of the test, and an `ssh` that knows no
other: nobody's own keys, agent or known hosts are used.
"""

import os
import shutil
import subprocess
import time
from getpass import getuser
from pathlib import Path

from tests.e2e.docker_parts import Cli

import ports

SSHD = "/usr/sbin/sshd"
ALIAS = "a-name-that-ssh-alone-knows"  # and no DNS
PATIENCE_S = 60.0
# Whoever logs in may do nothing with Docker: as `nobody`, with no group.
NO_RIGHTS = (
    'ForceCommand setpriv --reuid 65534 --regid 65534 --clear-groups sh -c "$SSH_ORIGINAL_COMMAND"'
)


def missing():
    """Why there can be none, or None."""
    absent = [each for each in ("ssh", "ssh-keygen", SSHD) if shutil.which(each) is None]
    if absent:
        return f"needs {', '.join(absent)} (Debian: openssh-server)"
    return None if os.geteuid() == 0 else "sshd on a test's own keys needs root here"


class Sshd:
    """One that listens, until `stop`: at an address of this machine, or, started by `inside`, of
    another."""

    def __init__(self, folder, *more, address="127.0.0.1", inside=()):
        folder.mkdir()
        self.folder, self.address, self.port = folder, address, ports.free()
        self.url = f"ssh://{getuser()}@{ALIAS}:{self.port}"
        for name in ("host", "client"):
            self._key(name)
        shutil.copy(folder / "client.pub", folder / "authorized")
        self.know("host")
        self._write("sshd_config", [
            f"Port {self.port}", f"ListenAddress {address}", f"HostKey {folder}/host",
            f"AuthorizedKeysFile {folder}/authorized", "PasswordAuthentication no",
            "StrictModes no", "UsePAM no", f"PidFile {folder}/pid", *more,
        ])  # fmt: skip
        self._write("ssh_config", [
            f"Host {ALIAS}", f"HostName {address}",
            "Host *", f"IdentityFile {folder}/client", "IdentitiesOnly yes", "IdentityAgent none",
            f"UserKnownHostsFile {folder}/known", "GlobalKnownHostsFile /dev/null",
        ])  # fmt: skip
        ssh = folder / "bin" / "ssh"
        ssh.parent.mkdir()
        ssh.write_text(f'#!/bin/sh\nexec {shutil.which("ssh")} -F {folder}/ssh_config "$@"\n')
        ssh.chmod(0o755)
        Path("/run/sshd").mkdir(exist_ok=True)  # where it separates privileges
        with (folder / "log").open("wb") as log:
            words = [*inside, SSHD, "-D", "-e", "-f", folder / "sshd_config"]
            self._process = subprocess.Popen(words, stderr=log, stdin=subprocess.DEVNULL)
        end = time.monotonic() + PATIENCE_S
        while b"Server listening" not in (folder / "log").read_bytes():
            assert self._process.poll() is None, (folder / "log").read_text()
            assert time.monotonic() < end
            time.sleep(0.05)

    @property
    def environment(self):
        """By which a program finds that ssh."""
        return {"PATH": f"{self.folder / 'bin'}{os.pathsep}{os.environ['PATH']}"}

    def know(self, name):
        """Has clients take a key for that of the host."""
        kind, key, *_ = (self.folder / f"{name}.pub").read_text().split()
        self._write("known", [f"[{self.address}]:{self.port} {kind} {key}"])

    def stop(self):
        self._process.terminate()
        self._process.wait(PATIENCE_S)

    def _key(self, name):
        words = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.folder / name]
        subprocess.run(words, check=True, timeout=PATIENCE_S)

    def _write(self, name, lines):
        (self.folder / name).write_text("\n".join(lines) + "\n")


def on(host, state):
    """deployctl as a user runs it who has that host for Docker."""
    cli = Cli(state)
    cli.environment |= {**host.environment, "DEPLOYCTL_HOST": host.url}
    return cli
