"""Findings and the rules that make them. A code is stable: pipelines and exceptions name it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from deployctl.checking.documents import Place

if TYPE_CHECKING:
    from deployctl.checking.scene import Scene


class Severity(StrEnum):
    """How much it hurts: it fails, it fails one day, or it is worth knowing."""

    error = "error"
    warning = "warning"
    note = "note"


ORDER = {Severity.error: 0, Severity.warning: 1, Severity.note: 2}


@dataclass(frozen=True)
class Finding:
    """What is wrong, where, and how to mend it."""

    code: str
    severity: Severity
    file: str
    line: int  # 1 for the first; 0 when no line is known
    where: str  # Deployment/chat: spec.template.spec.containers[0].image
    message: str
    fix: str


@dataclass(frozen=True)
class Rule:
    """One kind of mistake. `hurts` says what it does to people; the reference lists it."""

    code: str
    severity: Severity
    hurts: str
    group: str = field(default="", compare=False)

    def at(
        self, place: Place, message: str, fix: str, *, severity: Severity | None = None
    ) -> Finding:
        """Makes a finding of this rule."""
        return Finding(
            code=self.code,
            severity=severity or self.severity,
            file=place.document.file,
            line=place.line,
            where=place.text,
            message=message,
            fix=fix,
        )


Check = Callable[["Scene"], Iterator[Finding]]

RULES: dict[str, Rule] = {}
CHECKS: list[Check] = []


def rule(code: str, severity: Severity, hurts: str, *, group: str) -> Rule:
    """Registers a rule. A bug if the code is taken."""
    if code in RULES:
        raise ValueError(f"the code {code} is taken")
    RULES[code] = Rule(code, severity, hurts, group)
    return RULES[code]


def check(function: Check) -> Check:
    """Registers a function that looks for mistakes."""
    CHECKS.append(function)
    return function
