"""Documents: what a file holds, whose language it speaks, and places inside it."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Literal

from deployctl.boundedyaml import Parsed, parse
from deployctl.checking.values import Path, dig, mapping, mappings, text

Family = Literal["kubernetes", "compose", "command", "service", "dashboard", "rules", "unknown"]
_MAX_INSIDE = 200  # texts of one object
_MAX_VALUES = 20_000  # of one of them; the largest dashboard that we know of has 3,100
_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")


@dataclass(frozen=True, eq=False)
class Document:
    """One YAML document, or one item of a Kubernetes List."""

    file: str
    family: Family
    data: dict[str, Any]
    line: int = 0
    lines: Mapping[Path, int] = field(default_factory=dict)
    base: Path = ()  # where `data` is inside the YAML document
    index: int = 0  # of the document in its file
    blocks: Mapping[Path, int] = field(default_factory=dict)  # texts below a `|`: their first lines

    @property
    def kind(self) -> str:
        """The kind of a Kubernetes object."""
        return text(self.data.get("kind"))

    @property
    def group(self) -> str:
        """The API group; empty for the core."""
        api, slash, _ = text(self.data.get("apiVersion")).partition("/")
        return api if slash else ""

    @property
    def custom(self) -> bool:
        """Whether it is a custom resource: of a group that is not Kubernetes' own."""
        group = self.group
        if group.endswith((".x-k8s.io", "gateway.networking.k8s.io", "config.k8s.io")):
            return True
        return "." in group and not group.endswith(".k8s.io")

    @property
    def metadata(self) -> dict[str, Any]:
        """The object's metadata."""
        return mapping(self.data.get("metadata"))

    @property
    def spec(self) -> dict[str, Any]:
        """The object's spec."""
        return mapping(self.data.get("spec"))

    @property
    def name(self) -> str:
        """The object's name, or what stands for one."""
        name = self.metadata.get("name", self.metadata.get("generateName"))
        return text(name if self.family == "kubernetes" else self.data.get("name"))

    @property
    def namespace(self) -> str:
        """The namespace; empty for whatever the context says."""
        return text(self.metadata.get("namespace"))

    @property
    def title(self) -> str:
        """Names it for a person: `Deployment/chat`."""
        if self.family == "kubernetes":
            return f"{self.kind}/{self.name or '?'}"
        if self.family == "service":
            return f"services/{self.index}"
        if self.family == "dashboard":
            return f"Dashboard/{text(_dashboard(self.data).get('title')) or '?'}"[:100]
        names = {"compose": "Compose", "command": "command", "rules": "Rules"}
        return names.get(self.family, "document")

    def place(self, *path: str | int) -> "Place":
        """A place inside the document."""
        return Place(self, path)


@dataclass(frozen=True)
class Place:
    """A value inside a document, by its path."""

    document: Document
    path: Path = ()
    word: str = ""  # that is meant, of a text

    def child(self, *path: str | int) -> "Place":
        """A place further in; it need not exist."""
        return Place(self.document, (*self.path, *path))

    @property
    def value(self) -> Any:
        """The value there; None when there is none."""
        return dig(self.document.data, *self.path)

    def mappings(self, *path: str | int) -> Iterator[tuple["Place", dict[str, Any]]]:
        """The mappings of a list further in, each with its place; none where there is no list."""
        place = self.child(*path)
        for index, item in mappings(place.value):
            yield place.child(index), item

    @property
    def line(self) -> int:
        """The line of the value, or of the nearest thing around it; of a word in a text of several
        lines, its own."""
        full = (*self.document.base, *self.path)
        if self.word and full in self.document.blocks:
            found = re.search(rf"(?<![\w:]){re.escape(self.word)}(?![\w:])", str(self.value))
            before = str(self.value)[: found.start()] if found else ""
            return self.document.blocks[full] + before.count("\n")
        for end in range(len(full), 0, -1):
            if full[:end] in self.document.lines:
                return self.document.lines[full[:end]]
        return self.document.line

    @property
    def text(self) -> str:
        """`Deployment/chat: spec.template.spec.containers[0].image`."""
        words = ""
        for part in self.path:
            if isinstance(part, int):
                words += f"[{part}]"
            elif _PLAIN.fullmatch(part):
                words += f".{part}" if words else part
            else:
                words += f'["{part}"]'
        return f"{self.document.title}: {words}" if words else self.document.title


def documents(file: str, parsed: list[Parsed]) -> Iterator[Document]:
    """Turns parsed YAML into documents; a Kubernetes List gives one an item."""
    for index, one in enumerate(parsed):
        parts: dict[Path, Any] = {(): one.data}
        if dig(one.data, "kind") == "List" and isinstance(dig(one.data, "items"), list):
            parts = {("items", number): item for number, item in enumerate(one.data["items"])}
        for base, part in parts.items():
            data, line = mapping(part), one.lines.get(base, one.line)
            document = Document(file, _family(data), data, line, one.lines, base, index, one.blocks)
            yield document
            yield from _inside(document)


def _inside(outer: Document) -> Iterator[Document]:
    """The dashboards and rule files in a ConfigMap's texts, and the one of a GrafanaDashboard."""
    if outer.kind == "ConfigMap":
        texts = {
            ("data", name): content for name, content in mapping(outer.data.get("data")).items()
        }
    elif outer.kind == "GrafanaDashboard":
        texts = {("spec", "json"): outer.spec.get("json")}
    else:
        return
    held = ((at, held) for at, held in texts.items() if isinstance(held, str) and "expr" in held)
    for path, content in islice(held, _MAX_INSIDE):
        parsed, _ = parse(content, most=_MAX_VALUES)  # what cannot be read is none that we know
        base, line = (*outer.base, *path), outer.place(*path).line
        for one in parsed:
            data = mapping(one.data)
            family = _family(data)
            if family in ("dashboard", "rules"):
                lines, blocks = outer.lines, outer.blocks
                if (begins := outer.blocks.get(base)) is not None:
                    lines, blocks = (
                        _within(base, begins, one.lines),
                        _within(base, begins, one.blocks),
                    )
                yield Document(outer.file, family, data, line, lines, base, outer.index, blocks)


def _within(base: Path, begins: int, lines: Mapping[Path, int]) -> dict[Path, int]:
    """The lines of a text as those of the file that holds it."""
    return {(*base, *path): begins + line - 1 for path, line in lines.items()}


def _dashboard(data: dict[str, Any]) -> dict[str, Any]:
    """A dashboard or panel of Grafana's, out of what exports and libraries wrap it in."""
    for wrapped in ("dashboard", "model", "spec"):
        inner = mapping(data.get(wrapped))
        if inner.keys() & {"panels", "rows", "targets", "elements"}:
            return inner
    return data


def _is_dashboard(data: dict[str, Any]) -> bool:
    if text(data.get("apiVersion")).startswith("dashboard.grafana.app/"):
        return True
    if "apiVersion" in data:
        return False
    inner = _dashboard(data)
    lists = [inner.get(key) for key in ("panels", "rows", "targets")]
    return any(isinstance(value, list) for value in lists) and bool(
        inner.keys() & {"schemaVersion", "templating", "title", "datasource"}
    )


def _family(data: dict[str, Any]) -> Family:
    if _is_dashboard(data):
        return "dashboard"
    if "apiVersion" not in data and any(
        "rules" in group for _, group in mappings(data.get("groups"))
    ):
        return "rules"
    if "apiVersion" in data and "kind" not in data and {"name", "version"} <= data.keys():
        return "unknown"  # a chart's Chart.yaml
    if not {"kind", "metadata"} & data.keys() and {"providers", "datasources"} & data.keys():
        return "unknown"  # what Grafana is provisioned with, whose apiVersion is a number
    if "apiVersion" in data or ("kind" in data and ("metadata" in data or "spec" in data)):
        return "kubernetes"
    if isinstance(data.get("arguments"), list) and "engine_version" in data:
        return "command"
    if isinstance(data.get("services"), dict):
        return "compose"
    if isinstance(data.get("model"), str):
        return "service"
    return "unknown"
