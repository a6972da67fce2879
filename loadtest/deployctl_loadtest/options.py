"""The options that the locustfile adds to Locust's own."""

import json
from typing import Any

from deployctl_loadtest import arrivals, workload


def add_to(parser: Any) -> None:
    """Adds them. Those that only deployctl gives are hidden from Locust's web UI."""
    add = parser.add_argument
    add("--model", default="", is_required=True, help="Model name to ask for")
    add("--api", choices=["chat", "completions"], default="chat", help="Which API")
    add(
        "--workload",
        default="",
        help=f"What to ask: {', '.join(workload.names())}, or a file; empty for plain prompts",
    )
    add("--input-tokens", type=int, default=0, help="Prompts' length; 0: the workload's, or 128")
    add("--output-tokens", type=int, default=0, help="Answers' length; 0: the workload's, or 64")
    add(
        "--no-ignore-eos",
        dest="ignore_eos",
        action="store_false",
        help="Let answers end by themselves (and send no field that only vLLM knows)",
    )
    add(
        "--rate",
        type=float,
        default=0.0,
        help="Open loop: requests a second, whatever the server does; 0 for a closed loop, in "
        "which each user waits for the answer",
    )
    add("--arrivals", default="poisson", help=f"Open loop: {arrivals.KINDS}")
    add("--trace", default="", help="Replay a trace: a file in Mooncake's or BurstGPT's format")
    add("--trace-speed", type=float, default=1.0, help="Replay so many times as fast")
    add("--ramp", type=float, default=0.0, help="Open loop: seconds in which the rate grows")
    add("--requests", type=int, default=0, help="End after so many; 0 for no limit")
    add("--seed", type=int, default=-1, help="Fixes the prompts; -1 makes new ones every run")
    add("--request-timeout", type=float, default=600.0, help="Seconds until a request is given up")
    hidden: dict[str, Any] = {"include_in_web_ui": False}
    add("--extra-body", default="{}", help="JSON object: more fields of each request", **hidden)
    add("--ca-file", default="", help="Certificates to trust, instead of the system's", **hidden)
    add("--vocabulary", default="", help="File with words of one token each", **hidden)
    add("--samples", default="", help="Folder for raw samples", **hidden)
    add("--stop-after", type=float, default=0.0, help="Seconds to run, exactly", **hidden)
    add("--realtime", action="store_true", help="Run before other processes, if allowed", **hidden)
    add("--epoch", type=float, default=0.0, help="Unix time at which to begin", **hidden)
    add("--share", type=int, default=1, help="How many workers share the load", **hidden)
    add("--progress", action="store_true", help="A JSON line a second on stdout", **hidden)


def problem(options: Any) -> str | None:
    """What is wrong with them, in one line."""
    if not options.model:
        return "--model is missing"
    if options.rate < 0 or options.ramp < 0 or options.requests < 0:
        return "--rate, --ramp and --requests cannot be below 0"
    if options.trace_speed <= 0:
        return "--trace-speed is above 0"
    try:
        if not isinstance(json.loads(options.extra_body), dict):
            return "--extra-body is not a JSON object"
    except ValueError as error:
        return f"--extra-body is not JSON: {error}"
    try:
        arrivals.burstiness(options.arrivals)
    except ValueError as error:
        return f"--arrivals: {error}"
    return None
