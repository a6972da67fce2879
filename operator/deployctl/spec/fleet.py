"""The cards of a host that several services share: the document `fleet` of a spec file.

The other documents of the file are services, as ever. A service has its cards pinned by
CUDA_VISIBLE_DEVICES in its `env`.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from deployctl.errors import SpecError
from deployctl.spec.load import FLEET, complaint, read_documents
from deployctl.spec.number import NO_SWITCHES
from deployctl.spec.service import MOST_GIB, ServiceSpec

CARDS_VARIABLE = "CUDA_VISIBLE_DEVICES"
MOST_CARDS = 16
MOST_SERVICES = 16  # placements are searched through
_HINT = "fleet: [{gpu: l4, count: 2}] says that the host has two cards of that kind"


class CardsOfHost(BaseModel):
    """Cards of one kind."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    gpu: str = Field(min_length=1)  # a profile's name or alias, a profile file, auto, or cpu
    count: int | None = Field(None, ge=1, le=MOST_CARDS)  # of auto: all there are
    held_gib: float = Field(0.0, ge=0, le=MOST_GIB)  # of each, that others have: a desktop

    _numbers = NO_SWITCHES


class _FleetDocument(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    fleet: tuple[CardsOfHost, ...] = Field(min_length=1)


def load_fleet(files: Sequence[Path]) -> tuple[CardsOfHost, ...]:
    """The cards that the files say services share; none where they say nothing of it.

    Raises:
        SpecError: it is said twice, or wrongly.
    """
    found = [
        (f"{file}: fleet", document)
        for file in files
        for document in read_documents(file)
        if FLEET in document
    ]
    if not found:
        return ()
    where, document = found[0]
    if len(found) > 1:
        raise SpecError(f"{where} says it too", where=found[1][0], hint="say the cards once")
    try:
        fleet = _FleetDocument.model_validate(document).fleet
    except ValidationError as error:
        raise _wrong(error, where) from error
    if sum(cards.count or 1 for cards in fleet) > MOST_CARDS:
        raise SpecError(f"a host has {MOST_CARDS} cards at most", where=where, hint=_HINT)
    return fleet


def _wrong(error: ValidationError, where: str) -> SpecError:
    first = error.errors()[0]
    path = "/".join(str(part) for part in first["loc"] if part != FLEET)
    hint = _HINT
    if first["loc"][:1] != (FLEET,):
        hint = "the document fleet has nothing else: services are documents of their own"
    return SpecError(complaint(first), where=f"{where}/{path}" if path else where, hint=hint)


def pinned(spec: ServiceSpec) -> tuple[int, ...]:
    """The cards that the service says it is to have, by their number; none where it says none."""
    return tuple(int(name) for name in named_in(spec.env) if name.isdecimal())


def named_in(env: Mapping[str, str]) -> list[str]:
    """The cards that an environment names, by their number or UUID; none where it names none."""
    names = (name.strip() for name in env.get(CARDS_VARIABLE, "").split(","))
    return [name for name in names if name]
