"""What several engines of one release come to together. Pure."""

from collections.abc import Sequence

from deployctl.targets.driver import EngineState
from deployctl.targets.restarts import Restarts


def together(states: Sequence[EngineState]) -> EngineState:
    """They run where one does; of one alone, that."""
    if len(states) == 1:
        return states[0]
    running = [state for state in states if state.condition == "running"]
    said = [
        f"replica {number}: {state.detail or 'it does not run'}"
        for number, state in enumerate(states)
        if state.detail or state.condition != "running"
    ]
    if running and len(running) < len(states):
        said.insert(0, f"{len(running)} of {len(states)} replicas run")
    absent = all(state.condition == "absent" for state in states)
    return EngineState(
        "running" if running else "absent" if absent else "dead",
        "" if absent else "; ".join(said),
        started=min((state.started for state in running if state.started), default=None),
        memory_bytes=sum(state.memory_bytes or 0 for state in running) or None,
        restarts=_restarts([state.restarts for state in states]),
    )


def _restarts(each: Sequence[Restarts]) -> Restarts:
    """All that were started again, and why the last one was."""
    last, number = max((one.last or "", number) for number, one in enumerate(each))
    memory = [f"{one.memory} as replica {n}" for n, one in enumerate(each) if one.memory]
    why = f"replica {number}: {each[number].why}" if last else ""
    return Restarts(sum(one.number for one in each), last or None, why, memory=", ".join(memory))
