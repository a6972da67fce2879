"""Counts what keeps the house small and one-way, and holds it to limits.

python scripts/house.py            # a table: each rule, its limit and what is counted today
python scripts/house.py --check    # exit 1, and a line for each excess, when one is over its limit

Cycles are those of imports between our own modules, wherever the import stands: in a function
and under TYPE_CHECKING too, since both say that one module cannot be read without the other.
pyproject.toml, `[tool.deployctl.house]`, may allow a rule more than its limit for a time.
"""

import ast
import sys
import tomllib
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
OPERATOR = "operator/deployctl"
CLI = f"{OPERATOR}/cli"
TOPS = ("operator", "loadtest", "benchmarks", "scripts", "tests")
PATHS = (".", "operator", "loadtest", "scripts", "tests")  # where imports are looked for
MAX_LINES = 60
MAX_PARAMETERS = 8
STANDARD = {name for name in sys.stdlib_module_names if not name.startswith("_")}
VERBS = {f"{CLI}/inspect", f"{CLI}/inspect.py"}  # a verb's module is named after its verb


class Rule(NamedTuple):
    """A rule: its name in pyproject.toml, what it counts, its limit, and what it found."""

    name: str
    title: str
    limit: int
    count: int
    places: tuple[str, ...] = ()


class Source(NamedTuple):
    """A Python file: its path from the root, its text's length in lines, and its syntax."""

    path: str
    lines: int
    tree: ast.Module

    def below(self, folder: str) -> bool:
        """Whether it stands in a folder, however deep."""
        return self.path.startswith(folder + "/")


def sources(root: Path) -> list[Source]:
    """Every Python file of ours."""
    found = []
    for file in sorted(file for top in TOPS for file in (root / top).rglob("*.py")):
        text = file.read_text()
        path = str(file.relative_to(root))
        found.append(Source(path, len(text.splitlines()), ast.parse(text, path)))
    return found


def rules(files: list[Source]) -> list[Rule]:
    """Every rule with what it counts in these files."""
    operator = [f for f in files if f.below("operator")]
    cli = [f for f in files if f.below(CLI)]
    listed = [
        ("long-functions", f"functions of more than {MAX_LINES} lines", long_functions(operator)),
        ("wide-functions", f"functions of more than {MAX_PARAMETERS} parameters", wide(operator)),
        ("class-names", "class names used more than once", classes(operator)),
        ("cycles", "import cycles", cycles(files)),
        ("module-names", "modules named like the standard library's", modules(files)),
    ]
    return [
        Rule("operator-lines", "lines in operator/", 80_100, sum(f.lines for f in operator)),
        Rule("operator-files", "files in operator/", 560, len(operator)),
        Rule("cli-lines", f"lines in {CLI}/", 7_180, sum(f.lines for f in cli)),
        *(Rule(name, title, 0, len(found), tuple(found)) for name, title, found in listed),
    ]


Function = ast.FunctionDef | ast.AsyncFunctionDef


def _functions(files: list[Source]) -> Iterator[tuple[Source, Function]]:
    for file in files:
        for node in ast.walk(file.tree):
            if isinstance(node, Function):
                yield file, node


def long_functions(files: list[Source]) -> list[str]:
    """Functions that are longer than a page, their docstring counted."""
    return [
        f"{file.path}:{node.lineno} {node.name} has {length} lines"
        for file, node in _functions(files)
        if (length := (node.end_lineno or node.lineno) - node.lineno + 1) > MAX_LINES
    ]


def wide(files: list[Source]) -> list[str]:
    """Functions of many parameters. A verb's signature declares its options and may be long."""
    return [
        f"{file.path}:{node.lineno} {node.name} has {count} parameters"
        for file, node in _functions(files)
        if (count := _parameters(node.args)) > MAX_PARAMETERS
        and not (node.name == "command" and file.below(CLI))
    ]


def _parameters(args: ast.arguments) -> int:
    named = [arg.arg for arg in (*args.posonlyargs, *args.args)]
    return len(named) + len(args.kwonlyargs) - (named[:1] in (["self"], ["cls"]))


def classes(files: list[Source]) -> list[str]:
    """Names that two classes share: then a name does not say which is meant."""
    places = defaultdict(list)
    for file in files:
        for node in ast.walk(file.tree):
            if isinstance(node, ast.ClassDef):
                places[node.name].append(f"{file.path}:{node.lineno}")
    return [f"{name} in {', '.join(at)}" for name, at in sorted(places.items()) if len(at) > 1]


def modules(files: list[Source]) -> list[str]:
    """Modules and packages of ours that are called like one of the standard library."""
    paths = {f.path for f in files}
    paths |= {str(p) for f in files for p in Path(f.path).parents if len(p.parts) > 1}
    return [path for path in sorted(paths - VERBS) if Path(path).stem in STANDARD]


def cycles(files: list[Source]) -> list[str]:
    """Groups of modules that import each other, directly or around."""
    imports = _imports(files)
    reached = {path: _reached(path, imports) for path in imports}
    groups = {
        tuple(sorted(other for other in reached[path] if path in reached[other]))
        for path in imports
        if path in reached[path]
    }
    return [" - ".join(group) for group in sorted(groups)]


def _reached(start: str, imports: dict[str, set[str]]) -> set[str]:
    seen: set[str] = set()
    ahead = [start]
    while ahead:
        new = imports[ahead.pop()] - seen
        seen |= new
        ahead += new
    return seen


def _imports(files: list[Source]) -> dict[str, set[str]]:
    """Which of our files each of our files imports."""
    named: dict[str, str] = {}
    for file in files:
        for top in PATHS:
            if top == "." or file.below(top):
                path = Path(file.path).relative_to(top).with_suffix("")
                parts = path.parts[:-1] if path.name == "__init__" else path.parts
                named.setdefault(".".join(parts), file.path)
    return {f.path: set(_imported(f.tree, named)) - {f.path} for f in files}


def _imported(tree: ast.Module, named: dict[str, str]) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (named[alias.name] for alias in node.names if alias.name in named)
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:  # a module in a package, or something in a module
                for name in (f"{node.module}.{alias.name}", node.module):
                    if name in named:
                        yield named[name]
                        break


def main(root: Path, arguments: list[str]) -> int:
    """Prints the table; with --check the excesses alone."""
    settings = tomllib.loads((root / "pyproject.toml").read_text())
    allowed = settings.get("tool", {}).get("deployctl", {}).get("house", {})
    counted = rules(sources(root))
    if arguments == ["--check"]:
        over = [r for r in counted if r.count > max(r.limit, allowed.get(r.name, 0))]
        for rule in over:
            most = max(rule.limit, allowed.get(rule.name, 0))
            print(f"{rule.title}: {rule.count}, at most {most}", file=sys.stderr)
            print(*(f"  {place}" for place in rule.places), sep="\n", file=sys.stderr)
        return 1 if over else 0
    print(f"{'':44}{'limit':>8}{'allowed':>9}{'counted':>9}")
    for rule in counted:
        more = allowed.get(rule.name, "")
        print(f"{rule.title:44}{rule.limit:8}{more:>9}{rule.count:9}")
        print(*(f"  {place}\n" for place in rule.places), sep="", end="")
    return 0


if __name__ == "__main__":
    sys.exit(main(ROOT, sys.argv[1:]))
