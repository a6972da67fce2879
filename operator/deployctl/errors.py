"""The errors deployctl raises, each with the exit code the shell sees.

    DeployctlError                      1  a bug, if it is ever raised bare
    ├── InputError                      2  what the user gave is wrong
    │   ├── SpecError                      a flag, variable or spec file
    │   ├── ModelError                     the checkpoint's own documents
    │   ├── ProfileError                   a hardware profile
    │   └── NotFoundError                  no such service, revision or file
    ├── PlanRefusedError                3  it does not fit, or cannot run
    ├── TargetError                     4  the world failed
    │   ├── EngineError                    the engine did not start, or died
    │   ├── PortTakenError                 something else listens there
    │   ├── DockerError                    no engine, no image, compose failed
    │   ├── ClusterError                   no cluster, no right, or Helm failed
    │   ├── HubError                       the Hub is out of reach or says no
    │   ├── StateError                     deployctl's own records
    │   ├── LockedError                    another deployctl works on this service
    │   └── AnotherLineageError            a service of that name is there, and is not ours
    ├── SloMissedError                  5  measured, and not good enough
    └── InterruptedByUserError        130  Ctrl-C; nothing is left half-applied

Every error says what is wrong (`message`), where (`where`: a path such as
`services/0/gpu`, a file, a URL) and how to fix it (`hint`).
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Reason:
    """Why something is refused or warned of. `code` is stable; `message`, `fix` are for people."""

    code: str
    message: str
    fix: str


class DeployctlError(Exception):
    """Base of every error that deployctl raises on purpose."""

    exit_code = 1
    result: object = None  # what there is to report all the same, where an operation says so
    files: Sequence[Path] = ()  # the spec files that were given, where there are any
    service: str | None = None  # whose settings `where` names, where it is known

    def __init__(self, message: str, *, where: str | None = None, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.where = where
        self.hint = hint


class InputError(DeployctlError):
    """What the user gave is wrong."""

    exit_code = 2


class SpecError(InputError):
    """A flag, an environment variable or a spec file is wrong."""


class ModelError(InputError):
    """A checkpoint's own documents are missing, broken or absurd."""


class ProfileError(InputError):
    """A hardware profile is unknown or wrong."""


class NotFoundError(InputError):
    """No such service, revision or file."""


class PlanRefusedError(DeployctlError):
    """The plan says that it does not fit or cannot run."""

    exit_code = 3


class TargetError(DeployctlError):
    """The machine, the engine or a service that deployctl depends on failed."""

    exit_code = 4


class EngineError(TargetError):
    """The engine did not start, or died. `log_tail` holds its last lines.

    `timed_out`: it lived, and had not answered when its start-up budget was spent.
    """

    def __init__(
        self,
        message: str,
        *,
        where: str | None = None,
        hint: str | None = None,
        log_tail: tuple[str, ...] = (),
        timed_out: bool = False,
    ) -> None:
        super().__init__(message, where=where, hint=hint)
        self.log_tail = log_tail
        self.timed_out = timed_out


class PortTakenError(TargetError):
    """Something else listens on the port that the service wants."""


class DockerError(TargetError):
    """No Docker engine, no image, or Compose failed."""


class ClusterError(TargetError):
    """No cluster answers, it refuses, or Helm failed."""


class HubError(TargetError):
    """The Hub is out of reach, or refuses."""


class StateError(TargetError):
    """deployctl's own records could not be read or written."""


class LockedError(TargetError):
    """Another deployctl is working on the same service."""


class AnotherLineageError(TargetError):
    """A service of that name is there that is not the one known here."""


class SloMissedError(DeployctlError):
    """A measured service level is worse than what was asked for."""

    exit_code = 5


class InterruptedByUserError(DeployctlError):
    """Ctrl-C. Whatever was begun has been undone or finished."""

    exit_code = 130


@contextmanager
def of_service(name: str) -> Iterator[None]:
    """Has an error that is raised inside say which service it is of."""
    try:
        yield
    except DeployctlError as error:
        error.service = error.service or name
        raise


def did_you_mean(word: str, known: Iterable[str], cutoff: float = 0.6) -> str:
    """Asks whether the nearest of the known words was meant; empty when none is near."""
    import difflib  # for an error alone

    near = difflib.get_close_matches(word, list(known), n=1, cutoff=cutoff)
    return f"did you mean {near[0]}?" if near else ""


def in_short(error: BaseException) -> str:
    """Why something failed, in a line for a record."""
    if isinstance(error, KeyboardInterrupt):
        return "interrupted"
    return error.message if isinstance(error, DeployctlError) else type(error).__name__
