"""Our rules in Prometheus' own evaluation, at their real times: promtool, without waiting."""

import pytest

from alert_cases import CASES, WANTED, service
from alert_parts import (
    DAY,
    FAILED,
    HOUR,
    OK,
    case,
    flat,
    holds,
    labelled,
    promtool,
    sparse,
    steady,
    then,
    written,
)
from deployctl.promql import LabelMatcher
from deployctl.render.alerting import Scope, rule_groups

pytestmark = pytest.mark.promtool

VERSION = "0.32.0"
SCOPE = Scope("chat", VERSION, (LabelMatcher("service", "=", "chat"),), speculates=True)
EXPIRES = 'deployctl_door_key_expires_timestamp_seconds{key="%s"}'


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
