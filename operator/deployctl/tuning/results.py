"""What a study records of an engine's end and of a load test's result. Pure.

A failure is the configuration's where another one might have done better. What would befall
any of them (a full disk, a taken port) is none, and ends the study instead.
"""

import dataclasses
import re
from collections.abc import Sequence
from typing import Literal

from deployctl.engines.vllm import log
from deployctl.errors import EngineError
from deployctl.load import limit
from deployctl.load.limit import Held
from deployctl.load.slo import Goodput, Slo, goodput
from deployctl.tuning.trial import Failure, Invalid, Load, Observation
from deployctl_loadtest.result import Distribution, LoadResult, SloResult
from deployctl_loadtest.sample import Sample

# Preemptions a request from which on a configuration has failed: each request, on average,
# lost its cache once and was computed again. Fewer cost time, which the latencies tell.
STORM = 1.0
_FEW = 10  # requests below which a ratio says nothing
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
    cause = log.diagnose(lines)
    if cause is None:
        return what
    message, said = cause.message[:_LONGEST], cause.line.strip()[:_LONGEST]
    if message not in what:
        what = f"{what}: {message}"
    return what if not said or said in what else f"{what} (it said: {said})"


def _since_it_served(lines: Sequence[str]) -> Sequence[str]:
    begun = [number for number, line in enumerate(lines) if log.phase(line) is not None]
    return lines[begun[-1] + 1 :] if begun else lines


def observe(
    result: LoadResult,
    samples: Sequence[Sample],
    slo: Slo | None,
    load: Load,
    *,
    spent_s: float,
    folder: str | None = None,
) -> Observation | Failure | Invalid:
    """What a measured window says: of the engine, or, if the client failed it, nothing."""
    if storm := _storm(result, spent_s):
        return storm
    held, why = _held(result, samples, slo)
    if held == "client":
        return Invalid(why, spent_s)
    good, low, high = _goodput(result, samples, slo)
    latency, server = result.latency, result.server
    return Observation(
        load=load,
        seconds=round(result.window_s[1] - result.window_s[0], 3),
        spent_s=spent_s,
        held=held,
        requests_per_s=result.throughput.requests_per_s,
        output_tokens_per_s=result.throughput.output_tokens_per_s,
        goodput_per_s=good,
        goodput_low=low,
        goodput_high=high,
        ok=result.requests.ok,
        failed=result.requests.failed,
        incomplete=result.requests.incomplete,
        ttft_p50_s=_at(latency.ttft_s, "p50"),
        ttft_p95_s=_at(latency.ttft_s, "p95"),
        itl_p50_s=_at(latency.itl_s, "p50"),
        itl_p95_s=_at(latency.itl_s, "p95"),
        tpot_p50_s=_at(latency.tpot_s, "p50"),
        e2e_p50_s=_at(latency.e2e_s, "p50"),
        e2e_p95_s=_at(latency.e2e_s, "p95"),
        preemptions=server.preemptions if server else None,
        kv_cache_usage_max=server.kv_cache_usage_max if server else None,
        waiting_max=server.waiting_max if server else None,
        why=why,
        folder=folder,
    )


def _storm(result: LoadResult, spent_s: float) -> Failure | None:
    """The server's count is of the whole run, and so are the requests it is held against."""
    counts = result.requests
    requests = counts.total + counts.warmup
    preemptions = result.server.preemptions if result.server else None
    if preemptions is None or requests < _FEW or preemptions < STORM * requests:
        return None
    reason = (
        f"{preemptions} preemptions in {requests} requests: the KV cache does not hold what is "
        f"admitted (limit: {STORM:g} a request)"
    )
    return Failure("preemption_storm", reason, spent_s)


def _held(result: LoadResult, samples: Sequence[Sample], slo: Slo | None) -> tuple[Held, str]:
    if slo is not None:
        return limit.decide(result, samples)
    # Nothing was asked: the client and a queue that grows can still say no.
    nothing = SloResult("", "met", [], good=0, good_share=None, goodput_per_s=0.0)
    held, why = limit.decide(dataclasses.replace(result, slo=nothing), samples)
    return held, "there is no SLO" if held == "yes" else why


def _goodput(result: LoadResult, samples: Sequence[Sample], slo: Slo | None) -> Goodput:
    """Without an SLO, whatever is answered is good."""
    if slo is None:
        return Goodput(*[result.throughput.requests_per_s] * 3)
    return goodput(slo, samples, result.window_s)


def _at(spread: Distribution | None, name: Literal["p50", "p95"]) -> float | None:
    if spread is None:
        return None
    return spread.p50 if name == "p50" else spread.p95
