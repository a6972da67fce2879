"""A service's series over hours, a sample a minute, and which alerts fire when: all of them are
named, so that one that fires beside them fails the case.
"""

from alert_parts import FAILED, HOUR, OK, flat, steady, then
from deployctl.render.alerting import Objectives

WANTED = Objectives(availability=0.995, ttft_s=1.0)
ENDED = 'vllm:request_success_total{finished_reason="%s"}'
TTFT = "vllm:time_to_first_token_seconds"
UNANSWERED = "deployctl_door_requests_unanswered"
OLDEST = "deployctl_door_oldest_unanswered_timestamp_seconds"


def service(times=3 * HOUR, **changed):
    """A replica with ten requests a second's share of work; `changed` by series, None is gone."""
    series = {
        "up": flat(1, times),
        "process_start_time_seconds": flat(1000, times),
        "vllm:num_requests_running": flat(4, times),
        "vllm:num_requests_waiting": flat(0, times),
        "vllm:kv_cache_usage_perc": flat(0.5, times),
        "vllm:num_preemptions_total": flat(0, times),
        "vllm:iteration_tokens_total_sum": steady(6000, times),
        "vllm:prefix_cache_queries_total": steady(60000, times),
        "vllm:prefix_cache_hits_total": steady(30000, times),
        ENDED % "stop": steady(60, times),
        ENDED % "error": flat(0, times),
        ENDED % "abort": flat(0, times),
        f"http_requests_total{{{OK}}}": steady(60, times),
        f'{TTFT}_bucket{{le="1.0"}}': steady(60, times),
        f'{TTFT}_bucket{{le="+Inf"}}': steady(60, times),
        f"{TTFT}_count": steady(60, times),
        **changed,
    }
    return {name: values for name, values in series.items() if values is not None}


IDLE = service(6 * HOUR, **{
    "vllm:num_requests_running": flat(0, 6 * HOUR),
    **{name: flat(500, 6 * HOUR) for name in service() if "total" in name or "seconds_" in name},
})  # fmt: skip
BURNS = ("VllmAvailabilityBurn", "critical")
LATE = Objectives(availability=None, share=0.8, ttft_s=1.0)
BETWEEN = Objectives(availability=None, ttft_s=2.4)
CASES = {
    "a good day": (service(6 * HOUR), {HOUR: [], 6 * HOUR: []}),
    "an idle night": (IDLE, {5 * HOUR: []}),
    "nothing is there": ({"up": flat("_")}, {10: [], 20: [("VllmAbsent", "critical")]}),
    "a fifth of requests fail, for half an hour": (
        # Much traffic before: little of three days' budget is used. 7.2% of an hour after 22 min;
        # it is over with the short window, though the long one goes on.
        service(8 * HOUR, **{
            f"http_requests_total{{{OK}}}": then(
                (6000, 4 * HOUR), (60, HOUR), (48, 30), (60, 2 * HOUR)
            ),
            f"http_requests_total{{{FAILED}}}": then((0, 5 * HOUR), (12, 31), (0, 2 * HOUR)),
        }),
        {5 * HOUR: [], 5 * HOUR + 15: [], 5 * HOUR + 29: [BURNS], 5 * HOUR + 42: []},
    ),
    "one in 25 fails, for hours": (
        service(9 * HOUR, **{
            f"http_requests_total{{{OK}}}": then((600, HOUR), (576, 8 * HOUR)),
            f"http_requests_total{{{FAILED}}}": then((0, HOUR), (24, 8 * HOUR)),
        }),
        {HOUR: [], 7 * HOUR: [BURNS, ("VllmAvailabilityBurn", "warning")]},
    ),
    "three requests an hour, and all fail": (
        service(6 * HOUR, **{
            f"http_requests_total{{{OK}}}": None,
            f"http_requests_total{{{FAILED}}}": "0x29 1x9 2x9 " + flat(3, 5 * HOUR),
        }),
        {HOUR: [], 5 * HOUR: []},
    ),
    "nothing but failures from the start": (
        service(**{
            f"http_requests_total{{{OK}}}": None,
            f"http_requests_total{{{FAILED}}}": f"_x{HOUR} {steady(60, 2 * HOUR, 60)}",
        }),
        {HOUR: [], 2 * HOUR: 2 * [BURNS] + [("VllmAvailabilityBurn", "warning")]},
    ),
    "one of forty requests of a night fails": (
        service(7 * HOUR, **{
            f"http_requests_total{{{OK}}}": " ".join(f"{n}x9" for n in range(42)),
            f"http_requests_total{{{FAILED}}}": f"0x{5 * HOUR + 30} {flat(1, 90)}",
        }),
        {hour: [] for hour in (5 * HOUR + 34, 5 * HOUR + 50, 6 * HOUR + 10)},
    ),
    "all are late, where a fifth may be": (
        service(**{f'{TTFT}_bucket{{le="1.0"}}': then((60, HOUR), (0, 2 * HOUR))}),
        {HOUR: [], 2 * HOUR: [("VllmTtftBurn", "critical"), ("VllmTtftBurn", "warning")]},
        LATE,
    ),
    "a limit between two bounds": (
        service(7 * HOUR, **{
            f'{TTFT}_bucket{{le="1.0"}}': steady(54, 7 * HOUR),
            f'{TTFT}_bucket{{le="2.5"}}': steady(60, 7 * HOUR),
        }),
        {7 * HOUR: []},
        BETWEEN,
    ),
    "most are just beyond a limit between two bounds": (
        service(7 * HOUR, **{
            f'{TTFT}_bucket{{le="1.0"}}': steady(6, 7 * HOUR),
            f'{TTFT}_bucket{{le="2.5"}}': steady(12, 7 * HOUR),
        }),
        {7 * HOUR: 2 * [("VllmTtftBurn", "critical")] + [("VllmTtftBurn", "warning")]},
        BETWEEN,
    ),
    "first tokens are late": (
        service(**{
            f'{TTFT}_bucket{{le="1.0"}}': then((60, HOUR), (6, 2 * HOUR)),
        }),
        {HOUR: [], 2 * HOUR: 2 * [("VllmTtftBurn", "critical")] + [("VllmTtftBurn", "warning")]},
    ),
    "the engine hangs": (
        service(**{"vllm:iteration_tokens_total_sum": then((6000, HOUR), (0, 2 * HOUR))}),
        {HOUR + 4: [], HOUR + 8: [("VllmEngineHung", "critical")]},
    ),
    "one engine of two behind a page hangs": (
        {
            **service(),
            'vllm:num_requests_running{engine="1"}': flat(2),
            'vllm:num_requests_waiting{engine="1"}': flat(0),
            'vllm:iteration_tokens_total_sum{engine="1"}': then((6000, HOUR), (0, 2 * HOUR)),
        },
        {HOUR + 4: [], HOUR + 8: [("VllmEngineHung", "critical")]},
    ),
    "it hangs while it has nothing to do, and says so": (
        service(**{
            "vllm:num_requests_running": flat(0),
            "vllm:iteration_tokens_total_sum": then((6000, HOUR), (0, 2 * HOUR)),
            UNANSWERED: f"0x{HOUR + 30} {flat(3, HOUR)}",
            OLDEST: f"0x{HOUR + 30} {flat((HOUR + 31) * 60, HOUR)}",
        }),
        {HOUR + 35: [], HOUR + 41: [("VllmEngineHung", "critical")]},
    ),
    "the first request of a new replica takes a while": (
        {
            **service(),
            'vllm:num_requests_running{instance="b:1"}': f"_x{HOUR} {flat(1, HOUR)}",
            'vllm:num_requests_waiting{instance="b:1"}': f"_x{HOUR} {flat(0, HOUR)}",
            'vllm:iteration_tokens_total_sum{instance="b:1"}': f"_x{HOUR} 0x4 {steady(9, HOUR)}",
        },
        {HOUR + 4: [], HOUR + 6: []},
    ),
    "a hang is over": (
        service(**{"vllm:iteration_tokens_total_sum": then((9, HOUR), (0, 20), (9, HOUR))}),
        {HOUR + 15: [("VllmEngineHung", "critical")], HOUR + 30: []},
    ),
    "nothing to do is no hang": (
        service(**{
            "vllm:iteration_tokens_total_sum": flat(9), "vllm:num_requests_running": flat(0),
        }),
        {2 * HOUR: []},
    ),
    "a replica dies": (
        {**service(HOUR), "up": f"1x{HOUR} 0x{HOUR}"},
        {
            HOUR + 10: [],
            HOUR + 25: [("VllmScrapeFailing", "critical"), ("VllmAbsent", "critical")],
        },
    ),
    "one restart, its counters begin anew": (
        service(**{
            "process_start_time_seconds": f"1000x{HOUR} {flat(4600, 2 * HOUR)}",
            **{
                name: f"{values.rsplit('x', 1)[0]}x{HOUR} {steady(60, 2 * HOUR)}"
                for name, values in service().items() if name.startswith(("http", TTFT, "vllm:req"))
                and "error" not in name and "abort" not in name
            },
        }),
        {HOUR + 5: [], 2 * HOUR: []},
    ),
    "it restarts again and again": (
        service(**{"process_start_time_seconds": "1000x30 2000x9 3000x9 4000x200"}),
        {40: [], 55: [("VllmRestarting", "critical")], 3 * HOUR: []},
    ),
    "it dies as it loads, and nobody sees it but who starts it": (
        service(**{
            "process_start_time_seconds": None,
            "deployctl_engine_restarts_total": f"0x{HOUR} _x20 {flat(4, HOUR)}",
        }),
        {HOUR: [], HOUR + 30: [("VllmRestarting", "critical")], 3 * HOUR: []},
    ),
    "one restart by the watchdog": (
        service(**{"deployctl_engine_restarts_total": f"0x{HOUR} _x5 {flat(1, 2 * HOUR)}"}),
        {HOUR + 10: [], 2 * HOUR: []},
    ),
    "a container of a new count": (
        service(**{"deployctl_engine_restarts_total": f"5x{HOUR} {flat(0, 2 * HOUR)}"}),
        {HOUR + 10: []},
    ),
    "the engine gives up on requests": (
        service(**{ENDED % "error": then((0, HOUR), (20, HOUR))}),
        {HOUR: [], HOUR + 20: [("VllmRequestsFailing", "critical")]},
    ),
    "it gives up on all of one replica of twenty": (
        {
            **service(),
            ENDED % "stop": steady(60 * 19),
            ENDED.replace("}", ',instance="b:1"}') % "stop": then((60, HOUR), (0, HOUR)),
            ENDED.replace("}", ',instance="b:1"}') % "error": then((0, HOUR), (60, HOUR)),
        },
        {HOUR: [], HOUR + 20: [("VllmRequestsFailing", "critical")]},
    ),
    "one failed request at night is none": (
        service(**{ENDED % "stop": flat(9), ENDED % "error": f"0x{HOUR} {flat(1, HOUR)}"}),
        {HOUR + 5: [], HOUR + 20: []},
    ),
    "users give up": (
        service(**{ENDED % "abort": then((0, HOUR), (20, 2 * HOUR))}),
        {HOUR + 10: [], HOUR + 30: [("VllmRequestsAborted", "warning")]},
    ),
    "a queue grows": (
        service(**{"vllm:num_requests_waiting": f"0x{HOUR} 1+2x{HOUR}"}),
        {HOUR + 10: [], HOUR + 30: [("VllmQueueGrowing", "warning")]},
    ),
    "a queue stays as long as it is": (
        service(**{"vllm:num_requests_waiting": f"0x{HOUR} {flat(200, 2 * HOUR)}"}),
        {HOUR + 50: [], 2 * HOUR + 20: [("VllmQueueGrowing", "warning")]},
    ),
    "a queue of a new replica": (
        {
            **service(),
            "vllm:num_requests_waiting": f"_x{HOUR} 1 1 2 2 3 3 4 4 5 5 6 6 {flat(0, HOUR)}",
        },
        {HOUR + 9: [], HOUR + 11: []},
    ),
    "a queue comes and goes": (
        service(**{"vllm:num_requests_waiting": "0 9 " * 90}),
        {HOUR: [], 2 * HOUR: []},
    ),
    "the KV cache is full": (
        service(**{
            "vllm:kv_cache_usage_perc": f"0.5x{HOUR} {flat(0.99, 2 * HOUR)}",
            "vllm:num_preemptions_total": then((0, HOUR), (1, 2 * HOUR)),
        }),
        {HOUR + 5: [], HOUR + 30: [("VllmKvCacheFull", "warning")]},
    ),
    "full, but whoever is preempted leaves room": (
        service(**{
            "vllm:kv_cache_usage_perc": f"0.5x{HOUR} " + "0.99 0.97 0.88 " * 40,
            "vllm:num_preemptions_total": then((0, HOUR), (1, 2 * HOUR)),
        }),
        {HOUR + 5: [], HOUR + 40: [("VllmKvCacheFull", "warning")]},
    ),
    "full and nobody is preempted": (
        service(**{"vllm:kv_cache_usage_perc": flat(0.99)}), {2 * HOUR: []},
    ),
    "a storm of preemptions": (
        service(**{"vllm:num_preemptions_total": then((0, HOUR), (30, 2 * HOUR))}),
        {HOUR: [], HOUR + 30: [("VllmPreemptionStorm", "critical")]},
    ),
    "so many preemptions that no request ends": (
        service(**{
            "vllm:num_preemptions_total": then((0, HOUR), (30, 2 * HOUR)),
            ENDED % "stop": then((60, HOUR), (0, 2 * HOUR)),
        }),
        {HOUR: [], HOUR + 40: [("VllmPreemptionStorm", "critical")]},
    ),
    "the prefix cache stops to help": (
        service(6 * HOUR, **{
            "vllm:prefix_cache_hits_total": then((30000, 5 * HOUR), (600, HOUR)),
        }),
        {5 * HOUR: [], 6 * HOUR: [("VllmPrefixCacheCollapse", "warning")]},
    ),
    "speculation stops to help": (
        service(**{
            "vllm:spec_decode_num_draft_tokens_total": steady(3000),
            "vllm:spec_decode_num_accepted_tokens_total": then((2000, HOUR), (100, 2 * HOUR)),
        }),
        {HOUR: [], 2 * HOUR: [("VllmSpeculationCollapse", "warning")]},
    ),
    "a key meets its limit, another one does not": (
        service(**{
            'deployctl_door_requests_total{key="ci",route="a",status="429"}': steady(8),
            'deployctl_door_requests_total{key="ci",route="a",status="200"}': steady(2),
            'deployctl_door_refusals_total{key="ci",reason="limit"}': steady(8),
            'deployctl_door_requests_total{key="anna",route="a",status="200"}': steady(60),
            'deployctl_door_refusals_total{key="anna",reason="limit"}': steady(1),
        }),
        {HOUR: [("VllmKeyOverLimit", "warning")]},
    ),
    "the files of keys cannot be read": (
        service(**{"deployctl_door_keys_stale": f"0x{HOUR} {flat(1, HOUR)}"}),
        {HOUR: [], HOUR + 10: [("VllmKeysUnreadable", "critical")]},
    ),
    "somebody tries keys": (
        service(**{
            'deployctl_door_refusals_total{key="-",reason="no_key"}': then((1, HOUR), (30, HOUR)),
        }),
        {HOUR: [], HOUR + 10: [("VllmStrangersAtTheDoor", "warning")]},
    ),
}  # fmt: skip
