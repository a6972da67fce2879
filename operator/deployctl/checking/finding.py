"""Findings and the rules that make them, which are listed in deploy/checks/rules.yaml."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from deployctl import assets
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
    group: str  # the heading of the reference it stands under

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


def _catalogue() -> dict[str, Rule]:
    return {
        code: Rule(code, Severity(severity), consequence, group)
        for group, rules in assets.table("deploy", "checks", "rules.yaml").items()
        for code, described in rules.items()
        for severity, consequence in described.items()
    }


RULES = _catalogue()  # every rule, by code
CHECKS: list[Check] = []


def rule(code: str) -> Rule:
    """The rule of a code, as the catalogue describes it. A bug (KeyError) if it has none."""
    return RULES[code]


def check(function: Check) -> Check:
    """Registers a function that looks for mistakes."""
    CHECKS.append(function)
    return function
