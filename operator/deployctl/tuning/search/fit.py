"""Fit: the load at which an SLO turns, from shares of good requests at several loads. Pure.

The share falls with load as a logistic curve of the load's logarithm; where it crosses the share
at which the SLO turns is the limit. A curve uses every window, also those whose own interval is
too wide to say yes or no, and tells how uncertain it is. Newton's method on the penalized
likelihood (D. Firth, Biometrika 80 (1993): half a request is added on either side); the error is
from the curvature there (Laplace). SciPy's minimizers come to the same in 1.8 ms in place of
0.06 ms, and a search fits thousands of times.
"""

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from deployctl.tuning.search import measures
from deployctl.tuning.trial import Load, Observation

# How steep shares fall, before anything was seen: from the gentle 3 of an ITL that grows with
# load to the 120 of a queue that overflows within 5% of load.
STEEP, STEEP_SPREAD = math.log(12), 1.2
LEARNED_SPREAD = 0.8  # configurations of one service resemble each other
_FAR = 0.25
_FAILED = 50.0  # requests that a failure counts for
_WIDE = 1.5  # prior spread of the limit's logarithm around what was measured
_ROUNDS = 25


class Fitted(NamedTuple):
    """Logarithms: of the limit, its standard error, and of the steepness."""

    limit: float
    error: float
    steep: float
    steep_error: float


class Share(NamedTuple):
    """Good requests of so many that are independent, at the logarithm of a load."""

    at: float
    good: float
    total: float


def shares(seen: Sequence[Observation], turns: float) -> tuple[Share, ...]:
    """What windows say of the SLO. Where it was decided otherwise (a queue that grows says no
    though all were good), the decision counts."""
    found = []
    for o in seen:
        count = worth(o)
        if not count:
            found.append(Share(math.log(o.load.value), 0.0, 20.0))  # nothing came to an end
            continue
        part = measures.share(o)
        if o.held == "yes":
            part = max(part, turns + 0.2 * (1 - turns))
        elif o.held == "no":
            part = min(part, turns - 0.04)
        # Far beyond the limit shares fall as queues grow, which says little of where it is.
        part = max(part, turns - _FAR)
        found.append(Share(math.log(o.load.value), part * count + 0.5, count + 1))
    return tuple(found)


def broken(load: Load, turns: float) -> Share:
    """A load at which the engine failed: as one at which few requests were good."""
    return Share(math.log(load.value), (turns - _FAR) * _FAILED, _FAILED)


def worth(o: Observation) -> float:
    """How many independent requests a window is worth, by the interval of its goodput."""
    count = measures.requests(o)
    rate = measures.ended(o)
    if not count or not rate:
        return float(count)
    part, low, high = (min(1.0, v / rate) for v in (o.goodput_per_s, o.goodput_low, o.goodput_high))
    if 0.03 < part < 0.97 and high > low:
        return min(float(count), max(1.0, part * (1 - part) * (3.92 / (high - low)) ** 2))
    edge = 1 - low if part >= 0.5 else high
    return min(float(count), max(1.0, 3.84 / edge - 3.84)) if edge > 0 else float(count)


@lru_cache(maxsize=4096)  # a search asks again after every step, mostly of what it knows
def fit(data: tuple[Share, ...], turns: float, steep: float, spread: float) -> Fitted:
    """The limit. `steep` and `spread`: what is believed of the steepness (logarithm)."""
    tau = math.log(turns / (1 - turns))
    centre = sum(s.at for s in data) / len(data)
    x, c = _first(data, turns), steep
    value = _score(data, tau, x, c, centre, steep, spread)
    inverse = (1.0, 0.0, 1.0)
    for _ in range(_ROUNDS):
        gx, gc = (centre - x) / _WIDE**2, (steep - c) / spread**2
        hxx, hxc, hcc = 1 / _WIDE**2, 0.0, 1 / spread**2
        b = math.exp(c)
        for s in data:
            p = _logistic(tau - b * (s.at - x))
            rest, weight = s.good - s.total * p, s.total * p * (1 - p)
            dx, dc = b, -b * (s.at - x)
            gx, gc = gx + rest * dx, gc + rest * dc
            hxx, hxc, hcc = hxx + weight * dx * dx, hxc + weight * dx * dc, hcc + weight * dc * dc
        det = hxx * hcc - hxc * hxc
        inverse = (hcc / det, -hxc / det, hxx / det)
        sx, sc = inverse[0] * gx + inverse[1] * gc, inverse[1] * gx + inverse[2] * gc
        scale = min(1.0, 0.5 / max(abs(sx), 1e-12), 1.0 / max(abs(sc), 1e-12))
        while scale > 1e-4:
            now = _score(data, tau, x + scale * sx, c + scale * sc, centre, steep, spread)
            if now >= value:
                break
            scale /= 2
        else:
            break
        x, c, gained, value = x + scale * sx, c + scale * sc, now - value, now
        if gained < 1e-7:
            break
    return Fitted(x, math.sqrt(inverse[0]), c, math.sqrt(inverse[2]))


def _first(data: Sequence[Share], turns: float) -> float:
    """Between the highest load that looks good and the lowest that does not."""
    good = [s.at for s in data if s.good >= turns * s.total]
    bad = [s.at for s in data if s.good < turns * s.total]
    if good and bad:
        return (max(good) + min(bad)) / 2
    return max(good) + 0.1 if good else min(bad) - 0.1


def _score(
    data: Sequence[Share],
    tau: float,
    x: float,
    c: float,
    centre: float,
    steep: float,
    spread: float,
) -> float:
    b = math.exp(min(c, 8.0))
    total = -((x - centre) ** 2) / (2 * _WIDE**2) - (c - steep) ** 2 / (2 * spread**2)
    for s in data:
        z = tau - b * (s.at - x)
        total += s.good * z - s.total * (z + math.log1p(math.exp(-z)) if z > -30 else 0.0)
    return total


def _logistic(z: float) -> float:
    return 1 / (1 + math.exp(-z)) if z > -700 else 0.0
