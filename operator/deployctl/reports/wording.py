"""A load result in words and rows, the same for the terminal, markdown and HTML. Pure."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from deployctl.reports.hostpage import code
from deployctl_loadtest.foreign import printable
from deployctl_loadtest.result import Client, Distribution, LoadResult, Objective, Server, Setup

COLUMNS = ("mean", "p50", "p90", "p95", "p99", "max")
_NAMES = {
    "ttft_s": ("TTFT", "send to first text"),
    "itl_s": ("ITL", "gaps between chunks of text"),
    "tpot_s": ("TPOT", "per token after the first, by request"),
    "e2e_s": ("E2E", "send to last text"),
}


class LatencyRow(NamedTuple):
    """One measure: its unit, and its cells in the order of COLUMNS."""

    name: str
    meaning: str
    unit: str
    cells: tuple[str, ...]
    values: int


def latency_rows(result: LoadResult) -> list[LatencyRow]:
    """The latency table. A measure that has no values has no row."""
    rows = []
    for field, (name, meaning) in _NAMES.items():
        spread: Distribution | None = getattr(result.latency, field)
        if spread is None:
            continue
        # One unit a row, so that its cells compare at a glance.
        unit, scale = ("s", 1.0) if spread.p50 >= 10 else ("ms", 1000.0)
        cells = tuple(number(getattr(spread, column) * scale) for column in COLUMNS)
        rows.append(LatencyRow(name, meaning, unit, cells, spread.count))
    return rows


def number(value: float) -> str:
    """Three or so significant digits: 0.42, 7.49, 104.9, 1,234."""
    if value >= 1000:
        return f"{value:,.0f}"
    if value >= 10:
        return f"{value:.1f}"
    return f"{value:.2f}"


def title(result: LoadResult) -> str:
    """What was tested."""
    return result.setup.service or result.setup.model


def setup_line(result: LoadResult) -> str:
    """What was asked for, on one line."""
    setup = result.setup
    load = "1 user" if setup.users == 1 else f"{setup.users} users"
    load += ", closed loop"
    if setup.mode == "open":
        load = f"{setup.rate:g} requests/s, open loop ({setup.arrivals})"
    elif setup.mode == "trace":
        fast = f", {setup.trace_speed:g} times as fast" if setup.trace_speed != 1 else ""
        load = f"replay of {Path(setup.trace or '').name}{fast}"
    begin, end = result.window_s
    cut = "ramp and warm-up" if setup.ramp_s else "warm-up"
    return (
        f"{load}{_place(setup)} · {end - begin:.1f} s measured after {begin:.1f} s of {cut} · "
        f"{_lengths(setup)} · {setup.api}"
    )


def _place(setup: Setup) -> str:
    if setup.on is None:
        return ""
    return " from 1 pod" if setup.workers == 1 else f" from {setup.workers} pods"


def _lengths(setup: Setup) -> str:
    about = "" if setup.prompt_lengths == "exact" and setup.input_fixed else "about "
    inn = f"prompts of {about}{setup.input_tokens} tokens"
    most = "" if setup.ignore_eos else "at most "
    out = f"answers of {most if setup.output_fixed else 'about '}{setup.output_tokens}"
    if not setup.input_tokens:
        inn = "recorded prompts"
    if not setup.output_tokens:
        about = "" if setup.recorded_lengths in ("exact", None) else "about "
        out = f"answers {about}as long as the recorded ones"
    if setup.trace:
        return f"{inn}, {out} (medians)"
    name = "" if setup.workload == "fixed" else f"{Path(setup.workload).stem}: "
    return f"{name}{inn}, {out}"


def facts(result: LoadResult) -> Iterator[tuple[str, str]]:
    """The figures beside the latency table, as (name, text)."""
    requests, rate, tokens = result.requests, result.throughput, result.tokens
    client = result.client
    yield (
        "Requests",
        f"{requests.ok:,} ok · {requests.failed:,} failed · {requests.incomplete:,} cut by the "
        f"end · {requests.warmup:,} in the warm-up",
    )
    yield (
        "Throughput",
        f"{number(rate.output_tokens_per_s)} output tokens/s · "
        f"{number(rate.total_tokens_per_s)} with prompts · "
        f"{number(rate.requests_per_s)} requests/s",
    )
    if (good := goodput(result)) is not None:
        yield "Goodput", good
    if tokens.output_mean is not None:
        inn = "unknown" if tokens.input_mean is None else f"{tokens.input_mean:.0f}"
        by = "" if tokens.counted_by == "usage" else " (partly counted as chunks)"
        per_chunk = f"{tokens.per_chunk or 0:.2f} a chunk"
        yield "Tokens", f"{inn} in, {tokens.output_mean:.0f} out a request{by} · {per_chunk}"
    if result.server is not None:
        yield "Server", " · ".join(_server(result.server))
    if client.cpu_mean is not None and client.lag_p99_s is not None:
        yield (
            "Client",
            f"{client.cpu_mean:.0%} of a core, {client.cpu_peak or 0:.0%} at worst · "
            f"woken {number(client.lag_p99_s * 1000)} ms late (p99)",
        )
    if (arrived := _arrivals(client)) is not None:
        yield "Arrivals", arrived


def _server(server: Server) -> Iterator[str]:
    yield (
        f"{server.output_tokens:,} tokens by its own count, {server.client_output_tokens:,} by ours"
    )
    if server.ttft_mean_s is not None and server.itl_mean_s is not None:
        ttft, itl = number(server.ttft_mean_s * 1000), number(server.itl_mean_s * 1000)
        yield f"its mean TTFT {ttft} ms, ITL {itl} ms"
    if server.running_max is not None and server.waiting_max is not None:
        yield f"at most {server.running_max} running, {server.waiting_max} waiting"
    if server.kv_cache_usage_max is not None:
        yield f"KV cache {server.kv_cache_usage_max:.0%} at most"
    if server.prefix_cache_hit_rate is not None:
        yield f"prefix cache {server.prefix_cache_hit_rate:.0%}"
    if server.preemptions:
        yield f"{server.preemptions} preemptions"


def _arrivals(client: Client) -> str | None:
    """How an open loop's load came; None for a closed one."""
    if client.achieved_rate is None:
        return None
    parts = [f"{number(client.achieved_rate)} sent a second"]
    if client.due is not None and client.sent is not None:
        parts.append(f"{client.sent:,} of {client.due:,} that were due")
    if client.lateness_p99_s is not None:
        parts.append(f"{number(client.lateness_p99_s * 1000)} ms late (p99)")
    return " · ".join(parts)


class Judged(NamedTuple):
    """One objective in words."""

    name: str
    verdict: str
    value: str
    limit: str
    interval: str  # with its confidence
    samples: int
    note: str


def objectives(result: LoadResult) -> list[Judged]:
    """The SLO's objectives, as they were asked for."""
    if result.slo is None:
        return []
    return [judged(objective) for objective in result.slo.objectives]


def judged(objective: Objective) -> Judged:
    """Puts it in words."""

    def write(value: float) -> str:
        if objective.name == "error_rate":
            return f"{value * 100:.3g}%"
        return f"{number(value)} s" if value >= 10 else f"{number(value * 1000)} ms"

    if objective.value is not None:
        value = write(objective.value)
    else:
        value = "no answer" if objective.failed else "not measured"
    low = "?" if objective.low is None else write(objective.low)
    high = "unbounded" if objective.high is None else write(objective.high)
    notes = [objective.note] if objective.note else []
    if objective.failed and objective.name != "error_rate":
        notes.append(f"{objective.failed:,} failed, over any limit")
    if objective.cut:
        notes.append(f"{objective.cut:,} were over the limit when the end cut them")
    return Judged(
        name=objective.name,
        verdict=objective.verdict,
        value=value,
        limit=write(objective.limit),
        interval=f"{low} to {high}",
        samples=objective.samples,
        note="; ".join(notes),
    )


class Held(NamedTuple):
    """One percentile of the client against the server's bucket, in words."""

    name: str
    client: str
    bucket: str
    gap: str
    agrees: bool


def agreement(result: LoadResult) -> list[Held]:
    """Client and server held against each other."""

    def ms(seconds: float) -> str:
        return f"{seconds * 1000:,.1f}"

    return [
        Held(
            name=each.name,
            client=f"{ms(each.client_s)} ms",
            bucket=f"{ms(each.server_low_s)} to "
            + ("∞" if each.server_high_s is None else f"{ms(each.server_high_s)} ms"),
            gap=f"{ms(each.gap_s)} ms" if each.gap_s else "0",
            agrees=each.agrees,
        )
        for each in (result.server.agreement if result.server else ())
    ]


def goodput(result: LoadResult) -> str | None:
    """Goodput against the SLO, if there is one."""
    if result.slo is None:
        return None
    share = result.slo.good_share
    of_all = "" if share is None else f" · {share:.1%} of those that started"
    return f"{number(result.slo.goodput_per_s)} requests/s met the whole SLO{of_all}"


def failures(result: LoadResult) -> list[tuple[str, int, str]]:
    """(kind, count, an example's message), most frequent first."""
    return [
        (
            failure.outcome if failure.http_status is None else f"HTTP {failure.http_status}",
            failure.count,
            failure.example,
        )
        for failure in result.requests.failures
    ]


# What a code host makes a link of, a mention or a reference, however it is escaped.
_LEADS = re.compile(r"://|www\.|mailto:|xmpp:|@|#\d|GH-\d", re.IGNORECASE)
_MARKUP = re.compile(r"[\\`*_\[\]<>|~&$]")
_BLOCK = re.compile(r"^([#+=-]|\d+(?=[.)](?: |$)))")  # where a line begins


def plain(text: str) -> str:
    """For markdown: what a server or a user said as one line, and none of it markup or a link."""
    words = printable(" ".join(text.split())).split(" ")
    line = " ".join(
        code(word, in_table=True) if _LEADS.search(word) else _MARKUP.sub(r"\\\g<0>", word)
        for word in words
    )
    return _BLOCK.sub(lambda begin: _escaped(begin[0]), line)


def _escaped(begin: str) -> str:
    return f"{begin}\\" if begin.isdigit() else f"\\{begin}"
