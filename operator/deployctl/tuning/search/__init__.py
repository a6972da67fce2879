"""Search: what to try next, and what may be said in the end. Pure: no clock, no network, no luck.

`strategy` gives the Strategy of a problem. Its state follows from the seed and from what it was
told: a search that is told the same goes on the same.
"""

from deployctl.tuning.search.stepwise import Stepwise
from deployctl.tuning.trial import Problem, Strategy


def strategy(problem: Problem) -> Strategy:
    """The search that deployctl uses."""
    return Stepwise(problem)


__all__ = ["strategy"]
