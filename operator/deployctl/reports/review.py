"""What a change of spec files comes to, for those who review it: a page of Markdown.

The same review gives the same bytes, so that a comment of it is written once and then kept up to
date.
"""

from collections.abc import Iterator
from typing import Literal

from pydantic import BaseModel, ConfigDict, computed_field

from deployctl.errors import Reason
from deployctl.planning.plan import ServingPlan
from deployctl.reports.hostpage import (
    MOST_OF_A_COMMENT,
    code,
    count,
    folded,
    header,
    joined,
    listed,
    words,
)
from deployctl.units import duration

REVIEW_VERSION = 1
_MOST_ROWS = 100  # of the table

Level = Literal["error", "warning", "note"]


class ReviewFinding(BaseModel):
    """Something wrong, at its place in a spec file, or in what is rendered of it."""

    model_config = ConfigDict(frozen=True)

    level: Level
    code: str
    message: str
    fix: str = ""
    file: str  # of the spec, from the root of its repository
    line: int = 1
    column: int = 1
    where: str = ""  # in what is rendered, or what the error named
    service: str = ""  # of the file, where it is known


class ReviewedChange(BaseModel):
    """One field that differs from what it is held against."""

    model_config = ConfigDict(frozen=True)

    effect: str  # refused, restarts, rolls, in_place, nothing
    where: str
    old: str | None = None  # None: not there
    new: str | None = None
    drift: bool = False


class ReviewedService(BaseModel):
    """One service: its plan, and what it changes where that is known."""

    model_config = ConfigDict(frozen=True)

    name: str
    file: str
    target: str
    plan: ServingPlan
    against: str | None = None  # what it is held against; None: nothing
    effect: str | None = None  # the gravest of its changes; None: nothing differs
    changes: tuple[ReviewedChange, ...] = ()
    note: str = ""  # why it is held against nothing, or is not checked


class Review(BaseModel):
    """All services of the files. Its JSON form is a documented contract."""

    model_config = ConfigDict(frozen=True)

    version: int = REVIEW_VERSION
    files: tuple[str, ...]
    services: tuple[ReviewedService, ...] = ()
    findings: tuple[ReviewFinding, ...] = ()

    @computed_field  # type: ignore[prop-decorator]
    @property
    def verdict(self) -> Literal["good", "wrong", "refused"]:
        """Wrong: an error in a file or in what it gives. Refused: a plan that does not fit."""
        if any(service.plan.verdict != "fits" for service in self.services):
            return "refused"
        return "wrong" if any(f.level == "error" for f in self.findings) else "good"

    @computed_field  # type: ignore[prop-decorator]
    @property
    def summary(self) -> str:
        """The verdict in a line."""
        refused = sum(service.plan.verdict != "fits" for service in self.services)
        errors = sum(f.level == "error" for f in self.findings)
        whole = count(len(self.services), "service")
        if refused:
            return f"{refused} of {whole} cannot run as written"
        if errors:
            return f"{count(errors, 'error')} to mend"
        restarts = sum(service.effect == "restarts" for service in self.services)
        more = f", {restarts} of them with a restart" if restarts else ""
        return f"{whole} ready{more}"

    @property
    def header(self) -> str:
        """What tells its comment from others; hidden where Markdown is shown."""
        return header("review", self.files)


_VERDICTS = {"does_not_fit": "❌ does not fit", "cannot_run": "❌ cannot run", "fits": "✅ fits"}
_MARKS = {"good": "✅", "wrong": "❌", "refused": "❌"}
_LEVELS = {"error": "❌", "warning": "⚠️", "note": "ℹ️"}
_EFFECTS = {
    "refused": "cannot be applied as it is",
    "restarts": "restarts",
    "rolls": "rolls",
    "in_place": "no restart",
    "nothing": "nothing that runs",
}
_CONSEQUENCES = {
    "refused": "Some of this cannot be applied as it is.",
    "restarts": "**The engine restarts**: no answers until it has loaded, within {budget} at the "
    "slow end.",
    "rolls": "**Pods are replaced** while others serve; each loads within {budget} at the slow "
    "end.",
    "in_place": "Nothing restarts.",
    "nothing": "Nothing that affects what runs.",
}


def markdown(review: Review, *, most: int = MOST_OF_A_COMMENT, link: str = "") -> str:
    """The page. `most`: bytes; what is over is cut, whole parts of it, and `link` (an address that
    is trusted) leads to the rest.
    """
    return joined(_parts(review), most, link)


def _parts(review: Review) -> Iterator[str]:
    mark = _MARKS[review.verdict]
    yield f"{review.header}\n### {mark} deployctl: {review.summary}\n"
    if review.services:
        yield _table(review.services)
    loose = [f for f in review.findings if not f.service]
    if loose:
        yield "\n" + listed(map(_finding, loose))
    for service in review.services:
        yield from _service(service, [f for f in review.findings if f.service == service.name])


def _table(services: tuple[ReviewedService, ...]) -> str:
    lines = [
        "",
        "| service | verdict | cards | context | full requests at once | KV cache "
        "| a start, at most | cost | change |",
        "|---|---|---|--:|--:|--:|--:|--:|---|",
    ]
    for service in services[:_MOST_ROWS]:
        lines.append("| " + " | ".join(_cells(service)) + " |")
    if len(services) > _MOST_ROWS:
        lines += ["", f"and {count(len(services) - _MOST_ROWS, 'more service')}"]
    return "\n".join(lines) + "\n"


def _cells(service: ReviewedService) -> Iterator[str]:
    plan = service.plan
    fits = plan.verdict == "fits"
    yield code(service.name, in_table=True)
    yield _VERDICTS[plan.verdict]
    cards = plan.world_size * plan.replicas
    yield code(f"{cards} × {plan.gpu}" if plan.accelerator == "cuda" else plan.gpu, in_table=True)
    yield f"{plan.max_model_len:,}" if fits else "–"
    yield f"{plan.max_concurrency:,.1f}" if fits else "–"
    yield f"{plan.memory.kv_cache_gib:,.1f} GiB" if plan.memory else "–"
    yield duration(plan.startup_budget_s)
    yield f"${plan.cost.usd_per_hour:,.2f}/h" if plan.cost else "–"
    if service.against is None:
        yield "new" if fits else "–"
    else:
        yield _EFFECTS.get(service.effect or "", "none")


def _service(service: ReviewedService, findings: list[ReviewFinding]) -> Iterator[str]:
    plan = service.plan
    lines = [f"\n#### {code(service.name)}\n"]
    if findings:
        lines.append(listed(map(_finding, findings)))
    if service.against is not None:
        lines.append(_change(service))
    if service.note:
        lines.append(f"{words(service.note)}\n")
    yield "\n".join(lines)
    if service.changes:
        title = f"{count(len(service.changes), 'change')} against {service.against}"
        yield folded(title, listed(map(_changed, service.changes)))
    if plan.memory is not None:
        what = "one card" if plan.accelerator == "cuda" else "the host"
        yield folded(f"Memory of {what}: {plan.memory.gpu_total_gib:,.1f} GiB", _memory(plan))
    flags = " ".join(plan.engine.args)
    yield folded(
        f"Flags of {plan.engine.name} {plan.engine.version}", f"{code(flags, longest=4000)}\n"
    )
    if plan.fixes:
        yield folded("What would fit", listed(words(str(fix)) for fix in plan.fixes))
    if plan.notes:
        yield folded("Why", listed(map(words, plan.notes)))


def _change(service: ReviewedService) -> str:
    if service.effect is None:
        return f"Nothing differs from {words(service.against or '')}.\n"
    said = _CONSEQUENCES.get(service.effect, "")
    return said.format(budget=duration(service.plan.startup_budget_s)) + "\n"


def _changed(change: ReviewedChange) -> str:
    effect = _EFFECTS.get(change.effect, "")
    sides = " → ".join(_side(value) for value in (change.old, change.new))
    drift = ", set by somebody else since" if change.drift else ""
    return f"{effect}: {code(change.where)}: {sides}{drift}"


def _side(value: str | None) -> str:
    if value is None:
        return "not there"
    return code(value) if value.strip() else "set"


def _finding(finding: ReviewFinding) -> str:
    place = f"{finding.file}:{finding.line}" + (f" {finding.where}" if finding.where else "")
    fix = f" Fix: {words(finding.fix.removesuffix('.'))}." if finding.fix else ""
    mark = _LEVELS[finding.level]
    return f"{mark} {code(finding.code)} {words(finding.message)} ({code(place)}).{fix}"


def _memory(plan: ServingPlan) -> str:
    memory = plan.memory
    assert memory is not None
    rows = {"weights": memory.weights_gib, "KV cache": memory.kv_cache_gib}
    if plan.accelerator == "cuda":
        rows |= {
            "activations": memory.activation_gib,
            "CUDA graphs": memory.cudagraph_gib,
            "outside PyTorch": memory.non_torch_gib,
        }
    lines = ["| | GiB |", "|---|--:|", *(f"| {name} | {gib:,.2f} |" for name, gib in rows.items())]
    tokens = f"The KV cache holds {memory.kv_cache_tokens:,} tokens."
    return "\n".join([*lines, "", *([tokens] if memory.kv_cache_gib >= 0 else []), ""])


def reasons(plan: ServingPlan) -> Iterator[tuple[Level, Reason]]:
    """Why a plan is refused, and what it warns of."""
    for reason in plan.reasons:
        yield "error", reason
    for warning in plan.warnings:
        yield "warning", warning
