"""Happening: what there is to tell of a release, a load test or a trial. Pure."""

from datetime import datetime
from typing import Any, Literal, NamedTuple

from deployctl.reports import wording
from deployctl.targets.history import Release
from deployctl_loadtest.foreign import message
from deployctl_loadtest.result import LoadResult

Kind = Literal["release", "rollback", "loadtest", "trial"]


class Happening(NamedTuple):
    """One thing that happened. Times in seconds since 1970; without an end it is a moment."""

    kind: Kind
    service: str
    text: str
    at_s: float
    end_s: float | None = None
    revision: int | None = None
    failed: bool = False

    def annotation(self) -> dict[str, Any]:
        """As Grafana's HTTP API takes an annotation of an organization: times in milliseconds, a
        region by `timeEnd`, tags by which a dashboard finds it.

        POST /api/annotations of grafana.com/docs/grafana/latest/developers/http_api/annotations
        """
        tags = ["deployctl", self.kind, self.service]
        tags += [f"revision-{self.revision}"] if self.revision is not None else []
        tags += ["failed"] if self.failed else []
        found = {"time": round(1000 * self.at_s), "tags": tags, "text": message(self.text)}
        return found if self.end_s is None else {**found, "timeEnd": round(1000 * self.end_s)}


def of_release(release: Release, now_s: float) -> Happening:
    """A revision that was deployed just now, or was not."""
    kind: Kind = "rollback" if release.reason.startswith("rollback") else "release"
    plan = release.plan
    said = f"revision {release.revision} of {release.service} {release.status} by {release.reason}"
    what = f"{plan.model} on {plan.engine.name} {plan.engine.version}"
    return Happening(
        kind,
        release.service,
        f"{said}: {release.message or what}",
        now_s,
        revision=release.revision,
        failed=release.status == "failed",
    )


def of_load(result: LoadResult, folder: str) -> Happening:
    """A load test, from its first request to the end of its window."""
    began = datetime.fromisoformat(result.started).timestamp()
    slo = result.slo
    parts = [wording.setup_line(result), folder]
    if result.latency.ttft_s is not None:
        parts.insert(1, f"TTFT p95 {result.latency.ttft_s.p95:.3g} s")
    if slo is not None:
        parts.insert(0, f"{slo.text} {slo.verdict}")
    if result.interrupted:
        parts.insert(0, "interrupted")
    return Happening(
        "loadtest",
        measured(result),
        "load test: " + " · ".join(parts),
        began,
        began + result.window_s[1],
        failed=slo is not None and slo.verdict == "missed",
    )


def measured(result: LoadResult) -> str:
    """What was measured, as its series call it: the service, or the model of an address."""
    return result.setup.service or result.setup.model
