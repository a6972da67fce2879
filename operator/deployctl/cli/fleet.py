"""What verbs are handed of a spec file whose services share a host's cards."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from deployctl.errors import SpecError
from deployctl.spec import ServiceSpec
from deployctl.spec.fleet import load_fleet


def with_fleet(specs: list[ServiceSpec], files: Sequence[Path], *, kept: bool) -> dict[str, Any]:
    """A verb's `specs`: each with its card and share, where there is a fleet; or where it is
    `kept` for the verb as they are, and the host's cards as `fleet`."""
    fleet = load_fleet(files)
    if kept:
        return {"specs": specs, "fleet": fleet}
    if not fleet:
        return {"specs": specs}
    from deployctl.operations.fleet import placed

    return {"specs": placed(specs, fleet)}


def refuse_alone(given: Mapping[str, object]) -> None:
    """Refuses flags that are for one service.

    Raises:
        SpecError: one is given with a fleet.
    """
    for flag, value in given.items():
        if value not in (None, False):
            message = f"{flag} is for one service, and a fleet is planned together"
            raise SpecError(message, where=flag, hint=f"leave out {flag}, or the fleet's cards")
