"""Fleet: every service at once: load, headroom, cards and hosts, cost, keys."""

from scripts.dashboards.board import RUNBOOKS, Board, Section, textbox
from scripts.dashboards.panels import BAD, POOR, Column, Panel, figure, graph, rows
from scripts.dashboards.queries import (
    DOORS,
    FLEET,
    REPLICAS,
    WINDOW,
    Query,
    exporter,
    firing,
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
from deployctl.promql.write import compare, greatest, over, quantile, rate, ratio, times, total
from deployctl.render.alerting.capacity import FULL
from deployctl.render.alerting.gateway import ASKED, BEHIND, JOB, PORTS

_BY = "service"
_LEGEND = "{{service}}"
_CARD = ("instance", "gpu")
_CARD_LEGEND = "{{instance}} {{gpu}}"
_TABLE_WINDOW = "5m"
_GENERATED = FLEET.counter("vllm:generation_tokens")
_ENDED = FLEET.counter("vllm:request_success")
_TTFT = FLEET.buckets("vllm:time_to_first_token_seconds")
_PRICE = Selector("$card_price")
_IDLE = 5  # percent of utilization, below which a card earns nothing
_DISKS = LabelMatcher("fstype", "!~", "tmpfs|overlay|squashfs|ramfs")


def _replicas() -> Expression:
    """Those that answer. Prometheus' `up` would count what else has a label `service`."""
    seen = FLEET.gauge("vllm:num_requests_running")
    each = Aggregation("count", (seen,), (_BY, *REPLICAS))
    return Aggregation("count", (each,), (_BY,))


def _summary() -> Panel:
    usage = greatest(FLEET.gauge("vllm:kv_cache_usage_perc"), _BY)
    alerts = Aggregation("count", (firing(LabelMatcher("alertstate", "=", "firing")),), (_BY,))
    none = times(0, _replicas())  # without it, the column is missing while all is well
    return rows(
        "Services",
        "A line a service: replicas that answer, load of the last five minutes, room that is left, "
        "and what is wrong. Late: the share of first tokens that missed the objective in an hour.",
        _BY,
        Column("Replicas", "short", _replicas()),
        Column("Requests", "reqps", total(rate(_ENDED, _TABLE_WINDOW), _BY)),
        Column("Generated", "suffix:tok/s", total(rate(_GENERATED, _TABLE_WINDOW), _BY)),
        Column("Running", "short", total(FLEET.gauge("vllm:num_requests_running"), _BY)),
        Column(
            "Waiting",
            "short",
            total(FLEET.gauge("vllm:num_requests_waiting"), _BY),
            ((1, POOR), (50, BAD)),
        ),
        Column("KV cache", "percentunit", usage, ((0.8, POOR), (0.95, BAD))),
        Column("TTFT p95", "s", quantile(0.95, _TTFT, _TABLE_WINDOW, _BY)),
        Column("Late", "percentunit", greatest(recorded("ttft_missed:ratio_1h"), _BY)),
        Column("Alerts", "short", Arithmetic("or", alerts, none), ((1, BAD),)),
        high=9,
    )


def _load() -> tuple[Panel, ...]:
    usage = greatest(FLEET.gauge("vllm:kv_cache_usage_perc"), _BY)
    return (
        graph(
            "Requests",
            "Requests in a second that end, by service.",
            "reqps",
            Query(total(rate(_ENDED, WINDOW), _BY), _LEGEND),
            stacked=True,
        ),
        graph(
            "Generated tokens",
            "Tokens of answers in a second, by service.",
            "suffix:tok/s",
            Query(total(rate(_GENERATED, WINDOW), _BY), _LEGEND),
            stacked=True,
        ),
        graph(
            "Time to first token, p95",
            "Of 20 first tokens the slowest but one, by service.",
            "s",
            Query(quantile(0.95, _TTFT, WINDOW, _BY), _LEGEND),
            alerts=("VllmTtftBurn",),
        ),
        graph(
            "Headroom in the KV cache",
            "What the fullest replica of each service has left; the line is where the alert "
            "begins.",
            "percentunit",
            Query(Arithmetic("-", Literal("1"), usage), _LEGEND),
            steps=((round(1 - FULL, 6), BAD),),
            alerts=("VllmKvCacheFull",),
            most=1,
        ),
        graph(
            "Waiting",
            "Requests that wait, by service: with headroom in the cache, the batch is full.",
            "short",
            Query(total(FLEET.gauge("vllm:num_requests_waiting"), _BY), _LEGEND),
            alerts=("VllmQueueGrowing",),
        ),
        graph(
            "Requests a replica",
            "Running and waiting, by replica on the mean: what an autoscaler aims at.",
            "short",
            Query(_each(), _LEGEND),
        ),
    )


def _each() -> Expression:
    busy = Arithmetic(
        "+",
        *(total(FLEET.gauge(f"vllm:num_requests_{what}"), _BY) for what in ("running", "waiting")),
    )
    return Arithmetic("/", busy, _replicas())


def _cards() -> tuple[Panel, ...]:
    used, free = (total(exporter(f"DCGM_FI_DEV_FB_{what}"), *_CARD) for what in ("USED", "FREE"))
    return (
        graph(
            "Utilization of cards",
            "How much of the time a kernel ran, of every card that Prometheus sees: 0 to 100.",
            "percent",
            Query(greatest(exporter("DCGM_FI_DEV_GPU_UTIL"), *_CARD), _CARD_LEGEND),
            most=100,
        ),
        graph(
            "Memory of cards",
            "The share that is taken. An engine takes --gpu-memory-utilization at its start.",
            "percentunit",
            Query(ratio(used, Arithmetic("+", used, free)), _CARD_LEGEND),
            most=1,
        ),
        graph(
            "Temperature",
            "Of each card. Most slow down somewhere between 83 and 90 °C.",
            "celsius",
            Query(greatest(exporter("DCGM_FI_DEV_GPU_TEMP"), *_CARD), _CARD_LEGEND),
            steps=((83, POOR), (90, BAD)),
        ),
        graph(
            "Power",
            "What each card draws: much less than its limit while it is busy is a card that waits.",
            "watt",
            Query(greatest(exporter("DCGM_FI_DEV_POWER_USAGE"), *_CARD), _CARD_LEGEND),
            stacked=True,
        ),
        graph(
            "Last XID",
            "The number of the last error that the driver told of a card, 0 for none: NVIDIA's "
            "list says what it means. 79 is a card that fell off the bus.",
            "none",
            Query(greatest(exporter("DCGM_FI_DEV_XID_ERRORS"), *_CARD), _CARD_LEGEND),
        ),
        graph(
            "Host memory",
            "The share that is taken on each host with node-exporter.",
            "percentunit",
            Query(
                _taken("node_memory_MemAvailable_bytes", "node_memory_MemTotal_bytes"),
                "{{instance}}",
            ),
            most=1,
            steps=((0.9, BAD),),
        ),
        graph(
            "Disks",
            "The share that is taken of each: of models, compiled kernels, logs.",
            "percentunit",
            Query(
                _taken("node_filesystem_avail_bytes", "node_filesystem_size_bytes", _DISKS),
                "{{instance}} {{mountpoint}}",
            ),
            most=1,
            steps=((0.9, BAD),),
        ),
    )


def _taken(left: str, size: str, *matchers: LabelMatcher) -> Expression:
    part = Arithmetic("/", exporter(left, *matchers), exporter(size, *matchers))
    return Arithmetic("-", Literal("1"), part)


def _gateways() -> tuple[Panel, ...]:
    def of(series: str, *more: LabelMatcher) -> Selector:
        return exporter(f"caddy_http_{series}", LabelMatcher("job", "=", JOB), PORTS, *more)

    by, legend = ("instance", "server"), "{{instance}} {{server}}"
    ended = total(rate(of("request_duration_seconds_count"), WINDOW), *by, "code")
    begun = quantile(0.95, of("response_duration_seconds_bucket", ASKED), WINDOW, *by)
    behind = DOORS.beside("deployctl_door_requests_under_way")
    return (
        graph(
            "Requests at gateways",
            "Requests in a second that end, by gateway, its port and status. 502: no engine took "
            "them in time (clients are told 503), or it ended with them.",
            "reqps",
            Query(ended, f"{legend} {{{{code}}}}"),
            alerts=("GatewayDown", "GatewayUnanswered"),
            stacked=True,
        ),
        graph(
            "In gateways, and at doors",
            "Requests that have not ended. Those that gateways have and no door has wait in a "
            "gateway, as long as all that comes to doors comes through one.",
            "short",
            Query(total(of("requests_in_flight"), *by), legend),
            Query(total(behind, BEHIND), f"at doors {{{{{BEHIND}}}}}"),
            alerts=("GatewayUnanswered",),
        ),
        graph(
            "First byte by gateways, p95",
            "Of 20 answers to a POST the latest but one to begin, its wait in the gateway "
            "included; none is shown as later than 10 s.",
            "s",
            Query(begun, legend),
            alerts=("GatewayUnanswered",),
        ),
    )


def _cost() -> tuple[Panel, ...]:
    # A card has several series: of each part that it is cut into (MIG, where nothing says how busy
    # the whole is), and of each pod that had it within the hour.
    each = Aggregation("group", (exporter("DCGM_FI_DEV_FB_USED"),), _CARD)
    cards = Aggregation("count", (each,))
    lazy = over("avg_over_time", exporter("DCGM_FI_DEV_GPU_UTIL"), "1h")
    idle = Aggregation("count", (compare(greatest(lazy, *_CARD), "<", _IDLE),))
    none = FunctionCall("vector", (Literal("0"),))
    an_hour = times(3600, total(rate(_GENERATED, "1h")))
    millions = Arithmetic("/", Arithmetic(">", an_hour, Literal("0")), Literal("1e6"))
    return (
        figure(
            "Cost of an hour",
            "All cards that Prometheus sees, at the price above for each.",
            "short",
            Query(Arithmetic("*", cards, _PRICE)),
            wide=4,
        ),
        figure(
            "Of these idle",
            f"Cards that were busy less than {_IDLE}% of the last hour, at that price.",
            "short",
            Query(Arithmetic("*", Arithmetic("or", idle, none), _PRICE)),
            steps=((0.001, POOR),),
            wide=4,
        ),
        figure(
            "Cost of a million tokens",
            "The cost of an hour by the tokens that were generated in the last one, in millions.",
            "short",
            Query(Arithmetic("/", Arithmetic("*", cards, _PRICE), millions)),
            wide=4,
        ),
        figure(
            "Tokens of the last hour",
            "Tokens of answers that all services generated.",
            "short",
            Query(an_hour),
            wide=4,
        ),
    )


def _keys() -> tuple[Panel, ...]:
    asked, tokens, refused = (
        total(rate(FLEET.beside(f"deployctl_door_{what}_total"), _TABLE_WINDOW), "key")
        for what in ("requests", "tokens", "refusals")
    )
    input_, output = (
        FLEET.beside("deployctl_door_tokens_total", LabelMatcher("direction", "=", direction))
        for direction in ("input", "output")
    )
    return (
        rows(
            "Keys",
            "Who uses the services, by the name of the key that was shown at the door.",
            "key",
            Column("Requests", "reqps", asked),
            Column("Tokens in", "suffix:tok/s", total(rate(input_, _TABLE_WINDOW), "key")),
            Column("Tokens out", "suffix:tok/s", total(rate(output, _TABLE_WINDOW), "key")),
            Column("Refused", "reqps", refused, ((0.001, POOR),)),
            alerts=("VllmKeyOverLimit", "VllmStrangersAtTheDoor"),
            wide=12,
        ),
        graph(
            "Tokens by key",
            "Tokens in a second, in and out, of all services.",
            "suffix:tok/s",
            Query(tokens, "{{key}}"),
            stacked=True,
            wide=12,
            high=8,
        ),
    )


BOARD = Board(
    "fleet",
    "Fleet",
    "Every service at once.",
    (
        Section("", (_summary(),)),
        Section("Load and headroom", _load()),
        Section("Cards, by DCGM, and hosts, by node-exporter", _cards()),
        Section("Gateways of hosts", _gateways()),
        Section("Cost", _cost()),
        Section("Keys", _keys()),
    ),
    (textbox("card_price", "Price of a card an hour", "1"), RUNBOOKS),
    one_service=False,
    replicas=False,
)
