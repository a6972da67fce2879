"""Checks: pure functions from (facts, question) to one line each. No I/O may enter here."""

from deployctl.doctor.checks.docker import docker_checks
from deployctl.doctor.checks.gpu import gpu_checks
from deployctl.doctor.checks.host import host_checks
from deployctl.doctor.checks.network import network_checks
from deployctl.doctor.facts import HostFacts, Question
from deployctl.doctor.report import Check


def examine(facts: HostFacts, question: Question) -> list[Check]:
    """Judges the machine: every check that the question asks for, in reading order."""
    return [
        *host_checks(facts, question),
        *docker_checks(facts, question),
        *gpu_checks(facts, question),
        *network_checks(facts, question),
    ]
