"""What vLLM's log says: which phase its start is in, and why it failed.

The patterns are in deploy/engines/vllm-log.yaml.
"""

import re
from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

from deployctl import assets


class Phase(NamedTuple):
    """A stage of the start-up. `key` is stable; `title` is for people."""

    key: str
    title: str


class Diagnosis(NamedTuple):
    """An engine's failure in plain words."""

    message: str
    hint: str
    line: str = ""  # the engine's own words


# "(Worker pid=1) ERROR 11-24 08:17:05 [core.py:1510] " before what is said
_PREFIX = re.compile(r"^(?:\([^)]*\)\s)?(?:[A-Z]+ \d\d-\d\d [\d:]+ \[[^\]]*\] ?)?")
_ERROR = re.compile(r"(?:[\w.]*(?:Error|Exception|Interrupt))(?::|$)")
# Errors that only say that another process of the engine failed.
_ECHOES = re.compile(
    r"Engine core initialization failed|Worker failed with error|WorkerProc initialization failed|"
    r"EngineDeadError|Engine process failed to start"
)
_NOISE = re.compile(
    r"\s|$|Traceback \(most|During handling|The above exception|nanobind:|See https?://|"
    r".*resource_tracker|\^+$|\[rank\d+\]:\s*$|\[shutdown\]|Parent process exited"
)
# v1/engine/core.py logs it when the start-up has failed, and the process should end.
_GIVEN_UP = re.compile(r"EngineCore failed to start")
_TURN = re.compile(r"deployctl: (the engine waits for its turn|it is the engine's turn)")


def given_up(line: str) -> bool:
    """Tells whether a log line says that the start has failed, whatever still runs."""
    return _GIVEN_UP.search(line) is not None


def waits_for_turn(lines: Sequence[str]) -> bool:
    """Tells whether the last word is that another engine loads on its card first, as the engine's
    watchdog says it (deploy/door/engine_watchdog.py)."""
    said = [line for line in lines if _TURN.match(line)]
    return bool(said) and "waits" in said[-1]


def phase(line: str) -> Phase | None:
    """Tells which phase a log line announces, or None."""
    for pattern, entry in reversed(_patterns("phases")):
        if pattern.search(line):
            return Phase(entry["key"], entry["title"])
    return None


def diagnose(lines: Sequence[str]) -> Diagnosis | None:
    """Finds the cause of a failure in the engine's last lines, oldest first."""
    for pattern, entry in _patterns("failures"):
        for line in lines:
            match = pattern.search(line)
            if match:
                message = entry["message"].format(*match.groups())
                return Diagnosis(message, entry["hint"], _said(line))
    errors = [said for said in map(_said, lines) if _ERROR.match(said)]
    causes = [said for said in errors if not _ECHOES.search(said)] or errors
    if not causes:
        return None
    return Diagnosis(causes[-1], "see the engine's log for the details", causes[-1])


def tail(lines: Sequence[str], count: int) -> list[str]:
    """The last `count` lines that say something: no frames of tracebacks, no noise at exit."""
    return [line for line in lines if not _NOISE.match(_said(line))][-count:]


def _said(line: str) -> str:
    """What a line says, without the process, level, time and source before it."""
    return _PREFIX.sub("", line, count=1)


@cache
def _patterns(part: str) -> tuple[tuple[re.Pattern[str], dict[str, Any]], ...]:
    entries = assets.table("deploy", "engines", "vllm-log.yaml")[part]
    return tuple((re.compile(entry["line"]), entry) for entry in entries)
