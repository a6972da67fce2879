"""Which kinds of cards `--gpu any` means: those that the cluster has, where it can be asked."""

from collections.abc import Collection

from deployctl.errors import ClusterError, TargetError
from deployctl.events import Event, Tell
from deployctl.hardware import GpuProfile, all_profiles, own_profiles
from deployctl.spec import ServiceSpec
from deployctl.spec.service import ANY_CARD, HOSTS
from deployctl.spec.settings import Settings
from deployctl.targets import open_view


def there(spec: ServiceSpec, settings: Settings) -> str | None:
    """Which cards a cluster has and who has taken them, for a person; None for a host."""
    view = open_view(spec.target, settings) if spec.target else None
    if view is None:
        return None
    try:
        return view.cards(claimed=spec.claims_cards)
    except TargetError as error:
        return f"which cards the cluster has is not known: {error.message}"


def in_cluster(spec: ServiceSpec, settings: Settings, tell: Tell) -> tuple[GpuProfile, ...]:
    """The profiles of the cards that a cluster's nodes offer by claim.

    None where another is named, or the cluster does not tell; which is told then.
    """
    if spec.gpu != ANY_CARD or spec.target in HOSTS:
        return ()
    from deployctl.targets.kubernetes import devices
    from deployctl.targets.kubernetes.cluster import cluster_of

    try:
        products = devices.products(cluster_of(settings))
    except ClusterError as error:
        tell(Event("note", f"planned for every card with a profile: {error.message}"))
        return ()
    known = profiles_of(products)
    unknown = sorted(products - {name for profile in known for name in profile.matches})
    if unknown:
        tell(Event("note", f"the cluster has cards without a profile: {', '.join(unknown)}"))
    if not products:
        tell(Event("note", "planned for every card with a profile: no node offers any by claim"))
    return known


def profiles_of(products: Collection[str]) -> tuple[GpuProfile, ...]:
    """The profiles of cards that their driver calls so; one's own before those that come along."""
    own = {profile.name: profile for profile in (*all_profiles(), *own_profiles())}
    return tuple(p for p in own.values() if set(products) & set(p.matches))
