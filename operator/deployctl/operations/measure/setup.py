"""From a LoadRequest to a Setup: what goes together, and the defaults."""

import json
import math
import secrets
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from deployctl import given, host
from deployctl.endpoint import Endpoint
from deployctl.errors import InputError
from deployctl.load import incluster
from deployctl.load.client import MOST_WORKERS, enough_workers
from deployctl.operations.measure import runs
from deployctl.operations.measure.endpoint import Served
from deployctl.operations.measure.request import LoadRequest
from deployctl.units import seconds_of
from deployctl_loadtest import arrivals, replay, workload
from deployctl_loadtest.replay import Row
from deployctl_loadtest.result import Setup
from deployctl_loadtest.workload import Workload

# What the measure rests on: without them there is no stream, or no count of tokens.
_FIXED = {"stream", "stream_options", "messages", "prompt", "model"}
_USERS, _DURATION, _WARMUP = 4, "30s", "5s"
MAX_BODY_BYTES = 1024 * 1024  # of the file of --extra-body
_LOOPBACK = ("localhost", "127.", "::1", "0.0.0.0")  # noqa: S104  begins of hosts
_LIMITED_S = 3600  # the longest that a run takes whose end is a number of requests


def build(request: LoadRequest, endpoint: Endpoint, chosen: Served) -> Setup:
    """Makes the setup of a run.

    Raises:
        InputError: a value that cannot be read, or values that do not go together.
    """
    _check(request)
    load = _workload(request)
    rows = _trace(request)
    is_open = request.rate is not None or bool(rows)
    limited = request.requests is not None or bool(rows)
    outputs = load.output_tokens
    duration = request.duration or (_limit(rows, request) if limited else _DURATION)
    users = 0 if is_open else request.users or _USERS
    workers = _workers(request, load.output_tokens.typical if load.output_tokens else 64)
    warmup = request.warmup or ("0s" if limited else _WARMUP)
    return Setup(
        service=endpoint.service,
        url=_inside(endpoint) if request.on else endpoint.url,
        model=chosen.id,
        api=request.api,
        users=users,
        duration_s=seconds_of(duration, "--duration", least=1),
        warmup_s=seconds_of(warmup, "--warmup", least=0),
        input_tokens=_middle([r.input_tokens for r in rows])
        or (0 if load.records else load.input_tokens.typical),
        output_tokens=_middle([r.output_tokens for r in rows])
        or (outputs.typical if outputs else 0),
        ignore_eos=chosen.is_vllm if request.ignore_eos == "auto" else request.ignore_eos == "yes",
        seed=_seed(request.seed),
        request_timeout_s=seconds_of(request.timeout, "--timeout", least=1),
        mode="trace" if rows else "open" if is_open else "closed",
        rate=request.rate,
        arrivals=None if rows else request.arrivals or ("poisson" if is_open else None),
        requests=request.requests,
        # A process without a user would have nothing to do, and no end.
        workers=min(workers, users) if users and not request.sweep else workers,
        on=request.on,
        worker_image=(request.worker_image or incluster.IMAGE) if request.on else None,
        workload=load.name if request.workload is None else request.workload,
        trace=str(request.trace) if request.trace else None,
        trace_speed=request.trace_speed or 1.0,
        recorded_lengths="about" if outputs is None and _has_answers(load) else None,
        input_fixed=not rows and not load.records and load.input_tokens.kind == "fixed",
        output_fixed=not rows and outputs is not None and outputs.kind == "fixed",
        extra_body=extra_body(request.extra_body),
        extra_headers=sorted(endpoint.headers),
        ca_file=str(endpoint.ca_file) if endpoint.ca_file else None,
        ramp_s=seconds_of(request.ramp, "--ramp", least=0),
    )


def _inside(endpoint: Endpoint) -> str:
    """Where pods of the cluster reach the server."""
    if endpoint.inside is not None:
        return endpoint.inside
    if endpoint.service is not None:
        raise InputError(
            f"{endpoint.service} does not run in a cluster",
            where="--on",
            hint="leave --on out: its load comes from this machine",
        )
    if (urlsplit(endpoint.url).hostname or "").startswith(_LOOPBACK):
        raise InputError(
            f"{endpoint.url} is another machine for each pod: its own",
            where="--url",
            hint="give the address that pods reach, and this machine too",
        )
    return endpoint.url


def extra_body(text: str | None) -> dict[str, Any]:
    """More fields of each request.

    Raises:
        InputError: it is no JSON object, or has fields that are not its to set.
    """
    if text is None:
        return {}
    where = "--extra-body"
    if text.startswith("@"):
        where = text[1:]
        text = given.read_text(Path(where), MAX_BODY_BYTES)
    try:
        document = given.parse_json(text)
        json.dumps(document, allow_nan=False)
    except ValueError as error:
        raise InputError(f"not JSON: {error}", where=where) from error
    if not isinstance(document, dict):
        raise InputError("not a JSON object", where=where, hint='write {"top_p": 0.9}')
    if taken := sorted(document.keys() & _FIXED):
        raise InputError(f"{taken[0]} cannot be set", where=where)
    return document


def _has_answers(load: Workload) -> bool:
    return any(record.answers for record in load.records)


def _workload(request: LoadRequest) -> Workload:
    try:
        load = workload.load(request.workload or "")
    except ValueError as error:
        raise InputError(str(error), where="--workload") from error
    if load.records and (request.input_tokens or request.prompt_tokens):
        raise InputError("recorded prompts have their own lengths", where="--input-tokens")
    return load.with_lengths(
        request.prompt_tokens or request.input_tokens or 0, request.output_tokens or 0
    )


def _workers(request: LoadRequest, output_tokens: int) -> int:
    if request.workers != "auto":
        if not request.workers.isdecimal() or not 1 <= int(request.workers) <= MOST_WORKERS:
            raise InputError(
                f"{request.workers!r} is neither auto nor a number from 1 to {MOST_WORKERS}",
                where="--workers",
            )
        return int(request.workers)
    cores = host.cores() if request.on is None else MOST_WORKERS
    if request.find_max is not None:
        if request.on is not None:
            raise InputError(
                "how far --find-max will go is not known beforehand",
                where="--workers",
                hint="say how many pods may make the load, such as --workers 4",
            )
        return cores  # how far it will go is what is asked
    users, rate = float(request.users or 0), request.rate or 0.0
    if request.sweep is not None:
        variable, values = runs.parse(request.sweep)
        users, rate = (max(values), 0.0) if variable == "users" else (0.0, max(values))
    return enough_workers(users, rate, output_tokens, cores)


def _limit(rows: list[Row], request: LoadRequest) -> str:
    """The longest that a run takes which ends by itself."""
    length = rows[-1].at_s / (request.trace_speed or 1.0) if rows else 0.0
    return f"{math.ceil(length) + _LIMITED_S}s"


def _trace(request: LoadRequest) -> list[Row]:
    if request.trace is None:
        if request.trace_speed is not None:
            raise InputError("--trace-speed goes with --trace")
        return []
    for value, flag in (
        (request.users, "--users"),
        (request.rate, "--rate"),
        (request.sweep, "--sweep"),
        (request.arrivals, "--arrivals"),
        (request.workload, "--workload"),
        (request.input_tokens or request.prompt_tokens, "--input-tokens"),
        (request.output_tokens, "--output-tokens"),
    ):
        if value is not None:
            raise InputError(f"{flag} does not go with --trace, which defines it")
    if request.ramp != "0s":
        raise InputError("--ramp does not go with --trace, which defines the times")
    if request.trace_speed is not None and not 0 < request.trace_speed < math.inf:
        raise InputError("a speed is above 0", where="--trace-speed")
    try:
        return replay.load(str(request.trace))
    except ValueError as error:
        raise InputError(str(error), where="--trace") from error


def _middle(values: list[int]) -> int:
    return sorted(values)[len(values) // 2] if values else 0


def _check(request: LoadRequest) -> None:
    if request.worker_image is not None and request.on is None:
        raise InputError("--worker-image goes with --on kubernetes")
    if request.sweep is not None and (request.users or request.rate):
        raise InputError("--sweep says the load", hint="leave out --users and --rate")
    if request.find_max is not None and (request.sweep or request.trace):
        raise InputError("--find-max chooses the loads", hint="leave out --sweep and --trace")
    if request.rate is not None:
        if request.users is not None:
            raise InputError(
                "both --users and --rate are given",
                hint="--users waits for answers (closed loop), --rate does not (open loop)",
            )
        if not (math.isfinite(request.rate) and request.rate > 0):
            raise InputError("a rate is above 0", where="--rate")
    elif request.arrivals is not None and not (
        (request.sweep or "").startswith("rate") or (request.find_max and not request.users)
    ):
        raise InputError("--arrivals goes with --rate", hint="users have no arrival schedule")
    try:
        arrivals.burstiness(request.arrivals or "poisson")
    except ValueError as error:
        raise InputError(str(error), where="--arrivals") from error


def _seed(given: int | None) -> int:
    return secrets.randbits(48) if given is None else given
