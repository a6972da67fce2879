"""What the watchdog of an engine on a host is told, and how a container's engine runs under it.

What it does is in deploy/door/engine_watchdog.py.
"""

import json
from typing import Any, NamedTuple

from deployctl import assets
from deployctl.planning.fleet.order import held_by
from deployctl.planning.plan import ServingPlan
from deployctl.render.door import ALIVE
from deployctl.spec import ServiceSpec
from deployctl.spec.watchdog import RESTARTS, STALL_S

_PARENT = "engine_parent.py"
_FILES = (_PARENT, "engine_turn.py", "engine_watchdog.py")
_TIMES = 2  # of the start-up budget, that a start after the first may take: a wrong end is worse
_ANSWER_S = 14.0  # a saturated engine answers late, and is not ill
_TOLD = 3  # events: enough for the last restart, and for what the engine holds since
_PYTHON = ("python3", "-I", "-S")  # nothing but the standard library is looked at


def settings(plan: ServingPlan, spec: ServiceSpec) -> dict[str, Any]:
    """What it is told on every target: what spec and plan decide of its Settings."""
    given = spec.watchdog
    told: dict[str, Any] = {
        "stall_s": given.get("stall", STALL_S),
        "restarts": int(given.get("restarts", RESTARTS)),
        "answer_s": min(_ANSWER_S, given.get("stall") or _ANSWER_S),
        "start_s": max(_TIMES * plan.startup_budget_s, spec.startup_timeout or 0),
    }
    if takes_turns(plan, spec):
        cpu = plan.accelerator == "cpu"
        told["cards"] = ["cpu"] if cpu else [str(card) for card in held_by(plan).cards]
    if "memory" in given:
        told["memory_share"] = given["memory"]
    if "quiet_hour" in given:
        told["quiet_hour"] = int(given["quiet_hour"])
    return told


def takes_turns(plan: ServingPlan, spec: ServiceSpec) -> bool:
    """Whether its engine loads when none other does on its cards: others hold some of them."""
    return bool(spec.gpu_memory_held_gib) and bool(held_by(plan).cards)


def files() -> dict[str, str]:
    """Its Python, by path from the door's folder, where a container has both."""
    folder = assets.path("deploy", "door")
    return {name: (folder / name).read_text(encoding="utf-8") for name in _FILES}


class InContainer(NamedTuple):
    """Where a container has what the watchdog is told of, and what it may take to end."""

    folder: str  # the door's
    port: int
    token: str  # the file of the probe's token
    drain: str
    events: str
    grace_s: int
    turns: str  # the folder of locks that engines of shared cards have

    def entrypoint(self, told: dict[str, Any], engine: list[str]) -> list[str]:
        """The words before the engine's arguments; `engine` starts one."""
        where = self._asdict()
        del where["folder"]
        if "cards" not in told:
            del where["turns"]
        # Once it has given up, it stays: Docker would start it again, and its count from nothing.
        document = {**where, "stays": True, **told}
        return [*_PYTHON, f"{self.folder}/{_PARENT}", json.dumps(document), *engine]

    def health(self, told: dict[str, Any]) -> list[str]:
        """The look at progress as a health check; its output, which Docker keeps, tells the last
        events too."""
        numbers = f"{self.port} {_ANSWER_S:g} {told['stall_s']:g}"
        look = f"{' '.join(_PYTHON)} {self.folder}/{ALIVE} {numbers} {self.token}"
        return ["CMD", "sh", "-c", f"tail -n {_TOLD} {self.events} 2>&-; exec {look}"]
