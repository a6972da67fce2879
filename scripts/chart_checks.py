"""Writes the chart's templates/_checks.tpl from deploy/kubernetes/refusals.yaml, for chart.py."""

import json
import re
from typing import Any

from deployctl.render.values import Values
from deployctl.render.values.refusals import rules

HEADER = """\
{{/*
Made by scripts/chart.py from deploy/kubernetes/refusals.yaml; `make docs` rewrites it.
Values that fit each by itself and not together: every refusal says where and how to fix it, and
all are told at once.
*/}}"""
SEVERAL = '(printf "the values are refused for %d reasons:\\n  %s" (len $refused) $lines)'


def template() -> str:
    """The text of charts/vllm/templates/_checks.tpl."""
    named, refusals = rules()["conditions"], rules()["refusals"]
    lines = [
        HEADER,
        _tag('define "vllm.checks"'),
        _tag("$v := .Values"),
        *(_tag(f"${name} := {_bare(condition)}") for name, condition in named.items()),
        _tag("$refused := list"),
        *(line for rule in refusals for line in _refusal(rule)),
        _tag('$lines := join "\\n  " $refused'),
        *_block("if eq (len $refused) 1", [_tag("fail $lines")]),
        *_block("if $refused", [_tag(f"fail {SEVERAL}")]),
        _tag("end"),
    ]
    return "\n".join(lines) + "\n"


def _tag(text: str) -> str:
    return "{{- " + text + " }}"


def _block(begin: str, lines: list[str]) -> list[str]:
    return [_tag(begin), *lines, _tag("end")]


def _refusal(rule: dict[str, Any]) -> list[str]:
    """Adds one refusal to those that there are."""
    each = rule.get("each")
    said = f"{rule['path']}: {rule['message']}" + (f"; {rule['hint']}" if "hint" in rule else "")
    text = json.dumps(re.sub(r"{(item|value)}", "%s", said.replace("%", "%%")))
    shown = ["$item" if each else _at(rule["path"]) for _ in re.findall(r"{(item|value)}", said)]
    message = f"(printf {' '.join([text, *shown])})"
    lines = _block(f"if {_bare(rule['when'])}", [_tag(f"$refused = append $refused {message}")])
    if each is None:
        return lines
    if isinstance(_default(each), dict):
        return _block(f"range $item, $_ := {_at(each)}", lines)
    return _block(f"range {_at(each)}", [_tag('$item := splitList "=" . | first'), *lines])


def _bare(condition: dict[str, Any]) -> str:
    return _expression(condition).removeprefix("(").removesuffix(")")


def _expression(condition: dict[str, Any]) -> str:
    """A condition as Helm writes it: one value, or one call in parentheses."""
    terms = [_term(key, test) for key, test in condition.items()]
    return terms[0] if len(terms) == 1 else f"(and {' '.join(terms)})"


def _term(key: str, test: Any) -> str:
    if key == "any":
        return f"(or {' '.join(map(_expression, test))})"
    named = key == "item" or key in rules()["conditions"]
    value = f"${key}" if named else _at(key)
    match test:
        case bool():
            return value if test else f"(not {value})"
        case str():
            return f"(eq {value} {json.dumps(test)})"
        case {"not": text}:
            return f"(ne {value} {json.dumps(text)})"
        case {"like": pattern}:
            return f"(regexMatch {json.dumps(pattern)} {value})"
        case {"unlike": pattern}:
            return f"(not (regexMatch {json.dumps(pattern)} {value}))"
        case {"over": number}:
            return f"(gt (int64 {value}) {number})"
        case {"below": terms}:
            parts = " ".join(_at(term) if isinstance(term, str) else str(term) for term in terms)
            return f"(lt (int64 {value}) (add {parts}))"
    raise ValueError(f"{key}: {test!r} is no condition")


def _at(path: str) -> str:
    """A value in a template.

    Raises:
        KeyError: the chart has no such value.
    """
    _default(path)
    return f"$v.{path}"


def _default(path: str) -> Any:
    value: Any = Values().model_dump(mode="json", by_alias=True)
    for key in path.split("."):
        value = value[key]
    return value
