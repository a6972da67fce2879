"""Which services of this host monitoring watches, and where each is."""

from typing import NamedTuple
from urllib.parse import urlsplit

from deployctl.errors import DeployctlError, NotFoundError
from deployctl.events import Event, Tell
from deployctl.render.bundle import LOOPBACK
from deployctl.render.monitoring.prometheus import Watched
from deployctl.render.monitoring.stack import token_file
from deployctl.spec import ServiceSpec
from deployctl.spec.service import HOSTS
from deployctl.spec.settings import Settings
from deployctl.targets import history, open_driver, open_store
from deployctl.targets.store import ServiceRef, Store


class Scraped(NamedTuple):
    """A service, and the operator's token of its door."""

    watched: Watched
    token: str | None


def services_here(settings: Settings, tell: Tell) -> list[Scraped]:
    """Every service that is to serve on this host, by name."""
    store = open_store(settings)
    found: dict[str, Scraped] = {}
    # A cluster that was used from here need not be there for that.
    ours = sorted(ref for target in HOSTS for ref in store.services(target))
    for ref in [*ours, *(ref for ref in store.others() if ref.target in HOSTS)]:
        try:
            service = _service(settings, store, ref)
        except DeployctlError as error:
            tell(Event("warning", f"{ref.service} is not watched: {error.message}"))
            continue
        if service is None:
            continue
        if ref.service in found:
            tell(Event("warning", f"{ref.service} of target {ref.target} is not watched: another "
                       "service has that name"))  # fmt: skip
            continue
        found[ref.service] = service
    return [found[name] for name in sorted(found)]


def _service(settings: Settings, store: Store, ref: ServiceRef) -> Scraped | None:
    releases = store.releases(ref)
    release = history.deployed(releases)
    if release is None or release.candidate_of is not None:
        return None
    driver = open_driver(ref.target, settings)
    # One that died is there still. After it a revision is under way, or failed: it is missed, as is
    # one that `boot` is to bring back.
    state = driver.state(release) if release is releases[-1] else None
    if state is not None and state.condition == "absent" and not state.halted:
        raise NotFoundError(
            f"its engine was removed by hand: deployctl up starts it, deployctl down {ref.service} "
            "says that it is meant to be gone"
        )
    whole = driver.endpoint(release)
    engines = whole.replicas or (whole,)
    spec: ServiceSpec = release.spec
    at, *more = (urlsplit(each.published or each.url) for each in engines)
    others = () if at.path else tuple(each.netloc for each in more)
    front, token = driver.gateway, token_file(ref.service)
    port = front.monitor_port() if front and front.entry(ref.service) else None
    monitor = f"{LOOPBACK}:{port}" if port else ""
    watched = Watched(release.plan, spec, at.netloc, token, at.path, others, monitor)
    return Scraped(watched, engines[0].operator_token)
