"""Findings and the rules that make them. A code is stable: pipelines and exceptions name it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum

from deployctl.checking.documents import Place
from deployctl.checking.manifests import Manifests


class Severity(StrEnum):
    """How bad it is: it fails, it will fail one day, or it is good to know."""

    error = "error"
    warning = "warning"
    note = "note"


ORDER = list(Severity)  # worst first


@dataclass(frozen=True)
class Finding:
    """What is wrong, where, and how to fix it."""

    code: str
    severity: Severity
    file: str
    line: int  # 1 for the first; 0 when no line is known
    where: str  # Deployment/chat: spec.template.spec.containers[0].image
    message: str
    fix: str

    @property
    def object(self) -> tuple[str, str]:
        """The file, and the title of the document in it."""
        return self.file, self.where.split(": ", 1)[0]


@dataclass(frozen=True)
class Rule:
    """One kind of mistake. `consequence` says what it does to people; the reference lists it."""

    code: str
    severity: Severity
    consequence: str
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


Check = Callable[[Manifests], Iterator[Finding]]

RULES: dict[str, Rule] = {}
CHECKS: list[Check] = []


@dataclass(frozen=True)
class RuleGroup:
    """Registers rules under one heading of the reference. A bug if a code is taken."""

    title: str

    def error(self, code: str, consequence: str) -> Rule:
        """It fails: Kubernetes, Compose or the engine refuses it, or users are harmed."""
        return self._add(code, Severity.error, consequence)

    def warning(self, code: str, consequence: str) -> Rule:
        """It will fail one day."""
        return self._add(code, Severity.warning, consequence)

    def note(self, code: str, consequence: str) -> Rule:
        """It is good to know."""
        return self._add(code, Severity.note, consequence)

    def _add(self, code: str, severity: Severity, consequence: str) -> Rule:
        if code in RULES:
            raise ValueError(f"the code {code} is taken")
        RULES[code] = Rule(code, severity, consequence, self.title)
        return RULES[code]


def check(function: Check) -> Check:
    """Registers a function that looks for mistakes."""
    CHECKS.append(function)
    return function
