"""A study's figures while it runs, for Prometheus. deploy/engines/metrics-beside.yaml lists their
names, docs/guides/tuning.md says what they are for.

The thread that runs the study makes a page after every step; another one, which answers Prometheus,
takes the newest. How far the load under way is comes once a second in between.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterable
from itertools import chain

from prometheus_client.metrics_core import Metric

from deployctl.events import Event
from deployctl.load.exposition import MetricsPage
from deployctl.load.locust import Progress
from deployctl.tuning.events import Done, Restarted, StudyEvent
from deployctl.tuning.runner import Begun
from deployctl.tuning.study import Header, Study
from deployctl.tuning.trial import (
    Failure,
    Goal,
    Invalid,
    Measure,
    Observation,
    Result,
    Standing,
    Started,
    Strategy,
)
from deployctl_loadtest.result import Setup

PREFIX = "deployctl_tune_"
# What is optimized, as the name of a metric, with its unit.
OBJECTIVES: dict[Goal, str] = {
    "goodput": "goodput_requests_per_second",
    "throughput": "throughput_tokens_per_second",
    "latency": "e2e_p95_seconds",
    "cost": "cost_dollars_per_million_tokens",
}
_HELD = {"yes": "held", "no": "missed", "unclear": "unclear"}
_STARTS = "started", "failed"
_MEASUREMENTS = *_HELD.values(), "failed", "invalid"
_LATENCIES = tuple(
    (kind, percentile) for kind in ("ttft", "itl", "e2e") for percentile in ("p50", "p95")
)
_NOTHING = Progress(at_s=0.0, users=0, done=0, failed=0, chunks=0)


class LiveStudy:
    """Listens to a runner and to its loads; a collector of prometheus-client's."""

    def __init__(self, header: Header, clock: Callable[[], float] = time.time) -> None:
        self._header, self._began_s = header, clock()
        self._study: Study | None = None
        self._strategy: Strategy | None = None
        self._begun: Begun | None = None
        # Requests of the loads before, and the load under way: one value, for a sum that went back
        # for a moment would be a counter that was reset.
        self._loads = Counter[str](), _NOTHING
        self._page = self._drawn()

    def follow(self, study: Study, strategy: Strategy) -> None:
        """From here on it is this study, with what it has behind it."""
        self._study, self._strategy = study, strategy
        self._page = self._drawn()

    def __call__(self, event: Begun | StudyEvent) -> None:
        """Takes one event."""
        if isinstance(event, Begun):
            self._begun = event
        else:
            self._end_load()
        self._page = self._drawn()

    def load(self, event: Event) -> None:
        """Takes one event of a load."""
        if isinstance(event.detail, Setup):
            self._end_load()
        elif isinstance(event.detail, Progress):
            self._loads = self._loads[0], event.detail

    def collect(self) -> Iterable[Metric]:
        """Asked by the registry, in a thread of its own."""
        return chain(self._page.collect(), self._loaded().collect())

    def _end_load(self) -> None:
        before, far = self._loads
        self._loads = before + Counter(_requests(far)), _NOTHING

    def _new_page(self) -> MetricsPage:
        return MetricsPage(PREFIX, {"service": self._header.service})

    def _loaded(self) -> MetricsPage:
        page, (before, far) = self._new_page(), self._loads
        for outcome, number in _requests(far).items():
            page.add("requests_total", "Requests that ended since this run began, warm-ups too.",
                     before[outcome] + number, outcome=outcome)  # fmt: skip
        page.add("requests_in_flight", "Requests that are under way.", far.in_flight)
        return page

    def _drawn(self) -> MetricsPage:
        page, header = self._new_page(), self._header
        page.add("started_timestamp_seconds", "When this run began, in seconds since 1970.",
                 self._began_s)  # fmt: skip
        page.add("budget_seconds", "Server time that the study may take.", header.budget_s)
        if self._study is not None and self._strategy is not None:
            _so_far(page, self._study)
            answer = self._strategy.answer()
            _standing(page, "baseline", header.goal, answer.baseline)
            _standing(page, "best", header.goal, answer.winner or answer.baseline)
            page.add("remaining_seconds", "Server time that is still needed, about.",
                     self._strategy.remaining()[1])  # fmt: skip
        step = self._begun.step if self._begun else None
        page.add("trial", "Engine start that the study is at: 1, 2, 3; 0 before the first.",
                 self._begun.trial if self._begun else 0)  # fmt: skip
        if isinstance(step, Measure):
            page.add("load", "Users of a closed loop, requests a second of an open one.",
                     step.load.value, mode=step.load.kind)  # fmt: skip
        return page


def _requests(far: Progress) -> dict[str, int]:
    return {"ok": far.done - far.failed, "failed": far.failed}


def _so_far(page: MetricsPage, study: Study) -> None:
    """What a study has behind it: counts, and the last window."""
    page.add("server_seconds_total", "Server time so far: starts and loads.", study.server_s)
    ended = [event for event in study.events if isinstance(event, Done | Restarted)]
    starts, measured = Counter[str](), Counter[str]()
    for event in ended:
        if isinstance(event, Done) and isinstance(event.step, Measure):
            measured[_outcome(event.result)] += 1
        else:
            starts["started" if isinstance(event.result, Started) else "failed"] += 1
    for outcome in _STARTS:
        page.add("starts_total", "Engine starts.", starts[outcome], outcome=outcome)
    for outcome in _MEASUREMENTS:
        page.add("measurements_total", "Measurements by what came of them; held: the SLO was.",
                 measured[outcome], outcome=outcome)  # fmt: skip
    for event in reversed(ended):
        if isinstance(event.result, Observation):
            _window(page, event.result)
            break


def _outcome(result: Result) -> str:
    if isinstance(result, Failure):
        return "failed"
    if isinstance(result, Observation):
        return _HELD[result.held]
    assert isinstance(result, Invalid)
    return "invalid"


def _window(page: MetricsPage, seen: Observation) -> None:
    rates = (
        ("requests_per_second", "Requests", seen.requests_per_s),
        ("goodput_per_second", "Requests that met every objective", seen.goodput_per_s),
        ("output_tokens_per_second", "Tokens of answers", seen.output_tokens_per_s),
    )
    for name, what, value in rates:
        page.add(name, f"{what} in a second of the last window.", value)
    for kind, percentile in _LATENCIES:
        value = getattr(seen, f"{kind}_{percentile}_s")
        page.add("latency_seconds", "Percentiles of the last window's requests that succeeded.",
                 value, kind=kind, percentile=percentile)  # fmt: skip


def _standing(page: MetricsPage, which: str, goal: Goal, standing: Standing | None) -> None:
    if standing is not None:
        page.add(f"{which}_{OBJECTIVES[goal]}", f"The objective of the {which}, as far as known.",
                 standing.objective, configuration=str(standing.configuration))  # fmt: skip
