"""A query's text from its parts, and the parts that queries of ours are made of."""

from dataclasses import replace

from deployctl.promql.parse import PRECEDENCE, UNARY
from deployctl.promql.syntax import (
    Aggregation,
    Arithmetic,
    Expression,
    FunctionCall,
    LabelMatcher,
    Literal,
    Selector,
    Subquery,
)


def write(node: Expression, least: int = 0) -> str:
    """The query as text, on one line; in brackets where it binds less tightly than `least`."""
    if isinstance(node, Literal):
        return _quoted(node.text) if node.quoted else node.text
    if isinstance(node, Selector):
        matchers = ",".join(map(_matcher, node.matchers))
        window = f"[{node.window}]" if node.window is not None else ""
        return f"{node.name}{f'{{{matchers}}}' if matchers else ''}{window} {node.at}".strip()
    if isinstance(node, Subquery):
        return f"{write(node.body, 7)}[{node.window}] {node.at}".strip()
    if isinstance(node, Arithmetic):
        return _operation(node, least)
    arguments = ", ".join(map(write, node.arguments))
    if isinstance(node, FunctionCall):
        return f"{node.name}({arguments})"
    word = "without" if node.without else "by"
    labels = f" {word} ({', '.join(node.labels)}) " if node.labels or node.without else ""
    return f"{node.name}{labels}({arguments})"


def _operation(node: Arithmetic, least: int) -> str:
    if node.left is None:
        binds = UNARY
        text = f"{node.operator}{write(node.right, UNARY + 1)}"
    else:
        binds = PRECEDENCE[node.operator]
        right = node.operator == "^"
        words = f"{node.operator} {node.matching}".strip()
        text = f"{write(node.left, binds + right)} {words} {write(node.right, binds + (not right))}"
    return f"({text})" if binds < least else text


def _matcher(matcher: LabelMatcher) -> str:
    if not matcher.label:
        return matcher.value
    return f"{matcher.label}{matcher.operator}{_quoted(matcher.value)}"


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def over(function: str, series: Selector, window: str) -> FunctionCall:
    """A function of a series over a window such as `5m`: `increase`, `min_over_time`."""
    return FunctionCall(function, (replace(series, window=window),))


def rate(series: Selector, window: str) -> FunctionCall:
    """How much a counter grows in a second, over a window such as `5m`."""
    return over("rate", series, window)


def total(inner: Expression, *by: str) -> Aggregation:
    """The sum, of all or by labels."""
    return Aggregation("sum", (inner,), by)


def greatest(inner: Expression, *by: str) -> Aggregation:
    """The greatest, of all or by labels."""
    return Aggregation("max", (inner,), by)


def past(series: Selector, ago: str) -> Selector:
    """A series as it was a while ago."""
    return replace(series, at=f"offset {ago}")


def quantile(share: float, buckets: Selector, window: str, *by: str) -> FunctionCall:
    """The value that a share (0 to 1) of what a histogram observed in a window stayed below."""
    inner = total(rate(buckets, window), "le", *by)
    return FunctionCall("histogram_quantile", (Literal(f"{share:g}"), inner))


def times(factor: float, inner: Expression) -> Arithmetic:
    """A multiple."""
    return Arithmetic("*", Literal(f"{factor:g}"), inner)


def ratio(part: Expression, whole: Expression) -> Arithmetic:
    """A part by its whole: no value, rather than NaN, where there was none of either."""
    return Arithmetic("/", part, Arithmetic(">", whole, Literal("0")))


def above(inner: Expression, limit: float) -> Arithmetic:
    """What is more than a limit."""
    return Arithmetic(">", inner, Literal(f"{limit:g}"))


def compare(inner: Expression, operator: str, limit: float) -> Arithmetic:
    """What is so against a limit: `==`, `>=`, `<`."""
    return Arithmetic(operator, inner, Literal(f"{limit:g}"))


def both(left: Expression, right: Expression, on: str = "") -> Arithmetic:
    """The left side, where the right side has a value with the same labels; `on` says which labels,
    as `on ()`."""
    return Arithmetic("and", left, right, (), on)
