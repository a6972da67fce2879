"""Rules and alerts of a service: names that its release exports, labels, pages to read at night."""

import re
from pathlib import Path

import pytest
import yaml

from deployctl.checking import Options, check_texts
from deployctl.engines.vllm import exported
from deployctl.promql import LabelMatcher, parse, write
from deployctl.render.alerting import Objectives, Scope, host_groups, rule_groups

ROOT = Path(__file__).resolve().parents[3]
RUNBOOKS = ROOT / "docs" / "runbooks"
PAGES = sorted(page for page in RUNBOOKS.glob("*.md") if page.name != "README.md")
ALL = Objectives(ttft_s=1.0, itl_s=0.05, e2e_s=30.0)
CHAT = (LabelMatcher("service", "=", "chat"),)


def rules(version="0.32.0", wanted=ALL, **more):
    scope = Scope("chat", version, CHAT, **{"speculates": True, **more})
    return [rule for group in rule_groups(scope, wanted) for rule in group["rules"]]


def alerts(**more):
    return [rule for rule in rules(**more) if "alert" in rule]


def of_machines():
    groups = host_groups(Scope("", "0.32.0", ()), gateways=True)
    return [rule for group in groups for rule in group["rules"]]


@pytest.mark.parametrize("version", exported.versions())
def test_every_supported_release_has_what_the_rules_read(version):
    text = yaml.safe_dump({"groups": rule_groups(Scope("chat", version, CHAT), ALL)})
    report = check_texts({"rules.yaml": text}, Options(engine_version=version))
    # A name that goes with a later release reads in this one.
    assert {f.code for f in report.findings} <= {"metric-deprecated"}


def test_a_rule_is_written_as_it_is_read():
    for rule in [*rules(), *rules(namespace="blue"), *of_machines()]:
        assert write(parse(rule["expr"])) == rule["expr"]


def test_every_alert_says_whose_it_is_how_bad_and_where_to_read_on():
    for alert in alerts():
        assert alert["labels"]["service"] == "chat"
        assert alert["labels"]["severity"] in ("critical", "warning")
        assert alert["annotations"]["runbook_url"] == f"docs/runbooks/{alert['alert']}.md"
        summary = alert["annotations"]["summary"]
        assert summary.startswith("chat: ")
        if alert["alert"] not in ("VllmAbsent", "VllmScrapeFailing", "VllmKeysUnreadable"):
            assert "$value" in summary  # the figure
    for alert in of_machines():
        if alert["alert"] not in ("CertificateProbeFailing", "GatewayDown"):
            assert "$value" in alert["annotations"]["summary"]
        assert set(alert["labels"]) == {"severity"}
    keys = [(a["alert"], *sorted(a["labels"].items())) for a in alerts()]
    assert len(set(keys)) == len(keys)


def test_every_alert_has_a_page_and_every_page_an_alert():
    pages = {page.stem for page in PAGES}
    assert pages == {alert["alert"] for alert in [*alerts(), *of_machines()]}
    listed = re.findall(r"\]\((\w+)\.md\)", (RUNBOOKS / "README.md").read_text())
    assert set(listed) == pages


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.stem)
def test_a_page_says_what_to_do_in_commands_that_there_are(page):
    text = page.read_text()
    assert re.findall(r"^#+ (.*)$", text, re.M) == [
        page.stem, "Check", "Do", "When it never fires"
    ]  # fmt: skip
    reference = (ROOT / "docs" / "reference" / "cli.md").read_text()
    for verb, rest in re.findall(r"\bdeployctl (\w+)([^`\n|]*)", text):
        section = reference.split(f"\n## deployctl {verb}\n", 1)[1].split("\n## ", 1)[0]
        for flag in re.findall(r"--[a-z-]+", rest):
            assert f"`{flag}`" in section, (verb, flag)
    for link in re.findall(r"\]\(([^)#]+)", text):
        assert (page.parent / link).exists(), link


def test_a_figure_is_read_by_people():
    for alert in [*alerts(), *of_machines()]:
        for field in re.findall(r"{{(.*?)}}", alert["annotations"]["summary"]):
            assert "$value" not in field or "humanize" in field or "printf" in field, alert


def test_no_window_is_shorter_than_four_scrapes():
    spans = {
        span for rule in rules(interval_s=120) for span in re.findall(r"\[(\w+)\]", rule["expr"])
    }
    assert spans == {"8m", "15m", "30m", "1h", "6h", "3d", "1d"}
    spans = {
        span for rule in rules(interval_s=900) for span in re.findall(r"\[(\w+)\]", rule["expr"])
    }
    assert spans == {"1h", "6h", "3d", "1d"}
    names = [rule["record"] for rule in rules(interval_s=3600) if "record" in rule]
    assert len(set(names)) == len(names)  # windows that are one are recorded once


def test_a_service_of_no_replicas_is_not_missed():
    assert "VllmAbsent" not in {alert["alert"] for alert in alerts(replicas=0)}


def test_whose_it_is_says_the_namespace_where_there_are_several():
    for rule in rules(namespace="blue"):
        assert rule["labels"].items() >= {"service": "chat", "namespace": "blue"}.items()
        for read in re.findall(r"deployctl:\w+:\w+({[^}]*})", rule["expr"]):
            assert read == '{service="chat",namespace="blue"}'


def test_only_what_is_promised_is_recorded():
    named = {rule["alert"] for rule in alerts(wanted=Objectives(availability=None))}
    assert not [name for name in named if name.endswith("Burn")]
    recorded = [r["record"] for r in rules(wanted=Objectives(availability=0.99)) if "record" in r]
    missed = [name for name in recorded if "missed" in name]
    assert missed == [
        f"deployctl:availability_missed:ratio_{window}"
        for window in ("5m", "30m", "1h", "6h", "3d")
    ]


def test_every_duration_can_be_shorter_to_see_it_fire():
    slow, fast = rules(), rules(faster=60)
    windows = {m for rule in fast for m in re.findall(r"\[(\w+)\]", rule["expr"])}
    assert windows == {"5s", "15s", "30s", "1m", "6m", "72m", "24m"}
    assert [rule.get("alert") for rule in slow] == [rule.get("alert") for rule in fast]
    names = [[rule.get("record") for rule in some] for some in (slow, fast)]
    assert names[0] == names[1]  # by which dashboards find them
    waits = {rule["for"] for rule in fast if "for" in rule}
    assert "15s" in waits
    assert not any(wait.endswith("h") for wait in waits)


def test_speculation_is_looked_at_where_there_is_any():
    without = {alert["alert"] for alert in alerts(speculates=False)}
    assert {alert["alert"] for alert in alerts()} - without == {"VllmSpeculationCollapse"}


def test_a_start_that_takes_long_is_no_alert():
    waits = {a["alert"]: a["for"] for a in alerts(startup_s=1800) if "for" in a}
    assert (waits["VllmScrapeFailing"], waits["VllmAbsent"]) == ("30m", "30m")
