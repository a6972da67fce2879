"""Cards by claim (Dynamic Resource Allocation): is there a driver, its class, and a card that will
do and is free.
"""

from collections import defaultdict
from collections.abc import Iterator

from deployctl.doctor.cluster.card_checks import driver_check
from deployctl.doctor.cluster.facts import ClaimedCards, ClusterFacts, ClusterQuestion
from deployctl.doctor.cluster.room import own
from deployctl.doctor.cluster.telling import unknown
from deployctl.doctor.facts import Check, Topic
from deployctl.targets.kubernetes import devices

_DRIVER = "install NVIDIA's DRA driver; or --cards device-plugin"


def card_claim_checks(facts: ClusterFacts, question: ClusterQuestion) -> Iterator[Check]:
    """A line for each service whose pods claim cards, and one for the driver of such cards."""
    for claimed in question.claimed:
        yield _claimed(claimed, facts, question)
    options = [option for claimed in question.claimed for option in claimed.options]
    versions: dict[str, list[str]] = defaultdict(list)
    for device in devices.matching(options, devices.devices(facts.slices or ())):
        versions[device.driver].append(device.pool)
    if versions:
        title, fix = "NVIDIA driver of claimed cards", "a newer DRA driver publishes it"
        yield driver_check(title, versions, question.vllm_version, fix)


def _claimed(claimed: ClaimedCards, facts: ClusterFacts, question: ClusterQuestion) -> Check:
    it = Topic("gpu-claims", f"Cards that {claimed.service} claims")
    if facts.slices is None:
        return unknown(it, facts, "slices")
    if facts.device_classes is None:
        return unknown(it, facts, "device_classes")
    there = devices.devices(facts.slices)
    known = {found["metadata"]["name"] for found in facts.device_classes}
    missing = sorted(_classes(claimed, question) - known)
    if missing and there:
        return it.fail(f"there is no DeviceClass {', '.join(missing)}", _DRIVER)
    # What these services have already, they hand back.
    users = devices.taken(facts.device_claims or [])
    ours = {
        f"{facts.namespace}/{pod['metadata']['name']}"
        for pod in facts.pods or ()
        if own(pod, facts, question.needs)
    }
    users = {place: who for place, who in users.items() if who not in ours}
    problem = devices.told(claimed.options, claimed.each, devices.Offer(there, users))
    if problem is not None:
        return it.fail(problem, _DRIVER if not there else "free one, add a node, or another --gpu")
    kinds = ", ".join(option.gpu for option in claimed.options)
    told = "" if facts.device_claims is not None else "; who has which is not told"
    return it.good(f"{claimed.each} of {kinds}: there is a node that gives it{told}")


def _classes(claimed: ClaimedCards, question: ClusterQuestion) -> set[str]:
    """The DeviceClasses that the claims of a service name."""
    named: set[str] = set()
    for service, document in question.needs.documents:
        if service == claimed.service and document["kind"] == "ResourceClaimTemplate":
            for request in document["spec"]["spec"]["devices"]["requests"]:
                for each in (request.get("exactly"), *(request.get("firstAvailable") or ())):
                    if each:
                        named.add(str(each["deviceClassName"]))
    return named
