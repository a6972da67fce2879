"""The door before an engine, as every target renders it: its package, and what it is told.

What the door is, and how it reads this, is in deploy/door/deployctl_door.
"""

import json
from collections.abc import Sequence
from typing import Any

from deployctl import assets
from deployctl.engines.vllm import flags, routes
from deployctl.errors import PlanRefusedError
from deployctl.planning.plan import ServingPlan
from deployctl.render.bundle import Bundle
from deployctl.spec import ServiceSpec

MIDDLEWARE = "deployctl_door.vllm.Middleware"  # for vLLM's --middleware
PACKAGE = "deployctl_door"  # a folder on the engine's PYTHONPATH
CONFIGURATION = "door.json"
VARIABLE = "DEPLOYCTL_DOOR"  # of the engine's environment: where the configuration is
ALIVE = "alive.py"
VERSION = 1  # of the configuration


def has_door(version: str) -> bool:
    """Whether a door can stand before that release: one that is not known is taken to have the
    flag, and says so at its start if it has not."""
    return not flags.known(version) or flags.flag("middleware", version) is not None


def stands_before(bundle: Bundle) -> bool:
    """Whether a door stands before the engine: not where the bundle was rendered before there was
    one, or for a release that takes none."""
    return bundle.target == "kubernetes" or any(
        path.endswith(f"/{CONFIGURATION}") for path in bundle.files
    )


def door_arguments(plan: ServingPlan) -> list[str]:
    """What the engine is told of the door: after all else, for the last middleware that vLLM is
    given is the outermost."""
    if not has_door(plan.engine.version):
        return []
    quiet = flags.flag("disable-fastapi-docs", plan.engine.version)
    return ["--middleware", MIDDLEWARE, *(["--disable-fastapi-docs"] if quiet else [])]


def door_files(
    plan: ServingPlan,
    spec: ServiceSpec,
    *,
    secrets: str,
    drain_file: str,
    probe_token: str,
    drain_after_s: float = 0.0,
) -> dict[str, str]:
    """The door's files, by path: none where the release takes none.

    `secrets`, `drain_file` and `probe_token` are paths as the engine sees them, absolute or from
    the configuration's folder; `drain_after_s` is how long a door that closes still lets in.

    Raises:
        PlanRefusedError: the release takes no door, and clients are to need a key; or the engine
            is to be served by what takes none.
    """
    version = plan.engine.version
    _check_way(plan)
    if not has_door(version):
        if spec.needs_api_key:
            raise PlanRefusedError(
                f"vLLM {version} has no --middleware, so nothing can guard all of its routes",
                where="expose" if spec.expose else "api_key_file",
                hint="use a newer --engine-version, or serve on loopback without a key",
            )
        return {}
    access = routes.access(version, plan.engine.tasks)
    document: dict[str, Any] = {
        "version": VERSION,
        **{
            name: [route.split(" ", 1) for route in group]
            for name, group in zip(("user", "operator", "probe"), access, strict=True)
        },
        "secrets": secrets,
        "keyless": not spec.needs_api_key,
        "processes": api_servers(plan.engine.args),
        "drain_file": drain_file,
        "drain_after_s": drain_after_s,
        "probe_token": probe_token,
        "request_log": spec.request_log,
        **({"tell_request_id": True} if traces(plan) else {}),
        "body": body_limits(spec),
    }
    return {**package(), CONFIGURATION: json.dumps(document, indent=1) + "\n"}


def _check_way(plan: ServingPlan) -> None:
    """That requests come in by the server that takes --middleware.

    Raises:
        PlanRefusedError: they would pass the door by.
    """
    rust = "VLLM_USE_RUST_FRONTEND"
    hint = "leave it out: a door stands before vLLM's own HTTP server alone"
    if plan.engine.env.get(rust, "0") not in ("", "0"):
        raise PlanRefusedError(f"{rust} passes the door by", where=f"env/{rust}", hint=hint)
    if "--grpc" in plan.engine.args:
        raise PlanRefusedError("--grpc passes the door by", where="engine_args/grpc", hint=hint)


def api_servers(arguments: Sequence[str]) -> int:
    """API-server processes of an engine: as many as it is told, or as it has replicas of data
    parallelism (vllm/entrypoints/cli/serve.py)."""
    for flag in ("--api-server-count", "--data-parallel-size"):
        if flag in arguments[:-1]:
            value = arguments[arguments.index(flag) + 1]
            return max(1, int(value)) if value.isdecimal() else 1
    return 1


def traces(plan: ServingPlan) -> bool:
    """Whether the engine sends traces, which are to have the door's ids of requests."""
    return "--otlp-traces-endpoint" in plan.engine.args


def environment(folder: str, path: str | None) -> dict[str, str]:
    """The variables by which an engine finds the door in `folder`; `path` is its own PYTHONPATH."""
    return {
        "PYTHONPATH": f"{folder}:{path}" if path else folder,
        VARIABLE: f"{folder}/{CONFIGURATION}",
    }


def body_limits(spec: ServiceSpec) -> dict[str, float | int]:
    """The limits of one request that differ from the door's own."""
    return {
        name: most if name == "seconds" else int(most)
        for name, most in sorted(spec.request_limits.items())
    }


def package() -> dict[str, str]:
    """The door's Python and the look at progress, by path."""
    folder = assets.path("deploy", "door")
    files = [folder / ALIVE, *sorted((folder / PACKAGE).glob("*.py"))]
    return {file.relative_to(folder).as_posix(): file.read_text(encoding="utf-8") for file in files}
