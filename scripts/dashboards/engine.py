"""Engine: what one service's engines do, replica by replica: batches, caches, phases, guesses."""

from scripts.dashboards.board import RUNBOOKS, Board, Section
from scripts.dashboards.panels import BAD, POOR, Panel, graph, heat
from scripts.dashboards.queries import BESIDE, ENGINE, REPLICA, REPLICAS, WINDOW, Query

from deployctl.promql import Arithmetic, Expression, FunctionCall, Literal, Selector
from deployctl.promql.write import greatest, quantile, rate, ratio, total
from deployctl.render.alerting.capacity import FULL

_STEP = "vllm:iteration_tokens_total"
_PHASES = {
    "queue": "vllm:request_queue_time_seconds",
    "prefill": "vllm:request_prefill_time_seconds",
    "decode": "vllm:request_decode_time_seconds",
}


def _per_second(name: str, *by: str) -> Expression:
    return total(rate(ENGINE.counter(name), WINDOW), *by)


def _mean(name: str, *by: str) -> Expression:
    """Of what a histogram observed."""
    sums, counts = (total(rate(ENGINE.observed(name, p), WINDOW), *by) for p in ("sum", "count"))
    return ratio(sums, counts)


def _found(name: str) -> Expression:
    """The share of tokens that a cache was asked for and had."""
    return ratio(_per_second(f"vllm:{name}_hits"), _per_second(f"vllm:{name}_queries"))


def _batches() -> tuple[Panel, ...]:
    by_reason = total(ENGINE.gauge("vllm:num_requests_waiting_by_reason"), "reason")
    return (
        graph(
            "Running",
            "Requests in the batch, by replica: how far it is from --max-num-seqs.",
            "short",
            Query(total(ENGINE.gauge("vllm:num_requests_running"), *REPLICAS), REPLICA),
            alerts=("VllmEngineHung",),
        ),
        graph(
            "Waiting",
            "Requests that wait for room in the batch or in the KV cache, by replica.",
            "short",
            Query(total(ENGINE.gauge("vllm:num_requests_waiting"), *REPLICAS), REPLICA),
            alerts=("VllmQueueGrowing", "VllmEngineHung"),
        ),
        graph(
            "Why they wait",
            "capacity: batch or KV cache are full, more replicas help. deferred: what they need is "
            "not there yet, an adapter or a cache that is brought.",
            "short",
            Query(by_reason, "{{reason}}"),
            stacked=True,
        ),
        graph(
            "Tokens in a step",
            "How many tokens a step of the engine computes, on the mean: near "
            "--max-num-batched-tokens prefill fills the steps, and streams get slower.",
            "short",
            Query(_mean(_STEP, *REPLICAS), REPLICA),
        ),
        graph(
            "Steps",
            "Steps of the engine in a second. None while requests run is a hang.",
            "suffix:steps/s",
            Query(total(rate(ENGINE.observed(_STEP, "count"), WINDOW), *REPLICAS), REPLICA),
            alerts=("VllmEngineHung",),
        ),
        graph(
            "Generated tokens",
            "Tokens of answers in a second, by replica.",
            "suffix:tok/s",
            Query(_per_second("vllm:generation_tokens", *REPLICAS), REPLICA),
        ),
    )


def _caches() -> tuple[Panel, ...]:
    usage = greatest(ENGINE.gauge("vllm:kv_cache_usage_perc"), *REPLICAS)
    preempted = _per_second("vllm:num_preemptions")
    again = ratio(preempted, _per_second("vllm:request_success"))
    return (
        graph(
            "KV cache",
            "How much of its KV cache each replica uses; the line is where the alert begins.",
            "percentunit",
            Query(usage, REPLICA),
            alerts=("VllmKvCacheFull",),
            steps=((FULL, BAD),),
            most=1,
        ),
        graph(
            "Preemptions",
            "Requests in a second that are thrown out of a full KV cache, to be computed again.",
            "suffix:/s",
            Query(_per_second("vllm:num_preemptions", *REPLICAS), REPLICA),
            alerts=("VllmPreemptionStorm",),
        ),
        graph(
            "Preemptions to requests",
            "As many preemptions as this share of the requests that end: from 20% on work is done "
            "twice in earnest.",
            "percentunit",
            Query(again, "preempted"),
            alerts=("VllmPreemptionStorm",),
            steps=((0.2, BAD),),
        ),
        graph(
            "Found in a cache",
            "The share of prompt tokens that were found: in the prefix cache, in another engine's "
            "by a KV connector, and of images in the encoder's cache.",
            "percentunit",
            Query(_found("prefix_cache"), "prefix cache"),
            Query(_found("external_prefix_cache"), "by connector"),
            Query(_found("mm_cache"), "multimodal"),
            alerts=("VllmPrefixCacheCollapse",),
            most=1,
        ),
        graph(
            "Where prompts come from",
            "Prompt tokens in a second: computed, found here, or brought from elsewhere.",
            "suffix:tok/s",
            Query(_per_second("vllm:prompt_tokens_by_source", "source"), "{{source}}"),
            stacked=True,
        ),
        graph(
            "Refused by the engine",
            "Requests in a second that a limit of its queue refuses, with --max-num-queued-reqs "
            "or --max-num-queued-tokens.",
            "reqps",
            Query(_per_second("vllm:admission_rejections", "reason"), "{{reason}}"),
        ),
    )


def _phases() -> tuple[Panel, ...]:
    means = tuple(Query(_mean(name), phase) for phase, name in _PHASES.items())
    tails = tuple(
        Query(quantile(0.95, ENGINE.buckets(name), WINDOW), phase)
        for phase, name in _PHASES.items()
    )
    return (
        graph(
            "A request's time",
            "How long a request is in each phase, on the mean. queue: more replicas. prefill: "
            "shorter prompts, the prefix cache. decode: fewer requests at once, speculation.",
            "s",
            *means,
            stacked=True,
        ),
        graph(
            "A request's time, p95",
            "Of 20 requests the longest but one, in each phase by itself: they do not add up.",
            "s",
            *tails,
        ),
        graph(
            "How requests end",
            "stop: of itself. length: at the limit. abort: the client left. error: the engine's.",
            "reqps",
            Query(_per_second("vllm:request_success", "finished_reason"), "{{finished_reason}}"),
            alerts=("VllmRequestsAborted", "VllmRequestsFailing"),
            stacked=True,
        ),
        *(
            heat(f"Time in {phase}", _HEAT, "s", ENGINE.buckets(name))
            for phase, name in _PHASES.items()
        ),
    )


_HEAT = "Each column is a moment, each cell how many requests a second its line's bound holds."


def _lengths() -> tuple[Panel, ...]:
    return tuple(
        heat(title, _HEAT, "short", ENGINE.buckets(name))
        for title, name in (
            ("Tokens of prompts", "vllm:request_prompt_tokens"),
            ("Tokens of answers", "vllm:request_generation_tokens"),
            ("Tokens in a step, all", _STEP),
        )
    )


def _speculation() -> tuple[Panel, ...]:
    accepted, drafted, drafts = (
        _per_second(f"vllm:spec_decode_num_{name}")
        for name in ("accepted_tokens", "draft_tokens", "drafts")
    )
    place = _per_second("vllm:spec_decode_num_accepted_tokens_per_pos", "position")
    # Every draft has each position: one to many.
    by_place = Arithmetic(
        "/", place, Arithmetic(">", drafts, Literal("0")), (), "on () group_left ()"
    )
    return (
        graph(
            "Accepted",
            "The share of guessed tokens that were right. Below 20% they cost more than they save.",
            "percentunit",
            Query(ratio(accepted, drafted), "accepted"),
            alerts=("VllmSpeculationCollapse",),
            steps=((0.2, POOR),),
            most=1,
        ),
        graph(
            "Tokens at a time",
            "How many tokens a step gives a stream, on the mean: 1 is no gain at all.",
            "short",
            Query(Arithmetic("+", Literal("1"), ratio(accepted, drafts)), "tokens"),
        ),
        graph(
            "Accepted, by place",
            "How often the first guessed token was right, the second, and so on: where the last "
            "ones hardly are, guess fewer.",
            "percentunit",
            Query(by_place, "{{position}}"),
            most=1,
        ),
    )


def _process() -> tuple[Panel, ...]:
    def of(series: str) -> Selector:
        return BESIDE.beside(series)

    return (
        graph(
            "Memory of the API server",
            "Memory that the process holds which answers: it grows where something leaks.",
            "bytes",
            Query(total(of("process_resident_memory_bytes"), *REPLICAS), REPLICA),
        ),
        graph(
            "CPU of the API server",
            "Cores that it keeps busy: near 1 it is what streams wait for.",
            "short",
            Query(total(rate(of("process_cpu_seconds_total"), WINDOW), *REPLICAS), REPLICA),
            steps=((1, POOR),),
        ),
        graph(
            "Up for",
            "Time since the process began; a line that falls is a restart.",
            "s",
            Query(
                Arithmetic(
                    "-",
                    FunctionCall("time", ()),
                    greatest(of("process_start_time_seconds"), *REPLICAS),
                ),
                REPLICA,
            ),
            alerts=("VllmRestarting", "VllmScrapeFailing"),
        ),
    )


BOARD = Board(
    "engine",
    "Engine",
    "What a service's engines do, replica by replica.",
    (
        Section("Batches", _batches()),
        Section("Caches", _caches()),
        Section("Phases of a request", _phases()),
        Section("Lengths", _lengths()),
        Section("Speculation, with --speculative-config", _speculation()),
        Section("Process", _process()),
    ),
    (RUNBOOKS,),
)
