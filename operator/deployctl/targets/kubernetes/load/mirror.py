"""Brings home what Locust's master writes in its pod, as it writes it: so a run that is lost in its
midst is lost from there on, and not before.

Files only grow, and what is asked for is what comes after the bytes that are here: a connection
that is cut costs nothing, and at the end every file is here to its last byte.
"""

import re
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Any

from deployctl.errors import ClusterError, TargetError
from deployctl.targets.kubernetes.cluster import PATIENCE_S, UnreachableError
from deployctl.targets.kubernetes.podstream import BLOCK, PodStream
from deployctl.targets.loads import LoadEnd, LoadOrder, Told
from deployctl_loadtest import pod

Open = Callable[[], AbstractContextManager[PodStream]]
_EVERY_S = 0.5
_AGAIN_S = 1.0
_NAMES = re.compile(r"samples-[\w.-]+\.jsonl|worker-[\w.-]+\.json|" + re.escape(pod.LOG))


class Mirror:
    """One run, followed to its end over as many connections as it takes."""

    def __init__(
        self,
        order: LoadOrder,
        url: str,
        folder: Path,
        told: Told,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`url` is asked."""
        self._order, self._url, self._folder, self._told = order, url, folder, told
        self._sleep, self._clock = sleep, clock
        self._have: dict[str, int] = {}  # bytes of each file that are here
        self._known = LoadEnd(None)
        self._said: object = None  # the last progress that was told
        self._heard = clock()  # when anything came last
        self._runs = self._stop = False

    def run(self, opened: Open, why_gone: Callable[[], str]) -> LoadEnd:
        """Begins the run, and follows it. `why_gone` says why there is nobody to ask any more.

        Ctrl-C ends the run in order, and a second one leaves it.

        Raises:
            ClusterError: it cannot be begun.
        """
        self._heard = self._clock()
        while not self._over:
            try:
                if lost := self._connected(opened, why_gone):
                    return self._known._replace(lost=lost)
            except KeyboardInterrupt:
                if self._known.interrupted or not self._runs:
                    raise
                self._known = self._known._replace(interrupted=True)
                self._stop = True
        return self._known

    def _connected(self, opened: Open, why_gone: Callable[[], str]) -> str:
        """Begins and follows it over one connection, and waits a little where that is cut. Says
        why a run is given up: from its beginning on nothing throws away what came home.

        Raises:
            ClusterError: it cannot be begun.
        """
        try:
            with opened() as stream:
                self._begin(stream)
                self._follow(stream)
        except ClusterError as error:
            if not self._runs and not isinstance(error, UnreachableError):
                raise
            lost = _lost(why_gone, error, silent_s=self._clock() - self._heard)
            if lost and not self._runs:
                raise ClusterError(
                    f"the load did not begin: {lost}", hint="ask for it once more"
                ) from error
            if not lost:
                self._sleep(_AGAIN_S)
            return lost
        return ""

    @property
    def _over(self) -> bool:
        """Whether it has ended."""
        return self._known.code is not None

    def _begin(self, stream: PodStream) -> None:
        """Makes sure that it runs; what runs already is left alone."""
        self._known = self._known._replace(locust=greet(stream, self._order.image))
        if self._runs:
            return
        for name, content in self._order.files.items():
            stream.ask({"do": "put", "name": name, "size": len(content)})
            view = memoryview(content)
            for at in range(0, len(content), BLOCK):
                stream.send(view[at : at + BLOCK])
            _checked(stream.answer())
        options = [f"--host={self._url}", *self._order.options]
        _ask(stream, {"do": "run", "options": options, "workers": self._order.workers})
        self._runs = True

    def _follow(self, stream: PodStream) -> None:
        """Looks until Locust has ended and all of it is here."""
        while not self._over:
            self._look(stream)
            self._heard = self._clock()
        with suppress(TargetError):  # it ends by itself too
            _ask(stream, {"do": "leave"})

    def _look(self, stream: PodStream) -> None:
        """Takes what has come since, and waits a little where that was all."""
        if self._stop:
            _ask(stream, {"do": "stop"})
            self._stop = False
        said = _ask(stream, {"do": "more", "have": self._have})
        came = self._clock()
        self._take(said["pieces"])
        if said.get("unwritten") and self._known.unwritten is None:
            self._known = self._known._replace(unwritten=str(said["unwritten"]))
        if "run_s" in said:
            # The answer that took the least time says best when it began.
            began = came - float(said["run_s"])
            began = min(began, self._known.began_s or began)
            self._known = self._known._replace(began_s=began)
            if said["progress"] != self._said:
                self._said = said["progress"]
                self._told(said["progress"])
        if "ended" in said:
            self._known = self._known._replace(code=int(said["ended"]))
        elif not said["left"]:
            self._sleep(_EVERY_S)

    def _take(self, pieces: list[list[Any]]) -> None:
        """Appends to the files here; what counts is on disk. A disk that is full ends the run: it
        could not be told."""
        for name, offset, text in pieces:
            if not _NAMES.fullmatch(name):
                raise ClusterError(f"the load's pod sends a file that is none of a run: {name!r}")
            if offset != self._have.get(name, 0):
                raise UnreachableError(f"{name} comes from byte {offset} on")
            data = text.encode("latin-1")
            if self._known.unwritten is None:
                self._write(name, offset, data)
            self._have[name] = offset + len(data)

    def _write(self, name: str, offset: int, data: bytes) -> None:
        """From `offset` on: Ctrl-C may have left a piece there that was not counted."""
        try:
            with (self._folder / name).open("ab") as file:
                file.truncate(offset)
                file.write(data)
        except OSError as error:
            reason = error.strerror or str(error)
            self._known = self._known._replace(unwritten=reason)
            self._stop = True


def greet(stream: PodStream, image: str) -> str:
    """Sees to it that both sides measure with the same code; returns the release of Locust there.

    Raises:
        ClusterError: they do not.
    """
    said = _ask(stream, {"do": "hello"})
    if (said.get("version"), said.get("code")) != (pod.VERSION, pod.code()):
        raise ClusterError(
            f"the image {image} measures with other code than this deployctl",
            hint="build it anew from this release, as docker/README.md says, under a new tag",
        )
    return str(said.get("locust") or "")


def _lost(why_gone: Callable[[], str], error: ClusterError, *, silent_s: float) -> str:
    """Why a run is given up; "" where its pod may be asked again."""
    try:
        if why := why_gone():
            return why
    except ClusterError:
        pass  # nobody answers at all, or not to us
    if not isinstance(error, UnreachableError):
        return error.message
    return f"{error.message}, for {silent_s:.0f} s" if silent_s > PATIENCE_S else ""


def _ask(stream: PodStream, wanted: Mapping[str, Any]) -> dict[str, Any]:
    stream.ask(dict(wanted))
    return _checked(stream.answer())


def _checked(said: dict[str, Any]) -> dict[str, Any]:
    if "error" in said:
        raise ClusterError(f"the load's pod fails: {said['error']}")
    return said
