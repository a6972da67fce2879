"""Asks everything at once, so that the slowest answer is the whole wait, and judges it.

The document made of that is described in docs/guides/doctor.md.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

from deployctl.doctor import machine, probes
from deployctl.doctor.detect import ask_gpus
from deployctl.doctor.facts import Check, HostFacts, Question, Status
from deployctl.doctor.gpu_checks import gpu_checks
from deployctl.doctor.host_checks import host_checks
from deployctl.doctor.service_checks import docker_checks, door_checks, network_checks
from deployctl.doctor.shell import Run, away, run, there

REPORT_VERSION = 1


def gather(
    question: Question,
    *,
    run: Run = run,
    environ: Mapping[str, str] = os.environ,
    root: Path = Path("/"),
    docker_command: Sequence[str] = ("docker",),
) -> HostFacts:
    """Fills HostFacts with what `question` needs. Ends within half a minute, whatever hangs.
    `docker_command` asks the engine."""
    elsewhere = question.target == "docker" and away(environ)
    on_it = there(run, environ) if elsewhere else run
    jobs: dict[str, Callable[[], Any]] = {
        "host": lambda: probes.ask_host(root),
        "disks": lambda: probes.ask_disks(
            place for place in question.places if not elsewhere or place[0] == "state"
        ),
        "port": lambda: probes.ask_port(question.port) if question.port else (None, None),
        "hub": lambda: probes.ask_hub(environ),
        "clock_synchronized": lambda: probes.ask_clock(on_it),
        "doors": probes.ask_doors,
    }
    if elsewhere:
        jobs["machine"] = lambda: machine.of("docker", run, environ)
    if not question.cpu:
        jobs["gpus"] = lambda: ask_gpus(on_it)
    if question.target == "docker":
        jobs["docker"] = lambda: probes.ask_docker(run, environ, docker_command)
        if not question.cpu:
            jobs["toolkit"] = lambda: probes.ask_toolkit(on_it)
    else:
        jobs["vllm"] = probes.ask_vllm
    with ThreadPoolExecutor(len(jobs)) as pool:
        running = {name: pool.submit(job) for name, job in jobs.items()}
        answers = {name: future.result() for name, future in running.items()}
    answers["port_free"], answers["port_error"] = answers.pop("port")
    docker = answers.get("docker")
    if docker is not None and docker.root_dir and elsewhere:
        answers["disks"] += probes.ask_disk_there(on_it, docker.root_dir)
    elif docker is not None and docker.root_dir and not docker.host:
        answers["disks"] += probes.ask_disks([("images", Path(docker.root_dir))])
    facts = HostFacts(**answers.pop("host"), **{k: v for k, v in answers.items() if k != "machine"})
    return probes.moved(facts, answers["machine"], question.port) if elsewhere else facts


def examine(facts: HostFacts, question: Question) -> list[Check]:
    """Judges the machine: every check that the question asks for, in reading order. Pure."""
    return [
        *host_checks(facts, question),
        *docker_checks(facts, question),
        *gpu_checks(facts, question),
        *network_checks(facts, question),
        *door_checks(facts),
    ]


def verdict(checks: Sequence[Check]) -> Status:
    """The worst status of all."""
    statuses = {check.status for check in checks}
    return "fail" if "fail" in statuses else "warn" if "warn" in statuses else "pass"


def document(
    checks: Sequence[Check], *, target: str, gpu: str | None, **place: str
) -> dict[str, Any]:
    """The JSON answer. `place` is where in a target that has several."""
    return {
        "version": REPORT_VERSION,
        "target": target,
        **place,
        "gpu": gpu,
        "verdict": verdict(checks),
        "counts": {s: sum(c.status == s for c in checks) for s in ("pass", "warn", "fail")},
        "checks": [asdict(check) for check in checks],
    }
