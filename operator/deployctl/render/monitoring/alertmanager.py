"""What Alertmanager is told: who hears of which alert, and where their secrets are."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from deployctl.spec.receivers import NOBODY, AnyReceiver, Receivers

TEST_LABEL = "deployctl_test"  # of a test alert: never of one that Prometheus sends
RECEIVER_LABEL = "deployctl_receiver"  # of a test of one receiver: its name
GROUP_WAIT_S = 30  # for what belongs together to come, before anybody is told
_CONFIGS = {
    "webhook": "webhook_configs",
    "slack": "slack_configs",
    "pagerduty": "pagerduty_configs",
    "mail": "email_configs",
}
# Of itself neither says more than labels. Alerts of a group have one name and one severity.
_WORDS: dict[str, dict[str, str]] = {
    "slack": {
        "title": "{{ .CommonLabels.alertname }} {{ .CommonLabels.service }} ({{ .Status }})",
        "text": "{{ range .Alerts }}{{ .Annotations.summary }}\n"
        "{{ with .Annotations.runbook_url }}Runbook: {{ . }}\n{{ end }}{{ end }}",
    },
    "pagerduty": {
        "description": "{{ (index .Alerts 0).Annotations.summary }}",
        "severity": '{{ if eq .CommonLabels.severity "critical" }}critical{{ else }}warning'
        "{{ end }}",
    },
}
# Alerts of one thing: a worse one speaks for it.
_SAME = [
    *("alertname", "namespace", "service", "pod", "instance"),
    *("mountpoint", "gpu", "key", "server"),
]
Place = Callable[[AnyReceiver, str, Path], str]  # where Alertmanager sees a secret's file


def as_given(_: AnyReceiver, __: str, path: Path) -> str:
    """A secret's file where the user says that it is."""
    return str(path)


def configuration(receivers: Receivers, place: Place = as_given) -> dict[str, Any]:
    """A whole configuration. Without receivers it tells nobody.

    A test of one receiver goes to that one alone, at once; any other alert to every receiver that
    wants its severity.
    """
    no_test = f'{TEST_LABEL} = ""'
    return {
        "route": {
            "receiver": NOBODY,
            "group_by": ["alertname", "namespace", "service", "severity", TEST_LABEL],
            "group_wait": f"{GROUP_WAIT_S}s",
            "group_interval": "5m",
            "repeat_interval": "4h",
            "routes": [*map(_test_route, receivers), *map(_route, receivers)],
        },
        "inhibit_rules": [
            {
                "source_matchers": ["severity = critical", no_test],
                "target_matchers": ["severity = warning", no_test],
                "equal": _SAME,
            }
        ],
        "receivers": [{"name": NOBODY}, *(_receiver(each, place) for each in receivers)],
    }


def routed(receivers: Receivers, labels: Mapping[str, str]) -> list[str]:
    """Who hears of an alert of these labels, by the configuration above."""
    named = labels.get(RECEIVER_LABEL)
    if alone := [each.name for each in receivers if each.name == named]:
        return alone
    severity = labels.get("severity")
    told = [each.name for each in receivers if each.severity in (None, severity)]
    return told or [NOBODY]


def unheard(receivers: Receivers) -> list[str]:
    """The severities of which nobody hears, the worst first."""
    return [s for s in ("critical", "warning") if routed(receivers, {"severity": s}) == [NOBODY]]


def _test_route(receiver: AnyReceiver) -> dict[str, Any]:
    return {
        "receiver": receiver.name,
        "matchers": [f'{RECEIVER_LABEL} = "{receiver.name}"'],
        "group_by": ["..."],
        "group_wait": "0s",
    }


def _route(receiver: AnyReceiver) -> dict[str, Any]:
    matchers = {"matchers": [f"severity = {receiver.severity}"]} if receiver.severity else {}
    return {"receiver": receiver.name, **matchers, "continue": True}


def _receiver(receiver: AnyReceiver, place: Place) -> dict[str, Any]:
    own = receiver.model_dump(
        mode="json", by_alias=True, exclude={"name", "kind", "severity"}, exclude_none=True
    )
    own |= {name: place(receiver, name, path) for name, path in receiver.secrets.items()}
    return {
        "name": receiver.name,
        _CONFIGS[receiver.kind]: [{**own, **_WORDS.get(receiver.kind, {})}],
    }
