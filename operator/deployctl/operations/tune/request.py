"""The flags of `deployctl tune` that say what is sought, and how they are read."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from deployctl import units
from deployctl.errors import InputError

if TYPE_CHECKING:
    from deployctl.load.slo import Slo
    from deployctl.tuning.trial import Goal, Load

_BUDGET = "30m"
_LEAST_BUDGET_S = 30.0
# Where a search begins, if nothing says otherwise: low, since it doubles.
_FIRST_RATE = 1.0
_FIRST_USERS = {"cpu": 4.0, "cuda": 16.0}
_USERS_FOR_LATENCY = 4.0  # as deployctl loadtest has them
_MOST_SEED_BITS = 31


@dataclass(frozen=True)
class Wishes:
    """What was given on the command line; None where nothing was."""

    objective: "Goal | None" = None
    slo: str | None = None
    budget: str | None = None
    max_trials: int | None = None
    space: Path | None = None
    workload: str | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    api: Literal["chat", "completions"] | None = None
    load: str | None = None
    seed: int | None = None


def goal(asked: "Goal | None", slo: "Slo | None") -> "Goal":
    """What is sought: by itself goodput where there is an SLO, throughput where there is none.

    Raises:
        InputError: it makes no sense.
    """
    if asked is None:
        return "throughput" if slo is None else "goodput"
    if asked in ("goodput", "cost") and slo is None:
        what = "counts requests that meet" if asked == "goodput" else "is that of answers within"
        raise InputError(
            f"{asked} {what} an SLO, and there is none",
            where=f"--objective {asked}",
            hint="add for example --slo ttft_p95=500ms,itl_p95=50ms",
        )
    return asked


def budget(text: str | None) -> float:
    """Server seconds.

    Raises:
        InputError: it makes no sense.
    """
    try:
        seconds = units.seconds(text or _BUDGET)
    except ValueError as error:
        raise InputError(str(error), where="--budget") from error
    if seconds < _LEAST_BUDGET_S:
        raise InputError(
            f"{text} is too short for a single trial",
            where="--budget",
            hint="an engine takes half a minute to start and more; 30m is a good beginning",
        )
    return seconds


def load(text: str) -> "Load":
    """Reads `users=8` or `rate=2.5`.

    Raises:
        InputError: it makes no sense.
    """
    from deployctl.tuning.trial import Load

    kind, _, number = text.partition("=")
    try:
        value = float(number)
    except ValueError:
        value = math.nan
    whole = kind == "rate" or (math.isfinite(value) and value == int(value))
    if kind not in ("users", "rate") or not (math.isfinite(value) and value > 0 and whole):
        raise InputError(
            f"{text!r} is no load", where="--load", hint="write users=8, or rate=2.5 (requests/s)"
        )
    return Load("users" if kind == "users" else "rate", value)


def first(
    text: str | None, goal: "Goal", kind: Literal["cpu", "cuda"], expected: float | None
) -> "Load":
    """The load that a search begins with; for latency, the one that it stays with.

    `expected` is the rate that the plan expects to be the limit, in requests a second.

    Raises:
        InputError: it makes no sense.
    """
    from deployctl.tuning.trial import Load

    if text is not None:
        return load(text)
    if goal in ("goodput", "cost"):
        low = _FIRST_RATE if expected is None else min(_FIRST_RATE, float(f"{expected / 2:.2g}"))
        return Load("rate", low)
    return Load("users", _USERS_FOR_LATENCY if goal == "latency" else _FIRST_USERS[kind])


def seed(given: int | None) -> int:
    """The seed given, or a new one."""
    if given is not None:
        return given
    import secrets

    return secrets.randbits(_MOST_SEED_BITS)


def absolute(workload: str) -> str:
    """A workload as it is found from any folder: a file's whole path, or a name of ours."""
    path = Path(workload)
    return str(path.absolute()) if path.is_file() else workload
