"""Service: the golden signals and the objectives of one service, on one screen."""

from scripts.dashboards.board import RUNBOOKS, Board, Section, constant
from scripts.dashboards.panels import BAD, POOR, figure, graph, heat, states
from scripts.dashboards.queries import (
    BESIDE,
    ENGINE,
    REPLICA,
    REPLICAS,
    WINDOW,
    Query,
    firing,
    objective,
    quantiles,
    recorded,
)

from deployctl.promql import (
    Aggregation,
    Arithmetic,
    Expression,
    FunctionCall,
    LabelMatcher,
    Literal,
    Selector,
)
from deployctl.promql.write import above, both, greatest, over, rate, ratio, times, total
from deployctl.render.alerting import Objectives
from deployctl.render.alerting.capacity import FULL
from deployctl.render.alerting.objectives import PAIRS

_TTFT = "vllm:time_to_first_token_seconds"
_ITL = "vllm:inter_token_latency_seconds"
_E2E = "vllm:e2e_request_latency_seconds"
_API = LabelMatcher("handler", "=~", "/v1/.*")
_PROMISES = {"availability": "Availability", "ttft": "TTFT", "itl": "ITL", "e2e": "E2E"}
_BURNS = ("VllmAvailabilityBurn", "VllmTtftBurn", "VllmItlBurn", "VllmE2eBurn")
_REQUESTS = BESIDE.beside("http_requests_total", _API)
_ANSWERED = BESIDE.beside("http_requests_total", _API, LabelMatcher("status", "!=", "5xx"))
_ENDED = ENGINE.counter("vllm:request_success")


def _budget(name: str) -> Expression:
    """What an objective allows to miss."""
    return Selector("$availability_budget" if name == "availability" else "$late_budget")


def _kept(name: str) -> Query:
    missed = recorded(f"{name}_missed:ratio_3d")
    return Query(Arithmetic("-", Literal("1"), missed), _PROMISES[name])


def _burning(name: str) -> Query:
    missed = recorded(f"{name}_missed:ratio_1h")
    return Query(Arithmetic("/", missed, _budget(name)), _PROMISES[name])


def _share(reason: str) -> Expression:
    """Of the requests that the engine ends, those with a reason."""
    why = ENGINE.counter("vllm:request_success", LabelMatcher("finished_reason", "=", reason))
    return ratio(total(rate(why, WINDOW)), total(rate(_ENDED, WINDOW)))


def _at_once() -> tuple[object, ...]:
    slow, middling, fast = sorted(pair.factor for pair in PAIRS)
    running = total(BESIDE.beside("up"))
    alerts = Aggregation("count", (firing(LabelMatcher("alertstate", "=", "firing")),))
    usage = greatest(ENGINE.gauge("vllm:kv_cache_usage_perc"))
    return (
        figure(
            "Kept, 3 days",
            "The share of requests (ITL: of gaps between tokens) that kept within each objective "
            "over three days. Recorded by the service's rules; what is not promised is not there.",
            "percentunit",
            *map(_kept, _PROMISES),
            none="no objective",
            decimals=2,
            wide=6,
        ),
        figure(
            "Budget burn, 1 hour",
            "How many times faster than the objective allows requests miss it: at 1 the budget is "
            f"just used up. {slow:g} for days is a warning, {middling:g} for hours and {fast:g} "
            "for an hour page.",
            "suffix:x",
            *map(_burning, _PROMISES),
            steps=((slow, POOR), (middling, BAD)),
            alerts=_BURNS,
            none="no objective",
            decimals=1,
            wide=6,
        ),
        figure(
            "Alerts",
            "How many alerts of the service are firing.",
            "short",
            Query(Arithmetic("or", alerts, FunctionCall("vector", (Literal("0"),)))),
            steps=((1, BAD),),
        ),
        figure(
            "Replicas",
            "How many replicas answer Prometheus.",
            "short",
            Query(running),
            steps=((1, "green"),),
            base=BAD,
            alerts=("VllmScrapeFailing", "VllmAbsent", "VllmRestarting"),
        ),
        figure(
            "Waiting",
            "Requests that wait for room in a batch, of all replicas. Any for long is a queue.",
            "short",
            Query(total(ENGINE.gauge("vllm:num_requests_waiting"))),
            steps=((1, POOR), (50, BAD)),
            alerts=("VllmQueueGrowing", "VllmEngineHung"),
        ),
        figure(
            "KV cache",
            "How much of its KV cache the fullest replica uses. From 95% on long answers are "
            "preempted.",
            "percentunit",
            Query(usage),
            steps=((0.8, POOR), (0.95, BAD)),
            alerts=("VllmKvCacheFull",),
        ),
    )


def _signals() -> tuple[object, ...]:
    by_status = total(rate(_REQUESTS, WINDOW), "status")
    every, answered = (total(rate(series, WINDOW)) for series in (_REQUESTS, _ANSWERED))
    # Where all fail from the start, there is no series of those that do not.
    well = Arithmetic("or", answered, times(0, every))
    failing = Arithmetic("-", Literal("1"), ratio(well, every))
    usage = greatest(ENGINE.gauge("vllm:kv_cache_usage_perc"), *REPLICAS)
    return (
        graph(
            "Time to first token",
            "From the request's arrival at the engine to its first token, its wait included.",
            "s",
            *quantiles(_TTFT),
            objective("ttft"),
            alerts=("VllmTtftBurn",),
        ),
        graph(
            "Time between tokens",
            "Of the tokens of a stream, from one to the next. Preempted requests show as a tail.",
            "s",
            *quantiles(_ITL),
            objective("itl"),
            alerts=("VllmItlBurn",),
        ),
        graph(
            "Time of a whole request",
            "From arrival to the last token: grows with the answers' length too.",
            "s",
            *quantiles(_E2E),
            objective("e2e"),
            alerts=("VllmE2eBurn",),
        ),
        graph(
            "Requests",
            "Answers of /v1 in a second, by status.",
            "reqps",
            Query(by_status, "{{status}}"),
            stacked=True,
        ),
        graph(
            "Tokens",
            "Tokens in a second: of prompts, found in the cache or not, and of answers.",
            "suffix:tok/s",
            Query(total(rate(ENGINE.counter("vllm:prompt_tokens"), WINDOW)), "prompt"),
            Query(total(rate(ENGINE.counter("vllm:generation_tokens"), WINDOW)), "generation"),
        ),
        graph(
            "Errors",
            "Shares of all requests: answers 5xx; given up by the engine; given up by who sent "
            "them, which is no fault unless it is many.",
            "percentunit",
            Query(failing, "5xx"),
            Query(_share("error"), "engine error"),
            Query(_share("abort"), "aborted"),
            alerts=("VllmRequestsFailing", "VllmRequestsAborted"),
        ),
        graph(
            "Requests in the engine",
            "Requests that are computed, and that wait for it, of all replicas.",
            "short",
            Query(total(ENGINE.gauge("vllm:num_requests_running")), "running"),
            Query(total(ENGINE.gauge("vllm:num_requests_waiting")), "waiting"),
            alerts=("VllmQueueGrowing", "VllmEngineHung"),
            high=6,
        ),
        graph(
            "KV cache by replica",
            "How much of its KV cache each replica uses; the line is where the alert begins.",
            "percentunit",
            Query(usage, REPLICA),
            alerts=("VllmKvCacheFull",),
            steps=((FULL, BAD),),
            most=1,
            high=6,
        ),
        states(
            "Alerts over time",
            "Alerts of the service while they were pending or firing.",
            Query(
                greatest(firing(), "alertname", "alertstate"),
                "{{alertname}} {{alertstate}}",
            ),
            wide=8,
            high=6,
        ),
    )


def _door() -> tuple[object, ...]:
    asked = BESIDE.beside("deployctl_door_requests_total")
    tokens = BESIDE.beside("deployctl_door_tokens_total")
    refused, by = BESIDE.beside("deployctl_door_refusals_total"), ("key", "reason")
    seen = total(over("increase", refused, "$__range"), *by)  # of all that may be, those that were
    return (
        graph(
            "Requests by key",
            "Requests in a second that came to the door, by the name of the key that they showed.",
            "reqps",
            Query(total(rate(asked, WINDOW), "key"), "{{key}}"),
            stacked=True,
        ),
        graph(
            "Tokens by key",
            "Tokens in a second, as the engine counted them: what goes in and what comes out.",
            "suffix:tok/s",
            Query(total(rate(tokens, WINDOW), "key", "direction"), "{{key}} {{direction}}"),
        ),
        graph(
            "Refusals",
            "Requests in a second that did not reach the engine, by key and reason.",
            "reqps",
            Query(both(total(rate(refused, WINDOW), *by), above(seen, 0)), "{{key}} {{reason}}"),
            alerts=("VllmKeyOverLimit", "VllmStrangersAtTheDoor"),
        ),
    )


def _latencies() -> tuple[object, ...]:
    said = "Each column is a moment, each cell how many in a second took as long as its line says."
    return tuple(
        heat(title, said, "s", ENGINE.buckets(metric))
        for title, metric in (
            ("Time to first token, all", _TTFT),
            ("Time between tokens, all", _ITL),
            ("Time of a whole request, all", _E2E),
        )
    )


_PROMISED = Objectives()
LIMITS = tuple(
    constant(f"{name}_objective", "NaN", "Seconds; NaN where nothing is promised")
    for name in ("ttft", "itl", "e2e")
)
BUDGETS = (
    constant(
        "availability_budget", f"{1 - (_PROMISED.availability or 0):g}", "Share that may fail"
    ),
    constant("late_budget", f"{1 - _PROMISED.share:g}", "Share that may be late"),
)

BOARD = Board(
    "service",
    "Service",
    "Golden signals and objectives of one service.",
    (
        Section("", (*_at_once(), *_signals())),
        Section("Every request", _latencies()),
        Section("Keys, at the door", _door()),
    ),
    (*LIMITS, *BUDGETS, RUNBOOKS),
)
