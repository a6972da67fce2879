"""Which route a request is for. What is not on the list does not exist."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from deployctl_door.configuration import Configuration

USER, OPERATOR, PROBE = "user", "operator", "probe"
_SEGMENT = "[A-Za-z0-9_-]{1,128}"  # of an id in a path: none that could be read as another path


class Routes:
    """The routes of a configuration, found by method and path as they were sent."""

    def __init__(self, configuration: Configuration) -> None:
        self._exact: dict[tuple[str, str], str] = {}
        self._patterns: list[tuple[str, re.Pattern[str], str, str]] = []
        # What is on two lists belongs to the stricter one, which is put in last.
        self._add(configuration.user, USER)
        self._add(configuration.probe, PROBE)
        self._add(configuration.operator, OPERATOR)

    def _add(self, routes: Iterable[tuple[str, str]], kind: str) -> None:
        for method, path in routes:
            if "{" not in path:
                self._exact[method, path] = kind
                continue
            parts = re.split(r"\{\w+\}", path)
            pattern = re.compile(_SEGMENT.join(re.escape(part) for part in parts))
            self._patterns.append((method, pattern, kind, path))

    def find(self, scope: Mapping[str, Any]) -> tuple[str, str] | None:
        """Class and path of the route; None where there is none.

        A path that is written in another way than the list has it (percent-encoded, doubled
        slashes, dots, a trailing slash) is another path.
        """
        path = sent_path(scope)
        if path is None:
            return None
        method = str(scope["method"])
        kind = self._exact.get((method, path))
        if kind is not None:
            return kind, path
        for wanted, pattern, kind, route in self._patterns:
            if wanted == method and pattern.fullmatch(path):
                return kind, route
        return None


def sent_path(scope: Mapping[str, Any]) -> str | None:
    """The path as it was sent, without a proxy's prefix; None where decoding changed it."""
    path = str(scope["path"])
    raw = scope.get("raw_path")
    if raw is not None and raw.partition(b"?")[0] != path.encode("utf-8", "surrogateescape"):
        return None
    prefix = str(scope.get("root_path") or "")
    if prefix and path.startswith(prefix + "/"):
        return path[len(prefix) :]
    return path
