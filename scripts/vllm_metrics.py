"""The metrics of a vLLM release, from its source, which is parsed and never imported.

Read are calls that make a Counter, Gauge or Histogram named `vllm:…`. A metric is `hidden` where
it is made only under `--show-hidden-metrics-for-version`, and `v0` where only the old engine makes
it; its kind is `any` where the source does not tell. Names are prometheus-client's own: without
the `_total` of counters and the `_bucket`, `_sum` and `_count` of histograms.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

_NAME = re.compile(r"vllm:[a-z0-9_]+")
KINDS = ("counter", "gauge", "histogram")
# Where metrics are made; the rest of the package makes none of its own.
FOLDERS = ("v1", "engine", "distributed", "entrypoints")


def metrics_of(package: Path) -> dict[str, dict[str, str]]:
    """The metrics of one release: name -> kind `t` and condition `if`."""
    made: dict[str, dict[str, str]] = {}
    mentioned: dict[str, dict[str, str]] = {}
    for folder in FOLDERS:
        for file in sorted((package / folder).glob("**/*.py")):
            text = file.read_text(encoding="utf-8")
            if "vllm:" not in text:
                continue
            tree = ast.parse(text)
            for name, kind, hidden in _calls(tree, hidden=False):
                condition = "v0" if folder == "engine" else "hidden" if hidden else ""
                plain = name.removesuffix("_total") if kind == "counter" else name
                if plain in made and (condition or not made[plain].get("if")):
                    continue  # made without a condition somewhere
                made[plain] = {"t": kind, **({"if": condition} if condition else {})}
            if folder == "v1":
                for name in _tables(tree):
                    mentioned[name.removesuffix("_total")] = {"t": "any"}
    return {**mentioned, **made}


def _calls(node: ast.AST, *, hidden: bool) -> Iterator[tuple[str, str, bool]]:
    if isinstance(node, ast.If):
        inside = hidden or "show_hidden_metrics" in ast.unparse(node.test)
        for child in node.body:
            yield from _calls(child, hidden=inside)
        for child in node.orelse:
            yield from _calls(child, hidden=hidden)
        return
    if isinstance(node, ast.Call):
        named = next((k.value for k in node.keywords if k.arg == "name"), None)
        name = _name(named or (node.args[0] if node.args else None))
        if name:
            maker = ast.unparse(node.func).lower()
            yield name, next((k for k in KINDS if k in maker), "gauge"), hidden
    for child in ast.iter_child_nodes(node):
        yield from _calls(child, hidden=hidden)


def _tables(tree: ast.AST) -> Iterator[str]:
    """Names kept in a table or a variable, from which a loop makes metrics of some kind."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Tuple) and node.elts:
            name = _name(node.elts[0])
        else:
            name = _name(node.value) if isinstance(node, ast.Assign) else None
        if name:
            yield name


def _name(node: ast.expr | None) -> str | None:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value if _NAME.fullmatch(node.value) else None
    return None
