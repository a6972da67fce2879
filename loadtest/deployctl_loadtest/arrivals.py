"""When requests are due: an endless schedule of absolute times. Pure.

One schedule serves a whole run, whatever the number of workers: worker `i` of `n` takes
every n-th arrival. So the gaps have the distribution asked for (of separate schedules only
Poisson ones add up to their own kind), and the same seed gives the same run.
"""

import itertools
import math
import random
from collections.abc import Iterator

KINDS = "constant, poisson or gamma:CV"


def burstiness(arrivals: str) -> float:
    """The coefficient of variation of the gaps: 0 for `constant`, 1 for `poisson`.

    Raises:
        ValueError: not one of KINDS.
    """
    kind, _, value = arrivals.partition(":")
    if kind == "gamma" and value:
        try:
            cv = float(value)
        except ValueError:
            cv = math.nan
        if not 0 < cv <= 100:
            raise ValueError(f"{arrivals!r}: CV is a number above 0, up to 100")
        return cv
    if arrivals == "constant":
        return 0.0
    if arrivals == "poisson":
        return 1.0
    raise ValueError(f"{arrivals!r} is not {KINDS}")


def gaps(arrivals: str, seed: str) -> Iterator[float]:
    """Endless gaps between arrivals, with a mean of 1. A `constant` schedule begins at once."""
    cv = burstiness(arrivals)
    if cv == 0:
        return itertools.chain([0.0], itertools.repeat(1.0))
    draw = random.Random(seed)  # noqa: S311 - no secret
    if cv == 1:
        return (draw.expovariate(1.0) for _ in itertools.count())
    shape = 1 / cv**2  # of a gamma distribution: its CV is 1/√shape, its mean shape × scale
    return (draw.gammavariate(shape, 1 / shape) for _ in itertools.count())


def schedule(rate: float, arrivals: str, seed: str, ramp_s: float = 0.0) -> Iterator[float]:
    """When each request is due, in seconds from the run's start.

    Args:
        rate: requests a second, once the ramp is over.
        ramp_s: seconds in which the rate grows evenly from 0.
    """
    return (_ramped(units, rate, ramp_s) for units in itertools.accumulate(gaps(arrivals, seed)))


def _ramped(units: float, rate: float, ramp_s: float) -> float:
    """When `units` requests are due: the inverse of the integral of the rate.

    In the ramp that integral is rate × t² ÷ (2 × ramp); after it, rate × (t − ramp ÷ 2).
    """
    if units < rate * ramp_s / 2:
        return math.sqrt(2 * ramp_s * units / rate)
    return ramp_s / 2 + units / rate
