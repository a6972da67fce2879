"""Is this machine fit to serve: what it is asked, and whether a model can be fetched to it."""

import os
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from deployctl import assets, hub
from deployctl.doctor import examine
from deployctl.doctor.facts import Check, HostFacts, Question, Topic
from deployctl.doctor.shell import away
from deployctl.engines.vllm import DEFAULT_VERSION
from deployctl.errors import DeployctlError, DockerError, TargetError
from deployctl.given import expanded
from deployctl.hardware import GpuProfile, load_profile
from deployctl.model import facts_from
from deployctl.operations.deploy.services import open_store
from deployctl.operations.prepare import hub_token
from deployctl.render import gateway
from deployctl.spec.load import ports_of
from deployctl.spec.service import HOSTS, TargetKind
from deployctl.spec.settings import Settings
from deployctl.targets import Driver, open_driver
from deployctl.targets.docker.address import docker_host, is_local
from deployctl.targets.docker.engine import here
from deployctl.targets.history import Release
from deployctl.targets.store import ServiceRef, Store
from deployctl.units import size


class HostRequest(NamedTuple):
    """What the machine is to be fit for."""

    target: TargetKind | None = None  # None: process without a GPU, else docker
    gpu: str = "auto"
    gpus: int = 1
    model: str | None = None
    port: int | None = 8000  # None: it takes none of the machine's
    service: str | None = None  # its name, where it is known


class ExaminedHost(NamedTuple):
    """What was found."""

    question: Question
    facts: HostFacts
    checks: list[Check]


def examine_host(request: HostRequest) -> ExaminedHost:
    """Asks this machine, and judges.

    Raises:
        InputError: there is no such profile.
        DockerError: the host of the Docker engine, which ssh reaches, does not answer.
    """
    profile = None if request.gpu == "auto" else load_profile(request.gpu)
    command = ["docker"]
    if away(os.environ) and request.target != "process":
        # Why there is no way there is said in our words, and nothing else need be asked; an ssh of
        # docker's own would do what ~/.ssh/config has for who logs in there.
        line = here().line
        command += ["--host", line.environment()["DOCKER_HOST"]] if line else []
    wanted, model_checks = _model_bytes(request.model)
    question = _question(request, profile, wanted)
    facts = examine.gather(question, docker_command=command)
    checks = [*examine.examine(facts, question), *_gateway(facts, question), *model_checks]
    return ExaminedHost(question, facts, checks)


def _gateway(facts: HostFacts, question: Question) -> list[Check]:
    """Whether it answers, where there is one that has services."""
    if question.target == "docker" and (facts.docker is None or facts.docker.server is None):
        return []
    try:
        before = open_driver(question.target, Settings()).gateway
        served = [each.service for each in before.entries()] if before else []
        trouble = before.trouble() if before and served else ""
    except TargetError as error:
        return [Topic("gateway", "Gateway").warn(error.message, error.hint or "")]
    if not served:
        return []
    it, services = Topic("gateway", "Gateway"), ", ".join(served)
    if trouble:
        return [it.warn(f"{services}: {trouble}", f"deployctl up of {served[0]} starts it")]
    return [it.good(f"before {services}")]


def _question(
    request: HostRequest, profile: GpuProfile | None, model_bytes: int | None
) -> Question:
    cpu = profile is not None and profile.kind == "cpu"
    settings = Settings()
    target: TargetKind = request.target or ("process" if cpu else "docker")
    holder, runs = _holder(target, request.port, request.service)
    return Question(
        target=target,
        profile=profile,
        gpus=request.gpus,
        port=request.port,
        service=request.service,
        holder=holder,
        holder_down=holder is not None and not runs,
        vllm_version=DEFAULT_VERSION,
        model=request.model,
        model_bytes=model_bytes,
        places=(
            ("models", _models_folder()),
            ("caches", settings.cache_dir),
            ("state", settings.state_dir),
        ),
        setup=_setup(),
    )


def _holder(
    target: TargetKind, port: int | None, service: str | None = None
) -> tuple[str | None, bool]:
    """The service on a target's host whose records say that it serves on `port`, and whether it
    runs: of several, as where one died and another came, the one that does, else `service`. In
    Docker behind the gateway it has that in its own network, whatever it is called there."""
    settings, store = open_store()
    there: tuple[TargetKind, ...] = HOSTS if is_local(docker_host(os.environ)) else (target,)
    found: list[tuple[str, bool]] = []
    for kind in there:
        with suppress(DockerError):  # one that does not answer is asked once: it takes long
            for ref in store.services(kind):
                for release in _known(store, ref):
                    inside = kind == "docker" and gateway.entry_of(release.bundle) is not None
                    serves = release.status in ("pending", "deployed") and not inside
                    spec = release.spec.model_copy(update={"target": kind})
                    if serves and port in ports_of(spec):
                        found.append((ref.service, _runs(open_driver(kind, settings), release)))
    return max(found, key=lambda each: (each[1], each[0] == service), default=(None, False))


def _known(store: Store, ref: ServiceRef) -> list[Release]:
    try:
        return store.releases(ref, skip=store.damaged(ref))
    except DockerError:
        raise
    except TargetError:  # of a newer deployctl, or another's
        return []


def _runs(driver: Driver, release: Release) -> bool:
    try:
        return driver.state(release).condition == "running"
    except TargetError:  # nor does its engine
        return False


def _setup() -> str:
    """The host script, as it can be typed from here."""
    try:
        script = assets.path("deploy", "ubuntu", "setup.sh")
    except FileNotFoundError:
        return "deploy/ubuntu/setup.sh"
    inside = script.is_relative_to(Path.cwd())
    return str(script.relative_to(Path.cwd()) if inside else script)


def _models_folder() -> Path:
    return expanded(Path(os.environ.get("HF_HOME") or "~/.cache/huggingface"), where="HF_HOME")


def _model_bytes(model: str | None) -> tuple[int | None, list[Check]]:
    """The bytes to be fetched (none for a folder), and a check that says so or why not."""
    if model is None:
        return None, []
    it = Topic("model", "Model")
    try:
        facts = facts_from(hub.fetch(model, token=hub_token(None)))
    except DeployctlError as error:
        return None, [it.fail(f"{model}: {error.message}", error.hint or "check --model")]
    detail = f"{model}: {size(facts.weight_bytes)}" if facts.weight_bytes else model
    if facts.local:
        return None, [it.good(f"{detail}, here already")]
    return facts.weight_bytes, [it.good(detail)]
