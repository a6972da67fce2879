"""What a mistake is, and the list of all."""

from typing import NamedTuple


class Mistake(NamedTuple):
    """`also` are codes that the same mistake breaks as well, by its nature."""

    code: str
    name: str
    spoil: object
    also: frozenset = frozenset()


MISTAKES = []


def mistake(code, *also):
    """Registers a function that makes a mistake in the good set."""

    def register(function):
        MISTAKES.append(Mistake(code, function.__name__, function, frozenset(also)))
        return function

    return register
