"""Judges a cluster: every check that the question asks for, in reading order. Pure."""

from deployctl.doctor.cluster.access import access_checks
from deployctl.doctor.cluster.addition_checks import addition_checks
from deployctl.doctor.cluster.facts import ClusterFacts, ClusterQuestion
from deployctl.doctor.cluster.namespace_checks import namespace_checks
from deployctl.doctor.cluster.node_checks import node_checks
from deployctl.doctor.cluster.platform_checks import cluster_check, helm_check, platform_checks
from deployctl.doctor.cluster.registry_checks import registry_checks
from deployctl.doctor.cluster.storage_checks import storage_checks
from deployctl.doctor.facts import Check


def examine(facts: ClusterFacts, question: ClusterQuestion) -> list[Check]:
    """All checks; of a cluster that does not answer, that and what this machine has."""
    first = cluster_check(facts)
    if facts.error is not None:
        return [first, helm_check(facts)]
    return [
        first,
        helm_check(facts),
        *platform_checks(facts),
        *namespace_checks(facts, question),
        *access_checks(facts, question),
        *node_checks(facts, question),
        *storage_checks(facts, question),
        *registry_checks(facts, question),
        *addition_checks(facts, question),
    ]
