"""From the flags of `deployctl loadtest` to a Setup: what goes together, and the defaults."""

import math
from typing import TYPE_CHECKING

from deployctl import host, units
from deployctl.cli.loadtest.options import LoadFlags
from deployctl.endpoint import Endpoint
from deployctl.errors import InputError
from deployctl.load.client import enough_workers
from deployctl.operations.measure import headers as loadwire
from deployctl.operations.measure import series as loadseries
from deployctl.operations.measure.served import Served

if TYPE_CHECKING:
    from deployctl_loadtest.result import Setup
    from deployctl_loadtest.trace import Row
    from deployctl_loadtest.workload import Workload

_USERS, _DURATION, _WARMUP = 4, "30s", "5s"
_MOST_WORKERS = 256
_LIMITED_S = 3600  # the longest that a run takes whose end is a number of requests


def build(flags: LoadFlags, endpoint: Endpoint, chosen: Served) -> "Setup":
    """Makes the setup of a run.

    Raises:
        InputError: a flag that cannot be read, or flags that do not go together.
    """
    from deployctl_loadtest.result import Setup

    _check(flags)
    load = _workload(flags)
    rows = _trace(flags)
    is_open = flags.rate is not None or bool(rows)
    limited = flags.requests is not None or bool(rows)
    outputs = load.output_tokens
    duration = flags.duration or (_limit(rows, flags) if limited else _DURATION)
    users = 0 if is_open else flags.users or _USERS
    workers = _workers(flags, load.output_tokens.typical if load.output_tokens else 64)
    warmup = flags.warmup or ("0s" if limited else _WARMUP)
    return Setup(
        service=endpoint.service,
        url=endpoint.url,
        model=chosen.id,
        api=flags.api,
        users=users,
        duration_s=_seconds(duration, "--duration", least=1),
        warmup_s=_seconds(warmup, "--warmup", least=0),
        input_tokens=_middle([r.input_tokens for r in rows])
        or (0 if load.records else load.input_tokens.typical),
        output_tokens=_middle([r.output_tokens for r in rows])
        or (outputs.typical if outputs else 0),
        ignore_eos=chosen.is_vllm if flags.ignore_eos == "auto" else flags.ignore_eos == "yes",
        seed=_seed(flags.seed),
        request_timeout_s=_seconds(flags.timeout, "--timeout", least=1),
        mode="trace" if rows else "open" if is_open else "closed",
        rate=flags.rate,
        arrivals=None if rows else flags.arrivals or ("poisson" if is_open else None),
        requests=flags.requests,
        # A process without a user would have nothing to do, and no end.
        workers=min(workers, users) if users and not flags.sweep else workers,
        workload=load.name if flags.workload is None else flags.workload,
        trace=str(flags.trace) if flags.trace else None,
        trace_speed=flags.trace_speed or 1.0,
        recorded_lengths="about" if outputs is None and _has_answers(load) else None,
        input_fixed=not rows and not load.records and load.input_tokens.kind == "fixed",
        output_fixed=not rows and outputs is not None and outputs.kind == "fixed",
        extra_body=loadwire.extra_body(flags.extra_body),
        extra_headers=sorted(endpoint.headers),
        ca_file=str(endpoint.ca_file) if endpoint.ca_file else None,
        ramp_s=_seconds(flags.ramp, "--ramp", least=0),
    )


def _has_answers(load: "Workload") -> bool:
    return any(record.answers for record in load.records)


def _workload(flags: LoadFlags) -> "Workload":
    from deployctl_loadtest import workload

    try:
        found = workload.load(flags.workload or "")
    except ValueError as error:
        raise InputError(str(error), where="--workload") from error
    if found.records and (flags.input_tokens or flags.prompt_tokens):
        raise InputError("recorded prompts are as long as they are", where="--input-tokens")
    return found.with_lengths(
        flags.prompt_tokens or flags.input_tokens or 0, flags.output_tokens or 0
    )


def _workers(flags: LoadFlags, output_tokens: int) -> int:
    if flags.workers != "auto":
        if not flags.workers.isdigit() or not 1 <= int(flags.workers) <= _MOST_WORKERS:
            raise InputError(
                f"{flags.workers!r} is neither auto nor a number from 1 to {_MOST_WORKERS}",
                where="--workers",
            )
        return int(flags.workers)
    cores = host.cores()
    if flags.find_max is not None:
        return cores  # how far it will go is what is asked
    users, rate = float(flags.users or 0), flags.rate or 0.0
    if flags.sweep is not None:
        variable, values = loadseries.parse(flags.sweep)
        users, rate = (max(values), 0.0) if variable == "users" else (0.0, max(values))
    return enough_workers(users, rate, output_tokens, cores)


def _limit(rows: "list[Row]", flags: LoadFlags) -> str:
    """The longest that a run takes which ends by itself."""
    length = rows[-1].at_s / (flags.trace_speed or 1.0) if rows else 0.0
    return f"{math.ceil(length) + _LIMITED_S}s"


def _trace(flags: LoadFlags) -> "list[Row]":
    from deployctl_loadtest import trace

    if flags.trace is None:
        if flags.trace_speed is not None:
            raise InputError("--trace-speed goes with --trace")
        return []
    for value, flag in (
        (flags.users, "--users"),
        (flags.rate, "--rate"),
        (flags.sweep, "--sweep"),
        (flags.arrivals, "--arrivals"),
        (flags.workload, "--workload"),
        (flags.input_tokens or flags.prompt_tokens, "--input-tokens"),
        (flags.output_tokens, "--output-tokens"),
    ):
        if value is not None:
            raise InputError(f"{flag} does not go with --trace, which says it itself")
    if flags.ramp != "0s":
        raise InputError("--ramp does not go with --trace, which says the times itself")
    if flags.trace_speed is not None and not 0 < flags.trace_speed < math.inf:
        raise InputError("a speed is above 0", where="--trace-speed")
    try:
        return trace.load(str(flags.trace))
    except ValueError as error:
        raise InputError(str(error), where="--trace") from error


def _middle(values: list[int]) -> int:
    return sorted(values)[len(values) // 2] if values else 0


def _check(flags: LoadFlags) -> None:
    from deployctl_loadtest import arrivals

    if flags.sweep is not None and (flags.users or flags.rate):
        raise InputError("--sweep says the load", hint="leave out --users and --rate")
    if flags.find_max is not None and (flags.sweep or flags.trace):
        raise InputError("--find-max chooses the loads", hint="leave out --sweep and --trace")
    if flags.rate is not None:
        if flags.users is not None:
            raise InputError(
                "both --users and --rate are given",
                hint="--users waits for answers (closed loop), --rate does not (open loop)",
            )
        if not (math.isfinite(flags.rate) and flags.rate > 0):
            raise InputError("a rate is above 0", where="--rate")
    elif flags.arrivals is not None and not (
        (flags.sweep or "").startswith("rate") or (flags.find_max and not flags.users)
    ):
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
