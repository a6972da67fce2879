"""What a pipeline's gate came to: the SLO, and the last good run; a page of Markdown.

The same report gives the same bytes, so that a comment of it is kept up to date.
"""

from collections.abc import Iterator
from typing import Literal

from pydantic import BaseModel, ConfigDict, computed_field

from deployctl.reports import comparison as words_of
from deployctl.reports.hostpage import (
    MOST_OF_A_COMMENT,
    bars,
    code,
    count,
    folded,
    header,
    joined,
    listed,
    words,
)
from deployctl.reports.wording import judged
from deployctl_loadtest.comparison import Comparison
from deployctl_loadtest.result import Objective

GATE_VERSION = 1
_MARKS = {"met": "✅", "missed": "❌", "unresolved": "❔"}


class MeasuredOn(BaseModel):
    """What must be the same for two runs to be compared."""

    model_config = ConfigDict(frozen=True)

    service: str
    runner: str  # the label
    engine: str  # vllm 0.32.0
    card: str  # l4, or the processor
    environment: str = ""  # production, staging; empty where the job has none
    place: str = ""  # a cluster and namespace, an engine's address; empty for the runner's own

    def __str__(self) -> str:
        said = f"{self.service} on {self.card}, {self.engine}, runner {self.runner}"
        more = {"environment ": self.environment, "at ": self.place}
        return ", ".join([said, *(f"{word}{value}" for word, value in more.items() if value)])


class GoodRun(BaseModel):
    """A green run of the default branch, which is compared with."""

    model_config = ConfigDict(frozen=True)

    run: int
    commit: str
    artifact: int


class GateReport(BaseModel):
    """The whole of it. Its JSON form is a documented contract."""

    model_config = ConfigDict(frozen=True)

    kind: Literal["gate"] = "gate"
    version: int = GATE_VERSION
    identity: MeasuredOn
    artifact: str  # the name that this run's artefact must have, to be a baseline
    slo: str
    objectives: tuple[Objective, ...] = ()
    reasons: tuple[str, ...] = ()  # why the SLO is not shown to hold
    baseline: tuple[GoodRun, ...] = ()  # the newest first
    no_baseline: str = ""  # why there is none
    comparison: Comparison | None = None
    tokens_per_s: tuple[float, ...] = ()  # over the run, in equal parts

    @computed_field  # type: ignore[prop-decorator]
    @property
    def verdict(self) -> Literal["passed", "slo_missed", "regressed", "no_baseline"]:
        """No baseline is no pass: whoever wants one without says so."""
        if self.reasons:
            return "slo_missed"
        if self.comparison is None:
            return "no_baseline"
        return "passed" if self.comparison.passed else "regressed"

    @computed_field  # type: ignore[prop-decorator]
    @property
    def summary(self) -> str:
        """The verdict in a line."""
        if self.reasons:
            return f"the gate is not passed: {self.reasons[0]}"
        if self.comparison is None:
            return f"the SLO holds, and there is no baseline: {self.no_baseline}"
        said = words_of.conclusion(self.comparison)
        return f"the SLO holds. {said}"

    @property
    def header(self) -> str:
        """What tells its comment from others; hidden where Markdown is shown."""
        of = self.identity
        known = (of.service, of.runner, of.environment, of.place)
        return header("gate", [each for each in known if each])


def markdown(report: GateReport, *, most: int = MOST_OF_A_COMMENT, link: str = "") -> str:
    """The page. `most`: bytes; `link`: an address that is trusted, where the HTML report is."""
    return joined(_parts(report, link), most, link)


def _parts(report: GateReport, link: str) -> Iterator[str]:
    mark = {"passed": "✅", "no_baseline": "❔"}.get(report.verdict, "❌")
    said = report.verdict.replace("_", " ").replace("slo", "SLO")
    yield f"{report.header}\n### {mark} deployctl gate: {said}\n\n{words(report.summary)}\n"
    yield f"\n{words(str(report.identity))}\n"
    if report.objectives:
        yield "\n" + _objectives(report.objectives)
    if report.reasons[1:]:
        yield "\n" + listed(map(words, report.reasons[1:]))
    if report.comparison is not None:
        runs = ", ".join(f"run {each.run} at {code(each.commit[:12])}" for each in report.baseline)
        yield f"\nCompared with {count(len(report.baseline), 'good run')}: {runs}.\n"
        yield "\n" + _compared(report.comparison)
        remarks = [*report.comparison.differences, *report.comparison.notes]
        if remarks:
            yield folded("What to know of the comparison", listed(map(words, remarks)))
    if any(report.tokens_per_s):
        top = max(report.tokens_per_s)
        yield f"\nTokens a second over the run, {top:,.0f} at most: `{bars(report.tokens_per_s)}`\n"
    if link:
        yield f"\n[The run]({link}) has the whole report as an artefact.\n"


def _objectives(objectives: tuple[Objective, ...]) -> str:
    lines = ["| SLO | | value | limit | 95% interval | values |", "|---|---|--:|--:|---|--:|"]
    for each in map(judged, objectives):
        lines.append(
            f"| {code(each.name, in_table=True)} | {_MARKS[each.verdict]} {each.verdict} "
            f"| {each.value} | {each.limit} | {each.interval} | {each.samples:,} |"
        )
    return "\n".join(lines) + "\n"


def _compared(comparison: Comparison) -> str:
    columns = words_of.columns(comparison)
    lines = [
        "| "
        + " | ".join(columns).replace("| A |", "| before |").replace("| B |", "| now |")
        + " |",
        "|---|" + "--:|" * (len(columns) - 2) + "---|",
    ]
    for row in words_of.rows(comparison):
        between = [row.between] if words_of.BETWEEN in columns else []
        verdict = "❌ regression" if row.regression else row.verdict
        cells = (code(row.name, in_table=True), row.a, row.b, row.change, row.interval)
        lines.append("| " + " | ".join([*cells, *between, verdict]) + " |")
    return "\n".join(lines) + "\n"
