"""A query's text taken apart, with Grafana's variables where people put them.

Written for it: the parser that PyPI has (promql-parser 0.12) refuses variables, takes seconds for
5,000 brackets, and ends the process for 100,000.
"""

import re
from dataclasses import replace
from typing import NamedTuple

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

MAX_QUERY = 10_000  # characters; the longest of the dashboards that we know has 1,500
MAX_DEPTH = 100
MAX_WORDS = 2_000

_VARIABLE = r"\$\{[^}]*\}|\$\w+|\[\[\w+(?::\w+)?\]\]"
_TOKEN = re.compile(
    rf"""(?P<space>\s+|\#[^\n]*)
    |(?P<number>(?:\d+(?:ms|[smhdwy]))+\b|0[xX][0-9a-fA-F]+|(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)
    |(?P<name>(?:[A-Za-z_:]|{_VARIABLE})(?:[A-Za-z0-9_:]|{_VARIABLE})*)
    |(?P<text>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|`[^`]*`)
    |(?P<window>\[(?:\$\{{[^}}]*\}}|\[\[\w+\]\]|[^\]\[])*\])
    |(?P<sign>=~|!~|!=|==|>=|<=|[-+*/%^<>=(){{}},@])""",
    re.VERBOSE | re.DOTALL,
)
_AGGREGATIONS = frozenset(
    {
        *("sum", "avg", "max", "min", "count", "count_values", "quantile", "stddev", "stdvar"),
        *("group", "topk", "bottomk", "limitk", "limit_ratio"),
    }
)
PRECEDENCE = {
    "or": 1,
    **dict.fromkeys(("and", "unless"), 2),
    **dict.fromkeys(("==", "!=", "<=", "<", ">=", ">"), 3),
    **dict.fromkeys(("+", "-"), 4),
    **dict.fromkeys(("*", "/", "%", "atan2"), 5),
    "^": 6,
}  # how tightly operators bind
UNARY = 5  # -a ^ b is -(a ^ b), -a * b is (-a) * b
_ESCAPE = re.compile(
    r"\\(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U(000[0-9a-fA-F]{5}|0010[0-9a-fA-F]{4})|([0-3][0-7]{2})|(.))",
    re.DOTALL,
)
_SPOKEN = dict(zip("abfnrtv", "\a\b\f\n\r\t\v", strict=True))  # as Go's strings have them


class _Token(NamedTuple):
    kind: str
    text: str


def parse(query: str) -> Expression:
    """Takes a query apart.

    Raises:
        ValueError: it is no PromQL, too long or nested too deeply; the message says where.
    """
    if len(query) > MAX_QUERY:
        raise ValueError(f"it is longer than {MAX_QUERY} characters")
    reader = _Reader(_tokens(query))
    found = reader.expression(0, 0)
    if reader.token.kind != "end":
        raise reader.unexpected()
    return found


def _tokens(query: str) -> list[_Token]:
    tokens: list[_Token] = []
    at = 0
    while at < len(query):
        match = _TOKEN.match(query, at)
        if match is None:
            raise ValueError(f"{query[at : at + 20]!r} is not understood")
        at = match.end()
        if match.lastgroup != "space":
            tokens.append(_Token(str(match.lastgroup), match[0]))
        if len(tokens) > MAX_WORDS:
            raise ValueError(f"it has more than {MAX_WORDS} words")
    return [*tokens, _Token("end", "")]


class _Reader:
    """Reads tokens from left to right, one ahead."""

    def __init__(self, tokens: list[_Token]) -> None:
        self._tokens = tokens
        self._at = 0

    @property
    def token(self) -> _Token:
        """The one that is next."""
        return self._tokens[self._at]

    def unexpected(self) -> ValueError:
        """What is wrong with the next one."""
        return ValueError(
            f"{self.token.text[:40]!r} is not expected there, or the query ends early"
        )

    def expression(self, least: int, depth: int) -> Expression:
        """What binds at least as tightly as `least`."""
        if depth > MAX_DEPTH:
            raise ValueError(f"it is nested more than {MAX_DEPTH} deep")
        if self._taken("+") or self._taken("-"):
            sign = self._tokens[self._at - 1].text
            left: Expression = Arithmetic(sign, None, self.expression(UNARY + 1, depth + 1))
        else:
            left = self._postfixed(self._primary(depth))
        while True:
            operator = self.token.text.lower()
            binds = PRECEDENCE.get(operator, -1) if self.token.kind in ("name", "sign") else -1
            if binds < max(least, 1):
                return left
            self._next()
            labels, matching = self._matching()
            right = self.expression(binds if operator == "^" else binds + 1, depth + 1)
            left = Arithmetic(operator, left, right, labels, matching)

    def _next(self) -> _Token:
        token = self.token
        self._at += token.kind != "end"
        return token

    def _taken(self, text: str) -> bool:
        """Whether the next is that sign or word; it is passed then."""
        found = self.token.kind in ("name", "sign") and self.token.text.lower() == text
        self._at += found
        return found

    def _expect(self, text: str) -> None:
        if not self._taken(text):
            raise self.unexpected()

    def _matching(self) -> tuple[tuple[str, ...], str]:
        """`bool on(a) group_left(b)` after an operator: the labels it names, and all of it."""
        labels: tuple[str, ...] = ()
        words: list[str] = []
        for word in ("bool", "on", "ignoring", "group_left", "group_right"):
            if self._taken(word):
                words.append(word)
                if word != "bool" and self.token.text == "(":
                    named = self._labels()
                    words.append(f"({', '.join(named)})")
                    labels += named
        return labels, " ".join(words)

    def _labels(self) -> tuple[str, ...]:
        self._expect("(")
        labels: list[str] = []
        while not self._taken(")"):
            if self.token.kind not in ("name", "text"):
                raise self.unexpected()
            labels.append(_plain(self._next()))
            if not self._taken(",") and self.token.text != ")":
                raise self.unexpected()
        return tuple(labels)

    def _primary(self, depth: int) -> Expression:
        token = self.token
        if token.kind in ("number", "text"):
            return Literal(_plain(self._next()), token.kind == "text")
        if self._taken("("):
            inner = self.expression(0, depth + 1)
            self._expect(")")
            return inner
        if token.text == "{":
            return self._selector("")
        if token.kind != "name":
            raise self.unexpected()
        self._next()
        word = token.text.lower()
        if word in _AGGREGATIONS and self.token.text.lower() in ("(", "by", "without"):
            return self._aggregation(word, depth)
        if self.token.text == "(":
            return FunctionCall(token.text, self._arguments(depth))
        if word in ("inf", "nan"):
            return Literal(word)
        return self._selector(token.text)

    def _aggregation(self, name: str, depth: int) -> Aggregation:
        labels, without = self._grouping()
        arguments = self._arguments(depth)
        if not labels and not without:
            labels, without = self._grouping()
        return Aggregation(name, arguments, labels, without)

    def _grouping(self) -> tuple[tuple[str, ...], bool]:
        if self._taken("by"):
            return self._labels(), False
        if self._taken("without"):
            return self._labels(), True
        return (), False

    def _arguments(self, depth: int) -> tuple[Expression, ...]:
        self._expect("(")
        arguments: list[Expression] = []
        while not self._taken(")"):
            arguments.append(self.expression(0, depth + 1))
            if not self._taken(",") and self.token.text != ")":
                raise self.unexpected()
        return tuple(arguments)

    def _selector(self, name: str) -> Selector:
        matchers: list[LabelMatcher] = []
        if self._taken("{"):
            while not self._taken("}"):
                matcher = self._matcher()
                if matcher.label == "__name__" and matcher.operator == "=":
                    name = matcher.value
                else:
                    matchers.append(matcher)
                if not self._taken(",") and self.token.text != "}":
                    raise self.unexpected()
        return Selector(name, tuple(matchers))

    def _matcher(self) -> LabelMatcher:
        """`label="value"`; a name in quotes, or a variable that stands for matchers."""
        if self.token.kind not in ("name", "text"):
            raise self.unexpected()
        label = self._next()
        if self.token.text in (",", "}") and (label.kind == "text" or "$" in label.text):
            return LabelMatcher("__name__" if label.kind == "text" else "", "=", _plain(label))
        operator = self._next().text
        if operator not in ("=", "!=", "=~", "!~") or self.token.kind not in ("text", "name"):
            raise self.unexpected()
        return LabelMatcher(_plain(label), operator, _plain(self._next()))

    def _postfixed(self, inner: Expression) -> Expression:
        """With its window, `offset` and `@`."""
        while True:
            if self.token.kind == "window":
                window = self._next().text[1:-1].strip()
                if ":" in re.sub(r"\$\{[^}]*\}", "", window):
                    inner = Subquery(inner, window)
                elif isinstance(inner, Selector) and inner.window is None:
                    inner = replace(inner, window=window)
                else:
                    raise ValueError(f"[{window[:40]}] stands after something that has no range")
            elif self.token.text.lower() in ("offset", "@"):
                at = self._moment()
                if not isinstance(inner, Selector | Subquery):
                    raise ValueError(
                        f"{at[:40]} stands after something that has no time of its own"
                    )
                inner = replace(inner, at=f"{inner.at} {at}".strip())
            else:
                return inner

    def _moment(self) -> str:
        """`offset -5m`, `@ start()`."""
        word = self._next().text.lower()
        sign = "-" if self._taken("-") else ""
        if self.token.kind not in ("number", "name"):
            raise self.unexpected()
        moment = self._next().text
        if self._taken("("):
            self._expect(")")
            moment += "()"
        return f"{word} {sign}{moment}"


def _plain(token: _Token) -> str:
    if token.kind != "text":
        return token.text
    inner = token.text[1:-1]
    return inner if token.text[0] == "`" else _ESCAPE.sub(_unescaped, inner)


def _unescaped(found: re.Match[str]) -> str:
    *hexadecimal, octal, other = found.groups()
    code = next(filter(None, hexadecimal), None)
    if code is not None:
        return chr(int(code, 16))
    return chr(int(octal, 8)) if octal else _SPOKEN.get(other, other)
