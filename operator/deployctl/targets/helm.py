"""Runs the helm binary: the only home of it. Its errors become ours."""

import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

from deployctl.errors import InputError, TargetError
from deployctl.targets import webhooks
from deployctl.targets.history import KEPT
from deployctl.units import duration

_PROGRAM = "helm"
_SECONDS = 60
_UNINSTALL_S = 180  # a pod has its grace period to end
_AT_ONCE = threading.BoundedSemaphore(4)  # each keeps a core busy for a second
_FAILED = re.compile(r"execution error at \([^)]*\): (?P<message>.*)", re.DOTALL)


_AWAY = re.compile(
    r"connection refused|connection reset|connection lost|cluster unreachable|i/o timeout|\bEOF\b|"
    r"TLS handshake timeout|etcdserver|currently unable|unable to return a response|"
    r"Client.Timeout exceeded|ServiceUnavailable|apiserver not ready",
    re.IGNORECASE,
)
# Runs a program that is killed with us: one that went on would work against the next deployctl.
_PR_SET_PDEATHSIG, _SIGKILL = 1, 9  # include/uapi/linux/prctl.h
_LEASH = (
    "import ctypes, os, sys; "
    f"ctypes.CDLL(None).prctl({_PR_SET_PDEATHSIG}, {_SIGKILL}, 0, 0, 0); "
    "os.getppid() == int(sys.argv[1]) or sys.exit(1); "
    "os.execv(sys.argv[2], sys.argv[2:])"
)


class AwayError(TargetError):
    """The API server did not answer Helm; it may do so in a moment."""


def template(chart: Path, values: str, *, name: str, namespace: str) -> str:
    """Fills in a chart with the text of a values file, and returns every object.

    Tests' pods are left out: they are Helm's own business.

    Raises:
        TargetError: there is no helm, or it failed.
        InputError: the chart refuses the values; the message is the chart's.
    """
    words = ["template", name, str(chart), "--namespace", namespace]
    return _run([*words, "--values", "-", "--skip-tests"], values)


def upgrade(
    chart: Path, values: str, *, name: str, where: Sequence[str], labels: Mapping[str, str]
) -> None:
    """Installs a chart, or takes an installed one to these values; returns before pods are there.

    `where` are the flags that name cluster and namespace; `labels` are the Helm release's own.

    Raises:
        TargetError: there is no helm, or it failed.
        InputError: the chart refuses the values.
    """
    told = ",".join(f"{key}={value}" for key, value in labels.items())
    words = ["upgrade", "--install", name, str(chart), *where, "--values", "-"]
    # Helm 4 stops at a field that somebody else has set since; Helm 3 knows of no such thing.
    words += [] if is_third() else ["--force-conflicts"]
    words += ["--labels", told, "--history-max", str(KEPT), "--output", "json"]
    _run(words, values, leashed=True)


def uninstall(name: str, where: Sequence[str]) -> None:
    """Removes a release and waits until its objects are gone; fine where there is none.

    Raises:
        TargetError: there is no helm, or it failed.
    """
    words = ["uninstall", name, *where, "--ignore-not-found", "--wait"]
    words += ["--timeout", f"{_UNINSTALL_S}s"]
    _run(words, "", seconds=_UNINSTALL_S + _SECONDS, leashed=True)


def is_third() -> bool:
    """Whether it is Helm 3, which merges objects by itself and knows of no field's owner.

    Raises:
        TargetError: there is no helm, or it failed.
    """
    return _version().startswith("v3.")


@cache
def _version() -> str:
    return _run(["version", "--template", "{{.Version}}"], "")


def _run(words: list[str], values: str, *, seconds: float = _SECONDS, leashed: bool = False) -> str:
    program = shutil.which(_PROGRAM)
    if program is None:
        raise TargetError(
            "there is no helm command",
            hint="install Helm 3.18 or newer; render --target helm writes the files without it",
        )
    leash = []
    if leashed and sys.platform == "linux":
        leash = [sys.executable, "-I", "-S", "-c", _LEASH, str(os.getpid())]
    try:
        with _AT_ONCE:
            done = subprocess.run(
                [*leash, program, *words],
                input=values,
                capture_output=True,
                text=True,
                timeout=seconds,
                process_group=0,  # a Ctrl-C is ours to answer: half an upgrade helps nobody
            )
    except subprocess.TimeoutExpired as error:
        raise AwayError(
            f"helm did not end within {duration(seconds)}",
            where=program,
            hint="`kubectl get --raw /readyz` says whether the API server is there",
        ) from error
    except OSError as error:
        raise TargetError(
            f"helm did not run: {error}", where=program, hint="try `helm version`"
        ) from error
    if done.returncode == 0:
        return done.stdout
    raise _translated(done.stderr.strip())


def _translated(text: str) -> Exception:
    refused = _FAILED.search(text)
    if refused is not None:
        message = refused["message"].split("\n\nUse --debug")[0].strip()
        where, colon, rest = message.partition(": ")
        if colon and " " not in where:
            what, _, fix = rest.partition("; ")
            return InputError(what, where=f"values: {where.replace('.', '/')}", hint=fix or None)
        return InputError(message, where="values")
    if "values don't meet the specifications of the schema" in text:
        lines = [line.strip("- ") for line in text.splitlines() if line.startswith("- ")]
        return InputError("; ".join(lines) or text, where="values", hint="see chart/values.yaml")
    last = text.splitlines()[-1] if text else "no output"
    if _AWAY.search(text) and webhooks.hint(text) is None:
        hint = "`kubectl get --raw /readyz` says whether it is there"
        return AwayError(f"the API server did not answer Helm: {last}", hint=hint)
    if todo := webhooks.hint(last):
        return TargetError(f"the cluster refuses what Helm brings: {last}", hint=todo)
    return TargetError(f"helm failed: {last}", hint="try `helm version`: 3.18 or newer is needed")
