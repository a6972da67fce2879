"""The Docker engine, Compose and the NVIDIA container toolkit."""

from collections.abc import Iterator

from deployctl.doctor.facts import Docker, HostFacts, Question
from deployctl.doctor.report import Check, fail, good, warn
from deployctl.hardware.cuda import numbers

# What the bundles are written for: depends_on conditions, start_period, device reservations.
OLDEST_COMPOSE = (2, 20)
# Docker 19.03 brought --gpus; 20.10 is the oldest that Compose v2 speaks to.
OLDEST_DOCKER = (20, 10)


def docker_checks(facts: HostFacts, question: Question) -> Iterator[Check]:
    """What the target `docker` needs; nothing for others."""
    docker = facts.docker
    if question.target != "docker" or docker is None:
        return
    yield _engine(docker)
    if docker.client and not docker.hung:
        yield _compose(docker)
    if docker.host:
        yield warn(
            "docker-host",
            "Docker host",
            f"DOCKER_HOST is {docker.host}: what is said here of GPU, disk and port is about "
            "this machine",
            "run deployctl doctor over there too",
        )
    elif not question.cpu:
        yield _toolkit(facts, question)
        if docker.server:
            yield _runtime(docker)


def _engine(docker: Docker) -> Check:
    id, title = "docker", "Docker engine"
    if not docker.client:
        return fail(id, title, "not installed", "sudo apt install docker.io docker-compose-v2")
    if docker.denied:
        return fail(
            id,
            title,
            "this user may not talk to it",
            "sudo usermod -aG docker $USER, then log in again",
        )
    if docker.server is None:
        fix = "sudo systemctl restart docker" if docker.hung else "sudo systemctl start docker"
        if docker.host:
            fix = "start it there, or unset DOCKER_HOST"
        return fail(id, title, f"does not answer: {docker.error}", fix)
    if numbers(docker.server)[:2] < OLDEST_DOCKER:
        return fail(id, title, docker.server, "20.10 is the oldest that works: update docker.io")
    return good(id, title, docker.server + (", rootless" if docker.rootless else ""))


def _compose(docker: Docker) -> Check:
    id, title = "compose", "Docker Compose"
    if docker.compose is None:
        return fail(id, title, "no v2 plugin", "sudo apt install docker-compose-v2")
    if numbers(docker.compose)[:2] < OLDEST_COMPOSE:
        return fail(
            id, title, docker.compose, "2.20 is the oldest that is tried: update docker-compose-v2"
        )
    return good(id, title, docker.compose)


def _toolkit(facts: HostFacts, question: Question) -> Check:
    id, title = "toolkit", "NVIDIA container toolkit"
    if facts.toolkit is None:
        return fail(
            id,
            title,
            "not installed, so no container sees a GPU",
            f"sudo {question.setup} --toolkit-repo URL",
        )
    return good(id, title, facts.toolkit)


def _runtime(docker: Docker) -> Check:
    id, title = "nvidia-runtime", "GPUs in Docker"
    if "nvidia" in (docker.runtimes or ()):
        return good(id, title, "runtime nvidia")
    if any("nvidia" in device for device in docker.cdi_devices):
        return good(id, title, f"{len(docker.cdi_devices)} CDI devices")
    return fail(
        id,
        title,
        "Docker does not know the runtime nvidia",
        "sudo nvidia-ctk runtime configure --runtime=docker && sudo systemctl restart docker",
    )
