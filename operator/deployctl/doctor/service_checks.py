"""The Docker engine, Compose and NVIDIA's container toolkit; the port, the Hub and its token;
the doors of services that run.

Pure functions, as in every module of checks: no I/O may enter here.
"""

from collections.abc import Iterator

from deployctl.doctor.facts import Check, Docker, HostFacts, Hub, Question, Topic
from deployctl.hardware.nvidia import numbers

# What the bundles are written for: depends_on conditions, start_period, device reservations.
OLDEST_COMPOSE = (2, 20)
# Docker 19.03 brought --gpus; 20.10 is the oldest that Compose v2 speaks to.
OLDEST_DOCKER = (20, 10)
_ANOTHER = "or name another: unset DOCKER_HOST, or docker context use default"


def docker_checks(facts: HostFacts, question: Question) -> Iterator[Check]:
    """What the target `docker` needs; nothing for others."""
    docker = facts.docker
    if question.target != "docker" or docker is None:
        return
    yield _engine(docker)
    if docker.client and not docker.hung:
        yield _compose(docker)
    if docker.host:
        it = Topic("docker-host", "Docker host")
        if docker.elsewhere:
            told = "what is said here of memory, GPU, disk and port is about this machine"
            fix = "run deployctl doctor on that host too"
            yield it.warn(f"it is {docker.host}: {told}", fix)
        else:
            yield it.good(f"{docker.host}; Python, state, Hub and its token are this machine's")
    if not docker.elsewhere and not question.cpu:
        yield _toolkit(facts, question)
        if docker.server:
            yield _runtime(docker)


def _engine(docker: Docker) -> Check:
    it = Topic("docker", "Docker engine")
    if not docker.client:
        return it.fail("not installed", "sudo apt install docker.io docker-compose-v2")
    if docker.denied:
        return it.fail(
            "this user has no access to it", "sudo usermod -aG docker $USER, then log in again"
        )
    if docker.server is None:
        fix = "sudo systemctl restart docker" if docker.hung else "sudo systemctl start docker"
        if docker.host:
            fix = f"start it there, {_ANOTHER}"
        elif docker.address:  # of Docker Desktop, colima, an engine without root
            fix = f"start what listens at {docker.address}, {_ANOTHER}"
        return it.fail(f"does not answer: {docker.error}", fix)
    if numbers(docker.server)[:2] < OLDEST_DOCKER:
        return it.fail(docker.server, "20.10 is the oldest that works: update docker.io")
    return it.good(docker.server + (", rootless" if docker.rootless else ""))


def _compose(docker: Docker) -> Check:
    it = Topic("compose", "Docker Compose")
    if docker.compose is None:
        return it.fail("no v2 plugin", "sudo apt install docker-compose-v2")
    if numbers(docker.compose)[:2] < OLDEST_COMPOSE:
        return it.fail(docker.compose, "2.20 is the oldest that is tried: update docker-compose-v2")
    return it.good(docker.compose)


def _toolkit(facts: HostFacts, question: Question) -> Check:
    it = Topic("toolkit", "NVIDIA container toolkit")
    if facts.toolkit is None:
        return it.fail(
            "not installed, so no container sees a GPU", f"sudo {question.setup} --toolkit-repo URL"
        )
    return it.good(facts.toolkit)


def _runtime(docker: Docker) -> Check:
    it = Topic("nvidia-runtime", "GPUs in Docker")
    if "nvidia" in (docker.runtimes or ()):
        return it.good("runtime nvidia")
    if any("nvidia" in device for device in docker.cdi_devices):
        return it.good(f"{len(docker.cdi_devices)} CDI devices")
    return it.fail(
        "Docker does not know the runtime nvidia",
        "sudo nvidia-ctk runtime configure --runtime=docker && sudo systemctl restart docker",
    )


def network_checks(facts: HostFacts, question: Question) -> Iterator[Check]:
    """Where the service listens and where checkpoints come from."""
    yield _port(facts, question)
    if facts.hub is not None:
        yield _hub(facts.hub)
        yield _token(facts.hub)


def _port(facts: HostFacts, question: Question) -> Check:
    it, text = Topic("port", "Port"), f"{question.port} on 127.0.0.1"
    if question.port is None:
        return it.good("none is needed: it is reached by the gateway, in Docker's network")
    if facts.port_free is None:
        return it.warn(f"{text}: unknown whether it is free", "choose one with --port")
    holder, ours = question.holder, question.holder in (None, question.service)
    down = ", which does not run" if question.holder_down else ""
    yields = f"deployctl down {holder} gives it up; or --port another"
    if not facts.port_free and holder and not down:
        held = f"{text} is held by the service {holder}"
        return it.good(held) if ours or question.service is None else it.fail(held, yields)
    if not facts.port_free:
        whose = f"; it is that of the service {holder}{down}" if holder else ""
        return it.fail(
            f"{text}: {facts.port_error or 'taken'}{whose}",
            f"deployctl status and ss -ltnp 'sport = :{question.port}' say who; or --port another",
        )
    if not ours:
        return it.warn(f"{text} is free, but that of the service {holder}{down}", yields)
    return it.good(f"{text} is free")


def door_checks(facts: HostFacts) -> Iterator[Check]:
    """Whether the services that run here refuse strangers, a line each."""
    for found in facts.doors:
        it = Topic("door", f"Door of {found.service}")
        text = f"target {found.target}: {found.detail}"
        yield it.good(text) if found.closed else it.warn(text, found.fix)


def _hub(hub: Hub) -> Check:
    it = Topic("hub", "Hub")
    if hub.offline:
        return it.warn(
            "HF_HUB_OFFLINE is set: only folders and cached checkpoints can be served",
            "unset HF_HUB_OFFLINE to fetch others",
        )
    if hub.status is None:
        return it.warn(
            f"cannot be reached: {hub.error}",
            "check network and HTTPS_PROXY, or name a mirror with HF_ENDPOINT; "
            "--model FOLDER needs no Hub",
        )
    if hub.status >= 500 or hub.status == 429:
        return it.warn(f"answers {hub.status}", "try again later")
    return it.good("reachable")


def _token(hub: Hub) -> Check:
    it = Topic("hub-token", "Hub token")
    if hub.token_source is None:
        return it.good("none: enough for open models, not for gated ones")
    if hub.token_problem:
        return it.warn(
            f"{hub.token_source}: {hub.token_problem}",
            "write the token alone there, or unset it: a wrong one is refused for open models too",
        )
    return it.good(f"from {hub.token_source}, of the right shape")
