"""Values that fit each by itself and not together: the list in deploy/kubernetes/refusals.yaml.

The chart's templates/_checks.tpl is made from the same list (scripts/chart.py). It is evaluated
here too, so that a render is refused without helm, in the same words and all at once.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from deployctl import assets
from deployctl.render.values.base import Section

Condition = Mapping[str, Any]  # its language is described in the file


class Refusal(NamedTuple):
    """Why values do not fit together: the value to change, what is wrong, how to fix it."""

    path: str  # cache.accessMode
    message: str
    hint: str = ""

    def __str__(self) -> str:
        return f"{self.path}: {self.message}" + (f"; {self.hint}" if self.hint else "")


def rules() -> Any:
    """The file: named conditions, and refusals that use them."""
    return assets.table("deploy", "kubernetes", "refusals.yaml")


def refusals(values: Section) -> list[Refusal]:
    """Everything of the chart's `Values` that the chart would refuse, in its order."""
    document = values.model_dump(mode="json", by_alias=True)
    refused = []
    for rule in rules()["refusals"]:
        for item in _items(document, rule.get("each")):
            if _holds(rule["when"], document, item):
                value = item if "each" in rule else _value(document, rule["path"])
                path, message = (
                    rule[part].format(item=item, value=value) for part in ("path", "message")
                )
                refused.append(Refusal(path, message, rule.get("hint", "")))
    return refused


def _items(document: Mapping[str, Any], each: str | None) -> Iterator[str]:
    """What a rule is asked for: once, or for every key of a map or item of a list."""
    if each is None:
        yield ""
        return
    items = _value(document, each)
    for word in sorted(items) if isinstance(items, dict) else items:
        yield word.partition("=")[0]


def _value(document: Mapping[str, Any], path: str) -> Any:
    value: Any = document
    for key in path.split("."):
        value = value[key]
    return value


def _holds(condition: Condition, document: Mapping[str, Any], item: str) -> bool:
    return all(_is(key, test, document, item) for key, test in condition.items())


def _is(key: str, test: Any, document: Mapping[str, Any], item: str) -> bool:
    """Whether one line of a condition holds."""
    if key == "any":
        return any(_holds(condition, document, item) for condition in test)
    named = rules()["conditions"]
    if key in named:
        return _holds(named[key], document, item) is test
    value = item if key == "item" else _value(document, key)
    match test:
        case bool():
            return bool(value) is test
        case str():
            return bool(value == test)
        case {"not": text}:
            return bool(value != text)
        case {"like": pattern}:
            return _like(pattern, value)
        case {"unlike": pattern}:
            return not _like(pattern, value)
        case {"over": number}:
            return bool(value > number)
        case {"below": terms}:
            parts = (_value(document, t) if isinstance(t, str) else t for t in terms)
            return bool(value < sum(parts))
    raise ValueError(f"{key}: {test!r} is no condition")


def _like(pattern: str, value: str) -> bool:
    """As Go reads it: $ is the end, and no line's."""
    return re.search(re.sub(r"\$$", r"\\Z", pattern), value) is not None
