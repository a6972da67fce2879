"""Whose series the rules read, how long their windows are, and what an alert is made of."""

from dataclasses import dataclass, replace
from typing import Any, Literal

from deployctl.engines.vllm.series import Series
from deployctl.promql import Expression, LabelMatcher, Selector, write

MINUTE, HOUR, DAY = 60, 3600, 86_400
Severity = Literal["critical", "warning"]
REPLICA = ("pod", "instance")  # by these a replica is told; off Kubernetes there is no pod
# In summaries: a whole number, a share, and which replica.
NUMBER, SHARE = '{{ printf "%.0f" $value }}', "{{ $value | humanizePercentage }}"
WHICH = "{{ or $labels.pod $labels.instance }}"
_SCRAPES = 4  # that a window holds at least: of fewer, one that fails leaves a rate without value


@dataclass(frozen=True)
class Objectives:
    """What is promised: shares of requests, 0 to 1, and limits in seconds. None: not promised."""

    availability: float | None = 0.995  # answers of /v1 that are no 5xx
    share: float = 0.95  # of requests that keep within the limits below
    ttft_s: float | None = None
    itl_s: float | None = None
    e2e_s: float | None = None


@dataclass(frozen=True)
class Scope:
    """One service: its release, how its series are found, and what its rules are called by."""

    service: str  # none: the machines
    version: str
    matchers: tuple[LabelMatcher, ...]  # that its series have, and nobody else's
    namespace: str = ""  # where there are several: another one may have a service of this name
    runbooks: str = "docs/runbooks"  # where these pages are published
    speculates: bool = False  # whether it has --speculative-config
    startup_s: int = 15 * MINUTE  # how long a replica may take until it answers
    replicas: int = 1  # 0: that there is none is no alert
    interval_s: int = 15  # between two scrapes
    faster: int = 1  # every duration divided by this, to see in minutes what takes hours

    @property
    def series(self) -> Series:
        """The engine's series."""
        return Series(self.version, *self.matchers)

    def recorded(self, name: str) -> Selector:
        """A series that a rule here records."""
        ours = (LabelMatcher(label, "=", value) for label, value in self.labels.items())
        return Selector(f"deployctl:{name}", tuple(ours))

    @property
    def labels(self) -> dict[str, str]:
        """What every rule's result is called by, and no other service's."""
        where = {"namespace": self.namespace} if self.namespace else {}
        return {**({"service": self.service} if self.service else {}), **where}

    def seconds(self, real: float) -> float:
        """What a duration lasts here."""
        return real / self.faster

    def window(self, seconds: int) -> str:
        """What a rate or an increase is taken over: as long, or four scrapes."""
        return self.span(max(seconds, _SCRAPES * self.interval_s))

    def called(self, seconds: int) -> str:
        """What a window is called, in names of series and in labels: as long as it is in truth,
        however much faster the rules are, so that who reads them finds them."""
        return replace(self, faster=1).window(seconds)

    def span(self, seconds: int) -> str:
        """A duration as PromQL writes it."""
        left = max(1, round(self.seconds(seconds)))
        for unit, size in (("d", DAY), ("h", HOUR), ("m", MINUTE)):
            if left % size == 0:
                return f"{left // size}{unit}"
        return f"{left}s"

    def record(self, name: str, query: Expression) -> dict[str, Any]:
        """A recording rule; what it records has the labels of the service and no other of ours."""
        return {"record": f"deployctl:{name}", "expr": write(query), "labels": self.labels}

    def alert(
        self,
        name: str,
        query: Expression,
        *,
        wait: int,
        severity: Severity,
        summary: str,
        labels: dict[str, str] | None = None,
    ) -> dict[str, Any]:
        """An alert that fires when the query has had a value for `wait` seconds."""
        return {
            "alert": name,
            "expr": write(query),
            **({"for": self.span(wait)} if wait else {}),
            "labels": {**self.labels, "severity": severity, **(labels or {})},
            "annotations": {
                "summary": f"{self.service}: {summary}" if self.service else summary,
                "runbook_url": f"{self.runbooks}/{name}.md",
            },
        }
