"""ClusterFacts, what a cluster's API server told, and ClusterQuestion, what it is to be fit for.

Data only. None always means "could not tell", never "none"; `untold` has the reason.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from deployctl.doctor.cluster.needs import Document as Document
from deployctl.doctor.cluster.needs import Needs
from deployctl.engines.vllm import DEFAULT_VERSION
from deployctl.hardware import GpuProfile
from deployctl.planning.plan import CardOption

Documents = list[Document] | None


class Right(NamedTuple):
    """A verb on a resource (`pods/log` too) of an API group, in the namespace or everywhere."""

    verb: str
    group: str
    resource: str
    everywhere: bool = False

    @property
    def kind(self) -> str:
        """The resource with its group, as kubectl takes it: `deployments.apps`."""
        return f"{self.resource}.{self.group}" if self.group else self.resource


class ClaimedCards(NamedTuple):
    """Cards that a service's pods claim: any of these kinds, so many each."""

    service: str
    options: tuple[CardOption, ...]
    each: int  # cards of a pod


@dataclass(frozen=True)
class ClusterQuestion:
    """What the cluster is to be fit for."""

    needs: Needs
    profile: GpuProfile | None = None  # None: whatever card is found
    vllm_version: str = DEFAULT_VERSION
    weights: Mapping[str, float] = field(default_factory=dict)  # bytes, by service
    claimed: tuple[ClaimedCards, ...] = ()
    upload: bool = False  # whether a local folder is to be brought
    probe: bool = False  # whether a pod is to be tried

    @property
    def cpu(self) -> bool:
        """Whether it is to run without a GPU."""
        return self.profile is not None and self.profile.kind == "cpu"

    @property
    def plugged(self) -> bool:
        """Whether pods get cards by a device plugin; not where all claim them."""
        return not self.cpu and (not self.claimed or any(pod.gpus for pod in self.needs.pods))


@dataclass(frozen=True)
class ClusterFacts:
    """What is known of a cluster, and of one namespace of it."""

    namespace: str
    context: str = ""  # "": the cluster that we are in
    error: str | None = None  # why it cannot be asked
    hint: str = ""
    version: str | None = None  # v1.37.2
    user: str | None = None
    groups: tuple[str, ...] = ()
    clock_skew_s: float | None = None  # ours minus the API server's
    helm: str | None = None  # the version of the command on this machine
    namespace_object: Document | None = None
    namespace_there: bool | None = None
    rights: Mapping[Right, bool] = field(default_factory=dict)
    apis: Mapping[str, tuple[str, ...]] | None = None  # API group -> versions, preferred first
    definitions: Documents = None  # CustomResourceDefinitions, metadata alone
    nodes: Documents = None
    pods: Documents = None  # of every namespace, those that have not ended
    storage_classes: Documents = None
    volumes: Documents = None  # PersistentVolumes
    claims: Documents = None  # of the namespace, as all below
    quotas: Documents = None
    limit_ranges: Documents = None
    secrets: frozenset[str] | None = None  # names alone
    events: Documents = None
    admission: Mapping[str, str] = field(default_factory=dict)  # service -> why its pod is refused
    runtime_classes: Documents = None
    daemon_sets: Documents = None  # of every namespace
    slices: Documents = None  # ResourceSlices
    device_classes: Documents = None
    device_claims: Documents = None  # ResourceClaims of every namespace
    untold: Mapping[str, str] = field(default_factory=dict)  # field -> why it is None
