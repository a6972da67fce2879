"""Starts a command and never waits longer than told, whatever the command does."""

import contextlib
import os
import shlex
import signal
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, TypeVar

T = TypeVar("T")
# Whatever ~/.ssh/config has for who logs in there by hand: a command of its own, and a terminal.
_OPTIONS = ("BatchMode=yes", "ConnectTimeout=8", "RemoteCommand=none", "RequestTTY=no")
_SSH = ("ssh", *(word for option in _OPTIONS for word in ("-o", option)), "--")
_NOT_FOUND = 127  # what a shell says of a command that is not installed


class Ran(NamedTuple):
    """What a command did. `code` is None when it is not installed or did not end in time."""

    code: int | None
    out: str = ""
    err: str = ""
    hung: bool = False

    @property
    def text(self) -> str:
        """Both outputs: nvidia-smi complains on stdout, others on stderr."""
        return f"{self.out}\n{self.err}".strip()

    @property
    def lines(self) -> list[str]:
        """The lines of both outputs; an empty one where there are none."""
        return self.text.splitlines() or [""]


Run = Callable[[Sequence[str], float], Ran]


def run(argv: Sequence[str], timeout_s: float) -> Ran:
    """Runs `argv` without a shell, in the C locale; kills it and its children after `timeout_s`.

    A process stuck in the kernel (a broken GPU does that) cannot be killed: it is left behind.
    """
    try:
        process = subprocess.Popen(
            list(argv),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            env={**os.environ, "LC_ALL": "C"},
        )
    except OSError as error:
        return Ran(None, err=error.strerror or str(error))
    try:
        out, err = process.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        with contextlib.suppress(OSError):
            os.killpg(process.pid, signal.SIGKILL)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.communicate(timeout=1)
        for stream in (process.stdout, process.stderr):
            if stream:
                stream.close()
        return Ran(None, err=f"no answer in {timeout_s:.0f} s", hung=True)
    return Ran(process.returncode, out.decode("utf-8", "replace"), err.decode("utf-8", "replace"))


def away(environ: Mapping[str, str]) -> bool:
    """Whether the Docker engine is on another machine that can be asked: by ssh."""
    return _address(environ).startswith("ssh://")


def _address(environ: Mapping[str, str]) -> str:
    from deployctl.targets.docker.address import docker_host  # most verbs ask for no engine

    return docker_host(environ)


def there(run: Run, environ: Mapping[str, str]) -> Run:
    """What runs a command where the Docker engine is: by ssh, where its address says so."""
    if not away(environ):
        return run
    words = [*_SSH, _address(environ)]

    def asked(argv: Sequence[str], timeout_s: float) -> Ran:
        ran = run([*words, shlex.join(argv)], timeout_s)
        return ran._replace(code=None) if ran.code == _NOT_FOUND else ran

    return asked


def bounded(work: Callable[[], T], timeout_s: float, otherwise: T) -> T:
    """Returns what `work` returns, or `otherwise` when it raises or takes longer.

    For what has no time limit of its own: name resolution, a dead network file system.
    """
    box: list[T] = []

    def body() -> None:
        with contextlib.suppress(Exception):
            box.append(work())

    thread = threading.Thread(target=body, daemon=True)
    thread.start()
    thread.join(timeout_s)
    return box[0] if box else otherwise
