"""Whatever a file holds, there are findings and no traceback, soon."""

import copy
import json
import time

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from deployctl.boundedyaml import MAX_DEPTH, parse
from deployctl.checking import check_texts
from deployctl.checking.formats import junit, sarif
from unit.checking import test_custom, test_operated, test_queries

CUSTOM = [
    *(test_operated.RAY, test_operated.LLM, test_operated.ISVC, test_operated.WORKERS),
    *(test_custom.SCALER, test_custom.ROUTE, test_custom.MONITOR, test_custom.RULES),
]
JUNK = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=20),
    st.sampled_from(
        ["$X", "${X:-y}", "0.5", "1e999", "-1", "vllm serve", "--", "-tp", "100%", "'"]
    ),
    st.just([]),
    st.just({}),
    st.just([None, [None], {"a": None}]),
    st.just({"a": {"b": [1]}}),
)


def places(value, path=()):
    yield path
    if isinstance(value, dict):
        for key, item in value.items():
            yield from places(item, (*path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from places(item, (*path, index))


def put(document, path, value):
    value = copy.deepcopy(value)  # strategies hand out the same object again
    if not path:
        return value
    inner = document
    for part in path[:-1]:
        inner = inner[part]
    inner[path[-1]] = value
    return document


@given(data=st.data())
@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_no_value_anywhere_is_a_traceback(good_documents, data):
    documents = copy.deepcopy(good_documents)
    for _ in range(data.draw(st.integers(1, 4))):
        index = data.draw(st.integers(0, len(documents) - 1))
        path = data.draw(st.sampled_from(list(places(documents[index]))))
        documents[index] = put(documents[index], path, data.draw(JUNK))
    text = yaml.safe_dump_all(documents)
    report = check_texts({"m.yaml": text})
    assert sarif(report)["version"] == "2.1.0"
    assert junit(report, ["m.yaml"], strict=True).startswith("<?xml")


@given(data=st.data())
@settings(max_examples=40, deadline=None)
def test_no_value_in_a_custom_resource_is_a_traceback(data):
    documents = list(yaml.safe_load_all("---\n".join(CUSTOM)))
    for _ in range(data.draw(st.integers(1, 4))):
        index = data.draw(st.integers(0, len(documents) - 1))
        path = data.draw(st.sampled_from(list(places(documents[index]))))
        documents[index] = put(documents[index], path, data.draw(JUNK))
    check_texts({"m.yaml": yaml.safe_dump_all(documents)})


@given(data=st.data())
@settings(max_examples=30, deadline=None)
def test_no_value_in_a_dashboard_or_a_rule_is_a_traceback(data):
    panel = test_queries.dashboard(*(query for query, *_ in test_queries.BAD), unit="percent")
    held = {"apiVersion": "v1", "kind": "ConfigMap", "data": {"d": json.dumps(panel)}}
    documents = [panel, test_queries.rules(*test_queries.GOOD, record="vllm:own"), held]
    documents += [{"dashboard": panel}, {"model": panel["panels"][0], "title": "p"}]
    for _ in range(data.draw(st.integers(1, 4))):
        index = data.draw(st.integers(0, len(documents) - 1))
        path = data.draw(st.sampled_from(list(places(documents[index]))))
        documents[index] = put(documents[index], path, data.draw(JUNK))
    check_texts({"m.yaml": yaml.safe_dump_all(documents)})


def test_many_texts_of_many_values_end_soon():
    levels = "\n".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 8)}]" for n in range(1, 4))
    bomb = f"a0: &a0 [expr, expr]\n{levels}\ntitle: t\npanels: [*a3]\n"
    data = {f"d{number}.yaml": bomb for number in range(3000)}
    held = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": data}
    before = time.process_time()
    check_texts({"m.yaml": yaml.safe_dump(held)})
    assert time.process_time() - before < 60


@given(data=st.data())
@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_no_value_in_a_compose_file_is_a_traceback(data):
    from pathlib import Path

    golden = Path(__file__).resolve().parents[2] / "golden" / "render" / "awq-rtx4090.compose.yaml"
    project = yaml.safe_load(golden.read_text())
    for _ in range(data.draw(st.integers(1, 4))):
        path = data.draw(st.sampled_from(list(places(project))))
        changed = put(project, path, data.draw(JUNK))
        if not isinstance(changed, dict):
            break
        project = changed
    check_texts({"compose.yaml": yaml.safe_dump(project)})


@given(text=st.text(max_size=200))
@settings(max_examples=200, deadline=None)
def test_no_text_is_a_traceback(text):
    check_texts({"a.yaml": text}, named=["a.yaml"])


@pytest.mark.parametrize(
    ("text", "code", "line"),
    [
        ("a: [1\nb: 2\n", "yaml", 2),
        ("a: 1\n---\nb: c: d\n", "yaml", 3),
        ("a: 1\n---\n\nkey: x\nkey: y\n", "yaml-duplicate-key", 5),
        ("[" * 5000, "too-large", 1),
        ("- " * 5000, "too-large", 1),
        ("x: {{ .Values.x }}\n", "template", 1),
        ("a: &a [*a]\n", "yaml", 1),
        ("a: *nobody\n", "yaml", 1),
        ("? [a, b]\n: c\n", "yaml", 1),
        ("a: \x01\n", "yaml", 1),
        ("just a text", "unrecognised", 1),
    ],
)
def test_a_file_that_cannot_be_read_says_where(text, code, line, found):
    told = [f for f in found(text, named=["m.yaml"]) if f.code == code]
    assert [f.line for f in told] == [line]


def test_a_broken_document_hides_no_other(codes):
    good = "apiVersion: v1\nkind: Service\nmetadata: {name: vllm}\nspec: {ports: [{port: 80}]}\n"
    assert {"yaml", "service-named-vllm"} <= codes(f"a: [\n---\n{good}---\nb: ]\n")


def test_aliases_that_multiply_end_soon():
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    for n in range(1, 12):
        lines.append(f"a{n}: &a{n} [" + ", ".join([f"*a{n - 1}"] * 10) + "]")
    began = time.process_time()  # another process's turn is not ours
    report = check_texts({"bomb.yaml": "\n".join(lines)})
    assert [f.code for f in report.findings] == ["too-large"]
    assert time.process_time() - began < 5


def test_values_are_read_as_kubernetes_reads_them():
    text = (
        "a: 2020-01-01\nb: 22:22\nc: 0644\nd: yes\ne: !tag x\nf: ~\ng: .inf\nh: 1_000\n"
        "i: '5'\nj: <<\nk: {<<: {x: 1}, y: 2}\n"
    )
    (document,), troubles = parse(text)
    assert troubles == []
    assert document.data == {
        "a": "2020-01-01", "b": "22:22", "c": 0o644, "d": True, "e": "x", "f": None,
        "g": float("inf"), "h": 1000, "i": "5", "j": "<<", "k": {"x": 1, "y": 2},
    }  # fmt: skip
    assert document.lines[("k", "y")] == 11


def test_depth_is_allowed_up_to_the_limit():
    deep = "".join("  " * n + f"k{n}:\n" for n in range(MAX_DEPTH - 1))
    documents, troubles = parse(deep)
    assert len(documents) == 1
    assert not troubles


def test_control_characters_reach_no_terminal():
    from deployctl.cli.check.text import report_text

    text = 'apiVersion: v1\nkind: Service\nmetadata: {name: "\\e[2Jx\\nfix: none"}\n'
    told = report_text(check_texts({"m.yaml": text}), colour=False).plain
    assert "\x1b" not in told
    assert "\nfix: none" not in told


def test_every_rule_is_broken_by_some_test():
    """A rule that no test breaks may be one that cannot be broken."""
    from pathlib import Path

    from deployctl.checking import RULES

    tests = Path(__file__).resolve().parents[2]
    files = [*Path(__file__).parent.glob("*.py"), *(tests / "mistakes").glob("*.py")]
    said = "".join(file.read_text() for file in files)
    assert [code for code in RULES if f'"{code}"' not in said] == []
