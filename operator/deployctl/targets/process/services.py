"""What the gateway has to know of the services of target `process`, from their folders."""

from pathlib import Path

from deployctl.render.bundle import LOOPBACK
from deployctl.targets import guards
from deployctl.targets.gatewayrecords import Knowledge
from deployctl.targets.process.runs import RunFolder


def known(services: Path) -> Knowledge:
    """Of the services that have their folders in this one."""

    def engines(service: str) -> set[str] | None:
        return living(services / service)

    return Knowledge(
        at_work=lambda service: guards.signer_lives(services / service),
        gone=lambda service: not (services / service / "releases").is_dir(),
        engines=engines,
    )


def living(service: Path) -> set[str] | None:
    """Where a service's engines listen that a supervisor looks after, be it that they load, or are
    to be started again: no other engine has such an address. None where one's is on no record."""
    runs = map(RunFolder, (service / "runs").glob("*"))
    found = {run.port() for run in runs if run.supervisor_alive() and run.exit() is None}
    return None if None in found else {f"{LOOPBACK}:{port}" for port in found}
