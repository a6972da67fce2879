"""The metrics of a vLLM release, from its source, which is parsed and never imported.

Read are calls that make a Counter, Gauge or Histogram named `vllm:…`, and the definitions from
which KV offloading makes its own. Of each:

    t     counter, gauge or histogram
    l     its labels; `*` where they are made up as it runs
    b     a histogram's buckets, where they are the same for every model
    if    `hidden` where it is made only under `--show-hidden-metrics-for-version`, `v0` where
          only the old engine makes it
    when  what an engine must be asked for to have it
    old   vLLM calls it deprecated
    by    what vLLM's own text says to use instead

Names are prometheus-client's own: without the `_total` of counters and the `_bucket`, `_sum` and
`_count` of histograms. Names that vLLM takes from another package (KVCR's) cannot be read.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

_NAME = re.compile(r"vllm:[a-z0-9_]+")
_INSTEAD = re.compile(r"DEPRECATED: use (vllm:[a-z0-9_]+) instead", re.IGNORECASE)
KINDS = ("counter", "gauge", "histogram")
# Where metrics are made; the rest of the package makes none of its own.
FOLDERS = ("v1", "engine", "distributed", "entrypoints", "parser")
# What makes a metric appear, by the file and the conditions around it. First match wins.
WHEN = (
    (r"diffusion_", "a diffusion language model"),
    (r"^v1/spec_decode/", "--speculative-config"),
    (r"lora_config", "--enable-lora"),
    (r"kv_cache_metrics_enabled|kv_residency_metrics", "--kv-cache-metrics"),
    (r"VLLM_COMPUTE_NANS_IN_LOGITS", "VLLM_COMPUTE_NANS_IN_LOGITS"),
    (r"watermark_config", "--watermark-config"),
    (r"kv_transfer_config|kv_connector|kv_offload|kv_transfer", "--kv-transfer-config"),
    (r"^entrypoints/.*sleep/", "VLLM_SERVER_DEV_MODE"),
    (r"^entrypoints/rl/", "VLLM_SERVER_DEV_MODE and --weight-transfer-config"),
    (r"realtime/", "a model that hears, and /v1/realtime"),
    (r"^parser/", "--enable-auto-tool-choice"),
)  # fmt: skip


class _Call(NamedTuple):
    """A call that makes a metric, or defines one: where it stands and what it is given."""

    file: str
    node: ast.Call
    kind: str
    around: str  # the conditions it stands under
    function: ast.AST  # the function around it, or the file
    defined: ast.expr | None  # the key of a definition


def metrics_of(package: Path) -> dict[str, dict[str, Any]]:
    """The metrics of one release: name -> what is above."""
    return {name: entry for name, (entry, _) in _read(package).items()}


def help_of(package: Path) -> dict[str, str]:
    """What one release says of each metric on its page."""
    return {name: text for name, (_, text) in _read(package).items() if text}


def _read(package: Path) -> dict[str, tuple[dict[str, Any], str]]:
    constants = _Constants(package)
    made: dict[str, tuple[dict[str, Any], str]] = {}
    for call in _calls(package):
        for name, text in _names(call, constants):
            plain = name.removesuffix("_total") if call.kind == "counter" else name
            entry = _entry(call, plain, text, constants)
            if plain in made and (entry.get("if") or not made[plain][0].get("if")):
                continue  # made without a condition somewhere
            made[plain] = (entry, text)
    return made


def _calls(package: Path) -> Iterator[_Call]:
    for folder in FOLDERS:
        for file in sorted((package / folder).glob("**/*.py")):
            text = file.read_text(encoding="utf-8")
            if re.search(r"vllm:|Offloading\w+Metadata\(", text):
                tree = ast.parse(text)
                yield from _made(tree, str(file.relative_to(package)), "", tree)


def _made(node: ast.AST, file: str, around: str, function: ast.AST) -> Iterator[_Call]:
    """The calls below a node."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        function = node
    if isinstance(node, ast.If):
        inside = f"{around} {ast.unparse(node.test)}"
        for child in node.body:
            yield from _made(child, file, inside, function)
        for child in node.orelse:
            yield from _made(child, file, around, function)
        return
    defined: list[tuple[ast.expr | None, ast.expr]] = []
    if isinstance(node, ast.Dict):
        defined = list(zip(node.keys, node.values, strict=True))
    elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Subscript):
        defined = [(node.targets[0].slice, node.value)]
    for key, value in defined:
        kind = _kind(value, "metadata")
        if kind and isinstance(value, ast.Call):
            yield _Call(file, value, kind, around, function, key)
    kind = _kind(node, "")
    if kind and isinstance(node, ast.Call) and "metadata" not in ast.unparse(node.func).lower():
        yield _Call(file, node, kind, around, function, None)
    for child in ast.iter_child_nodes(node):
        yield from _made(child, file, around, function)


def _kind(node: ast.AST, ends: str) -> str | None:
    """What a call makes: `Counter(…)`, `self._counter_cls(…)`, `OffloadingCounterMetadata(…)`."""
    if not isinstance(node, ast.Call):
        return None
    maker = ast.unparse(node.func).rsplit(".", 1)[-1].lower()
    if not maker.endswith(ends):
        return None
    return next((k for k in KINDS if k in maker), "gauge" if "info" in maker else None)


def _argument(call: ast.Call, name: str, place: int) -> ast.expr | None:
    named = next((k.value for k in call.keywords if k.arg == name), None)
    return named or (call.args[place] if len(call.args) > place else None)


def _names(call: _Call, constants: "_Constants") -> Iterator[tuple[str, str]]:
    """The metrics that a call makes, each with its text: one, or those of the loop around it."""
    name = call.defined or _argument(call.node, "name", 0)
    text = constants.of(_argument(call.node, "documentation", 1), call)
    value = constants.of(name, call)
    if isinstance(value, str):
        if _NAME.fullmatch(value):
            yield value, text if isinstance(text, str) else ""
        return
    if not isinstance(name, ast.Name):
        return
    for node in ast.walk(call.function):
        if isinstance(node, ast.Tuple) and len(node.elts) > 1:
            value, said = (constants.of(part, call) for part in node.elts[:2])
            if isinstance(value, str) and _NAME.fullmatch(value):
                yield value, said if isinstance(said, str) else ""


def _entry(call: _Call, name: str, text: str, constants: "_Constants") -> dict[str, Any]:
    place = f"{call.file} {name} {call.around}"
    entry: dict[str, Any] = {"t": call.kind}
    given = _argument(call.node, "labelnames", 2)
    labels = constants.of(given, call) if given is not None else []
    base = constants.base if call.defined is not None else []
    entry["l"] = [*base, *map(str, labels)] if isinstance(labels, list) else ["*"]
    buckets = constants.of(_argument(call.node, "buckets", 99), call)
    if call.kind == "histogram" and isinstance(buckets, list):
        entry["b"] = buckets
    if call.file.startswith("engine/"):
        entry["if"] = "v0"
    elif "show_hidden_metrics" in call.around:
        entry["if"] = "hidden"
    when = next((words for pattern, words in WHEN if re.search(pattern, place)), None)
    if when:
        entry["when"] = when
    named = call.defined or _argument(call.node, "name", 0)
    if "deprecated" in (text + (ast.unparse(named) if named else "")).lower():
        entry["old"] = True
    instead = _INSTEAD.search(text)
    return {**entry, "by": instead[1]} if instead else entry


class _Constants:
    """Names that stand for text or numbers in a release, by the file and by the function."""

    def __init__(self, package: Path) -> None:
        self._files: dict[str, dict[str, ast.expr]] = {}
        self._anywhere: dict[str, ast.expr] = {}
        self._locals: dict[ast.AST, dict[str, ast.expr]] = {}
        for folder in FOLDERS:
            for file in sorted((package / folder).glob("**/*.py")):
                text = file.read_text(encoding="utf-8")
                if re.search(r"vllm:|labelname|_LABEL\b|_BUCKETS\b|Offloading\w+Metadata", text):
                    self._add(str(file.relative_to(package)), ast.parse(text))
        self.base = self._base()

    def _add(self, file: str, tree: ast.Module) -> None:
        here: dict[str, ast.expr] = {}
        for node in tree.body:
            here |= _assigned([node])
            if isinstance(node, ast.ClassDef):
                inside = _assigned(node.body)
                here |= {f"{node.name}.{name}": value for name, value in inside.items()}
                here |= {f"self.{name}": value for name, value in inside.items()}
        for node in ast.walk(tree):
            if isinstance(node, ast.Assign) and (
                isinstance(node.targets[0], ast.Attribute) or _is_labels(node)
            ):
                here.setdefault(ast.unparse(node.targets[0]), node.value)
        self._files[file] = here
        self._anywhere |= {n: value for n, value in here.items() if not n.startswith("self.")}

    def _base(self) -> list[str]:
        """The labels that nearly every metric has: the `labelnames` that other files are given."""
        made = self._files.get("v1/metrics/loggers.py", {}).get("labelnames")
        return [str(part.value) for part in made.elts] if isinstance(made, ast.List) else []

    def of(self, node: ast.expr | None, call: _Call) -> Any:
        """The value of an expression; None where it cannot be known."""
        if isinstance(node, ast.Constant):
            return node.value
        if isinstance(node, ast.List | ast.Tuple):
            values = [self.of(part, call) for part in node.elts]
            return None if None in values else values
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
            left, right = self.of(node.left, call), self.of(node.right, call)
            alike = type(left) is type(right) and left is not None
            return left + right if alike else None
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "histogram_buckets":
            family = self.of(node.args[0], call)
            node = self._anywhere.get(f"{family}_BUCKETS".upper())
            return self.of(node, call)
        if isinstance(node, ast.Name | ast.Attribute):
            return self._named(ast.unparse(node), call)
        return None

    def _named(self, name: str, call: _Call) -> Any:
        if call.function not in self._locals:
            self._locals[call.function] = _assigned(ast.walk(call.function))
        local = self._locals[call.function]
        if name in local:
            node = local[name]
            return None if name in ast.unparse(node) else self.of(node, call)
        if name in ("labelnames", "self._labelnames"):
            return self.base
        found = self._files.get(call.file, {}).get(name) or self._anywhere.get(name)
        return self.of(found, call) if found is not None and name != ast.unparse(found) else None


def _is_labels(node: ast.Assign) -> bool:
    """`labelnames = ["model_name", "engine"]`, wherever it stands."""
    return ast.unparse(node.targets[0]) == "labelnames" and isinstance(node.value, ast.List)


def _assigned(nodes: Any) -> dict[str, ast.expr]:
    """Plain names that are assigned once or more among these statements: the first value."""
    found: dict[str, ast.expr] = {}
    for node in nodes:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            found.setdefault(node.targets[0].id, node.value)
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value:
            found.setdefault(node.target.id, node.value)
    return found
