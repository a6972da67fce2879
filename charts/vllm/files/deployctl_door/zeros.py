"""Series that are there before anything has happened, at 0.

Prometheus knows of a counter that appears only what it was when it appeared: whatever brought it
there is invisible to `rate` and `increase`, a whole burst of errors, too. So everything that may be
counted is told from the first scrape on, a new key's from the first after it was added.
"""

from collections.abc import Sequence
from itertools import product

from deployctl_door.keys import ANYONE, OPERATOR, KeyRing

STATUSES = (200, 400, 429, 500, 503)  # answers, the door's refusals, and an engine in trouble
OF_KEYS = ("body", "client_gone", "draining", "limit", "model")  # reasons of refusals
OF_NOBODY = ("no_key", "no_operator_token", "no_such_route", "websocket")
# More keys have no zeros: what a door tells has an end, whoever makes keys.
MOST_KEYS = 100

Requests = dict[tuple[str, str, int], int]
Pairs = dict[tuple[str, str], int]


def of(ring: KeyRing, routes: Sequence[str]) -> tuple[Requests, Pairs, Pairs]:
    """Requests by key, route and status; tokens by key and direction; refusals by key and reason.
    `routes` are those of users."""
    names = [key.name for key in ring.keys[:MOST_KEYS]]
    names += [ANYONE] if ring.open else []
    names += [OPERATOR] if ring.operator else []
    refusals = dict.fromkeys(product(names, OF_KEYS), 0)
    refusals.update(dict.fromkeys((("-", reason) for reason in OF_NOBODY), 0))
    return (
        dict.fromkeys(product(names, routes, STATUSES), 0),
        dict.fromkeys(product(names, ("input", "output")), 0),
        refusals,
    )
