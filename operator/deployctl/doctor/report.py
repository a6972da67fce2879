"""What doctor answers: checks, and the document made of them (docs/guides/doctor.md)."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, NamedTuple

Status = Literal["pass", "warn", "fail"]
REPORT_VERSION = 1


@dataclass(frozen=True)
class Check:
    """One thing looked at. `id` is stable; `title`, `detail` and `fix` are for people."""

    id: str
    title: str
    status: Status
    detail: str
    fix: str = ""  # a command or a sentence; empty when all is well


class Topic(NamedTuple):
    """What a check is about, and what it says of it. `id` is stable, `title` is for people."""

    id: str
    title: str

    def good(self, detail: str) -> Check:
        """All is well."""
        return Check(self.id, self.title, "pass", detail)

    def warn(self, detail: str, fix: str) -> Check:
        """It works, but not as well as it could, or it could not be told."""
        return Check(self.id, self.title, "warn", detail, fix)

    def fail(self, detail: str, fix: str) -> Check:
        """A service would not start, or would not start reliably."""
        return Check(self.id, self.title, "fail", detail, fix)


def verdict(checks: Sequence[Check]) -> Status:
    """The worst status of all."""
    statuses = {check.status for check in checks}
    return "fail" if "fail" in statuses else "warn" if "warn" in statuses else "pass"


def document(checks: Sequence[Check], *, target: str, gpu: str | None) -> dict[str, Any]:
    """The JSON answer."""
    return {
        "version": REPORT_VERSION,
        "target": target,
        "gpu": gpu,
        "verdict": verdict(checks),
        "counts": {s: sum(c.status == s for c in checks) for s in ("pass", "warn", "fail")},
        "checks": [asdict(check) for check in checks],
    }
