"""What workers on other machines need of the master before a run: its files, and the time.

Workers of one machine see the master's files and share its clock and its ports. Where
DEPLOYCTL_LOADTEST_FILES names a folder, each worker is on a machine (or in a pod) of its own: the
master sends what is in that folder over Locust's own connections, and a worker lays it into the
folder of that name, so that options which name files mean the same everywhere. And a clock that is
off would have a worker begin before the others, or after.
"""

import os
import time
from pathlib import Path
from typing import Any

import gevent

from deployctl_loadtest.pod import FOLDER_VARIABLE

WANTED, FILES, HAVE, CLOCK = (f"deployctl_{word}" for word in ("wanted", "files", "have", "clock"))
_APART_S = 0.05  # clocks that differ by less are taken as one: a message may take so long
_ALL_S = 120.0  # for every worker to have the files


def _folder() -> Path | None:
    name = os.environ.get(FOLDER_VARIABLE)
    return Path(name) if name else None


class Files:
    """The master's end."""

    def __init__(self, runner: Any) -> None:
        self._runner = runner
        self._folder = _folder()
        self._have: set[str] = set()  # ids of clients
        runner.register_message(WANTED, self._send)
        runner.register_message(HAVE, self._count)

    def wait(self) -> None:
        """Returns when every worker that is ready has the files, and tells each what time it is.

        Raises:
            ValueError: one still has not.
        """
        if self._folder is None:
            return
        until = time.monotonic() + _ALL_S
        while late := {client.id for client in self._runner.clients.ready} - self._have:
            if time.monotonic() > until:
                raise ValueError(f"{len(late)} workers did not take the files of the run")
            gevent.sleep(0.05)
        self._runner.send_message(CLOCK, {"now": time.time()})

    def _send(self, environment: Any, msg: Any, **_: Any) -> None:
        paths = self._folder.iterdir() if self._folder is not None else ()
        files = {path.name: path.read_bytes() for path in paths}
        self._runner.send_message(FILES, {"files": files}, client_id=msg.node_id)

    def _count(self, environment: Any, msg: Any, **_: Any) -> None:
        self._have.add(msg.node_id)


class Delivery:
    """The worker's end."""

    def __init__(self, runner: Any) -> None:
        self._runner = runner
        self._folder = _folder()
        self.apart = self._folder is not None  # whether it shares its machine with no other worker
        self.ahead_s = 0.0  # how much its clock is before the master's
        if self.apart:
            runner.register_message(CLOCK, self._set)
            runner.register_message(FILES, self._take)
            runner.send_message(WANTED)

    def _set(self, environment: Any, msg: Any, **_: Any) -> None:
        ahead = time.time() - float(msg.data["now"])
        self.ahead_s = ahead if abs(ahead) > _APART_S else 0.0

    def _take(self, environment: Any, msg: Any, **_: Any) -> None:
        assert self._folder is not None
        self._folder.mkdir(parents=True, exist_ok=True)
        for name, content in msg.data["files"].items():
            (self._folder / Path(name).name).write_bytes(content)
        self._runner.send_message(HAVE)
