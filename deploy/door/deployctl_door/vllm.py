"""What vLLM's `--middleware deployctl_door.vllm.Middleware` names.

The configuration and the keys are read when this module is imported: where that fails, so does
the import, and the engine does not start.
"""

import os
from pathlib import Path

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
        """Once its core has died, vLLM answers 500 until its server ends."""
        try:
            return bool(scope["app"].state.engine_client.errored)
        except (KeyError, AttributeError):  # a release that keeps it elsewhere
            return False
