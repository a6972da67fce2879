"""A Locust user that streams from an OpenAI-compatible server and measures it faithfully.

    DEPLOYCTL_LOADTEST_API_KEY=… locust -f locustfile.py --host http://127.0.0.1:8000 --model NAME

Stands alone: with this folder and Locust it works, web UI and all, where TTFT, ITL, TPOT
and E2E are rows. `--samples DIR` keeps the raw samples that Locust's own statistics round
off. The API key is read from the environment only, so that no process list shows it.
"""

import json
import os
import sys
from functools import cache, partial
from pathlib import Path
from typing import Any

_HERE = str(Path(__file__).resolve().parent.parent)
if _HERE not in sys.path:
    sys.path.insert(0, _HERE)

import gevent  # noqa: E402
import gevent.ssl  # noqa: E402
from locust import FastHttpUser, constant, events, task  # noqa: E402
from locust.contrib.fasthttp import FastHttpSession  # noqa: E402
from locust.runners import MasterRunner, WorkerRunner  # noqa: E402

from deployctl_loadtest import handover, options  # noqa: E402
from deployctl_loadtest.deliver import Delivery, Files  # noqa: E402
from deployctl_loadtest.exchange import prepare  # noqa: E402
from deployctl_loadtest.handover import Gathering  # noqa: E402
from deployctl_loadtest.request import headers  # noqa: E402
from deployctl_loadtest.run import Run  # noqa: E402

KEY_VARIABLES = ("DEPLOYCTL_LOADTEST_API_KEY", "OPENAI_API_KEY")
HEADERS_VARIABLE = "DEPLOYCTL_LOADTEST_HEADERS"  # JSON object; headers may be secrets too
_PAUSE_AFTER_FAILURE_S = 0.25  # a dead server answers at once; do not hammer it
_FOREVER_S = 24 * 3600.0

current: Run | Gathering | None = None
files: Files | None = None  # of a master
delivery: Delivery | None = None  # of a worker


def _prepare(environment: Any, runner: Any, **_: Any) -> None:
    """On a worker: takes what a run needs. On the master: gives it, takes what workers hand over,
    and waits for that before they go."""
    global files, delivery
    if isinstance(runner, WorkerRunner):
        delivery = Delivery(runner)
    if not isinstance(runner, MasterRunner):
        return
    files = Files(runner)

    def take(environment: Any, msg: Any, **_: Any) -> None:
        if isinstance(current, Gathering):
            current.receive(msg.type, msg.node_id, msg.data)

    def leave(**_: Any) -> None:
        if isinstance(current, Gathering):
            current.end()

    for kind in (handover.SAMPLES, handover.REPORT, handover.COUNTS):
        runner.register_message(kind, take)
    # Registered after the runner's own, and called before it: Locust goes through them backwards.
    environment.events.quitting.add_listener(leave)


def _start(environment: Any, **_: Any) -> None:
    global current
    current = None
    key = next((os.environ[name] for name in KEY_VARIABLES if os.environ.get(name)), None)
    more = json.loads(os.environ.get(HEADERS_VARIABLE) or "{}")
    wrong = options.problem(environment.parsed_options)
    if wrong is None:
        try:
            if files is not None:
                files.wait()
                current = Gathering(environment)
            else:
                current = Run(environment, headers(key, more), delivery)
        except (ValueError, OSError) as error:  # the latter: a folder for samples that is none
            wrong = str(error)
    if wrong is not None:
        sys.stderr.write(f"error: {wrong}\n")
        environment.process_exit_code = 2
        environment.runner.quit()


def _stopping(**_: Any) -> None:
    if current is not None:
        current.stopping()


def _stop(**_: Any) -> None:
    if current is not None:
        current.close()


@cache
def _context(ca_file: str) -> Any:
    """One for all connections: to read certificates takes milliseconds."""
    return gevent.ssl.create_default_context(cafile=ca_file)


class StreamingUser(FastHttpUser):  # type: ignore[misc]
    """Asks, reads the answer to its end, asks again; or, in open loop, sends what is due."""

    # Not 0: a timer makes sure that every other user is looked at in between, even where
    # answers come faster than they can be read.
    wait_time = constant(1e-6)
    # Locust's own limits would end requests that only wait in a queue; ours is exact.
    network_timeout = _FOREVER_S
    connection_timeout = _FOREVER_S
    max_retries = 0
    insecure = False

    def __init__(self, environment: Any) -> None:
        if ca_file := environment.parsed_options.ca_file:
            self.ssl_context_factory = partial(_context, ca_file)
        super().__init__(environment)

    def on_start(self) -> None:
        """Prepares the HTTP client."""
        prepare(self.client)
        self._began = False

    @task  # type: ignore[untyped-decorator]
    def ask(self) -> None:
        """One request of a user; or, in open loop, all of this process's."""
        run = current
        if not isinstance(run, Run):
            return
        run.wait_for_the_start()
        if run.is_open_loop:
            run.send_what_is_due(self._connect)
            gevent.sleep(_FOREVER_S)
        if not self._began:
            self._began = True
            run.take_turn()
        number = run.next_number()
        if number is None:
            gevent.sleep(_FOREVER_S)
        elif not run.ask(self.client, number):
            gevent.sleep(_PAUSE_AFTER_FAILURE_S)

    def _connect(self) -> FastHttpSession:
        """One more client like this user's own."""
        session = FastHttpSession(
            self.host,
            self.environment.events.request,
            None,
            insecure=self.insecure,
            ssl_context_factory=self.ssl_context_factory,
            network_timeout=self.network_timeout,
            connection_timeout=self.connection_timeout,
            max_retries=self.max_retries,
            concurrency=1,
        )
        prepare(session)
        return session


events.init_command_line_parser.add_listener(options.add_to)
events.init.add_listener(_prepare)
events.test_start.add_listener(_start)
events.test_stopping.add_listener(_stopping)
events.test_stop.add_listener(_stop)
