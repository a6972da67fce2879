"""Several services brought up at once, where each has cards of its own: on a cluster.

One that fails stops and undoes no other. Ctrl-C undoes those that are under way, and no more.
"""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from deployctl.errors import DeployctlError, InterruptedByUserError, TargetError
from deployctl.events import Event, Tell
from deployctl.operations.deploy.deployed import Deployed, NotKept
from deployctl.operations.deploy.deployment import Deployment, up
from deployctl.operations.prepare import prepare, refuse_clashes
from deployctl.planning.fleet.make import PlannedFleet
from deployctl.targets.guards import Halt, calling
from deployctl.targets.rollout import REAL

AT_ONCE = 32  # threads; what they wait for is in the cluster


@dataclass(frozen=True)
class NotDeployed:
    """A service that did not come up, and why."""

    service: str
    target: str
    error: DeployctlError

    def document(self) -> dict[str, Any]:
        """What JSON answers say of it; of one that was verified and not kept, also what serves in
        its stead, and what was measured."""
        error = self.error
        verified = error.result.document() if isinstance(error.result, NotKept) else {}
        return {
            "service": self.service,
            "target": self.target,
            **verified,
            "error": error.message,
            "where": error.where,
            "hint": error.hint,
            "exit_code": error.exit_code,
        }


@dataclass(frozen=True)
class Fleet:
    """What became of each service, in the order in which they were given."""

    deployed: tuple[Deployed, ...]
    failed: tuple[NotDeployed, ...]
    interrupted: bool

    def enforce(self) -> None:
        """Raises what those that did not come up mean.

        Raises:
            InterruptedByUserError: Ctrl-C.
            TargetError: some failed; its exit code is theirs, where all have the same.
        """
        count = len(self.deployed) + len(self.failed)
        if self.interrupted:
            raise InterruptedByUserError(
                f"interrupted; {len(self.deployed)} of {count} services were brought up",
                hint="up again goes on with the others",
            )
        if self.failed:
            names = ", ".join(each.service for each in self.failed)
            error = TargetError(
                f"{len(self.failed)} of {count} services did not come up: {names}",
                hint="the others serve, and up again changes nothing of them"
                if self.deployed
                else None,
            )
            codes = {each.error.exit_code for each in self.failed}
            error.exit_code = codes.pop() if len(codes) == 1 else error.exit_code
            raise error


def check_all(deployments: Sequence[Deployment], planned: PlannedFleet | None) -> None:
    """Refuses, before anything is done, a verification that makes no sense, and services that
    cannot be on one host beside each other, which those of a fleet were `planned` for.

    Raises:
        As `Deployment.check`, and where some are to be behind the gateway as `refuse_clashes`.
    """
    for deployment in deployments:
        deployment.check()
    specs = [
        d.spec for d in deployments if d.spec.target != "kubernetes" and not d.spec.claims_cards
    ]
    behind = any(spec.wants_gateway or (spec.replicas or spec.gpus) > 1 for spec in specs)
    if planned is None and behind and len(specs) > 1:
        refuse_clashes([*map(prepare, specs)])


def together(deployments: Sequence[Deployment]) -> bool:
    """Whether they can be brought up at once: on a cluster, and with no load test among them, which
    would take from each other."""
    return len(deployments) > 1 and all(
        d.spec.target == "kubernetes" and d.verification is None for d in deployments
    )


def up_together(
    deployments: Sequence[Deployment],
    tell: Callable[[str], Tell],
    done: Callable[[Deployed | NotDeployed], None],
) -> Fleet:
    """Brings all of them up; returns when each serves or has failed.

    `tell` gives the listener of a service, by its name; `done` hears what becomes of each. Both are
    called in threads.
    """
    called = threading.Event()

    def one(deployment: Deployment) -> Deployed | NotDeployed:
        became = _one(deployment, Halt(called), tell(deployment.spec.service))
        done(became)
        return became

    listener = tell("")
    say = Event("warning", "those under way are being undone first")
    with (
        calling(called, lambda: listener(say)),
        ThreadPoolExecutor(min(AT_ONCE, len(deployments))) as pool,
    ):
        became = list(pool.map(one, deployments))
    return Fleet(
        tuple(each for each in became if isinstance(each, Deployed)),
        tuple(each for each in became if isinstance(each, NotDeployed)),
        called.is_set(),
    )


def _one(deployment: Deployment, halt: Halt, tell: Tell) -> Deployed | NotDeployed:
    spec = deployment.spec

    def told(event: Event) -> None:
        halt.check()
        tell(event)

    try:
        halt.check()
        return up(deployment, told, tools=REAL._replace(sleep=halt.sleep))
    except DeployctlError as error:
        failure: DeployctlError = error
    except KeyboardInterrupt:
        failure = InterruptedByUserError("interrupted", hint="nothing of it was changed")
    return NotDeployed(spec.service, str(spec.target), failure)
