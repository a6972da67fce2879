"""Which kinds of cards are meant where none is named: those that the cluster has."""

from collections.abc import Collection
from typing import TYPE_CHECKING

from deployctl.errors import ClusterError, SpecError, TargetError
from deployctl.events import Event, Tell
from deployctl.hardware import GpuProfile, all_profiles, own_profiles
from deployctl.spec import ServiceSpec
from deployctl.spec.service import ANY_CARD, HOSTS
from deployctl.spec.settings import Settings
from deployctl.targets import open_view

if TYPE_CHECKING:
    from deployctl.targets.kubernetes.cluster import Cluster

_NAME_ONE = (
    "name one with --gpu, or --gpu cpu; --gpu any claims the cheapest that is free (DRA). "
    "deployctl doctor --target kubernetes lists the cluster's"
)


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


def settled(spec: ServiceSpec, settings: Settings, tell: Tell) -> ServiceSpec:
    """A spec that says no card, with the only kind that its cluster has, which is told; any other
    as it is.

    Raises:
        SpecError: the cluster has several kinds, none that is known, or we may not look at them.
        TargetError: the cluster does not answer.
    """
    if spec.gpu != "auto" or spec.target != "kubernetes":
        return spec
    from deployctl.targets.kubernetes.cluster import ForbiddenError, cluster_of

    try:
        found = only_card(cluster_of(settings), claimed=spec.claims_cards)
    except ForbiddenError as error:
        said = "which card the pods are to have is not said, and we may not look at the nodes"
        raise SpecError(said, where="--gpu", hint=_NAME_ONE) from error
    tell(Event("note", f"--gpu {found.name}: {found.title} is the cluster's only kind of card"))
    return spec.model_copy(update={"gpu": found.name})


def only_card(cluster: "Cluster", *, claimed: bool) -> GpuProfile:
    """The profile of the cards that the nodes have: those by claim, or by a device plugin.

    Raises:
        SpecError: their cards are of several kinds, or of one that has no profile.
        TargetError: the nodes cannot be asked.
    """
    from deployctl.doctor.cluster.card_checks import cards_of, profile_of
    from deployctl.doctor.cluster.facts import ClusterFacts
    from deployctl.targets.kubernetes import devices

    if claimed:
        kinds = {name: profiles_of([name]) for name in sorted(devices.products(cluster))}
    else:
        facts = ClusterFacts(cluster.namespace, nodes=cluster.items("/api/v1/nodes"))
        kinds = {
            product or "cards without a label": tuple(filter(None, [profile_of(product)]))
            for product in dict.fromkeys(card.product for card in cards_of(facts))
        }
    found = {profile.name: profile for profiles in kinds.values() for profile in profiles}
    if len(found) == 1 and all(kinds.values()):
        return next(iter(found.values()))
    there = ", ".join(kinds) or "none"
    message = f"which card the pods are to have is not said, and the nodes have {there}"
    raise SpecError(message, where="--gpu", hint=_NAME_ONE)


def profiles_of(products: Collection[str]) -> tuple[GpuProfile, ...]:
    """The profiles of cards that their driver calls so; one's own before those that come along."""
    own = {profile.name: profile for profile in (*all_profiles(), *own_profiles())}
    return tuple(p for p in own.values() if set(products) & set(p.matches))
