"""The door's counters as Prometheus reads them, those at 0 among them.

Of a counter that appears Prometheus knows only what it was when it appeared: whatever brought it
there is invisible to `rate` and `increase`, a whole burst of errors, too. So everything that may be
counted is told from the first scrape on, a new key's from the first after it was added.
"""

from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from itertools import product
from typing import Any

from deployctl_door.keys import ANYONE, OPERATOR, KeyRing

LABELS = {
    "requests": ("key", "route", "status"),
    "tokens": ("key", "direction"),
    "refusals": ("key", "reason"),
}
STATUSES = (200, 400, 429, 500, 503)  # answers, the door's refusals, and an engine in trouble
OF_KEYS = ("body", "client_gone", "dead", "draining", "limit", "model")  # reasons of refusals
OF_NOBODY = ("no_key", "no_operator_token", "no_such_route", "origin", "websocket")
# More keys have no zeros: what a door tells has an end, whoever makes keys.
MOST_KEYS = 100

Values = Mapping[tuple[Any, ...], int]


def told(name: str, values: Values, ring: KeyRing, routes: tuple[str, ...]) -> Iterator[str]:
    """The lines of one counter: what was counted, and what may be. `routes` are those of users."""
    for labels, value in sorted(values.items()):
        yield _line(name, labels, value)
    # An application server does nothing else meanwhile, so they are written once.
    for labels, line in _zeros(ring, routes)[name].items():
        if labels not in values:
            yield line


@lru_cache(maxsize=2)
def _zeros(ring: KeyRing, routes: tuple[str, ...]) -> dict[str, dict[tuple[Any, ...], str]]:
    names = [key.name for key in ring.keys[:MOST_KEYS]]
    names += [ANYONE] if ring.open else []
    names += [OPERATOR] if ring.operator else []
    of: dict[str, list[tuple[Any, ...]]] = {
        "requests": list(product(names, routes, STATUSES)),
        "tokens": list(product(names, ("input", "output"))),
        "refusals": [*product(names, OF_KEYS), *product(("-",), OF_NOBODY)],
    }
    return {name: {each: _line(name, each, 0) for each in series} for name, series in of.items()}


def _line(name: str, labels: Iterable[Any], value: int) -> str:
    pairs = zip(LABELS[name], labels)  # noqa: B905  Python 3.10
    written = ",".join(f'{label}="{of}"' for label, of in pairs)
    return f"deployctl_door_{name}_total{{{written}}} {value}"
