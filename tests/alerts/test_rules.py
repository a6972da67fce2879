"""Our rules in Prometheus' own evaluation, at their real times: promtool, without waiting.

Each case is a service's series over hours, a sample a minute, and which alerts fire when: all of
them are named, so that one that fires beside them fails the case.
"""

import subprocess

import pytest
import yaml

import known
from deployctl.promql import LabelMatcher
from deployctl.render.alerting import Objectives, Scope, host_groups, rule_groups
from deployctl.render.monitoring import monitoring_files

pytestmark = pytest.mark.promtool


@pytest.fixture
def planned_here():
    """What a Compose project's Prometheus is given."""
    plan, spec, _ = known.planned("awq", "l4")
    return monitoring_files(plan, spec)


VERSION = "0.32.0"
SCOPE = Scope("chat", VERSION, (LabelMatcher("service", "=", "chat"),), speculates=True)
WANTED = Objectives(availability=0.995, ttft_s=1.0)
OK = 'handler="/v1/chat/completions",method="POST",status="2xx"'
FAILED = 'handler="/v1/chat/completions",method="POST",status="5xx"'
ENDED = 'vllm:request_success_total{finished_reason="%s"}'
TTFT = "vllm:time_to_first_token_seconds"
UNANSWERED = "deployctl_door_requests_unanswered"
OLDEST = "deployctl_door_oldest_unanswered_timestamp_seconds"
HOUR = 60  # in samples


def steady(step, times=3 * HOUR, start=0):
    """A counter that grows by `step` a minute."""
    return f"{start}+{step}x{times}"


def then(*parts):
    """Counters one after the other, each going on where the one before ended: (step, minutes)."""
    words, value = [], 0
    for step, minutes in parts:
        words.append(f"{value}+{step}x{minutes}")
        value += step * (minutes + 1)
    return " ".join(words)


def flat(value, times=3 * HOUR):
    return f"{value}x{times}"


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


def labelled(name, own='service="chat",instance="10.0.0.1:8000"'):
    """A series with the labels that a scrape adds."""
    if "instance=" in name:  # another replica
        own = own.split(",")[0]
    return f"{name[:-1]},{own}}}" if name.endswith("}") else f"{name}{{{own}}}"


def case(series, expected, labels="alertname, severity"):
    """One test of promtool's: at each time, the alerts that fire, and no other."""
    firing = f"count by ({labels}) (ALERTS{{alertstate='firing'}})"

    def sample(alert, count):
        told = zip(labels.split(", "), alert, strict=True)
        return {"labels": "{" + ",".join(f'{k}="{v}"' for k, v in told) + "}", "value": count}

    return {
        "interval": "1m",
        "input_series": [{"series": n, "values": v} for n, v in series.items()],
        "promql_expr_test": [
            {
                "expr": firing,
                "eval_time": f"{minute}m",
                "exp_samples": [sample(a, alerts.count(a)) for a in dict.fromkeys(alerts)],
            }
            for minute, alerts in expected.items()
        ],
    }


def written(folder, *groups):
    """Rule files of these groups."""
    files = [folder / f"rules{number}.yaml" for number, _ in enumerate(groups)]
    for file, listed in zip(files, groups, strict=True):
        file.write_text(yaml.safe_dump({"groups": listed}))
    return files


def promtool(*words):
    return subprocess.run(
        ["promtool", *map(str, words)], capture_output=True, text=True, timeout=120
    )


def holds(folder, files, test, every="2m"):
    """Fails where promtool finds other alerts than a test says."""
    file = folder / "test.yaml"
    document = {
        "rule_files": [str(file) for file in files],
        "evaluation_interval": every,
        "tests": [test],
    }
    file.write_text(yaml.safe_dump(document))
    done = promtool("test", "rules", file)
    assert done.returncode == 0, done.stdout + done.stderr


def test_prometheus_takes_the_rules(tmp_path):
    (file,) = written(tmp_path, rule_groups(SCOPE, WANTED))
    done = promtool("check", "rules", "--lint=all", "--lint-fatal", file)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", CASES)
def test_what_fires_and_what_stays_quiet(name, tmp_path):
    series, expected, *wanted = CASES[name]
    files = written(tmp_path, rule_groups(SCOPE, *(wanted or [WANTED])))
    series = {labelled(name): values for name, values in series.items()}
    holds(tmp_path, files, case(series, expected))


def test_two_services_of_one_name_in_two_namespaces(tmp_path):
    failing = {
        f"http_requests_total{{{OK}}}": then((60, HOUR), (30, 2 * HOUR)),
        f"http_requests_total{{{FAILED}}}": then((0, HOUR), (30, 2 * HOUR)),
    }
    spaces, series = {"well": {}, "ill": failing}, {}
    for name, changed in spaces.items():
        own = f'namespace="{name}",pod="chat-1"'
        series |= {labelled(n, own): v for n, v in service(**changed).items()}
    scopes = [
        Scope("chat", VERSION, (LabelMatcher("namespace", "=", name),), namespace=name)
        for name in spaces
    ]
    files = written(tmp_path, *(rule_groups(scope, WANTED) for scope in scopes))
    burns = ("VllmAvailabilityBurn", "ill")
    holds(tmp_path, files, case(series, {2 * HOUR: 3 * [burns]}, "alertname, namespace"))


DAY = 24 * HOUR
EXPIRES = 'deployctl_door_key_expires_timestamp_seconds{key="%s"}'


def sparse(series, expected, labels="alertname, severity"):
    """As `case`, with a sample every four minutes: these are told by days."""
    return case(series, expected, labels) | {"interval": "4m"}


def over_days(value, days):
    return f"{value}x{days * DAY // 4}"


def test_a_key_that_ends_in_a_week_is_said_and_one_that_was_made_for_days_not(tmp_path):
    series = {
        EXPIRES % "old": over_days(20 * DAY * 60, 22),
        EXPIRES % "renewed": f"{over_days(20 * DAY * 60, 15)} {over_days(90 * DAY * 60, 7)}",
        EXPIRES % "long": over_days(90 * DAY * 60, 22),
        EXPIRES % "brief": f"_x{10 * DAY // 4} {over_days(14 * DAY * 60, 8)}",
    }
    seen = {labelled(n): v for n, v in series.items()}
    soon = ("VllmKeyExpiring", "old")
    expected = {
        12 * DAY: [], 13 * DAY - 60: [], 14 * DAY: [soon, ("VllmKeyExpiring", "renewed")],
        16 * DAY: [soon], 20 * DAY + 600: [soon], 21 * DAY + 60: [],
    }  # fmt: skip
    files = written(tmp_path, [g for g in rule_groups(SCOPE, WANTED) if "usage" in g["name"]])
    holds(tmp_path, files, sparse(seen, expected, "alertname, key"), every="30m")


def test_a_pod_that_kubernetes_starts_again_and_again(tmp_path):
    own = 'namespace="blue",pod="chat-1"'
    series = {labelled(name, own): values for name, values in service().items()}
    crashes = "kube_pod_container_status_restarts_total{%s,container=%r,instance='ksm'}"
    series[(crashes % (own, "engine")).replace("'", '"')] = f"0x{HOUR} 1 2 3 4 {flat(4, HOUR)}"
    series[(crashes % (own, "other")).replace("'", '"')] = steady(1)
    scope = Scope("chat", VERSION, (LabelMatcher("namespace", "=", "blue"),), namespace="blue")
    files = written(tmp_path, rule_groups(scope, WANTED))
    restarting = [("VllmRestarting", "chat-1")]
    holds(tmp_path, files, case(series, {HOUR: [], HOUR + 10: restarting}, "alertname, pod"))


GIB = 2**30
CARD = 'gpu="0",UUID="GPU-1",Hostname="box"'
MEMORY = "node_memory_MemAvailable_bytes"
DISK = 'node_filesystem_avail_bytes{fstype="ext4",mountpoint="/",device="sda"}'


def falling(start, step, minutes):
    return f"{start * GIB:.0f}-{step * GIB:.0f}x{minutes}"


def machine(hours=12, **changed):
    """A machine with a card, on which nothing is wrong."""
    minutes = hours * HOUR
    xids = {f'DCGM_FI_DEV_XID_ERRORS{{{CARD},pod="a"}}': flat(0, minutes)}
    return {
        MEMORY: flat(40 * GIB, minutes),
        "node_memory_MemTotal_bytes": flat(64 * GIB, minutes),
        DISK: flat(300 * GIB, minutes),
        DISK.replace("avail", "size"): flat(1000 * GIB, minutes),
        DISK.replace("ext4", "tmpfs"): flat(0, minutes),
        DISK.replace("ext4", "tmpfs").replace("avail", "size"): flat(1, minutes),
        f"DCGM_FI_DEV_GPU_TEMP{{{CARD}}}": flat(70, minutes),
        f"DCGM_FI_DEV_GPU_UTIL{{{CARD}}}": flat(0, minutes),
        f"DCGM_FI_DEV_FB_FREE{{{CARD}}}": flat(2000, minutes),
        f"DCGM_FI_DEV_FB_USED{{{CARD}}}": flat(20000, minutes),
        f"DCGM_FI_DEV_UNCORRECTABLE_REMAPPED_ROWS{{{CARD}}}": flat(2, minutes),
        f"DCGM_FI_DEV_ROW_REMAP_FAILURE{{{CARD}}}": flat(0, minutes),
        **xids,
        **changed,
    }


def card(name, values):
    return {f"DCGM_FI_DEV_{name}{{{CARD}}}": values}


XID = f'DCGM_FI_DEV_XID_ERRORS{{{CARD},pod="%s"}}'
FAILURES = 'prometheus_rule_evaluation_failures_total{rule_group="/r.yaml;deployctl-chat-health"}'
MACHINES = {
    "an idle night": (machine(), {11 * HOUR: []}),
    "nothing is scraped": ({"up": flat(1)}, {2 * HOUR: []}),
    "memory leaks": (
        machine(**{MEMORY: falling(22, 0.02, 12 * HOUR)}),
        {7 * HOUR: [], 9 * HOUR: [("HostMemoryGrowing", "warning")]},
    ),
    "memory is used up at once": (
        machine(**{MEMORY: f"{40 * GIB}x{HOUR} {flat(GIB, HOUR)}"}),
        {HOUR: [], HOUR + 8: [("HostMemoryGrowing", "critical")]},
    ),
    "a model is loaded into memory": (
        machine(**{MEMORY: f"{50 * GIB}x{6 * HOUR} {falling(50, 1, 35)} {flat(15 * GIB, 400)}"}),
        {6 * HOUR + 30: [], 8 * HOUR + 10: [], 11 * HOUR: []},
    ),
    "a machine starts anew": (
        machine(**{MEMORY: f"{falling(15, 0.02, 300)} _x3 {flat(60 * GIB, 400)}"}),
        {4 * HOUR: [], 6 * HOUR: [], 8 * HOUR: []},
    ),
    "a disk fills": (
        machine(**{DISK: falling(290, 0.25, 12 * HOUR)}),
        {7 * HOUR: [], 9 * HOUR: [("HostDiskFilling", "warning")]},
    ),
    "a checkpoint is fetched": (
        machine(**{DISK: f"{250 * GIB}x{6 * HOUR} {falling(250, 5, 20)} {flat(150 * GIB, 400)}"}),
        {6 * HOUR + 15: [], 8 * HOUR: [], 11 * HOUR: []},
    ),
    "a disk is full": (
        machine(**{DISK: f"{250 * GIB}x{HOUR} {flat(9 * GIB, HOUR)}"}),
        {HOUR: [], HOUR + 10: [("HostDiskFilling", "critical")]},
    ),
    "a card is hot": (
        machine(**card("GPU_TEMP", f"70x{HOUR} {flat(88, 2 * HOUR)}")),
        {HOUR + 10: [], HOUR + 30: [("GpuHot", "warning")]},
    ),
    "a card is hot for moments": (machine(**card("GPU_TEMP", "70 88 " * 300)), {8 * HOUR: []}),
    "the card fails": (
        machine(**{XID % "a": f"0x{HOUR} {flat(79, 3 * HOUR)}"}),
        {HOUR: [], HOUR + 4: [("GpuXid", "critical")], 3 * HOUR: []},
    ),
    "the card had failed before another pod got it": (
        machine(**{XID % "a": f"79x{HOUR}", XID % "b": f"_x{HOUR} {flat(79, HOUR)}"}),
        {50: [("GpuXid", "critical")], HOUR + 30: []},
    ),
    "a program failed": (machine(**{XID % "a": f"0x{HOUR} {flat(31, HOUR)}"}), {HOUR + 4: []}),
    "its memory is full": (
        machine(**card("FB_FREE", f"2000x{HOUR} {flat(20, 2 * HOUR)}")),
        {HOUR + 10: [], HOUR + 30: [("GpuMemoryFull", "warning")]},
    ),
    "its memory is broken": (
        machine(**card("UNCORRECTABLE_REMAPPED_ROWS", f"2x{HOUR} {flat(3, 2 * HOUR)}")),
        {HOUR: [], HOUR + 4: [("GpuMemoryErrors", "critical")]},
    ),
    "its driver counts from nothing": (
        machine(**card("UNCORRECTABLE_REMAPPED_ROWS", f"2x{HOUR} {flat(0, 2 * HOUR)}")),
        {HOUR + 10: []},
    ),
    "nothing can be replaced": (
        machine(**card("ROW_REMAP_FAILURE", f"0x{HOUR} {flat(1, 2 * HOUR)}")),
        {HOUR: [], HOUR + 4: [("GpuMemoryErrors", "critical")]},
    ),
    "nobody uses a card": (machine(27), {24 * HOUR: [], 26 * HOUR: [("GpuIdle", "warning")]}),
    "somebody uses it in the morning": (
        machine(27, **card("GPU_UTIL", f"0x{10 * HOUR} 60 {flat(0, 16 * HOUR)}")),
        {26 * HOUR: []},
    ),
    "rules of ours are not evaluated": (
        {FAILURES: f"0x{HOUR} {steady(2, HOUR)}"},
        {HOUR: [], HOUR + 15: [("DeployctlRulesFailing", "warning")]},
    ),
    "rules of others are not": (
        {FAILURES.replace("deployctl-", "x-"): steady(2)}, {2 * HOUR: []},
    ),
}  # fmt: skip
MACHINE = Scope("", VERSION, ())


@pytest.mark.parametrize("name", MACHINES)
def test_what_fires_of_a_machine(name, tmp_path):
    series, expected = MACHINES[name]
    files = written(tmp_path, host_groups(MACHINE))
    series = {labelled(name, 'instance="box:9100",job="node"'): v for name, v in series.items()}
    holds(tmp_path, files, case(series, expected))


def test_prometheus_takes_what_is_rendered_for_compose(tmp_path, planned_here):
    for path, text in planned_here.items():
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text(text)
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "operator_token").write_text("x")
    config = {
        "rule_files": ["monitoring/rules.yaml", "monitoring/host-rules.yaml"],
        "scrape_config_files": ["monitoring/scrape.yaml"],
    }
    (tmp_path / "prometheus.yml").write_text(yaml.safe_dump(config))
    done = promtool("check", "config", "--lint=all", "--lint-fatal", tmp_path / "prometheus.yml")
    assert done.returncode == 0, done.stdout + done.stderr
    (tmp_path / "secrets" / "operator_token").unlink()
    assert promtool("check", "config", tmp_path / "prometheus.yml").returncode
