"""What may be asked of a study, and how its words are read."""

import math
import secrets
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from deployctl import units
from deployctl.errors import InputError
from deployctl.given import is_file
from deployctl.spec.option import option
from deployctl.tuning.trial import Goal, Load

_TUNING, _LOAD = "Tuning", "Load"
_BUDGET = "30m"
_LEAST_BUDGET_S = 30.0
# Where a search begins, if nothing says otherwise: low, since it doubles.
_FIRST_RATE = 1.0
_FIRST_USERS = {"cpu": 4.0, "cuda": 16.0}
_USERS_FOR_LATENCY = 4.0  # as deployctl loadtest has them
_MOST_SEED_BITS = 31


class TuneRequest(BaseModel):
    """What is sought, what may be tried, and under which load; None: by itself.

    A study that is resumed keeps what is None, and differs where anything else is given.
    """

    model_config = ConfigDict(frozen=True)

    objective: Goal | None = option(
        None,
        "What to optimize: goodput (requests/s that meet the SLO), throughput (tokens/s), "
        "latency (E2E p95 at --load) or cost (dollars a token within the SLO). "
        "[default: goodput with --slo, else throughput]",
        _TUNING,
    )
    slo: str | None = option(
        None, "SLO, for example ttft_p95=500ms,itl_p99=50ms,error_rate=0.1%.", metavar="SLO"
    )
    budget: str | None = option(
        None,
        "Budget of server time: engine starts and load together. [default: 30m]",
        _TUNING,
        metavar="TIME",
    )
    max_trials: int | None = option(None, "Maximum engine starts.", _TUNING, metavar="N", ge=1)
    space: Path | None = option(
        None,
        "Settings to try: a YAML file, one setting a line, max_num_seqs: [32, 64, 128]. "
        "[default: max_num_seqs, max_num_batched_tokens, tensor_parallel_size]",
        _TUNING,
        metavar="FILE",
    )
    values: list[Path] | None = option(
        None,
        "Values of your own for the chart, on Kubernetes; repeat for more.",
        _TUNING,
        metavar="FILE",
    )
    load: str | None = option(
        None,
        "Load to begin with: users=8 (closed loop) or rate=2 (requests/s); for latency, the "
        "load that it is measured at.",
        _LOAD,
        metavar="LOAD",
    )
    workload: str | None = option(
        None,
        "Workload, as for deployctl loadtest: a name or a file. [default: fixed]",
        _LOAD,
        metavar="NAME",
    )
    input_tokens: int | None = option(None, "Tokens of a prompt.", _LOAD, metavar="N", ge=1)
    output_tokens: int | None = option(None, "Tokens of an answer.", _LOAD, metavar="N", ge=1)
    api: Literal["chat", "completions"] | None = option(
        None, "chat or completions. [default: chat]", _LOAD
    )
    seed: int | None = option(
        None, "Fixes the search and its prompts. [default: a new one]", _TUNING, metavar="N", ge=0
    )


def goal(asked: Goal | None, *, has_slo: bool) -> Goal:
    """What is sought: by itself goodput where there is an SLO, throughput where there is none.

    Raises:
        InputError: it makes no sense.
    """
    if asked is None:
        return "goodput" if has_slo else "throughput"
    if asked in ("goodput", "cost") and not has_slo:
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
    seconds = units.seconds_of(text or _BUDGET, "--budget")
    if seconds < _LEAST_BUDGET_S:
        raise InputError(
            f"{text} is too short for one trial",
            where="--budget",
            hint="an engine takes half a minute to start and more; begin with 30m",
        )
    return seconds


def load(text: str) -> Load:
    """Reads `users=8` or `rate=2.5`.

    Raises:
        InputError: it makes no sense.
    """
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
    text: str | None, goal: Goal, kind: Literal["cpu", "cuda"], expected: float | None
) -> Load:
    """The load that a search begins with; for latency, the one that it stays with.

    `expected` is the rate that the plan expects to be the limit, in requests a second.

    Raises:
        InputError: it makes no sense.
    """
    if text is not None:
        return load(text)
    if goal in ("goodput", "cost"):
        low = _FIRST_RATE if expected is None else min(_FIRST_RATE, float(f"{expected / 2:.2g}"))
        return Load("rate", low)
    return Load("users", _USERS_FOR_LATENCY if goal == "latency" else _FIRST_USERS[kind])


def seed(given: int | None) -> int:
    """The seed given, or a new one."""
    return secrets.randbits(_MOST_SEED_BITS) if given is None else given


def absolute(workload: str) -> str:
    """A workload as it is found from any folder: a file's whole path, or a name of ours."""
    path = Path(workload)
    return str(path.absolute()) if is_file(path) else workload
