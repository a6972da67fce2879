"""The cluster itself: version, user and clock; and helm on this machine."""

from collections.abc import Iterator, Mapping
from typing import Any

from deployctl import assets
from deployctl.doctor.cluster.facts import ClusterFacts
from deployctl.doctor.cluster.telling import unknown
from deployctl.doctor.facts import Check, Topic
from deployctl.hardware.nvidia import numbers

OLDEST_HELM = (3, 18)
_SKEW_S = 5.0  # tokens of clouds are refused at minutes; logs are unreadable at seconds


def cluster_check(facts: ClusterFacts) -> Check:
    """Is there an API server, and is it new enough for the chart."""
    it = Topic("cluster", "Cluster")
    if facts.error is not None:
        return it.fail(facts.error, facts.hint or "kubectl version")
    context = f"context {facts.context}" if facts.context else "the one that we are in"
    if facts.version is None:
        return it.warn(f"{context}, of unknown version", "kubectl version")
    text = f"Kubernetes {facts.version.lstrip('v')}, {context}"
    oldest = _oldest()
    if numbers(facts.version.lstrip("v"))[:2] < numbers(oldest)[:2]:
        return it.fail(f"{text}: the chart needs {oldest} or newer", "update the cluster")
    return it.good(text)


def _oldest() -> str:
    """`1.29.0`, of Chart.yaml's `>=1.29.0-0`."""
    chart: Mapping[str, Any] = assets.table("charts", "vllm", "Chart.yaml")
    return str(chart["kubeVersion"]).lstrip(">=").partition("-")[0]


def platform_checks(facts: ClusterFacts) -> Iterator[Check]:
    """As whom we ask, and whether the clocks agree."""
    yield _user(facts)
    yield _clock(facts)


def _user(facts: ClusterFacts) -> Check:
    it = Topic("user", "User")
    if facts.user is None:
        return unknown(it, facts, "user", "kubectl auth whoami")
    groups = [g for g in facts.groups if g != "system:authenticated"]
    return it.good(facts.user + (f", of {', '.join(groups)}" if groups else ""))


def helm_check(facts: ClusterFacts) -> Check:
    """Helm 3.18 or newer installs the chart."""
    it = Topic("helm", "helm on this machine")
    needs = ".".join(map(str, OLDEST_HELM))
    if facts.helm is None:
        return it.fail("not installed", f"install Helm {needs} or newer: up calls it")
    if not facts.helm:
        return it.fail("does not say its version", "try `helm version`")
    if numbers(facts.helm)[:2] < OLDEST_HELM:
        return it.fail(f"{facts.helm} is too old", f"install {needs} or newer")
    return it.good(facts.helm)


def _clock(facts: ClusterFacts) -> Check:
    it, skew = Topic("clock", "Clock"), facts.clock_skew_s
    if skew is None:
        return it.warn("unknown whether it is the API server's", "compare `date -u` with a node's")
    if abs(skew) > _SKEW_S:
        side = "before" if skew > 0 else "behind"
        text = f"this machine's is {abs(skew):.0f} s {side} the API server's"
        return it.warn(text, "sudo timedatectl set-ntp true, here and there")
    return it.good(f"the API server's within {abs(skew) + 1:.0f} s")
