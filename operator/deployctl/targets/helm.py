"""Runs the helm binary: the only home of it. Its errors become ours."""

import re
import shutil
import subprocess
from pathlib import Path

from deployctl.errors import InputError, TargetError

_PROGRAM = "helm"
_SECONDS = 60
_FAILED = re.compile(r"execution error at \([^)]*\): (?P<message>.*)", re.DOTALL)


def template(chart: Path, values: str, *, name: str, namespace: str) -> str:
    """Fills in a chart with the text of a values file, and returns every object.

    Tests' pods are left out: they are Helm's own business.

    Raises:
        TargetError: there is no helm, or it failed.
        InputError: the chart refuses the values; the message is the chart's.
    """
    program = shutil.which(_PROGRAM)
    if program is None:
        raise TargetError(
            "there is no helm command, and plain manifests are what the chart gives",
            hint="install Helm 3.18 or newer, or use --target helm, which needs none",
        )
    argv = [program, "template", name, str(chart), "--namespace", namespace]
    argv += ["--values", "-", "--skip-tests"]
    try:
        done = subprocess.run(argv, input=values, capture_output=True, text=True, timeout=_SECONDS)
    except (OSError, subprocess.TimeoutExpired) as error:
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
    return TargetError(f"helm failed: {last}", hint="try `helm version`: 3.18 or newer is needed")
