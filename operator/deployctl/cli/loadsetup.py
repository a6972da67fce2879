"""From the flags of `deployctl loadtest` to a Setup: what goes together, and the defaults."""

import math
from typing import TYPE_CHECKING

from deployctl import units
from deployctl.cli.endpoint import Endpoint
from deployctl.cli.loadflags import LoadFlags
from deployctl.cli.served import Served
from deployctl.errors import InputError

if TYPE_CHECKING:
    from deployctl_loadtest.result import Setup

_USERS, _DURATION, _WARMUP = 4, "30s", "5s"
_LIMITED = "1h"  # the longest that a run takes whose end is a number of requests


def build(flags: LoadFlags, endpoint: Endpoint, chosen: Served) -> "Setup":
    """Makes the setup of a run.

    Raises:
        InputError: a flag that cannot be read, or flags that do not go together.
    """
    from deployctl_loadtest.result import Setup

    _check(flags)
    is_open = flags.rate is not None
    limited = flags.requests is not None
    duration = flags.duration or (_LIMITED if limited else _DURATION)
    warmup = flags.warmup or ("0s" if limited else _WARMUP)
    return Setup(
        service=endpoint.service,
        url=endpoint.url,
        model=chosen.id,
        api=flags.api,
        users=0 if is_open else flags.users or _USERS,
        duration_s=_seconds(duration, "--duration", least=1),
        warmup_s=_seconds(warmup, "--warmup", least=0),
        input_tokens=flags.prompt_tokens or flags.input_tokens or 128,
        output_tokens=flags.output_tokens or 64,
        ignore_eos=chosen.is_vllm if flags.ignore_eos == "auto" else flags.ignore_eos == "yes",
        seed=_seed(flags.seed),
        request_timeout_s=_seconds(flags.timeout, "--timeout", least=1),
        mode="open" if is_open else "closed",
        rate=flags.rate,
        arrivals=flags.arrivals or ("poisson" if is_open else None),
        requests=flags.requests,
        ramp_s=_seconds(flags.ramp, "--ramp", least=0),
    )


def _check(flags: LoadFlags) -> None:
    from deployctl_loadtest import arrivals

    if flags.sweep is not None and (flags.users or flags.rate):
        raise InputError("--sweep says the load", hint="leave out --users and --rate")
    if flags.rate is not None:
        if flags.users is not None:
            raise InputError(
                "both --users and --rate are given",
                hint="--users waits for answers (closed loop), --rate does not (open loop)",
            )
        if not (math.isfinite(flags.rate) and flags.rate > 0):
            raise InputError("a rate is above 0", where="--rate")
    elif flags.arrivals is not None and not (flags.sweep or "").startswith("rate"):
        raise InputError("--arrivals goes with --rate", hint="users ask when they have an answer")
    try:
        arrivals.burstiness(flags.arrivals or "poisson")
    except ValueError as error:
        raise InputError(str(error), where="--arrivals") from error


def _seed(given: int | None) -> int:
    if given is not None:
        return given
    import secrets

    return secrets.randbits(48)


def _seconds(text: str, flag: str, *, least: float) -> float:
    try:
        value = units.seconds(text)
    except ValueError as error:
        raise InputError(str(error), where=flag) from error
    if value < least:
        raise InputError(f"{text} is less than {least:g} s", where=flag)
    return value
