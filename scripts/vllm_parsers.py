"""The tool-call and reasoning parsers of a vLLM release, from its source, which is never imported.

Read are the tables of parsers in `tool_parsers/__init__.py` and `reasoning/__init__.py`, and before
those were there, the `@ToolParserManager.register_module("hermes")` decorators.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

_FOLDERS = {
    "tool": ("tool_parsers", "entrypoints/openai/tool_parsers"),
    "reasoning": ("reasoning",),
}
_TABLES = ("_TOOL_PARSERS_TO_REGISTER", "_REASONING_PARSERS_TO_REGISTER")


def parsers_of(package: Path, kind: str) -> list[str]:
    """The names of one release's parsers; `kind` is tool or reasoning."""
    found: set[str] = set()
    for folder in _FOLDERS[kind]:
        for file in sorted((package / folder).glob("*.py")):
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                found.update(_table(node))
                found.update(_decorated(node))
    return sorted(found)


def _table(node: ast.AST) -> Iterator[str]:
    """`_TOOL_PARSERS_TO_REGISTER = {"hermes": (…), …}`."""
    if not (isinstance(node, ast.Assign) and isinstance(node.value, ast.Dict)):
        return
    if any(isinstance(t, ast.Name) and t.id in _TABLES for t in node.targets):
        yield from (str(key.value) for key in node.value.keys if isinstance(key, ast.Constant))


def _decorated(node: ast.AST) -> Iterator[str]:
    """`@ToolParserManager.register_module("hermes")`, or with a list of names."""
    if not isinstance(node, ast.ClassDef):
        return
    for call in node.decorator_list:
        if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute)):
            continue
        if call.func.attr == "register_module":
            given = [*call.args, *(k.value for k in call.keywords if k.arg == "name")]
            names = [e for g in given for e in (g.elts if isinstance(g, ast.List) else [g])]
            yield from (str(n.value) for n in names if isinstance(n, ast.Constant))
