"""Cards that nodes offer by Dynamic Resource Allocation: which there are, who has them, and which
comes nearest where none will do.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from deployctl.errors import ClusterError
from deployctl.planning.plan import CardOption, ServingPlan
from deployctl.targets.kubernetes.cluster import Cluster, Document
from deployctl.targets.kubernetes.nodes import told_first
from deployctl.units import MIB, quantity

DRIVER = "gpu.nvidia.com"  # attributes: NVIDIA/k8s-dra-driver-gpu, gpu-kubelet-plugin/deviceinfo.go
_NONE = "no node offers cards by claim: is NVIDIA's DRA driver installed?"

Taken = Mapping[tuple[str, str], str]  # pool and device -> the pod that has it


class Device(NamedTuple):
    """A card, or a MIG slice of one, as its driver publishes it."""

    pool: str  # the node's name, as NVIDIA's driver has it
    name: str
    product: str
    capability: str  # "8.9"
    memory_mib: int
    slice: str | None = None
    driver: str = ""  # NVIDIA's, "580.95.5"; "" where it is not published

    @property
    def place(self) -> tuple[str, str]:
        """Which of all it is."""
        return self.pool, self.name


class Offer(NamedTuple):
    """The cards of all nodes, and who has them."""

    devices: Sequence[Device]
    users: Taken = MappingProxyType({})

    def free(self) -> Iterator[Device]:
        """Those that nobody has."""
        return (device for device in self.devices if device.place not in self.users)


def devices(slices: Sequence[Document]) -> list[Device]:
    """NVIDIA's cards of all nodes."""
    found = []
    for spec in (each["spec"] for each in slices if each["spec"].get("driver") == DRIVER):
        for device in spec.get("devices") or ():
            said = device.get("attributes") or {}
            text = {key: str(next(iter(value.values()), "")) for key, value in said.items()}
            memory = (device.get("capacity") or {}).get("memory", {}).get("value", "0")
            if text.get("type") not in ("gpu", "mig"):
                continue
            found.append(
                Device(
                    pool=spec["pool"]["name"],
                    name=device["name"],
                    product=text.get("productName", ""),
                    capability=".".join(text.get("cudaComputeCapability", "0.0").split(".")[:2]),
                    memory_mib=int((quantity(memory) or 0) / MIB),
                    slice=text.get("profile"),
                    driver=text.get("driverVersion", ""),
                )
            )
    return found


def taken(claims: Sequence[Document]) -> dict[tuple[str, str], str]:
    """Who has which device: `namespace/pod`."""
    found: dict[tuple[str, str], str] = {}
    for claim in claims:
        users = [user["name"] for user in claim.get("status", {}).get("reservedFor") or ()]
        meta = claim["metadata"]
        who = f"{meta['namespace']}/{users[0] if users else meta['name']}"
        found |= {(got["pool"], got["device"]): who for got in _given(claim)}
    return found


def matching(options: Sequence[CardOption], there: Sequence[Device]) -> list[Device]:
    """The devices that would do, whoever has them."""
    return [device for device in there if any(_fits(device, option) for option in options)]


def givers(options: Sequence[CardOption], count: int, offer: Offer) -> frozenset[str]:
    """The nodes that give a pod `count` cards that would do: all by one of the options, and of
    one product, as its claim asks for them.
    """
    found: set[str] = set()
    for option in options:
        free = Counter((each.pool, each.product) for each in offer.free() if _fits(each, option))
        found |= {pool for (pool, _), n in free.items() if n >= count}
    return frozenset(found)


def told(options: Sequence[CardOption], count: int, offer: Offer) -> str | None:
    """For people: why no node gives `count` cards that would do; None where one does."""
    if not offer.devices:
        return _NONE
    would_do = matching(options, offer.devices)
    if not would_do:
        return _nearest(options, offer.devices)
    if givers(options, count, offer):
        return None
    wanted = "a card that matches is" if count == 1 else f"{count} cards that match are"
    return f"on no node {wanted} free: {_listed(would_do, offer.users)}"


def listed(offer: Offer) -> str:
    """For people, all that there are: `node-1 has 2 NVIDIA L4 (llm/chat has 1)`."""
    return _listed(offer.devices, offer.users) if offer.devices else _NONE


def _listed(found: Sequence[Device], users: Taken) -> str:
    lines = []
    for pool, own in _by_node(found).items():
        having = Counter(users[device.place] for device in own if device.place in users)
        held = ", ".join(f"{who} has {n}" for who, n in having.items())
        kinds = " and ".join(f"{n} {kind}" for kind, n in Counter(d.product for d in own).items())
        lines.append((bool(held), f"{pool} has {kinds}" + (f" ({held})" if held else "")))
    return told_first(lines)


def given(
    pods: Sequence[Document], claims: Sequence[Document], there: Sequence[Device]
) -> tuple[str, ...]:
    """The devices that pods were given: `NVIDIA L4, hollow-1/gpu-0, asked for as l4`."""
    products = {device.place: device.product for device in there}
    wanted = {
        status["resourceClaimName"]
        for pod in pods
        for status in pod.get("status", {}).get("resourceClaimStatuses") or ()
        if status.get("resourceClaimName")
    }
    lines = []
    for claim in claims:
        if claim["metadata"]["name"] not in wanted:
            continue
        for got in _given(claim):
            place = got["pool"], got["device"]
            _, slash, kind = got["request"].partition("/")
            lines.append(
                f"{products.get(place) or 'a card'}, {'/'.join(place)}"
                + (f", asked for as {kind}" if slash else "")
            )
    return tuple(sorted(lines))


def unmet(cluster: Cluster, plan: ServingPlan, pods: Sequence[Document]) -> str:
    """Why pods get no card that they claim; nothing where we may not look, or there is one."""
    if not plan.cards or not any(map(_unallocated, pods)):
        return ""
    try:
        return told(plan.alternatives, plan.world_size, offered(cluster)) or ""
    except ClusterError:
        return ""


def given_to(cluster: Cluster, plan: ServingPlan, pods: Sequence[Document]) -> tuple[str, ...]:
    """The cards that pods were given by their claims; none where we may not look."""
    if not plan.cards:
        return ()
    try:
        claims = cluster.items(cluster.path("resource.k8s.io/v1", "resourceclaims"))
        there = _published(cluster)
    except ClusterError:
        return ()
    return given(pods, claims, there)


def products(cluster: Cluster) -> set[str]:
    """The kinds of cards that nodes offer, by the driver's name.

    Raises:
        ClusterError: we may not look, or the cluster has no such resources.
    """
    return {device.product for device in _published(cluster)}


def offered(cluster: Cluster) -> Offer:
    """Looks at a cluster.

    Raises:
        ClusterError: we may not look, or the cluster has no such resources.
    """
    claims = cluster.items("/apis/resource.k8s.io/v1/resourceclaims")  # of all namespaces
    return Offer(_published(cluster), taken(claims))


def _published(cluster: Cluster) -> list[Device]:
    return devices(cluster.items("/apis/resource.k8s.io/v1/resourceslices"))


def _unallocated(pod: Document) -> bool:
    conditions = pod.get("status", {}).get("conditions") or ()
    waits = any(c["type"] == "PodScheduled" and c["status"] == "False" for c in conditions)
    return waits and bool(pod["spec"].get("resourceClaims"))


def _given(claim: Document) -> list[Document]:
    allocation = claim.get("status", {}).get("allocation") or {}
    results: list[Document] = (allocation.get("devices") or {}).get("results") or []
    return [got for got in results if got.get("driver") == DRIVER]


def _by_node(found: Sequence[Device]) -> dict[str, list[Device]]:
    nodes: dict[str, list[Device]] = defaultdict(list)
    for device in found:
        nodes[device.pool].append(device)
    return nodes


def _fits(device: Device, option: CardOption) -> bool:
    return not _lacks(device, option)


def _lacks(device: Device, option: CardOption) -> list[str]:
    """What keeps a device from being one that is asked for."""
    lacks = []
    if option.products and device.product not in option.products:
        lacks.append(f"it is no {' or '.join(option.products)}")
    if device.slice != option.slice:
        lacks.append(f"it is no {option.slice or 'whole card'}")
    if device.memory_mib < option.memory_mib:
        have, need = device.memory_mib / 1024, option.memory_mib / 1024
        lacks.append(f"it has {have:.1f} GiB, and {need:.1f} are needed")
    own = float(device.capability)
    least, most = option.least_capability, option.most_capability
    if (least and own < float(least)) or (most and own > float(most)):
        span = f"{least} to {most}" if least != most else least
        lacks.append(f"its compute capability is {device.capability}, and {span} is needed")
    return lacks


def _nearest(options: Sequence[CardOption], there: Sequence[Device]) -> str:
    """The device that comes nearest to being one of those asked for."""
    pairs = [(device, option) for device in there for option in options]

    def distance(pair: tuple[Device, CardOption]) -> tuple[int, int]:
        device, option = pair
        return len(_lacks(device, option)), max(0, option.memory_mib - device.memory_mib)

    device, option = min(pairs, key=distance)
    why = "; ".join(_lacks(device, option))
    return f"no device matches: nearest was {device.product} on {device.pool}: {why}"
