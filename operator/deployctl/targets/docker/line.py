"""A line to a Docker engine on another host: one ssh connection, of the system's own ssh, so that
its configuration, agent and known hosts count. Over it go the engine's socket and ports of that
host's loopback. It ends with this process, also where that is killed.
"""

import atexit
import contextlib
import re
import shlex
import shutil
import socket
import subprocess
import tempfile
import threading
from functools import cache, cached_property
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from deployctl.errors import DockerError
from deployctl.targets.docker.commands import INSTALL_HINT
from deployctl.targets.docker.translate import last_line

CONNECT_S, ANSWER_S, END_S = 10, 40.0, 5.0
_OPTIONS = {
    "BatchMode": "yes",  # nobody answers a question
    "ConnectTimeout": str(CONNECT_S),
    "ServerAliveInterval": "15",
    "ServerAliveCountMax": "4",
    "ControlMaster": "yes",
    "ControlPersist": "no",
    # What ~/.ssh/config has for who logs in there: a command besides ours, and a terminal, whose
    # line ends are others.
    "RemoteCommand": "none",
    "RequestTTY": "no",
}
_READY = "deployctl-ready"
# Where its engine is, for who logs in there; then it waits for us to end.
_REMOTE = (
    "docker version --format '{{.Server.Version}}' && "
    "docker context inspect --format '{{.Endpoints.docker.Host}}' && "
    f"echo {_READY} && cat >/dev/null"
)
# No word of it begins as an option does, or has what a shell reads: a ProxyCommand of ~/.ssh/config
# is one's. A host may be a name of that file, large or small.
_CHARACTER = r"[^\s@/:\[\]'\"`$\\;&<>|(){}\x00-\x1f\x7f]"
_ADDRESS = re.compile(
    rf"ssh://(?:(?P<user>(?!-)(?:{_CHARACTER}|\\)+)@)?"
    rf"(?:\[(?P<six>[0-9A-Fa-f:.]+)\]|(?P<host>(?!-){_CHARACTER}+))(?::(?P<port>[0-9]{{1,5}}))?/?"
)
_TRIES = 5  # for a port that is free here


class SshHost(NamedTuple):
    """Where ssh goes: `ssh://user@host:port`."""

    host: str
    user: str | None
    port: int | None

    @classmethod
    def of(cls, url: str) -> "SshHost":
        """Reads an address.

        Raises:
            DockerError: it is none.
        """
        found = _ADDRESS.fullmatch(url)
        if found is None:
            raise DockerError(
                "this names no host to reach by ssh", hint="write ssh://USER@HOST, or ssh://HOST"
            )
        port = found["port"]
        return cls(found["six"] or found["host"], found["user"], int(port) if port else None)

    def words(self) -> list[str]:
        """As arguments of ssh."""
        user = ["-l", self.user] if self.user else []
        port = ["-p", str(self.port)] if self.port else []
        return [*user, *port, "--", self.host]

    def by_hand(self) -> str:
        """As a person types it."""
        port = f"-p {self.port} " if self.port else ""
        return f"ssh {port}" + (f"{self.user}@" if self.user else "") + self.host

    def known(self) -> str:
        """As a shell's word, what known_hosts calls it."""
        usual = self.port in (None, 22)
        return self.host if usual else shlex.quote(f"[{self.host}]:{self.port}")

    def __str__(self) -> str:
        user = f"{self.user}@" if self.user else ""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{user}{host}" + (f":{self.port}" if self.port else "")


class Line:
    """An open line. Methods raise DockerError and nothing else."""

    def __init__(self, to: SshHost) -> None:
        self.to = to
        self._folder = Path(tempfile.mkdtemp(prefix="deployctl-"))  # short: a socket's path is
        self._child = _start(self._folder, to)
        atexit.register(self.close)
        self._ports: dict[int, int] = {}
        self._lock = threading.Lock()
        try:
            far = self._greeting()
            self.socket = self._folder / "docker.sock"
            self._forward(f"{self.socket}:{far}")
        except BaseException:
            self.close()
            raise

    def port(self, far: int) -> int:
        """The port of this machine that leads to a port of the other's loopback."""
        with self._lock:
            if far not in self._ports:
                self._ports[far] = self._forwarded(far)
            return self._ports[far]

    def environment(self) -> dict[str, str]:
        """By which the `docker` command takes the same way."""
        return {"DOCKER_HOST": f"unix://{self.socket}", "DOCKER_CONTEXT": ""}

    def tunnel(self, far: int) -> str:
        """The command by which a person has the same port here."""
        return shlex.join(["ssh", "-N", "-L", f"{far}:127.0.0.1:{far}", *self.to.words()])

    @cached_property
    def hostname(self) -> str:
        """The name that ssh has for it: what a name of ~/.ssh/config stands for, DNS does not
        know."""
        words = ["ssh", "-G", *self.to.words()]
        try:
            said = subprocess.run(
                words, capture_output=True, text=True, timeout=CONNECT_S, check=False
            ).stdout
        except (OSError, subprocess.TimeoutExpired):
            return self.to.host
        found = re.search(r"^hostname (\S+)$", said, re.MULTILINE)
        return found[1] if found else self.to.host

    def close(self) -> None:
        """Ends it; fine where it has ended."""
        atexit.unregister(self.close)
        with contextlib.suppress(OSError):
            if self._child.stdin:
                self._child.stdin.close()  # the command there ends, and ssh with it
        try:
            self._child.wait(END_S)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()
        for stream in (self._child.stdout, self._child.stderr):
            if stream:
                stream.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _greeting(self) -> str:
        """What the other host says before all else: the path of its engine's socket."""
        child = self._child
        assert child.stdout is not None
        assert child.stderr is not None
        late = threading.Timer(ANSWER_S, child.kill)
        late.start()
        lines: list[str] = []
        try:
            for line in child.stdout:
                if line.strip() == _READY:
                    break
                lines.append(line.strip())
            else:
                said = child.stderr.read()
                raise _refused(self.to, child.wait(), said)
        finally:
            late.cancel()
        far = urlsplit(lines[-1] if lines else "")
        if far.scheme != "unix" or not far.path:
            raise DockerError(
                "the Docker engine of that host listens on no socket there",
                where=str(self.to),
                hint=f"its context names {lines[-1] if lines else 'nothing'}; docker context use "
                "default, there",
            )
        return far.path

    def _forwarded(self, far: int) -> int:
        for left in range(_TRIES, 0, -1):
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                here: int = probe.getsockname()[1]
            try:
                self._forward(f"127.0.0.1:{here}:127.0.0.1:{far}")
                return here
            except DockerError:
                if left == 1:
                    raise
        raise AssertionError("the last try returns or raises")

    def _forward(self, what: str) -> None:
        control = f"ControlPath={self._folder / 'control'}"
        words = ["ssh", "-o", control, "-O", "forward", "-L", what, *self.to.words()]
        try:
            done = subprocess.run(
                words,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=ANSWER_S,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise DockerError(f"ssh does not forward: {error}", where=str(self.to)) from error
        if done.returncode != 0:
            raise DockerError(
                f"ssh does not forward: {last_line(done.stderr)}",
                where=str(self.to),
                hint="its sshd_config has to say AllowTcpForwarding and AllowStreamLocalForwarding "
                "yes, which is their default",
            )


@cache
def line_to(url: str) -> Line:
    """The line to an engine: one in a process.

    Raises:
        DockerError: ssh does not get there, or the engine there does not let us in.
    """
    return Line(SshHost.of(url))


def _start(folder: Path, to: SshHost) -> "subprocess.Popen[str]":
    """In a session of its own, so that a Ctrl-C reaches us alone."""
    options = {**_OPTIONS, "ControlPath": str(folder / "control")}
    words = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
    try:
        return subprocess.Popen(
            ["ssh", *words, *to.words(), _REMOTE],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            start_new_session=True,
        )
    except OSError as error:
        shutil.rmtree(folder, ignore_errors=True)
        raise DockerError(
            f"cannot run ssh: {error.strerror}", hint="install OpenSSH's client"
        ) from error


_SAID = (
    (
        r"REMOTE HOST IDENTIFICATION HAS CHANGED",
        "its host key is another than the one that is known",
        "find out why; if it was made anew: ssh-keygen -R {known}, then {ssh}",
    ),
    (
        r"Host key verification failed",
        "its host key is not known",
        "log in once by hand, and compare the fingerprint: {ssh}",
    ),
    (
        r"Could not resolve hostname",
        "there is no host of that name",
        "check --host, or the Host entries of ~/.ssh/config",
    ),
    (
        r"[Cc]onnection (refused|timed out|reset|closed)|No route to host|Network is unreachable",
        "the host does not answer",
        "is it up, and does sshd run there? {ssh}",
    ),
    (
        r"permission denied.*[Dd]ocker|[Dd]ocker.*permission denied",
        "that user may not use Docker there",
        "there: sudo usermod -aG docker $USER, and log in again",
    ),
    (
        r"Permission denied|Too many authentication failures",
        "ssh does not let us in",
        "have the key in an agent (ssh-add), or name it in ~/.ssh/config; nobody is asked for a "
        "password: {ssh}",
    ),
    (
        r"docker: (command )?not found|not found: docker|docker.*No such file",
        "there is no docker command on that host",
        INSTALL_HINT,
    ),
    (
        r"Cannot connect to the Docker daemon|Is the docker daemon running|connect: ",
        "Docker is not running on that host",
        "start it there: sudo systemctl start docker",
    ),
)


def _refused(to: SshHost, code: int, said: str) -> DockerError:
    """Why there is no line, in our words."""
    for pattern, message, hint in _SAID:
        if re.search(pattern, said):
            hint = hint.format(known=to.known(), ssh=to.by_hand())
            return DockerError(message, where=f"ssh://{to}", hint=hint)
    if code < 0:
        message = f"the host did not answer in {ANSWER_S:.0f} s"
    else:
        message = f"ssh ended: {last_line(said) or f'exit code {code}'}"
    return DockerError(
        message, where=f"ssh://{to}", hint=f"try it by hand: {to.by_hand()} docker version"
    )
