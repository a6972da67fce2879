"""The flags of a vLLM release, from its source, which is parsed and never imported.

Read are `add_argument` calls of engine/arg_utils.py and of the server's cli_args.py, the
dataclasses of config/ that give types and defaults, and the frontend's own dataclasses.

Of each flag: `t` its type, `d` its default, `c` what it takes, `a` other names, and `on` where a
switch can only be turned on (argparse's store_true) and has no form that begins with --no-.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

# Parsers that turn text into numbers or structures.
_CALLABLES = {
    "int": "int",
    "float": "float",
    "str": "str",
    "human_readable_int": "int",
    "human_readable_int_or_auto": "int",
    "loads": "json",
    "json.loads": "json",
    "parse_dataclass": "json",
    "nullable_kvs": "str",
    "nullable_str": "str",
    "optional_str": "str",
    "optional_int": "int",
    "optional_float": "float",
    "union_dict_and_str": "str",
}


class Release:
    """The classes and literals of one release."""

    def __init__(self, package: Path) -> None:
        self.classes: dict[str, ast.ClassDef] = {}
        self.aliases: dict[str, ast.expr] = {}
        self.arguments: list[ast.Call] = []
        for file in self._files(package):
            self._read(ast.parse(file.read_text(encoding="utf-8")), file)

    @staticmethod
    def _files(package: Path) -> Iterator[Path]:
        single = package / "config.py"
        yield from [single] if single.exists() else sorted((package / "config").glob("**/*.py"))
        yield package / "engine" / "arg_utils.py"
        yield from sorted((package / "entrypoints").glob("*/cli_args.py"))
        for extra in (
            "model_executor/layers/quantization/__init__.py",
            "model_executor/model_loader/__init__.py",
            "entrypoints/chat_utils.py",
        ):
            if (package / extra).exists():
                yield package / extra

    def _read(self, tree: ast.Module, file: Path) -> None:
        for node in tree.body:
            if isinstance(node, ast.ClassDef):
                self.classes.setdefault(node.name, node)
            elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                self.aliases.setdefault(node.targets[0].id, node.value)
        if file.name in ("arg_utils.py", "cli_args.py"):
            self.arguments += [
                node
                for node in ast.walk(tree)
                if isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and node.func.attr == "add_argument"
            ]

    def fields(self, name: str) -> Iterator[tuple[str, ast.expr, ast.expr | None]]:
        """Yields the annotated fields of a class and of its bases in the same release."""
        node = self.classes.get(name)
        if node is None:
            return
        for base in node.bases:
            if isinstance(base, ast.Name):
                yield from self.fields(base.id)
        for item in node.body:
            if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name):
                yield item.target.id, item.annotation, item.value

    def field(self, owner: str, name: str) -> tuple[ast.expr | None, ast.expr | None]:
        """Returns the annotation and the default of a field; the last definition wins."""
        found: tuple[ast.expr | None, ast.expr | None] = (None, None)
        for field, annotation, default in self.fields(owner):
            if field == name:
                found = (annotation, default)
        return found

    def default(self, node: ast.expr | None, depth: int = 0) -> Any:
        """Evaluates a default as far as it is written in the source; None otherwise."""
        if node is None or depth > 5:
            return None
        try:
            value = ast.literal_eval(node)
        except ValueError:
            pass
        else:
            return value if isinstance(value, str | int | float | bool) else None
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            return self.default(self.field(node.value.id, node.attr)[1], depth + 1)
        if isinstance(node, ast.Call):
            for keyword in node.keywords:
                if keyword.arg == "default":
                    return self.default(keyword.value, depth + 1)
            name = node.func.id if isinstance(node.func, ast.Name) else ""
            if name == "get_field" and len(node.args) == 2 and isinstance(node.args[0], ast.Name):
                try:
                    field = ast.literal_eval(node.args[1])
                except ValueError:
                    return None
                return self.default(self.field(node.args[0].id, field)[1], depth + 1)
        return None

    def kind(self, node: ast.expr | None, depth: int = 0) -> tuple[str, list[Any]]:
        """Returns a type word and the choices that an annotation allows."""
        words: set[str] = set()
        choices: list[Any] = []
        for part in self._parts(node):
            word, more = self._one(part, depth)
            words.add(word)
            choices += more
        words.discard("none")
        if not words:
            return "str", []
        if len(words) == 1:
            word = words.pop()
            return word, choices if word == "choice" else []
        if words == {"choice", "str"} or "str" in words:
            return "str", []
        for word in ("json", "list", "bool", "float", "int"):
            if word in words:
                return word, []
        return "str", []

    def _parts(self, node: ast.expr | None) -> Iterator[ast.expr]:
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
            yield from self._parts(node.left)
            yield from self._parts(node.right)
        elif isinstance(node, ast.Subscript) and ast.unparse(node.value) in ("Optional", "Union"):
            inner = node.slice
            for part in inner.elts if isinstance(inner, ast.Tuple) else [inner]:
                yield from self._parts(part)
        elif node is not None:
            yield node

    def _one(self, node: ast.expr, depth: int) -> tuple[str, list[Any]]:
        if isinstance(node, ast.Constant):
            if node.value is None:
                return "none", []
            if isinstance(node.value, str) and depth < 5:
                return self.kind(ast.parse(node.value, mode="eval").body, depth + 1)
        if isinstance(node, ast.Subscript):
            head = ast.unparse(node.value).rsplit(".", 1)[-1]
            if head == "Literal":
                return "choice", list(self._literals(node.slice))
            if head in ("list", "List", "tuple", "set", "Sequence"):
                return "list", []
            if head in ("dict", "Dict", "Mapping"):
                return "json", []
            if head in ("Annotated", "SkipValidation", "Final"):
                inner = node.slice
                return self.kind(
                    inner.elts[0] if isinstance(inner, ast.Tuple) else inner, depth + 1
                )
            return "str", []
        name = ast.unparse(node).rsplit(".", 1)[-1]
        simple = {"bool", "int", "float", "str", "list", "None"}
        if name in simple:
            return "none" if name == "None" else name, []
        if name in ("dict", "Any"):
            return "json" if name == "dict" else "str", []
        if name in self.aliases and depth < 5:
            return self.kind(self.aliases[name], depth + 1)
        if name.endswith("Config"):
            return "json", []
        return "str", []

    def _literals(self, node: ast.expr) -> Iterator[Any]:
        for part in node.elts if isinstance(node, ast.Tuple) else [node]:
            if isinstance(part, ast.Constant):
                yield part.value
            elif isinstance(part, ast.Name) and part.id in self.aliases:
                yield from self.kind(self.aliases[part.id], 1)[1]


def flags_of(package: Path) -> dict[str, dict[str, Any]]:
    """Returns the flags of one release: name without dashes -> {t, d, c, a, on}."""
    release = Release(package)
    found: dict[str, dict[str, Any]] = {}
    for call in release.arguments:
        names = [
            a.value for a in call.args if isinstance(a, ast.Constant) and isinstance(a.value, str)
        ]
        long = [n[2:] for n in names if n.startswith("--")]
        if not long:
            continue
        entry = _argument(release, call, long[0])
        others = [n[2:] for n in names if n.startswith("--")][1:]
        if others:
            entry["a"] = others
        found.setdefault(long[0], entry)
    for name in ("BaseFrontendArgs", "FrontendArgs"):
        for field, annotation, default in release.fields(name):
            kind, choices = release.kind(annotation)
            found.setdefault(
                field.replace("_", "-"), _entry(kind, choices, release.default(default))
            )
    return found


def _argument(release: Release, call: ast.Call, flag: str) -> dict[str, Any]:
    field = flag.replace("-", "_")
    annotation, default = release.field("AsyncEngineArgs", field)
    if annotation is None:
        annotation, default = release.field("EngineArgs", field)
    kind, choices = release.kind(annotation) if annotation is not None else ("str", [])
    value, only_on = release.default(default), False
    for keyword in call.keywords:
        text = ast.unparse(keyword.value)
        if keyword.arg is None and "[" in text:
            owner = re.match(r"(\w+)_kwargs\[['\"](\w+)['\"]\]", text)
            if owner and annotation is None:
                kind, choices, value = _from_config(release, owner.group(1), owner.group(2))
        elif keyword.arg == "action" and ("store_true" in text or "Boolean" in text):
            kind, choices, only_on = "bool", [], "store_true" in text
        elif keyword.arg == "type" and annotation is None:
            inner = re.sub(r"^(optional_type|nullable)\((.*)\)$", r"\2", text)
            kind = _CALLABLES.get(inner, kind)
        elif keyword.arg == "choices" and isinstance(keyword.value, ast.List | ast.Tuple):
            try:
                kind, choices = "choice", list(ast.literal_eval(keyword.value))
            except ValueError:
                kind, choices = "str", []
        elif keyword.arg == "nargs" and text in ("'+'", "'*'"):
            kind = "list"
        elif keyword.arg == "default" and value is None:
            value = release.default(keyword.value)
    if kind == "str" and isinstance(value, bool):
        kind = "bool"
    entry = _entry(kind, choices, value)
    return {**entry, "on": True} if only_on else entry


def _from_config(release: Release, owner: str, field: str) -> tuple[str, list[Any], Any]:
    wanted = owner.replace("_", "").lower() + "config"
    for name in release.classes:
        if name.lower() == wanted:
            annotation, default = release.field(name, field)
            kind, choices = release.kind(annotation)
            return kind, choices, release.default(default)
    return "str", [], None


def _entry(kind: str, choices: list[Any], default: Any) -> dict[str, Any]:
    entry: dict[str, Any] = {"t": kind}
    if default is not None:
        entry["d"] = default
    if kind == "choice":
        entry["c"] = sorted({str(c) for c in choices if c is not None})
    return entry
