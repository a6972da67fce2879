"""What a change of spec files comes to, for those who review it: a page of Markdown.

The same review gives the same bytes, so that a comment of it is written once and then kept up to
date. All that others wrote (names, values, messages) stands in code spans: there it is no link, no
mention of a person, no HTML.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Literal

from pydantic import BaseModel, ConfigDict, computed_field

from deployctl.errors import Reason
from deployctl.planning.plan import ServingPlan
from deployctl.units import duration
from deployctl_loadtest.foreign import printable

REVIEW_VERSION = 1
MOST_OF_A_COMMENT = 65_536  # GitHub's limit, in characters; counted in bytes, which are more
MOST_OF_A_SUMMARY = 1024 * 1024  # bytes
_MOST_ROWS = 100  # of the table
_MOST_ITEMS = 40  # of a list
_LONGEST = 160  # characters of a value

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
        whole = _count(len(self.services), "service")
        if refused:
            return f"{refused} of {whole} cannot run as written"
        if errors:
            return f"{_count(errors, 'error')} to mend"
        restarts = sum(service.effect == "restarts" for service in self.services)
        more = f", {restarts} of them with a restart" if restarts else ""
        return f"{whole} ready{more}"

    @property
    def header(self) -> str:
        """What tells its comment from others; hidden where Markdown is shown."""
        names = re.sub(r"[^A-Za-z0-9._/ -]|--+", "_", " ".join(self.files))[:200]
        return f"<!-- deployctl review: {names} -->"


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
    rest = f"[the whole report]({link})" if link else "the job's log"
    cut = f"\n_Cut here, for its length: see {rest}._\n"
    room = most - len(cut.encode())
    page = ""
    for part in _parts(review):
        room -= len(part.encode())
        if room < 0:
            return page + cut
        page += part
    return page


def _parts(review: Review) -> Iterator[str]:
    mark = _MARKS[review.verdict]
    yield f"{review.header}\n### {mark} deployctl: {review.summary}\n"
    if review.services:
        yield _table(review.services)
    loose = [f for f in review.findings if not f.service]
    if loose:
        yield "\n" + _list(map(_finding, loose))
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
        lines += ["", f"and {_count(len(services) - _MOST_ROWS, 'more service')}"]
    return "\n".join(lines) + "\n"


def _cells(service: ReviewedService) -> Iterator[str]:
    plan = service.plan
    fits = plan.verdict == "fits"
    yield _code(service.name, in_table=True)
    yield _VERDICTS[plan.verdict]
    cards = plan.world_size * plan.replicas
    yield _code(f"{cards} × {plan.gpu}" if plan.accelerator == "cuda" else plan.gpu, in_table=True)
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
    lines = [f"\n#### {_code(service.name)}\n"]
    if findings:
        lines.append(_list(map(_finding, findings)))
    if service.against is not None:
        lines.append(_change(service))
    if service.note:
        lines.append(f"{_words(service.note)}\n")
    yield "\n".join(lines)
    if service.changes:
        title = f"{_count(len(service.changes), 'change')} against {service.against}"
        yield _folded(title, _list(map(_changed, service.changes)))
    if plan.memory is not None:
        what = "one card" if plan.accelerator == "cuda" else "the host"
        yield _folded(f"Memory of {what}: {plan.memory.gpu_total_gib:,.1f} GiB", _memory(plan))
    words = " ".join(plan.engine.args)
    yield _folded(
        f"Flags of {plan.engine.name} {plan.engine.version}", f"{_code(words, longest=4000)}\n"
    )
    if plan.fixes:
        yield _folded("What would fit", _list(_words(str(fix)) for fix in plan.fixes))
    if plan.notes:
        yield _folded("Why", _list(map(_words, plan.notes)))


def _change(service: ReviewedService) -> str:
    if service.effect is None:
        return f"Nothing differs from {_words(service.against or '')}.\n"
    said = _CONSEQUENCES.get(service.effect, "")
    return said.format(budget=duration(service.plan.startup_budget_s)) + "\n"


def _changed(change: ReviewedChange) -> str:
    effect = _EFFECTS.get(change.effect, "")
    sides = " → ".join(_side(value) for value in (change.old, change.new))
    drift = ", set by somebody else since" if change.drift else ""
    return f"{effect}: {_code(change.where)}: {sides}{drift}"


def _side(value: str | None) -> str:
    if value is None:
        return "not there"
    return _code(value) if value.strip() else "set"


def _finding(finding: ReviewFinding) -> str:
    place = f"{finding.file}:{finding.line}" + (f" {finding.where}" if finding.where else "")
    fix = f" Fix: {_words(finding.fix)}." if finding.fix else ""
    mark = _LEVELS[finding.level]
    return f"{mark} {_code(finding.code)} {_words(finding.message)} ({_code(place)}).{fix}"


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


def _list(items: Iterable[str]) -> str:
    lines = [f"- {item}" for item in items]
    if len(lines) > _MOST_ITEMS:
        lines[_MOST_ITEMS:] = [f"- and {len(lines) - _MOST_ITEMS} more"]
    return "\n".join(lines) + "\n"


def _folded(title: str, body: str) -> str:
    """A part that is opened by a click. Its title is HTML, where code spans are none."""
    shown = re.sub(r"[^A-Za-z0-9 ,.:/()_-]", "·", _line(title, _LONGEST))
    return f"\n<details><summary>{shown.replace('//', '/')}</summary>\n\n{body}\n</details>\n"


def _count(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"


def _line(text: str, longest: int) -> str:
    line = printable(" ".join(text.split()))
    return line if len(line) <= longest else line[: longest - 1] + "…"


def _code(text: str, *, longest: int = _LONGEST, in_table: bool = False) -> str:
    """A code span, whatever the text is. A cell of a table would end at a bar, in code too."""
    line = _line(text, longest) or "–"
    if in_table:
        line = line.replace("|", "¦")
    ticks = "`" * (max(map(len, re.findall("`+", line)), default=0) + 1)
    pad = " " if line.startswith("`") or line.endswith("`") else ""
    return f"{ticks}{pad}{line}{pad}{ticks}"


# Words and numbers that Markdown, and what GitHub makes of a text, leave as they are.
_PLAIN = re.compile(r"\(?[A-Za-z0-9]+(?:[,'’–-][A-Za-z0-9]+|\.\d+)*%?[).,;:]*")
_REFERENCE = re.compile(r"GH-\d", re.IGNORECASE)  # to an issue


def _words(text: str) -> str:
    """A sentence, what is no plain word of it as code."""
    return " ".join(
        word
        if _PLAIN.fullmatch(word) and len(word) < 30 and not _REFERENCE.search(word)
        else _code(word)
        for word in _line(text, 4 * _LONGEST).split(" ")
    )


def reasons(plan: ServingPlan) -> Iterator[tuple[Level, Reason]]:
    """Why a plan is refused, and what it warns of."""
    for reason in plan.reasons:
        yield "error", reason
    for warning in plan.warnings:
        yield "warning", warning
