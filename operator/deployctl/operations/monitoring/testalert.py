"""A test alert, sent to Alertmanager as Prometheus would: is anybody told?

Who hears of it is what Alertmanager itself says of the alert, whosever configuration it has; that
it was told is read from its counters, which count by kind of receiver: another alert that is told
by the same kind in the same moment looks the same.
"""

import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from typing import Any, Literal, NamedTuple

from deployctl.endpoint import Endpoint
from deployctl.engines.vllm import exported
from deployctl.errors import InputError, TargetError, did_you_mean
from deployctl.events import Event, Tell, silent
from deployctl.operations.measure.endpoint import base_url
from deployctl.operations.monitoring.alertapi import Alertmanager, Counts
from deployctl.operations.monitoring.request import DEFAULT_ALERT, AlertRequest
from deployctl.render.alerting import Objectives, Scope, host_groups, rule_groups
from deployctl.render.monitoring.alertmanager import RECEIVER_LABEL, TEST_LABEL
from deployctl.units import duration

LASTS_S = 300  # then Alertmanager takes it for over
_SEEN_S = 10.0  # for Alertmanager to have it among its alerts
_POLL_S = 0.5
Outcome = Literal["told", "refused", "unknown", "not asked"]


class Hears(NamedTuple):
    """A receiver that hears of an alert, and how it is told."""

    receiver: str
    kinds: tuple[str, ...]  # slack, email …; none: it tells nobody


class TriedAlert(NamedTuple):
    """A test alert that was sent."""

    alertmanager: str
    version: str
    labels: dict[str, str]
    receivers: tuple[Hears, ...]
    muted: str | None  # why nobody is told although there are receivers
    outcome: Outcome
    seconds: float  # until it was told, or nobody waited any more

    def document(self) -> dict[str, Any]:
        """What JSON answers say of it."""
        hears = [{"receiver": h.receiver, "kinds": list(h.kinds)} for h in self.receivers]
        return {**self._asdict(), "receivers": hears, "seconds": round(self.seconds, 1)}

    def enforce(self) -> None:
        """Raises TargetError where nobody was told."""
        where = self.alertmanager
        names = ", ".join(h.receiver for h in self.receivers if h.kinds)
        if self.muted:
            raise TargetError(
                f"nobody is told: the alert is {self.muted}",
                where=where,
                hint="amtool silence query shows silences",
            )
        if not names:
            raise TargetError(
                "nobody is told: no receiver wants such an alert",
                where=where,
                hint="give receivers: deployctl up --with-monitoring --receivers FILE; "
                "docs/guides/monitoring.md",
            )
        if self.outcome == "refused":
            raise TargetError(
                f"Alertmanager could not tell {names}",
                where=where,
                hint="its log says why; check the receiver's secret, and the way there",
            )
        if self.outcome == "unknown":
            raise TargetError(
                f"within {duration(self.seconds)} Alertmanager told nobody",
                where=where,
                hint="its route may wait longer (group_wait, mute times): --wait SECONDS",
            )


def try_alert(
    request: AlertRequest,
    name: str | None = None,
    *,
    default: str,
    tell: Tell = silent,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> TriedAlert:
    """Sends a test alert, and looks who hears of it. `default` is the address where none is asked
    for. What came of it is in the answer; `enforce` makes an error of it.

    Raises:
        InputError: there is no such alert or receiver, or the address is none.
        TargetError: Alertmanager does not answer, or is none.
    """
    labels, summary = _labels(request, name)
    address = _address(request.alertmanager or default)
    with Alertmanager(Endpoint(address, None, None)) as manager:
        status = manager.status()
        if request.receiver is not None and request.receiver not in status.receivers:
            known = ", ".join(status.receivers) or "none"
            raise InputError(
                f"Alertmanager has no receiver {request.receiver!r}",
                where="--receiver",
                hint=did_you_mean(request.receiver, status.receivers) or f"it has {known}",
            )
        if request.receiver is not None and not status.routes_tests:
            raise InputError(
                "this Alertmanager's configuration has no route for a test of one receiver",
                where="--receiver",
                hint=f"add a route with the matcher {RECEIVER_LABEL}, as render --target "
                "monitoring has it; or leave --receiver out",
            )
        before = manager.told()
        began = clock()
        manager.send(labels, _annotations(summary, labels), datetime.now(UTC), LASTS_S)
        tell(Event("note", f"sent {labels['alertname']}, which ends in {duration(LASTS_S)}"))
        seen = _until(lambda: manager.find(labels[TEST_LABEL]), _SEEN_S, clock, sleep)
        if seen is None:
            raise TargetError(
                "Alertmanager took the alert, and does not show it",
                where=address,
                hint="its log says more; is it the one that Prometheus sends to?",
            )
        hears = tuple(Hears(r, status.receivers.get(r, ())) for r in seen.receivers)
        kinds = {kind for each in hears for kind in each.kinds}
        outcome: Outcome = "not asked"
        if kinds and not seen.muted and request.wait:
            tell(Event("phase", "waiting until somebody is told"))
            outcome = _outcome(manager, before, kinds, request.wait, clock, sleep)
        return TriedAlert(
            address, status.version, labels, hears, seen.muted, outcome, clock() - began
        )


def _outcome(
    manager: Alertmanager,
    before: Counts,
    kinds: set[str],
    within_s: float,
    clock: Callable[[], float],
    sleep: Callable[[float], None],
) -> Outcome:
    """Whether every kind of receiver took something: one that refuses is tried again by
    Alertmanager, and is said at its first refusal."""

    def look() -> Outcome | None:
        now = manager.told()
        more = {kind: now.since(before, kind) for kind in kinds}
        if any(failed for _, failed in more.values()):
            return "refused"
        return "told" if all(tried for tried, _ in more.values()) else None

    return _until(look, within_s, clock, sleep) or "unknown"


def _until(
    look: Callable[[], Any],
    within_s: float,
    clock: Callable[[], float],
    sleep: Callable[[float], None],
) -> Any:
    end = clock() + within_s
    while (found := look()) is None and clock() < end:
        sleep(_POLL_S)
    return found


def _address(text: str) -> str:
    try:
        return base_url(text)
    except InputError as error:
        raise InputError(
            error.message, where="--alertmanager", hint="write http://HOST:PORT"
        ) from (error)


@cache
def alerts() -> Mapping[str, str]:
    """The severity of each alert of ours by its name: the worst, where it has two."""
    version = exported.newest()
    scope = Scope("test", version, (), speculates=True)
    groups = [
        *rule_groups(scope, Objectives(ttft_s=1, itl_s=1, e2e_s=1)),
        *host_groups(Scope("", version, ()), gateways=True),
    ]
    found: dict[str, str] = {}
    for rule in (rule for group in groups for rule in group["rules"] if "alert" in rule):
        if found.get(rule["alert"]) != "critical":
            found[rule["alert"]] = rule["labels"]["severity"]
    return found


def _labels(request: AlertRequest, name: str | None) -> tuple[dict[str, str], str]:
    known = alerts()
    if name is not None and name not in known:
        raise InputError(
            f"there is no alert {name!r}",
            where="NAME",
            hint=did_you_mean(name, known) or f"there are {', '.join(sorted(known))}",
        )
    severity = request.severity or (known[name] if name else "critical")
    labels = {"alertname": name or DEFAULT_ALERT, "severity": severity}
    if request.service:
        labels["service"] = request.service
    if request.receiver:
        labels[RECEIVER_LABEL] = request.receiver
    labels[TEST_LABEL] = secrets.token_hex(4)
    return labels, f"A test by deployctl of {name}" if name else "A test by deployctl"


def _annotations(summary: str, labels: Mapping[str, str]) -> dict[str, str]:
    said = f"{summary}: nothing is wrong, and whoever reads this is told of alerts."
    if labels["alertname"] == DEFAULT_ALERT:
        return {"summary": said}
    return {"summary": said, "runbook_url": f"{Scope.runbooks}/{labels['alertname']}.md"}


def in_words(hears: Sequence[Hears]) -> str:
    """Who hears of an alert, on a line."""
    told = [f"{h.receiver} ({', '.join(h.kinds)})" for h in hears if h.kinds]
    return ", ".join(told) or "nobody"
