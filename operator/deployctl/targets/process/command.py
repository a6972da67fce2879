"""What is run, and with which environment: pure, so that it can be read and tested as text."""

import json
from collections.abc import Mapping
from pathlib import Path

from deployctl.errors import StateError
from deployctl.render.bundle import Bundle
from deployctl.render.process import COMMAND_FILE

MARKER = "DEPLOYCTL_RUN"  # carried by every process of a run; its value is the run's folder

# What an engine needs of the environment deployctl was called in. Everything else stays out,
# so that the same release runs the same way tomorrow, from another shell.
_KEPT = {
    *("PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "TZ", "TMPDIR"),
    *("PYTHONPATH", "VIRTUAL_ENV", "LD_LIBRARY_PATH", "LD_PRELOAD", "CC", "CXX"),
    *("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"),
    *("XDG_CACHE_HOME", "HF_HOME", "HF_HUB_CACHE", "HF_ENDPOINT", "OMP_NUM_THREADS"),
}
_KEPT_PREFIXES = ("LC_", "CUDA_", "NVIDIA_", "NCCL_")
_PROXIES = {"http_proxy", "https_proxy", "all_proxy", "no_proxy"}


class Command:
    """The bundle's `command.json`, read."""

    def __init__(self, bundle: Bundle) -> None:
        try:
            document = json.loads(bundle.files[COMMAND_FILE])
            self.arguments: list[str] = document["arguments"]
            self.environment: dict[str, str] = document["environment"]
            self.host: str = document["host"]
            self.port: int = document["port"]
            self.engine_version: str = document["engine_version"]
        except (KeyError, ValueError, TypeError) as error:
            raise StateError(
                f"the bundle of {bundle.service} has no readable {COMMAND_FILE}",
                hint="run deployctl up again; it renders a new one",
            ) from error

    def argv(self, python: str) -> list[str]:
        """The whole command."""
        return [python, *self.arguments]


def environment(
    command: Command,
    ambient: Mapping[str, str],
    *,
    run: Path,
    cache: Path,
    api_key: str | None,
    hub_token: str | None,
) -> dict[str, str]:
    """The engine's environment: little of ours, then the plan's, then what this run adds."""
    kept = {
        name: value
        for name, value in ambient.items()
        if name in _KEPT or name.startswith(_KEPT_PREFIXES) or name.lower() in _PROXIES
    }
    ours = {"PYTHONUNBUFFERED": "1", MARKER: str(run)}
    if api_key is not None:
        ours["VLLM_API_KEY"] = api_key
    if hub_token is not None:
        ours["HF_TOKEN"] = hub_token
    return {**kept, "VLLM_CACHE_ROOT": str(cache), **command.environment, **ours}
