"""A Locust user that streams from an OpenAI-compatible server and measures it faithfully.

    DEPLOYCTL_LOADTEST_API_KEY=… locust -f locustfile.py --host http://127.0.0.1:8000 --model NAME

Stands alone: with this folder and Locust it works, web UI and all, where TTFT, ITL, TPOT
and E2E are rows. `--samples DIR` keeps the raw samples that Locust's own statistics round
off. The API key is read from the environment only, so that no process list shows it.
"""

import os
import sys
from pathlib import Path
from typing import Any

_HERE = str(Path(__file__).resolve().parent.parent)
if _HERE not in sys.path:
    sys.path.insert(0, _HERE)

import gevent  # noqa: E402
from locust import FastHttpUser, constant, events, task  # noqa: E402

from deployctl_loadtest.exchange import RunEnded, exchange, prepare  # noqa: E402
from deployctl_loadtest.request import headers  # noqa: E402
from deployctl_loadtest.run import Run, clock  # noqa: E402

KEY_VARIABLES = ("DEPLOYCTL_LOADTEST_API_KEY", "OPENAI_API_KEY")
_PAUSE_AFTER_FAILURE_S = 0.25  # a dead server answers at once; do not hammer it
_FOREVER_S = 24 * 3600.0

current: Run | None = None


def _options(parser: Any) -> None:
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
    add("--seed", type=int, default=-1, help="Fixes the prompts; -1 makes new ones every run")
    add("--request-timeout", type=float, default=600.0, help="Seconds until a request is given up")
    hidden: dict[str, Any] = {"include_in_web_ui": False}
    add("--samples", default="", help="Folder for raw samples", **hidden)
    add("--stop-after", type=float, default=0.0, help="Seconds to run, exactly", **hidden)
    add("--realtime", action="store_true", help="Run before other processes, if allowed", **hidden)
    add("--progress", action="store_true", help="A JSON line a second on stdout", **hidden)


def _start(environment: Any, **_: Any) -> None:
    global current
    if not environment.parsed_options.model:
        sys.stderr.write("error: --model is missing\n")
        environment.process_exit_code = 2
        environment.runner.quit()
        return
    current = Run(environment)


def _stopping(**_: Any) -> None:
    if current is not None:
        current.stopping()


def _stop(**_: Any) -> None:
    if current is not None:
        current.close()


class StreamingUser(FastHttpUser):  # type: ignore[misc]
    """Asks, reads the answer to its end, asks again."""

    # Not 0: a timer makes sure that every other user is looked at in between, even where
    # answers come faster than they can be read.
    wait_time = constant(1e-6)
    # Locust's own limits would end requests that only wait in a queue; ours is exact.
    network_timeout = _FOREVER_S
    connection_timeout = _FOREVER_S
    max_retries = 0
    insecure = False

    def on_start(self) -> None:
        """Prepares the HTTP client."""
        key = next((os.environ[name] for name in KEY_VARIABLES if os.environ.get(name)), None)
        self._headers = headers(key)
        prepare(self.client)

    @task  # type: ignore[untyped-decorator]
    def ask(self) -> None:
        """One request."""
        run = current
        if run is None:
            return
        try:
            sample = exchange(
                self.client,
                run.workload.path,
                run.body(),
                self._headers,
                worker=run.worker,
                epoch=run.epoch,
                clock=clock,
                patience=run.patience,
                seen=run.seen,
            )
        except RunEnded as ended:
            run.take(ended.sample)
            raise gevent.GreenletExit from None
        run.take(sample)
        if sample.failed:
            gevent.sleep(_PAUSE_AFTER_FAILURE_S)


events.init_command_line_parser.add_listener(_options)
events.test_start.add_listener(_start)
events.test_stopping.add_listener(_stopping)
events.test_stop.add_listener(_stop)
