"""Hostile values: refused by the schema and by our model alike, or nothing but text in what comes
out."""

import json
import re

import jsonschema
import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from chart.helmtool import CHART, RefusedError, parsed, template
from deployctl.render.values import Values

NASTY = [
    "a\nhostNetwork: true",
    "x\n---\nkind: Pod\nmetadata: {name: evil}",
    '"}}, {"privileged": true',
    "' ; touch /tmp/pwned; '",
    "{{ .Values.apiKey.value }}",
    '{{ fail "x" }}',
    "$(HOME)",
    "$$(HOME)",
    "$",
    "`id`",
    "- dash",
    "a: b # c",
    "*alias",
    "&anchor",
    "!!python/object",
    "%",
    "no",
    "null",
    "~",
    "1e3",
    "0o17",
    "12:30",
    "2026-11-24",
    "back\\slash",
    " blanks ",
    "tab\there",
    "<a href='x'>&amp;",
    "naïve-模型-🚀",
    "\u2028line\u0085",
    "a" * 5000,
    "../../etc/passwd",
    "=cmd",
]
texts = st.sampled_from(NASTY) | st.text(
    st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=30
)
values = texts | st.sampled_from(
    [None, True, -1, 0, 1, 17, 2**31, 2**63, 1.5, [], {}, ["x"], {"a": "b"}, "", "x", "5Gi"]
)


def leaves(model, prefix=()):
    """Every place for a value, as a path of keys."""
    for name, field in model.model_fields.items():
        path = (*prefix, field.alias or name)
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield path
            yield from leaves(kind, path)
        else:
            yield path


PATHS = sorted(leaves(Values))


def placed(path, value):
    for key in reversed(path):
        value = {key: value}
    return value


def _pattern(_validator, pattern, instance, _schema):
    # Helm's Go and pydantic's Rust end at the end; Python's $ lets a newline through.
    if isinstance(instance, str) and not re.search(pattern.replace("$", r"\Z"), instance):
        yield jsonschema.ValidationError(f"{instance!r} does not match")


Strict = jsonschema.validators.extend(jsonschema.Draft7Validator, {"pattern": _pattern})
SCHEMA = Strict(json.loads((CHART / "values.schema.json").read_text()))


DEFAULTS = Values().model_dump(mode="json", by_alias=True)


def coalesced(defaults, document):
    """What Helm holds against the schema: the defaults below, and null takes them away."""
    out = dict(defaults)
    for key, value in document.items():
        if value is None:
            out.pop(key, None)
        elif isinstance(value, dict) and isinstance(out.get(key), dict):
            out[key] = coalesced(out[key], value)
        else:
            out[key] = value
    return out


def model_takes(document):
    try:
        Values.model_validate(document)
    except ValidationError:
        return False
    return True


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(PATHS), values)
@example(("labels",), {"a b": "c"})
@example(("unknown",), 1)
@example(("engine", "unknown"), 1)
@example(("engine", "env"), {"A": "b\n"})
def test_the_schema_and_the_model_say_the_same(path, value):
    document = placed(path, value)
    assert SCHEMA.is_valid(coalesced(DEFAULTS, document)) is model_takes(document)


# Every place that takes free text. Each is filled with the same.
def filled(text):
    return {
        "engine": {"args": ["--chat-template", text], "env": {"WORD": text}},
        "model": {"id": text, "revision": text, "claim": "models", "subPath": text},
        "service": {"annotations": {"note": text}},
        "cache": {"annotations": {"note": text}},
        "ingress": {"enabled": True, "host": "a.example", "tlsSecret": "tls",
                    "annotations": {"note": text}},
        "scheduling": {
            "tolerations": [{"key": text, "operator": "Equal", "value": text}],
            "affinity": {"note": text},
        },
        "alerts": {"groups": [{"name": text, "rules": []}]},
        "dashboards": {"files": {"a.json": text}},
        "autoscaling": {"kind": "keda", "prometheusUrl": "http://p", "prometheusSelector": text},
    }  # fmt: skip


def plain(node, text):
    """The objects with the text, wherever it is, replaced by X."""
    if isinstance(node, dict):
        return {plain(key, text): plain(item, text) for key, item in node.items()}
    if isinstance(node, list):
        return [plain(item, text) for item in node]
    if isinstance(node, str):
        return (
            "X" if node in (text, text.replace("$", "$$")) else node.replace(f"{{{text}}}", "{X}")
        )
    return node


@pytest.fixture(scope="module")
def harmless():
    return plain(parsed(template(filled("harmless"))), "harmless")


@pytest.mark.helm
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(texts)
def test_free_text_is_text(harmless, text):
    assume(plain(harmless, text) == harmless)  # it is not among the chart's own words
    document = filled(text)
    if not model_takes(document):
        with pytest.raises(RefusedError):
            template(document)
        # What a map or an argument may hold, it may hold all the same.
        for place in ("model", "scheduling", "autoscaling"):
            document[place] = filled("harmless")[place]
    if not model_takes(document):  # no service has such an environment either
        return
    assert plain(plain(parsed(template(document)), text), "harmless") == harmless


@pytest.mark.helm
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from(PATHS), values)
@example(("alerts",), None)
@example(("networkPolicy", "prometheus"), None)
def test_one_wrong_value_gives_a_message_or_a_manifest(path, value):
    document = placed(path, value)
    try:
        found = parsed(template(document))
    except RefusedError as refusal:
        message = str(refusal)
        found = None
    if found is None:
        assert "values don't meet" in message or "execution error" in message
        return
    assert model_takes(document)
    assert ("Deployment", "qwen") in found or path == ("name",)
