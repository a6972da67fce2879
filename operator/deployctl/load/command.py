"""The command lines and the environment that Locust is started with. Pure.

The API key travels in the environment, never in the arguments.
"""

import json
import sys
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

from deployctl_loadtest.result import Setup

KEY_VARIABLE = "DEPLOYCTL_LOADTEST_API_KEY"
HEADERS_VARIABLE = "DEPLOYCTL_LOADTEST_HEADERS"
VOCABULARY = "vocabulary.json"  # in the result folder, while it runs
CONNECT_S = 60.0  # for workers to start and find the master


def command(setup: Setup, samples: Path) -> list[str]:
    """The argument list that runs the test. Holds no secret."""
    values: dict[str, object] = {
        "host": setup.url,
        "users": setup.users,
        "spawn-rate": setup.users / setup.ramp_s if setup.ramp_s else setup.users,
        "stop-timeout": 0,
        "exit-code-on-error": 0,
        "model": setup.model,
        "api": setup.api,
        # A workload's own lengths where they vary; else those that were asked for.
        "input-tokens": setup.input_tokens if setup.input_fixed else 0,
        "output-tokens": setup.output_tokens if setup.output_fixed else 0,
        "workload": "" if setup.workload == "fixed" else _absolute(setup.workload),
        "extra-body": json.dumps(setup.extra_body),
        "ca-file": setup.ca_file or "",
        "vocabulary": samples / VOCABULARY if setup.prompt_lengths == "exact" else "",
        "seed": setup.seed,
        "request-timeout": setup.request_timeout_s,
        "stop-after": setup.cut_s + setup.duration_s,
        "samples": samples,
        "requests": setup.requests or 0,
    }
    if setup.mode != "closed":  # one scheduler in each process
        values |= {"users": setup.workers, "spawn-rate": setup.workers}
    if setup.mode == "open":
        assert setup.rate is not None
        assert setup.arrivals is not None
        values |= {"rate": setup.rate, "arrivals": setup.arrivals}
        values |= {"ramp": setup.ramp_s}
    if setup.mode == "trace":
        assert setup.trace is not None
        values |= {"trace": Path(setup.trace).absolute(), "trace-speed": setup.trace_speed}
    arguments = [f"--{name}={value}" for name, value in values.items()]
    if not setup.ignore_eos:
        arguments.append("--no-ignore-eos")
    arguments += ["--headless", "--only-summary", "--progress", "--realtime"]
    return [*_locust(), *arguments]


def _locust() -> list[str]:
    return [sys.executable, "-m", "locust", "-f", str(locustfile())]


def as_master(workers: int, port: int) -> list[str]:
    """What makes a master of `command`: it sends nothing, and leads the workers."""
    return [
        "--master",
        "--master-bind-host=127.0.0.1",
        f"--master-bind-port={port}",
        f"--expect-workers={workers}",
        f"--expect-workers-max-wait={CONNECT_S:.0f}",
    ]


def worker_command(port: int) -> list[str]:
    """The argument list of one worker: what it is to do, the master tells it."""
    return [*_locust(), "--worker", "--master-host=127.0.0.1", f"--master-port={port}"]


def _absolute(workload: str) -> str:
    """Locust runs in the result folder: a file is named from the root, one of ours by name."""
    path = Path(workload)
    return str(path.absolute()) if path.is_file() else workload


def environment(
    inherited: Mapping[str, str], api_key: str | None, headers: Mapping[str, str] | None = None
) -> dict[str, str]:
    """The subprocess's environment: no stray LOCUST_* settings; key and headers if any."""
    keys = (KEY_VARIABLE, HEADERS_VARIABLE, "OPENAI_API_KEY")
    values = {
        name: value
        for name, value in inherited.items()
        if not name.startswith("LOCUST_") and name not in keys
    }
    if api_key:
        values[KEY_VARIABLE] = api_key
    if headers:
        values[HEADERS_VARIABLE] = json.dumps(dict(headers))
    values["PYTHONUNBUFFERED"] = "1"
    return values


def locustfile() -> Path:
    """Where the locustfile is, without importing it."""
    spec = find_spec("deployctl_loadtest")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).with_name("locustfile.py")
