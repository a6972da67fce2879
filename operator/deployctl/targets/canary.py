"""Runs a canary of a service that goes on serving, and leaves nothing of it.

It is on record under a name of its own before it starts, so that `status` and `down` know of
it; what a killed deployctl leaves of one, the next `up` or `down` of its service ends.
"""

from collections.abc import Callable

from deployctl.errors import DeployctlError, InputError, InterruptedByUserError, TargetError
from deployctl.events import Event, Tell
from deployctl.files import write_private
from deployctl.render.candidate import candidate_name
from deployctl.targets import drain, keys
from deployctl.targets.driver import Driver
from deployctl.targets.guards import lock, shielded
from deployctl.targets.history import Release
from deployctl.targets.readiness import Tools, wait_until_answers
from deployctl.targets.store import ServiceRef, Store

LOG_LINES_KEPT = 20_000
Verify = Callable[[Release], str]  # says what was seen; raises what speaks against the release


def run(
    driver: Driver, store: Store, release: Release, verify: Verify, tell: Tell, tools: Tools
) -> str:
    """Starts `release`, a candidate, lets `verify` judge it, and ends it whatever comes.

    Raises:
        EngineError: it did not come up.
        InterruptedByUserError: Ctrl-C; it is stopped.
        InputError: a service of the user's own has that name.
        Whatever `verify` raises.
    """
    ref = ServiceRef(driver.target, release.service)
    owner = str(release.candidate_of)
    with lock(store.folder(ref), release.service, "deployctl up"):
        _refuse_foreign(store, ref, owner)
        store.save(ref, release)
        try:
            if release.spec.needs_api_key:
                key = keys.read_key(store.folder(ServiceRef(driver.target, owner)) / keys.API_KEY)
                keys.place_key(store.folder(ref) / keys.API_KEY, key)
            keys.lend(store.folder(ServiceRef(driver.target, owner)), store.folder(ref))
            driver.preflight(release, None)
            driver.fetch(release, tell)
            begun = tools.clock()
            driver.start(release, tell)
            wait_until_answers(driver, release, tell, tools, begun=begun)
            return verify(release)
        except DeployctlError as error:
            if error.where and error.where.startswith(str(store.folder(ref))):
                error.where = _keep_log(driver, store, release, owner)
            raise
        except KeyboardInterrupt as error:
            raise InterruptedByUserError(
                f"interrupted; the canary of {owner} is stopped",
                hint=f"{owner} was not touched",
            ) from error
        finally:
            with shielded(lambda: tell(Event("warning", "cleaning up first"))):
                tell(Event("note", f"stopping {release.service}"))
                drain.stop(driver, release, tell, tools)
                _forget(driver, store, ref, owner, tell)


def clear(driver: Driver, store: Store, service: str, tell: Tell) -> bool:
    """Ends what a killed deployctl left of a service's candidate; whether there was any.

    Only under the service's own lock: then nobody else is trying one.

    Raises:
        TargetError: something of it still runs.
        LockedError: somebody works on it by its own name.
    """
    ref = ServiceRef(driver.target, candidate_name(service))
    if not store.has(ref):
        return False
    with lock(store.folder(ref), ref.service, "deployctl"):
        damaged = store.damaged(ref)
        releases = store.releases(ref, skip=damaged)
        if any(release.candidate_of != service for release in releases):
            return False  # a service of the user's own
        tell(Event("note", f"cleaning up {ref.service}, left unfinished"))
        for release in [*releases, *(store.stand_in(ref, number) for number in damaged)]:
            driver.stop(release, tell)
        _forget(driver, store, ref, service, tell)
    return True


def _keep_log(driver: Driver, store: Store, release: Release, owner: str) -> str | None:
    """Copies the log of a candidate that failed to where its service's records are."""
    kept = store.folder(ServiceRef(driver.target, owner)) / "candidate.log"
    try:
        lines = driver.logs(release, tail=LOG_LINES_KEPT, follow=False)
        write_private(kept, "".join(f"{line}\n" for line in lines).encode())
    except TargetError:
        return None  # that it failed is more to know than why its log is lost
    return str(kept)


def _refuse_foreign(store: Store, ref: ServiceRef, owner: str) -> None:
    if all(release.candidate_of == owner for release in store.releases(ref)):
        return
    raise InputError(
        f"there is a service {ref.service!r}, the name that a canary of {owner} would have",
        where=str(store.folder(ref)),
        hint="use --beside no, or give one of the two another name",
    )


def _forget(driver: Driver, store: Store, ref: ServiceRef, owner: str, tell: Tell) -> None:
    """Removes caches, logs and records: a candidate has no history."""
    driver.purge(ref.service, tell, heir=owner)
    store.forget(ref)
