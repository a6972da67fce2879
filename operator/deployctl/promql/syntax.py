"""What a query is made of."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple


class LabelMatcher(NamedTuple):
    """`label="value"`; without a label, what stands for matchers that others fill in."""

    label: str
    operator: str  # = != =~ !~
    value: str


@dataclass(frozen=True, slots=True)
class Literal:
    """A number, or a text."""

    text: str
    quoted: bool = False


@dataclass(frozen=True, slots=True)
class Selector:
    """`name{label="value"}[5m]`. A name with a `$` in it is a dashboard's to fill in."""

    name: str
    matchers: tuple[LabelMatcher, ...] = ()
    window: str | None = None  # what stands in brackets
    at: str = ""  # `offset 5m`, `@ start()`

    @property
    def variable(self) -> bool:
        """Whether a dashboard decides what it is called."""
        return not self.name or "$" in self.name or "[[" in self.name


@dataclass(frozen=True, slots=True)
class Subquery:
    """`(…)[5m:30s]`."""

    body: "Expression"
    window: str
    at: str = ""


@dataclass(frozen=True, slots=True)
class FunctionCall:
    """`rate(…)`."""

    name: str
    arguments: tuple["Expression", ...]


@dataclass(frozen=True, slots=True)
class Aggregation:
    """`sum by (label) (…)`."""

    name: str
    arguments: tuple["Expression", ...]
    labels: tuple[str, ...] = ()
    without: bool = False


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """`a / on(label) b`, `a > 1`, `a unless b`; of `-a` the left side is missing."""

    operator: str
    left: "Expression | None"
    right: "Expression"
    labels: tuple[str, ...] = ()  # of on, ignoring and group_left
    matching: str = ""  # `bool on (pod) group_left (node)`


Expression = Literal | Selector | Subquery | FunctionCall | Aggregation | Arithmetic


def below(node: Expression) -> tuple[Expression, ...]:
    """The parts that a part is made of."""
    if isinstance(node, FunctionCall | Aggregation):
        return node.arguments
    if isinstance(node, Subquery):
        return (node.body,)
    if isinstance(node, Arithmetic):
        return (node.right,) if node.left is None else (node.left, node.right)
    return ()


def walk(node: Expression) -> Iterator[tuple[Expression, tuple[Expression, ...]]]:
    """Every part of a query, each with those around it, the outermost first."""
    ahead: list[tuple[Expression, tuple[Expression, ...]]] = [(node, ())]
    while ahead:
        part, around = ahead.pop()
        yield part, around
        ahead += [(child, (*around, part)) for child in reversed(below(part))]
