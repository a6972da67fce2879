"""Brings the API key with which a service is wanted to the doors of engines that serve."""

from collections.abc import Callable

from deployctl.events import Event, Tell
from deployctl.targets import keys
from deployctl.targets.defaultkey import DefaultKey
from deployctl.targets.driver import Driver
from deployctl.targets.history import Release


def refresh(
    driver: Driver, current: Release, key: DefaultKey, tell: Tell, sleep: Callable[[float], None]
) -> None:
    """Puts it in force where the service runs as it is wanted.

    Raises:
        TargetError: it cannot be written or brought there.
    """
    if not current.spec.needs_api_key:
        return
    key.place()
    driver.publish_keys(current)
    if key.lift():
        driver.publish_keys(current)
    if key.changes:
        sleep(keys.SEEN_S)
        tell(Event("note", "the new API key is in force, and the former is not"))


def place(driver: Driver, release: Release, serving: Release | None, key: DefaultKey) -> None:
    """Puts it where the engines of `release` find it at their start. What serves meanwhile takes it
    too, so that clients need not know which engine they get.

    Raises:
        TargetError: it cannot be written or brought there.
    """
    if release.spec.needs_api_key:
        key.place()
        if serving is not None:
            driver.publish_keys(serving)
