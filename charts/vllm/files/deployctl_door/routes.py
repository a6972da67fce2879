"""Which route a request is for. What is not on the list does not exist."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from deployctl_door.configuration import Configuration
from deployctl_door.headers import Headers

USER, OPERATOR, PROBE = "user", "operator", "probe"
PREFLIGHT = "preflight"  # a browser asks whether a page may ask a user's route
_SEGMENT = "[A-Za-z0-9_-]{1,128}"  # of an id in a path: none that could be read as another path


class Routes:
    """The routes of a configuration, found by method and path as they were sent."""

    def __init__(self, configuration: Configuration) -> None:
        self._exact: dict[tuple[str, str], tuple[str, str]] = {}
        self._as_sent: dict[bytes, str] = {}  # the paths of those
        self._patterns: list[tuple[str, re.Pattern[str], str, str]] = []
        # What is on two lists belongs to the stricter one, which is put in last.
        self._add(configuration.user, USER)
        self._add(configuration.probe, PROBE)
        self._add(configuration.operator, OPERATOR)

    def _add(self, routes: Iterable[tuple[str, str]], kind: str) -> None:
        for method, path in routes:
            if "{" not in path:
                self._exact[method, path] = (kind, path)
                self._as_sent[path.encode()] = path
                continue
            parts = re.split(r"\{\w+\}", path)
            pattern = re.compile(_SEGMENT.join(re.escape(part) for part in parts))
            self._patterns.append((method, pattern, kind, path))

    def find(self, scope: Mapping[str, Any], headers: Headers) -> tuple[str, str] | None:
        """Class and path of the route; None where there is none.

        A path that is written in another way than the list has it (percent-encoded, doubled
        slashes, dots, a trailing slash) is another path.
        """
        path = self._as_sent.get(scope.get("raw_path") or b"")
        if path is None or path != scope["path"] or scope.get("root_path"):
            path = route_path(scope)
            if path is None:
                return None
        method: str = scope["method"]
        if method != "OPTIONS":
            return self._look_up(method, path)
        wanted = headers.one(b"access-control-request-method")
        if wanted is None or headers.one(b"origin") is None:
            return None
        found = self._look_up(wanted, path)
        return (PREFLIGHT, found[1]) if found is not None and found[0] == USER else None

    def _look_up(self, method: str, path: str) -> tuple[str, str] | None:
        found = self._exact.get((method, path))
        if found is not None:
            return found
        # Of two that match, the operator's was put in last.
        for wanted, pattern, kind, route in reversed(self._patterns):
            if wanted == method and pattern.fullmatch(path):
                return kind, route
        return None


def route_path(scope: Mapping[str, Any]) -> str | None:
    """The path by which the application routes; None where it was not sent as it is read.

    A proxy's prefix (`root_path`) is taken off exactly as Starlette's get_route_path does.
    """
    path = str(scope["path"])
    raw = scope.get("raw_path")
    if not path.isascii() or (raw and raw.partition(b"?")[0] != path.encode()):
        return None
    prefix = str(scope.get("root_path") or "")
    if not prefix or not path.startswith(prefix):
        return path
    rest = path[len(prefix) :]
    return rest if not rest or rest.startswith("/") else path
