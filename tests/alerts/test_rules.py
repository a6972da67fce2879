"""Our rules in Prometheus' own evaluation, at their real times: promtool, without waiting.

Each case is a service's series over hours, a sample a minute, and which alerts fire when: all of
them are named, so that one that fires beside them fails the case.
"""

import subprocess

import pytest
import yaml

from deployctl.promql import LabelMatcher
from deployctl.render.alerting import Objectives, Scope, rule_groups

pytestmark = pytest.mark.promtool

SCOPE = Scope("chat", "0.32.0", (LabelMatcher("service", "=", "chat"),), speculates=True)
WANTED = Objectives(availability=0.995, ttft_s=1.0)
OK = 'handler="/v1/chat/completions",method="POST",status="2xx"'
FAILED = 'handler="/v1/chat/completions",method="POST",status="5xx"'
ENDED = 'vllm:request_success_total{finished_reason="%s"}'
TTFT = "vllm:time_to_first_token_seconds"
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
    "the engine gives up on requests": (
        service(**{ENDED % "error": then((0, HOUR), (20, HOUR))}),
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
    "full and nobody is preempted": (
        service(**{"vllm:kv_cache_usage_perc": flat(0.99)}), {2 * HOUR: []},
    ),
    "a storm of preemptions": (
        service(**{"vllm:num_preemptions_total": then((0, HOUR), (30, 2 * HOUR))}),
        {HOUR: [], HOUR + 30: [("VllmPreemptionStorm", "critical")]},
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
    "somebody tries keys": (
        service(**{
            'deployctl_door_refusals_total{key="-",reason="no_key"}': then((1, HOUR), (30, HOUR)),
        }),
        {HOUR: [], HOUR + 10: [("VllmStrangersAtTheDoor", "warning")]},
    ),
}  # fmt: skip


def labelled(name):
    """A series with the labels that a scrape adds."""
    own = 'service="chat",instance="10.0.0.1:8000"'
    return f"{name[:-1]},{own}}}" if name.endswith("}") else f"{name}{{{own}}}"


def case(series, expected):
    """One test of promtool's: at each time, the alerts that fire, and no other."""
    firing = "count by (alertname, severity) (ALERTS{alertstate='firing'})"

    def sample(name, severity, count):
        return {"labels": f'{{alertname="{name}",severity="{severity}"}}', "value": count}

    return {
        "interval": "1m",
        "input_series": [{"series": labelled(n), "values": v} for n, v in series.items()],
        "promql_expr_test": [
            {
                "expr": firing,
                "eval_time": f"{minute}m",
                "exp_samples": [sample(*a, alerts.count(a)) for a in dict.fromkeys(alerts)],
            }
            for minute, alerts in expected.items()
        ],
    }


@pytest.fixture(scope="module")
def rules(tmp_path_factory):
    file = tmp_path_factory.mktemp("rules") / "rules.yaml"
    file.write_text(yaml.safe_dump({"groups": rule_groups(SCOPE, WANTED)}))
    return file


def promtool(*words):
    return subprocess.run(
        ["promtool", *map(str, words)], capture_output=True, text=True, timeout=120
    )


def test_prometheus_takes_the_rules(rules):
    done = promtool("check", "rules", "--lint=all", "--lint-fatal", rules)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", CASES)
def test_what_fires_and_what_stays_quiet(name, rules, tmp_path):
    series, expected = CASES[name]
    test = {
        "rule_files": [str(rules)],
        "evaluation_interval": "2m",
        "tests": [case(series, expected)],
    }
    file = tmp_path / "test.yaml"
    file.write_text(yaml.safe_dump(test))
    done = promtool("test", "rules", file)
    assert done.returncode == 0, done.stdout + done.stderr
