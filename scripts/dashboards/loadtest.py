"""Load test: what clients saw, run by run, beside what the engine saw meanwhile."""

from dataclasses import replace

from scripts.dashboards.board import Board, Section, asked
from scripts.dashboards.panels import BAD, POOR, Column, Panel, graph, rows
from scripts.dashboards.queries import (
    ENGINE,
    REPLICA,
    REPLICAS,
    RUNS,
    WINDOW,
    Query,
    objective,
    quantiles,
)
from scripts.dashboards.service import LIMITS

from deployctl.promql import Arithmetic, Expression, LabelMatcher, Literal, Selector, write
from deployctl.promql.write import both, greatest, quantile, rate, ratio, total

_RUN = LabelMatcher("run", "=~", "$run")
_LEGEND = "{{run}}"
_SEEN = RUNS.beside("deployctl_loadtest_trustworthy")
_MS = Literal("1000")


def _of(name: str, **labels: str) -> Selector:
    """A figure of the runs that are chosen, as their clients have it."""
    more = (LabelMatcher(label, "=", value) for label, value in labels.items())
    return RUNS.beside(f"deployctl_loadtest_{name}", _RUN, *more)


def _client(name: str, **labels: str) -> Expression:
    return greatest(_of(name, **labels), "run")


def _failed() -> Expression:
    every = total(_of("requests"), "run")
    return ratio(total(_of("requests", outcome="failed"), "run"), every)


def _latency(kind: str, percentile: str = "p95") -> Expression:
    return _client("latency_seconds", kind=kind, percentile=percentile)


def _runs() -> Panel:
    return rows(
        "Runs",
        "A line a run, as its clients saw it: metrics.prom of its folder. Trusted: no verdict says "
        "to doubt it; compare no others.",
        "run",
        Column("Began", "dateTimeAsIso", _began()),
        Column("Load", "short", _client("load")),
        Column("Requests", "reqps", _client("requests_per_second")),
        Column("Tokens out", "suffix:tok/s", _client("tokens_per_second", direction="output")),
        Column("TTFT p50", "s", _latency("ttft", "p50")),
        Column("TTFT p95", "s", _latency("ttft")),
        Column("ITL p95", "s", _latency("itl")),
        Column("E2E p95", "s", _latency("e2e")),
        Column("Failed", "percentunit", _failed(), ((0.001, POOR), (0.01, BAD))),
        Column("Goodput", "reqps", _client("goodput_per_second")),
        Column("SLO met", "bool_yes_no", _client("slo", verdict="met")),
        Column("Trusted", "bool_yes_no", _client("trustworthy")),
        high=9,
    )


def _began() -> Expression:
    """Grafana's dates are milliseconds."""
    return Arithmetic("*", _client("started_timestamp_seconds"), _MS)


def _by_commit(series: Selector) -> Expression:
    """Of runs that a Pushgateway has: each service's, by the commit that was measured."""
    of_one = replace(series, matchers=(*series.matchers, LabelMatcher("commit", "!=", "")))
    return greatest(of_one, "service", "commit")


def _trend() -> Panel:
    began = _by_commit(_of("started_timestamp_seconds"))
    newest = Arithmetic("==", began, greatest(began, "service"), (), "on (service) group_left ()")
    return graph(
        "Time to first token by commit",
        "p95 of the commit that was measured last, from when its figures were pushed: a step up is "
        "what a change cost. Runs without a commit, and those of a sweep, are not in it.",
        "s",
        Query(
            both(_by_commit(_of("latency_seconds", kind="ttft", percentile="p95")), newest),
            "{{service}} {{commit}}",
        ),
        objective("ttft"),
        wide=12,
    )


def _commits() -> Panel:
    def of(name: str, **labels: str) -> Expression:
        return greatest(_by_commit(_of(name, **labels)), "commit")

    return rows(
        "Commits",
        "A line a commit that was measured: the last run of it that was pushed.",
        "commit",
        Column("Began", "dateTimeAsIso", Arithmetic("*", of("started_timestamp_seconds"), _MS)),
        Column("TTFT p50", "s", of("latency_seconds", kind="ttft", percentile="p50")),
        Column("TTFT p95", "s", of("latency_seconds", kind="ttft", percentile="p95")),
        Column("ITL p95", "s", of("latency_seconds", kind="itl", percentile="p95")),
        Column("Tokens out", "suffix:tok/s", of("tokens_per_second", direction="output")),
        Column("SLO met", "bool_yes_no", of("slo", verdict="met")),
        Column("Trusted", "bool_yes_no", of("trustworthy")),
        wide=12,
        high=7,
    )


def _side_by_side() -> tuple[Panel, ...]:
    found: list[Panel] = []
    for kind, title, metric in (
        ("ttft", "Time to first token", "vllm:time_to_first_token_seconds"),
        ("itl", "Time between tokens", "vllm:inter_token_latency_seconds"),
        ("e2e", "Time of a whole request", "vllm:e2e_request_latency_seconds"),
    ):
        found += [
            graph(
                f"{title}: client",
                "p95 of each run, from the moment at which it was told to Prometheus.",
                "s",
                Query(_latency(kind), _LEGEND),
                objective(kind),
                wide=12,
            ),
            graph(
                f"{title}: server",
                "As the engine measured it. The client's is larger by the way there and by what "
                "waits before the engine.",
                "s",
                *quantiles(metric),
                objective(kind),
                wide=12,
            ),
        ]
    made = ENGINE.counter("vllm:generation_tokens")
    return (
        *found,
        graph(
            "Generated tokens: client",
            "Tokens of answers in a second that came in during each run.",
            "suffix:tok/s",
            Query(_client("tokens_per_second", direction="output"), _LEGEND),
            wide=12,
        ),
        graph(
            "Generated tokens: server",
            "Tokens of answers in a second, whoever asked: more than the clients' is other users.",
            "suffix:tok/s",
            Query(total(rate(made, WINDOW)), "generation"),
            wide=12,
        ),
    )


def _meanwhile() -> tuple[Panel, ...]:
    hits, queries, preempted = (
        total(rate(ENGINE.counter(f"vllm:{name}"), WINDOW))
        for name in ("prefix_cache_hits", "prefix_cache_queries", "num_preemptions")
    )
    queued = ENGINE.buckets("vllm:request_queue_time_seconds")
    return (
        graph(
            "Requests in the engine",
            "Running and waiting: a queue that grows all along is a load above the limit.",
            "short",
            Query(total(ENGINE.gauge("vllm:num_requests_running")), "running"),
            Query(total(ENGINE.gauge("vllm:num_requests_waiting")), "waiting"),
        ),
        graph(
            "Time in the queue, p95",
            "Part of the time to the first token that more replicas would save.",
            "s",
            Query(quantile(0.95, queued, WINDOW), "queue"),
        ),
        graph(
            "KV cache",
            "How much of its KV cache each replica uses: from 95% on requests are preempted.",
            "percentunit",
            Query(greatest(ENGINE.gauge("vllm:kv_cache_usage_perc"), *REPLICAS), REPLICA),
            steps=((0.95, BAD),),
            most=1,
        ),
        graph(
            "Preemptions",
            "Requests in a second that were thrown out of a full KV cache.",
            "suffix:/s",
            Query(preempted, "preemptions"),
        ),
        graph(
            "Found in the prefix cache",
            "The share of prompt tokens: what a load with few prompts finds, users will not.",
            "percentunit",
            Query(ratio(hits, queries), "found"),
            most=1,
        ),
        graph(
            "Requests that end",
            "In a second, by how: aborts are clients that gave up, or the end of a run.",
            "reqps",
            Query(
                total(rate(ENGINE.counter("vllm:request_success"), WINDOW), "finished_reason"),
                "{{finished_reason}}",
            ),
            stacked=True,
        ),
    )


BOARD = Board(
    "loadtest",
    "Load test",
    "What clients saw, run by run, beside what the engine saw meanwhile.",
    (
        Section("", (_runs(),)),
        Section("By commit", (_commits(), _trend())),
        Section("Side by side", _side_by_side()),
        Section("The engine meanwhile", _meanwhile()),
    ),
    (asked("run", "Run", f"label_values({write(_SEEN)}, run)"), *LIMITS),
)
