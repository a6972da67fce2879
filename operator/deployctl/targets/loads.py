"""A load that comes from a target itself, not from this machine: what is ordered, how it is made,
what came of it.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol

Told = Callable[[Mapping[str, Any]], None]  # takes how far a run is, as Locust's side tells it


class LoadOrder(NamedTuple):
    """What one run takes."""

    name: str  # of what is measured
    image: str
    url: str  # of the server, as pods reach it
    workers: int
    options: tuple[
        str, ...
    ]  # Locust's, but for `--host`; paths are those in the pods (deployctl_loadtest.pod)
    files: Mapping[str, bytes]  # that the options name
    secrets: Mapping[str, str]  # variables of the workers
    lasts_s: float  # at most
    service: str | None = None  # whose engines must let the load in; None for any address


class LoadEnd(NamedTuple):
    """How a run came to its end; samples are at home then, as far as they came."""

    code: int | None  # Locust's exit code; None where it was not there any more to tell
    interrupted: bool = False  # by Ctrl-C
    unwritten: str | None = None  # why samples could not be written any more, here or there
    lost: str | None = None  # why the rest of the run is not known
    began_s: float | None = None  # the run's start, on this machine's monotonic clock
    locust: str = ""  # its release


class LoadMaker(Protocol):
    """One run's load, from what makes it to nothing."""

    def begin(self) -> None:
        """Returns when all that makes the load is there.

        Raises:
            TargetError: it does not come to be; says why.
        """

    def run(self, folder: Path, told: Told) -> LoadEnd:
        """Makes the load; samples come to `folder` meanwhile.

        Raises:
            TargetError: it cannot be begun.
        """

    def end(self) -> None:
        """Removes all of it, whatever became of it. What cannot be removed now ends by itself."""
