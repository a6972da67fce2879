"""Rules about the gateway of a host, in Prometheus' own evaluation."""

import pytest

from alert_parts import HOUR, case, flat, holds, labelled, steady, then, written
from deployctl.render.alerting import Scope, host_groups

pytestmark = pytest.mark.promtool

OWN = 'instance="127.0.0.1:20190",job="deployctl_gateway"'
PORT = 'server="port-8080",handler="subroute"'
MONITOR = 'server="monitor",handler="metrics"'
IN_FLIGHT = "caddy_http_requests_in_flight{%s}"
ENDED = "caddy_http_request_duration_seconds_count{%s,code=%s,method=%s}"
BEGUN = "caddy_http_response_duration_seconds_count{%s,code=%s,method=%s}"
DOOR = (
    'deployctl_door_requests_under_way{service="chat",instance="127.0.0.1:8000",'
    'gateway="127.0.0.1:20190/port-8080"}'
)
ANOTHER_PORT = DOOR.replace("port-8080", "port-8443")
NO_GATEWAY = 'deployctl_door_requests_under_way{service="direct",instance="127.0.0.1:8009"}'
DOWN = ("GatewayDown", "critical")
FAIL, WAIT = (("GatewayUnanswered", severity) for severity in ("critical", "warning"))


def counted(series, code, where=PORT, method="POST"):
    return series % (where, f'"{code}"', f'"{method}"')


def gateway(**changed):
    """One under load, of which every answer is one of the engine; it is scraped all the time."""
    series = {
        "up": flat(1),
        IN_FLIGHT % PORT: flat(4),
        IN_FLIGHT % MONITOR: flat(1),
        counted(ENDED, 200): steady(60),
        counted(BEGUN, 200): steady(60),
        counted(ENDED, 200, MONITOR): steady(4),
        counted(BEGUN, 200, MONITOR): steady(4),
        **changed,
    }
    return {
        name if "service=" in name else labelled(name, OWN): values
        for name, values in series.items()
    }


def stuck(answered=0, minutes=60, **more):
    """For a while nothing is answered by the engine; `answered`: a minute."""
    after = 2 * HOUR - minutes
    flow = then((60, HOUR), (answered, minutes), (60, after))
    return gateway(**{counted(ENDED, 200): flow, counted(BEGUN, 200): flow, **more})


def failing(code, each, minutes=60):
    after = 2 * HOUR - minutes
    return {counted(ENDED, code): then((0, HOUR), (each, minutes), (0, after))}


# Somebody who asks every other second whether it is well, or which models there are.
POLLED = {counted(series, 200, method="GET"): steady(30) for series in (ENDED, BEGUN)}
NOBODY = {IN_FLIGHT % PORT: flat(0)}
CASES = {
    "a good day": (gateway(), {HOUR: [], 2 * HOUR: []}),
    "nobody asks": (stuck(**NOBODY), {HOUR + 30: []}),
    "it died": (
        {labelled("up", OWN): f"1x{HOUR} {flat(0, HOUR)}"}, {HOUR: [], HOUR + 8: [DOWN]},
    ),
    "it is started anew": ({labelled("up", OWN): f"1x{HOUR} 0 {flat(1, HOUR)}"}, {HOUR + 2: []}),
    "another job is down": (
        {'up{instance="a",job="node"}': flat(0)}, {HOUR: []},
    ),
    "no engine takes requests": (
        stuck(**failing(502, 12)), {HOUR + 4: [], HOUR + 30: [WAIT, FAIL]},
    ),
    "one in thirty fails": (gateway(**failing(502, 2)), {HOUR + 30: []}),
    "a third is turned away by the door": (gateway(**failing(503, 30)), {HOUR + 30: [FAIL]}),
    "clients go away": (gateway(**failing(499, 60)), {HOUR + 30: []}),
    "bodies stop coming in, and clients are told so": (
        gateway(**failing(504, 60)), {HOUR + 30: []},
    ),
    "a quiet night with one failure": (
        stuck(**NOBODY, **failing(502, 1, minutes=0)), {HOUR + minute: [] for minute in (2, 5, 8)},
    ),
    "an update of three minutes": (
        stuck(minutes=3), {HOUR + minute: [] for minute in (2, 4, 6, 9, 12)},
    ),
    "all wait, and only ever wait": (
        gateway(**{counted(ENDED, 200): flat("_"), counted(BEGUN, 200): flat("_")}),
        {30: [WAIT]},
    ),
    "all wait": (stuck(), {HOUR + 6: [], HOUR + 14: [WAIT]}),
    "all wait, and some give up": (
        stuck(**{counted(ENDED, 499): steady(6), counted(BEGUN, 499): steady(6)}),
        {HOUR + 6: [], HOUR + 30: [WAIT]},
    ),
    "one answer takes very long": (stuck(**{DOOR: flat(1)}), {HOUR + 30: []}),
    "one answer takes very long at a port beside": (
        stuck(**{ANOTHER_PORT: flat(1)}), {HOUR + 30: [WAIT]},
    ),
    "a service that is behind no gateway is busy": (
        stuck(**{NO_GATEWAY: flat(9)}), {HOUR + 30: [WAIT]},
    ),
    "its door has one for a moment, now and then": (
        stuck(**{DOOR: "1 0 " * 89 + "1"}), {HOUR + 30: [WAIT]},
    ),
    "all wait, and somebody polls": (stuck(**POLLED), {HOUR + 30: [WAIT]}),
    "no engine takes requests, and somebody polls": (
        stuck(**failing(502, 3), **POLLED), {HOUR + 30: [WAIT, FAIL]},
    ),
    "who polls is told that no engine is there": (
        stuck(**NOBODY, **{counted(ENDED, 502, method="GET"): steady(30)}), {HOUR + 30: []},
    ),
    "its door has none of those that wait": (stuck(**{DOOR: flat(0)}), {HOUR + 30: [WAIT]}),
    "another service at that port answers": (stuck(answered=3), {HOUR + 30: []}),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_what_fires_of_a_gateway(name, tmp_path):
    series, expected = CASES[name]
    files = written(tmp_path, host_groups(Scope("", "0.32.0", ()), gateways=True))
    holds(tmp_path, files, case(series, expected), every="1m")
