"""What vLLM's `--middleware deployctl_door.vllm.Middleware` names.

The configuration and the keys are read when this module is imported: where that fails, so does
the import, and the engine does not start.
"""

import os
from pathlib import Path
from typing import Any

from deployctl_door import keys, logs
from deployctl_door.configuration import VARIABLE, ConfigurationError, load
from deployctl_door.door import Door
from deployctl_door.exchange import App, Scope

if VARIABLE not in os.environ:
    raise ConfigurationError(f"{VARIABLE} does not name the door's configuration")
_CONFIGURATION = load(Path(os.environ[VARIABLE]))
keys.read(
    _CONFIGURATION.secrets, keyless=_CONFIGURATION.keyless, processes=_CONFIGURATION.processes
)
logs.without_queries()


class Middleware(Door):
    """The door, with the configuration that the environment names."""

    def __init__(self, app: App) -> None:
        super().__init__(app, _CONFIGURATION)

    def _is_dead(self, scope: Scope) -> bool:
        """Once its core has died, vLLM answers 500 until its server ends; what comes before it has
        seen that it died has 500, too."""
        try:
            client = scope["app"].state.engine_client
            return bool(client.errored) or _ended(client)
        except (KeyError, AttributeError):  # a release that keeps it elsewhere
            return False


def _ended(client: Any) -> bool:
    """Whether a process of the engine's core has ended. vLLM hears of it when the last of its
    threads is gone, and says so when it has cleaned up."""
    manager = client.engine_core.resources.engine_manager
    return any(_gone(each.pid) for each in getattr(manager, "processes", ()))


def _gone(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b") ")[2][:1]
    except (FileNotFoundError, ProcessLookupError):
        return Path("/proc/self/stat").exists()  # else nobody knows
    except OSError:  # no file may be opened for the moment
        return False
    return state in (b"Z", b"X")
