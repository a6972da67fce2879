"""Real mistakes, one at a time, to be made in a good set of manifests.

Most are from issues of charts and operators in the field; a comment says what happened there.
"""

from mistakes.record import MISTAKES, Mistake

__all__ = ["MISTAKES", "Mistake"]

from mistakes import around, serving  # noqa: F401  importing them fills the list
