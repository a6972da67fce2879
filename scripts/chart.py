"""Writes what the chart's values model says: `--check` fails when a file drifted.

python scripts/chart.py            # writes values.schema.json, values.yaml, docs, shared files
python scripts/chart.py --check    # exit 1 and a line a file when one is stale
"""

import json
import sys
from pathlib import Path
from typing import Any

import chart_checks
import yaml
from pydantic import BaseModel

from deployctl.engines.vllm import exported, routes
from deployctl.engines.vllm.series import scaling
from deployctl.promql import LabelMatcher
from deployctl.render.door import PACKAGE
from deployctl.render.values import Values

ROOT = Path(__file__).resolve().parent.parent
CHART = ROOT / "charts" / "vllm"
# What stands before the engine and what watches it is the same on every target; so are dashboards.
SHARED = {
    **{
        f"dashboards/{file.name}": f"deploy/dashboards/{file.name}"
        for file in sorted((ROOT / "deploy" / "dashboards").glob("*.json"))
    },
    "alive.py": "deploy/door/alive.py",
    "leave.py": "deploy/door/leave.py",
    **{
        f"{PACKAGE}/{file.name}": f"deploy/door/{PACKAGE}/{file.name}"
        for file in sorted((ROOT / "deploy" / "door" / PACKAGE).glob("*.py"))
    },
}
HEADER = "Made by scripts/chart.py from operator/deployctl/render/values; `make docs` rewrites it."
WIDTH = 98


def schema() -> str:
    """The JSON schema by which Helm refuses values."""
    document = _closed(Values.model_json_schema(by_alias=True))
    # Every default is there when Helm looks, unless null took it away: then nothing would fit.
    items = _items(document)
    for name, described in [("", document), *document["$defs"].items()]:
        if name not in items:
            described["required"] = list(described["properties"])
    # Helm gives a chart these two, whoever its parent is.
    document["properties"]["global"] = {"type": "object"}
    top = {"$schema": "http://json-schema.org/draft-07/schema#", "$comment": HEADER, **document}
    text = json.dumps(top, indent=1, ensure_ascii=False)
    return text.replace('"$defs"', '"definitions"').replace("#/$defs/", "#/definitions/") + "\n"


def _items(node: Any) -> set[str]:
    """Names of the mappings that are items of lists, which have defaults of their own."""
    if isinstance(node, list):
        return set().union(*map(_items, node))
    if not isinstance(node, dict):
        return set()
    own = node.get("items", {})
    name = own.get("$ref", "").rpartition("/")[2] if isinstance(own, dict) else ""
    return {name} - {""} | set().union(*map(_items, node.values()))


def _closed(node: Any) -> Any:
    """Without what a reader does not need, and with every map's keys held to their pattern."""
    if isinstance(node, list):
        return [_closed(item) for item in node]
    if not isinstance(node, dict):
        return node
    out: dict[str, Any] = {}
    for key, value in node.items():
        if key in ("title", "default"):
            continue
        if key in ("properties", "patternProperties", "$defs"):
            out[key] = {name: _closed(item) for name, item in value.items()}
        else:
            out[key] = _closed(value)
    if "patternProperties" in out:
        # Closed by this rather than by propertyNames, for which Helm names the wrong place.
        out.pop("propertyNames", None)
        out["additionalProperties"] = False
    return out


def values() -> str:
    """values.yaml: every default, below what it means."""
    lines = [f"# {HEADER}", "# docs/reference/values.md says what each value takes.", ""]
    for name, field in Values.model_fields.items():
        lines += _comment(field.description or "", "")
        lines += _entry(str(field.alias or name), getattr(Values(), name), "")
        lines.append("")
    return "\n".join(lines).rstrip() + "\n"


def _entry(key: str, value: Any, indent: str) -> list[str]:
    if not isinstance(value, BaseModel):
        plain = _plain(value)
        if isinstance(plain, dict | list) and plain:
            dumped = yaml.safe_dump({key: plain}, sort_keys=False, width=WIDTH)
            return [indent + line for line in dumped.rstrip().splitlines()]
        return [f"{indent}{key}: {json.dumps(plain, ensure_ascii=False)}"]
    lines = [f"{indent}{key}:"]
    for name, field in type(value).model_fields.items():
        lines += _comment(field.description or "", indent + "  ")
        lines += _entry(str(field.alias or name), getattr(value, name), indent + "  ")
    return lines


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value


def _comment(text: str, indent: str) -> list[str]:
    lines, line = [], f"{indent}#"
    for word in text.split():
        if len(line) + len(word) + 1 > WIDTH:
            lines.append(line)
            line = f"{indent}#"
        line += " " + word
    return [*lines, line]


def page() -> str:
    """docs/reference/values.md: a table of every value."""
    lines = [f"<!-- {HEADER} -->", "", "# The chart's values", ""]
    lines += [
        "Keys that are not listed are refused, by `helm` and by `deployctl render --values`.",
        "",
        "| value | takes | default | meaning |",
        "|---|---|---|---|",
    ]
    lines += _rows(Values, "")
    return "\n".join(lines) + "\n"


def _rows(model: type[BaseModel], prefix: str) -> list[str]:
    properties = Values.model_json_schema(by_alias=True)
    definitions = properties["$defs"]
    own = properties if model is Values else definitions[model.__name__]
    rows = []
    for name, field in model.model_fields.items():
        key = str(field.alias or name)
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            rows += _rows(kind, f"{prefix}{key}.")
            continue
        default = "" if field.is_required() else json.dumps(_plain(field.get_default()))
        cells = [
            f"`{prefix}{key}`",
            _takes(own["properties"][key], definitions),
            f"`{default}`".replace("``", ""),
            field.description or "",
        ]
        rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
        rows += _nested(own["properties"][key], f"{prefix}{key}[].")
    return rows


def _nested(described: dict[str, Any], prefix: str) -> list[str]:
    """The rows of a list of mappings."""
    name = described.get("items", {}).get("$ref", "").rpartition("/")[2]
    found = [c for c in _sections(Values) if c.__name__ == name]
    return _rows(found[0], prefix) if found else []


def _sections(model: type[BaseModel]) -> list[type[BaseModel]]:
    import typing

    found = []
    for field in model.model_fields.values():
        for kind in (field.annotation, *typing.get_args(field.annotation)):
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                found += [kind, *_sections(kind)]
    return found


def _takes(described: dict[str, Any], definitions: dict[str, Any]) -> str:
    if "enum" in described:
        return ", ".join(f"`{item}`" for item in described["enum"] if item != "")
    if "anyOf" in described:
        return _takes(described["anyOf"][0], definitions)
    kind = described.get("type", "object")
    if kind == "integer":
        least, most = described.get("minimum"), described.get("maximum")
        return f"{least} to {most}" if most is not None else "whole number"
    return {
        "boolean": "true, false",
        "number": "number",
        "array": "list",
        "object": "map",
        "string": "text",
    }[kind]


def files() -> dict[Path, str]:
    """Every file that is made here."""
    made = {
        CHART / "values.schema.json": schema(),
        CHART / "values.yaml": values(),
        CHART / "templates" / "_checks.tpl": chart_checks.template(),
        ROOT / "docs" / "reference" / "values.md": page(),
    }
    shared = {name: (ROOT / path).read_text(encoding="utf-8") for name, path in SHARED.items()}
    shared["queries.yaml"] = queries()
    shared["routes.txt"] = "\n".join(routes.every()) + "\n"
    return made | {CHART / "files" / name: text for name, text in shared.items()}


def queries() -> str:
    """What the autoscaler asks Prometheus for, by the release from which on it is called so."""
    periods: dict[str, list[dict[str, str]]] = {}
    for version in exported.versions():
        for name, query in scaling(version, LabelMatcher("", "=", "%s")).items():
            known = periods.setdefault(name, [])
            if not known or known[-1]["query"] != query:
                known.append({"since": version, "query": query})
    made = HEADER.replace("render/values", "engines/vllm/series.py")
    return f"# {made}\n" + yaml.safe_dump(periods, sort_keys=False, width=WIDTH)


def extra() -> list[Path]:
    """Files of the chart's that what they were copied from has no more."""
    there = {*(CHART / "files" / PACKAGE).glob("*.py"), *(CHART / "files").glob("dashboards/*")}
    return sorted(there - {CHART / "files" / name for name in SHARED})


def main() -> int:
    """Writes the files, or checks them."""
    stale = 0
    for file in extra():
        if "--check" not in sys.argv:
            file.unlink()
        else:
            print(f"{file.relative_to(ROOT)} is no longer used: run make docs", file=sys.stderr)
            stale = 1
    for file, text in files().items():
        if "--check" not in sys.argv:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")
        elif not file.is_file() or file.read_text(encoding="utf-8") != text:
            print(f"{file.relative_to(ROOT)} is stale: run make docs", file=sys.stderr)
            stale = 1
    return stale


if __name__ == "__main__":
    sys.exit(main())
