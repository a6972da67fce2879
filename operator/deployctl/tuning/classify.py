"""What an engine's end means for the configuration it ran with. Pure.

A failure is the configuration's where another one might have done better. What would befall
any of them (a full disk, a taken port) is none, and ends the study instead.
"""

import re
from collections.abc import Sequence
from typing import Literal

from deployctl.engines.vllm import log
from deployctl.errors import EngineError
from deployctl.tuning.trial import Failure

_LONGEST = 400  # characters of the engine's own words
_MEMORY = re.compile(
    r"No available memory for the cache blocks|"
    r"To serve at least one request with the models?'s max seq len|"
    r"Free memory on device.*less than desired|"
    r"(?:CUDA|HIP)(?: error:)? out of memory|OutOfMemoryError|cudaErrorMemoryAllocation|"
    r"oom-kill|can't allocate memory|\bMemoryError\b|"
    r"Available memory on node .* is less than|Not enough (?:available )?memory on node|"
    r"killed: out of memory"  # what Docker says of a container
)
_NOBODYS_FAULT = re.compile(
    r"[Aa]ddress already in use|No space left on device|"
    r"GatedRepoError|401 Client Error|403 Client Error|"
    r"NVIDIA driver on your system is too old|no NVIDIA driver|No module named 'vllm'"
)


def at_start(error: EngineError, lines: Sequence[str], spent_s: float) -> Failure:
    """The failure of a configuration whose engine did not come up.

    `lines` are the last of its log.

    Raises:
        EngineError: `error` itself, where no other configuration would have come up either.
    """
    words = [error.message, *lines]
    if any(map(_NOBODYS_FAULT.search, words)):
        raise error
    reason = _reason(error.message, lines)
    if any(map(_MEMORY.search, words)):
        return Failure("out_of_memory", reason, spent_s)
    return Failure("never_healthy" if error.timed_out else "start_refused", reason, spent_s)


def under_load(what: str, lines: Sequence[str], spent_s: float) -> Failure:
    """The failure of a configuration whose engine served, and was then no more.

    `what` is how it was found. Of its log, what came before it served is left aside.
    """
    later = _since_it_served(lines)
    kind: Literal["out_of_memory", "died_under_load"] = "died_under_load"
    if any(map(_MEMORY.search, [what, *later])):
        kind = "out_of_memory"
    return Failure(kind, _reason(what, later), spent_s)


def _reason(what: str, lines: Sequence[str]) -> str:
    found = log.diagnose(lines)
    if found is None:
        return what
    message, said = found.message[:_LONGEST], found.line.strip()[:_LONGEST]
    if message not in what:
        what = f"{what}: {message}"
    return what if not said or said in what else f"{what} (it said: {said})"


def _since_it_served(lines: Sequence[str]) -> Sequence[str]:
    begun = [number for number, line in enumerate(lines) if log.phase(line) is not None]
    return lines[begun[-1] + 1 :] if begun else lines
