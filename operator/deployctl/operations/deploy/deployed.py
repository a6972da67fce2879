"""What became of a deployment: a release that serves and where, or one that was not kept."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from deployctl.endpoint import Endpoint
from deployctl.operations.deploy.verified import Verified
from deployctl.planning.fleet.order import cards_of
from deployctl.spec import TargetKind
from deployctl.targets.front import HeldRequests
from deployctl.targets.history import Release
from deployctl.units import duration

_WORTH_A_WORD_S = 5.0  # of fetching; to look and find all there takes less


class ReplicaAt(NamedTuple):
    """One of several engines of a release: its own address, on loopback, and its cards."""

    replica: int
    url: str
    cards: tuple[str, ...]  # none on a CPU


@dataclass(frozen=True)
class Deployed:
    """A release that serves, and where."""

    release: Release
    target: TargetKind
    changed: bool
    seconds: float  # from the start of the engine to its first answer
    fetch_seconds: float  # before that: for its image and its model to be there, whole
    endpoint: Endpoint
    api_key_file: Path | None
    operator_token_file: Path | None  # of what may read /metrics; None where there is no door
    log: Path | None
    tuned: dict[str, Any] | None = None  # what was recommended, and what of it was used
    verification: Verified | None = None
    gaps_s: tuple[float, ...] = ()  # in which nothing of the service answered
    held: HeldRequests | None = None  # in the gateway, meanwhile
    ca_file: Path | None = None  # of the gateway's own authority, where that signs
    chat_url: str | None = None  # the page to chat on, where one is served

    @property
    def replicas(self) -> tuple[ReplicaAt, ...]:
        """Each engine by itself, where there are several on a host."""
        plan = self.release.plan
        return tuple(
            ReplicaAt(number, each.own, cards_of(plan, number))
            for number, each in enumerate(self.endpoint.replicas)
        )

    @property
    def took(self) -> str:
        """How long it took to start; and to fetch, where that is worth a word."""
        fetched = f", after {duration(self.fetch_seconds)} of fetching"
        return duration(self.seconds) + (fetched if self.fetch_seconds >= _WORTH_A_WORD_S else "")

    def document(self) -> dict[str, Any]:
        """What JSON answers say of it."""
        return {
            "service": self.release.service,
            "target": self.target,
            "revision": self.release.revision,
            "changed": self.changed,
            "url": f"{self.endpoint.shown}/v1",
            "model": self.endpoint.model,
            "api_key_file": str(self.api_key_file) if self.api_key_file else None,
            "operator_token_file": str(self.operator_token_file or "") or None,
            "log": str(self.log) if self.log else None,
            "seconds": round(self.seconds, 1),
            "fetch_seconds": round(self.fetch_seconds, 1),
            **({"replicas": [r._asdict() for r in self.replicas]} if self.replicas else {}),
            **self._of_gateway(),
            **_more(self.tuned, self.verification),
        }

    def _of_gateway(self) -> dict[str, Any]:
        if self.endpoint.gateway is None:
            return {}
        told = {"engine_url": self.endpoint.own, "ca_file": str(self.ca_file or "") or None}
        held = self.held.document() if self.held else None
        return {"gateway": {**told, "chat_url": self.chat_url, "held": held}}


@dataclass(frozen=True)
class NotKept:
    """A release that failed while it was verified, and what serves in its stead."""

    service: str
    target: TargetKind
    serving: Deployed | None
    tuned: dict[str, Any] | None
    verification: Verified

    def document(self) -> dict[str, Any]:
        """What JSON answers say of it: as of a service that serves, or with nothing filled in."""
        files = ("api_key_file", "operator_token_file", "log")
        nothing = dict.fromkeys(("revision", "url", "model", *files))
        known = {"service": self.service, "target": self.target, "changed": False}
        known |= {"seconds": 0.0, "fetch_seconds": 0.0}
        answer = self.serving.document() if self.serving else {**known, **nothing}
        return {**answer, **_more(self.tuned, self.verification)}


def _more(tuned: dict[str, Any] | None, verification: Verified | None) -> dict[str, Any]:
    """The keys that an answer has only where they were asked for."""
    tuning = {} if tuned is None else {"tuned": tuned}
    return tuning if verification is None else {**tuning, "verification": verification.document()}
