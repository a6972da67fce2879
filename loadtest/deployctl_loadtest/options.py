"""The options that the locustfile adds to Locust's own."""

from typing import Any

from deployctl_loadtest import arrivals


def add_to(parser: Any) -> None:
    """Adds them. Those that only deployctl gives are hidden from Locust's web UI."""
    add = parser.add_argument
    add("--model", default="", is_required=True, help="Model name to ask for")
    add("--api", choices=["chat", "completions"], default="chat", help="Which API")
    add("--input-tokens", type=int, default=128, help="About how long prompts are")
    add("--output-tokens", type=int, default=64, help="How long answers may be")
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
    add("--ramp", type=float, default=0.0, help="Open loop: seconds in which the rate grows")
    add("--requests", type=int, default=0, help="End after so many; 0 for no limit")
    add("--seed", type=int, default=-1, help="Fixes the prompts; -1 makes new ones every run")
    add("--request-timeout", type=float, default=600.0, help="Seconds until a request is given up")
    hidden: dict[str, Any] = {"include_in_web_ui": False}
    add("--samples", default="", help="Folder for raw samples", **hidden)
    add("--stop-after", type=float, default=0.0, help="Seconds to run, exactly", **hidden)
    add("--realtime", action="store_true", help="Run before other processes, if allowed", **hidden)
    add("--progress", action="store_true", help="A JSON line a second on stdout", **hidden)


def problem(options: Any) -> str | None:
    """What is wrong with them, in one line."""
    if not options.model:
        return "--model is missing"
    if options.rate < 0 or options.ramp < 0 or options.requests < 0:
        return "--rate, --ramp and --requests cannot be below 0"
    try:
        arrivals.burstiness(options.arrivals)
    except ValueError as error:
        return f"--arrivals: {error}"
    return None
