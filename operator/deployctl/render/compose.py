"""ServingPlan -> the bundle of target `docker`: a Compose project.

What runs is the plan's engine with the plan's arguments; this room adds where the model, the
caches and the secrets are, and how the container is confined.
"""

import hashlib
import json
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from deployctl.engines.vllm import BUILT_HERE, flags
from deployctl.planning.fleet.order import cards_of
from deployctl.planning.plan import ServingPlan
from deployctl.render import door, gateway, watchdog
from deployctl.render.bundle import (
    CARDS_VARIABLE,
    EVERYWHERE,
    NOT_COMMITTED,
    Bundle,
    behind_gateway,
    engine_arguments,
    engine_environment,
    listens_on,
    refuse_named_cards,
    refuse_unnamed_slice,
)
from deployctl.render.podsize import memory_gib
from deployctl.render.yamltext import variable, write_compose
from deployctl.spec import ServiceSpec
from deployctl.spec.fleet import named_in


class Volume(NamedTuple):
    """A named volume: its short name, and where the engine has it."""

    name: str
    path: str


COMPOSE_FILE = "compose.yaml"
ENGINE = "engine"  # the service of the Compose project that serves; of several the first
CACHE_OWNER = "cache-owner"
_GATEWAY, GATEWAY_NETWORK = "gateway", "deployctl_gateway_engines"
_MODEL = "model"
LAYOUT = "1"  # of the project: labels, paths in the container, names of volumes
LABEL = "io.deployctl."
UID = 10001  # no user of the host, and in the CPU image the owner of the caches
PORT = gateway.ENGINE_PORT  # inside the container
SECRETS_FOLDER, DOOR_FOLDER = "secrets", "door"
REVISION_VARIABLE = "DEPLOYCTL_REVISION"

_CACHE, _SECRETS, _DOOR = "/cache/vllm", "/run/secrets", "/opt/deployctl"
DRAIN_FILE = "/tmp/deployctl-drain"  # noqa: S108  inside the container: the door closes
_PROBE_TOKEN = "/tmp/deployctl-probe-token"  # noqa: S105, S108  a path
_EVENTS = "/tmp/deployctl-events.jsonl"  # noqa: S108
GRACE_S = 60  # from SIGTERM to SIGKILL: for requests under way to end
_SHUTDOWN_S = GRACE_S - 5  # of it what vLLM gives them; the rest is for it to end itself
TURNS_FOLDER = "/opt/deployctl-turns"
_TOLD = (_DOOR, PORT, _PROBE_TOKEN, DRAIN_FILE, _EVENTS, GRACE_S, TURNS_FOLDER)
_WATCHDOG = watchdog.InContainer(*_TOLD)
_TMP_GIB = 4  # of /tmp, in memory: what compilers leave there for a moment
_PIDS = 16384  # threads too: each worker has as many as the host has cores, several times over
HUB_CACHE = Volume("hub", "/cache/hub")  # what the Hub's files are kept in: HF_HOME
CACHES = dict([HUB_CACHE, Volume("vllm", _CACHE)])  # they outlive releases
_ENGINE = ["python3", "-m", "vllm.entrypoints.openai.api_server"]
# Where no door stands, of a release that takes none. http.client rather than urllib: no proxy of
# the environment may come between.
_HEALTH = [
    *("CMD", "python3", "-I", "-S", "-c"),
    "import http.client as h; c = h.HTTPConnection('127.0.0.1', 8000, timeout=14); "
    "c.request('GET', '/health'); raise SystemExit(c.getresponse().status != 200)",
]
_SECURITY: dict[str, Any] = {
    "user": f"{UID}:{UID}",
    "cap_drop": ["ALL"],
    "security_opt": ["no-new-privileges:true"],
}


def project_name(service: str) -> str:
    """The name of a service's Compose project, before which its containers are named."""
    return f"deployctl-{service}"


def engine_name(place: gateway.Place) -> str:
    """The service of a Compose project that is the only engine, in either of its places, or the
    replica of that number: the first is where an only one would be, so that either may take the
    other's place."""
    return f"{ENGINE}-{place}" if place else ENGINE


def render_compose(plan: ServingPlan, spec: ServiceSpec) -> Bundle:
    """Renders the Compose project of one service.

    Raises:
        PlanRefusedError: named cards that are not as many as the engines use.
    """
    guarded = door.door_files(
        plan, spec, secrets=_SECRETS, drain_file=DRAIN_FILE, probe_token=_PROBE_TOKEN
    )
    guarded |= watchdog.files() if guarded else {}
    numbers: Sequence[int | None] = range(plan.replicas) if plan.replicas > 1 else [None]
    engines = {engine_name(n): _engine(plan, spec, n, guarded=bool(guarded)) for n in numbers}
    document = {
        "name": project_name(plan.name),
        "x-deployctl": {
            "layout": LAYOUT,
            "model": plan.model,
            "gpu": plan.gpu,
            "engine": f"{plan.engine.name} {plan.engine.version}",
        },
        "services": {**engines, CACHE_OWNER: _cache_owner(plan)},
        "volumes": {name: {"labels": _labels(plan)} for name in CACHES} | _sent(plan),
        **_network(plan, spec),
    }
    content = json.dumps([document, guarded], sort_keys=True).encode()
    for engine in engines.values():
        engine["labels"][LABEL + "digest"] = hashlib.sha256(content).hexdigest()[:16]
    comment = (
        f"Rendered by deployctl for the service {plan.name}.\n"
        "Change the service's spec and render again rather than editing this file."
    )
    return Bundle(
        target="docker",
        service=plan.name,
        files={
            COMPOSE_FILE: write_compose(document, comment),
            # The folder must exist to be mounted; what is put into it must not be committed.
            f"{SECRETS_FOLDER}/.gitignore": NOT_COMMITTED,
            **{f"{DOOR_FOLDER}/{path}": text for path, text in guarded.items()},
            **gateway.entry_files(plan, spec, contained=True),
        },
    )


def _engine(
    plan: ServingPlan, spec: ServiceSpec, replica: int | None, *, guarded: bool
) -> dict[str, Any]:
    cuda, told = plan.accelerator == "cuda", watchdog.settings(plan, spec)
    if cuda and "cards" in told:
        first = (replica or 0) * plan.world_size
        told["cards"] = told["cards"][first : first + plan.world_size]
    service: dict[str, Any] = {
        **_image(plan),
        "entrypoint": _WATCHDOG.entrypoint(told, _ENGINE) if guarded else _ENGINE,
        "command": arguments(plan),
        "environment": _environment(plan, spec, guarded=guarded),
        "labels": {**_labels(plan), LABEL + "revision": variable(REVISION_VARIABLE)},
        **_reached(plan, spec),
        "volumes": _mounts(plan, guarded=guarded),
        **_SECURITY,
        # NVIDIA's hook writes the driver's libraries into the root while the container starts.
        "read_only": not cuda,
        # Not noexec: compilers put the libraries they make into /tmp and load them.
        "tmpfs": [f"/tmp:exec,mode=1777,size={_TMP_GIB}g"],  # noqa: S108  inside the container
        "shm_size": f"{math.ceil(plan.shm_gib * 1024)}m",
        "init": True,
        # Of the watchdog, and with the host. An engine can die and exit with 0.
        "restart": "unless-stopped",
        "stop_grace_period": f"{GRACE_S}s",
        "healthcheck": {
            "test": _WATCHDOG.health(told) if guarded else _HEALTH,
            "interval": "5s",
            "timeout": "15s",  # a saturated engine answers late, and is not ill
            "retries": 10,
            "start_period": f"{plan.startup_budget_s}s",
        },
        "logging": {"driver": "json-file", "options": {"max-size": "50m", "max-file": "4"}},
        "depends_on": {CACHE_OWNER: {"condition": "service_completed_successfully"}},
    }
    # Half of the host's memory would be /tmp's, and all of it the engine's.
    most = memory_gib(plan, nodes=1)[1]
    memory = {} if most is None else {"memory": f"{most + _TMP_GIB}g"}
    resources: dict[str, Any] = {"limits": {**memory, "pids": _PIDS}}
    if cuda:
        resources["reservations"] = {"devices": [_cards(plan, replica)]}
    service["deploy"] = {"resources": resources}
    return service


def _reached(plan: ServingPlan, spec: ServiceSpec) -> dict[str, Any]:
    """By a port of the host; or behind the gateway by its network alone, and then it gets out
    itself only where it has something to fetch or to tell."""
    if not behind_gateway(plan, spec):
        return {"ports": [published(PORT, spec.port, listens_on(plan, spec))]}
    gets_out = plan.asks_the_hub or spec.otlp_traces_endpoint is not None
    return {"networks": {_GATEWAY: {}, **({"default": {}} if gets_out else {})}}


def _network(plan: ServingPlan, spec: ServiceSpec) -> dict[str, Any]:
    if not behind_gateway(plan, spec):
        return {}
    return {"networks": {_GATEWAY: {"name": GATEWAY_NETWORK, "external": True}}}


def published(target: int, port: int, host: str) -> dict[str, str | int]:
    """A port of a container, as one of the host's address `host`."""
    return {"target": target, "published": str(port), "host_ip": host, "protocol": "tcp"}


def _cards(plan: ServingPlan, replica: int | None) -> dict[str, Any]:
    """The cards to reserve: any, or those that CUDA_VISIBLE_DEVICES names on the host, a MIG
    slice by its UUID. A replica has its share of these, or of the host's.

    Docker hands the same first cards to everyone who asks for a number, so a second service on
    a host has to name its own.
    """
    refuse_unnamed_slice(plan)
    refuse_named_cards(plan, "docker")
    named = named_in(plan.engine.env) if replica is None else list(cards_of(plan, replica))
    which: dict[str, Any] = {"device_ids": named} if named else {"count": plan.world_size}
    return {"driver": "nvidia", **which, "capabilities": ["gpu"]}


def _cache_owner(plan: ServingPlan) -> dict[str, Any]:
    """A container that gives the caches to the engine's user, and ends.

    A new volume belongs to root unless the image owns the path, as upstream's does not.
    """
    return {
        **_image(plan),
        "entrypoint": ["chown", f"{UID}:{UID}"],
        "command": list(CACHES.values()),
        "volumes": [volume_mount(name, path) for name, path in CACHES.items()],
        **_SECURITY,
        "user": "0:0",
        "cap_add": ["CHOWN"],
        "read_only": True,
        "network_mode": "none",
        "restart": "no",
        "deploy": {"resources": {"limits": {"memory": "128m", "pids": 64}}},
        "labels": _labels(plan),
    }


def _image(plan: ServingPlan) -> dict[str, str]:
    image = plan.engine.image
    # A name that nobody publishes is not to be looked for where anybody could publish it.
    return {"image": image, **({"pull_policy": "never"} if image.startswith(BUILT_HERE) else {})}


def arguments(plan: ServingPlan) -> list[str]:
    """The engine's arguments in the container."""
    model = model_path(plan) if plan.model_local else plan.model
    words = engine_arguments(plan, model=model, host=EVERYWHERE, port=PORT)
    return [*words, *_shutdown(plan), *door.door_arguments(plan)]


def _shutdown(plan: ServingPlan) -> list[str]:
    """deployctl stops an engine when its requests have ended. For whom else stops a container
    (docker compose down, a host that shuts down), vLLM itself waits; of itself it cuts them."""
    name = "shutdown-timeout"
    given = any(word.partition("=")[0] == f"--{name}" for word in plan.engine.args)
    if given or flags.flag(name, plan.engine.version) is None:
        return []
    return [f"--{name}", str(_SHUTDOWN_S)]


def model_path(plan: ServingPlan) -> str:
    """Where a local checkpoint is in the container: named after the service, not the folder."""
    return f"/models/{plan.name}"


def _environment(plan: ServingPlan, spec: ServiceSpec, *, guarded: bool) -> dict[str, str]:
    # Docker gives the container the named cards alone, and there they count from 0.
    own = {name: value for name, value in plan.engine.env.items() if name != CARDS_VARIABLE}
    return {
        # A uid without a name or a home needs both from here; every cache needs a volume.
        "HOME": "/tmp",  # noqa: S108  inside the container
        "USER": "vllm",
        "HF_HOME": HUB_CACHE.path,
        **({"HF_TOKEN_PATH": f"{_SECRETS}/hf_token"} if plan.asks_the_hub else {}),
        "VLLM_CACHE_ROOT": _CACHE,
        "TORCHINDUCTOR_CACHE_DIR": f"{_CACHE}/inductor",
        "TRITON_CACHE_DIR": f"{_CACHE}/triton",
        "FLASHINFER_WORKSPACE_BASE": _CACHE,
        "CUDA_CACHE_PATH": f"{_CACHE}/nv",
        "PYTHONUNBUFFERED": "1",
        **engine_environment(plan),
        **dict(sorted(own.items())),
        # Last, so that nothing above can say otherwise.
        **(door.environment(_DOOR, own.get("PYTHONPATH")) if guarded else {}),
        **({"API_KEY_REQUIRED": "1"} if spec.needs_api_key else {}),
    }


def _mounts(plan: ServingPlan, *, guarded: bool) -> list[dict[str, Any]]:
    mounts = [bind_mount(f"./{SECRETS_FOLDER}", _SECRETS)]
    if guarded:
        mounts.append(bind_mount(f"./{DOOR_FOLDER}", _DOOR))
    if plan.checkpoint:
        mounts.append({**volume_mount(_MODEL, model_path(plan)), "read_only": True})
    elif plan.model_local:
        mounts.append(bind_mount(plan.model, model_path(plan)))
    return mounts + [volume_mount(name, path) for name, path in CACHES.items()]


def checkpoint_volume(digest: str) -> str:
    """The volume of a checkpoint that was sent to an engine, for all services that serve it."""
    return f"{project_name('checkpoint')}-{digest[:16]}_{_MODEL}"


def _sent(plan: ServingPlan) -> dict[str, Any]:
    if not plan.checkpoint:
        return {}
    return {_MODEL: {"name": checkpoint_volume(plan.checkpoint), "external": True}}


def bind_mount(source: str, target: str) -> dict[str, Any]:
    """What a container has of the host, to read: a path that is there already."""
    return {
        "type": "bind",
        "source": source,
        "target": target,
        "read_only": True,
        "bind": {"create_host_path": False},
    }


def volume_mount(name: str, target: str) -> dict[str, Any]:
    """Where a container has a volume."""
    return {"type": "volume", "source": name, "target": target}


def _labels(plan: ServingPlan) -> dict[str, Any]:
    return {LABEL + "service": plan.name, LABEL + "version": LAYOUT}
