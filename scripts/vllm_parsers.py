"""Writes deploy/engines/vllm-parsers.json: the tool-call and reasoning parsers of every release.

    python scripts/vllm_parsers.py [--sources DIR] [--out FILE]

The sources are those of scripts/vllm_flags.py. They are parsed, never imported: the tables of
parsers in `tool_parsers/__init__.py` and `reasoning/__init__.py`, and before those were there,
the `@ToolParserManager.register_module("hermes")` decorators.

Output: each parser's name with a list of periods: [first version, true] where it came, [first
version] where it was gone.
"""

import argparse
import ast
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vllm_flags import VERSIONS, fetch

_FOLDERS = {
    "tool": ("tool_parsers", "entrypoints/openai/tool_parsers"),
    "reasoning": ("reasoning",),
}
_TABLES = ("_TOOL_PARSERS_TO_REGISTER", "_REASONING_PARSERS_TO_REGISTER")


def parsers(package: Path, kind: str) -> list[str]:
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


def table(versions: tuple[str, ...], sources: Path) -> dict[str, Any]:
    """The document: each parser's periods, by kind."""
    document: dict[str, Any] = {"versions": list(versions)}
    for kind in _FOLDERS:
        by_version = {v: set(parsers(fetch(v, sources), kind)) for v in versions}
        periods: dict[str, list[list[Any]]] = {}
        for name in sorted(set().union(*by_version.values())):
            there = False
            for version in versions:
                if (name in by_version[version]) != there:
                    there = not there
                    periods.setdefault(name, []).append([version, True] if there else [version])
        document[kind] = periods
    return document


def text(document: dict[str, Any]) -> str:
    """The file: a line a parser."""
    parts = [f'"versions": {json.dumps(document["versions"])}']
    for kind in _FOLDERS:
        lines = [
            f"{json.dumps(name)}: {json.dumps(periods, separators=(',', ':'))}"
            for name, periods in document[kind].items()
        ]
        parts.append(f'"{kind}": {{\n' + ",\n".join(lines) + "\n}")
    return "{" + ",\n".join(parts) + "}\n"


def main() -> None:
    """Reads the command line and writes the file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--sources", type=Path, default=Path(tempfile.gettempdir()) / "vllm-src")
    parser.add_argument("--out", type=Path, default=Path("deploy/engines/vllm-parsers.json"))
    given = parser.parse_args()
    given.out.write_text(text(table(VERSIONS, given.sources)), encoding="utf-8")


if __name__ == "__main__":
    main()
