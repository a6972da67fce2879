"""Writes deploy/kubernetes/schemas from CustomResourceDefinitions: names, types, and nothing else.

python scripts/crds.py "KEDA 2.20.2" keda.sh_scaledobjects.yaml …

The first argument is what the definitions belong to; it is kept beside the fields. A definition
is one that an operator's release carries. Kept of it are fields, types, what is required, values
allowed and bounds; parts that repeat are written once, and a pod template is Kubernetes' own, by
reference. Descriptions, conversions and rules in CEL stay out. A field that is not listed is
refused, as by a server that validates strictly.
"""

import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import yaml

FOLDER = Path(__file__).resolve().parent.parent / "deploy" / "kubernetes" / "schemas"
_DEFINITIONS = "/api/_definitions.json#/$defs/io.k8s"
METADATA = f"{_DEFINITIONS}.apimachinery.pkg.apis.meta.v1.ObjectMeta"
POD_TEMPLATE = f"{_DEFINITIONS}.api.core.v1.PodTemplateSpec"
KEPT = ("type", "enum", "pattern", "minimum", "maximum", "minItems", "minLength", "required")
ANYTHING = "x-kubernetes-preserve-unknown-fields"
LEAST = 80  # characters of a part that is worth a name of its own


def reduced(node: dict[str, Any]) -> dict[str, Any]:
    """A schema of OpenAPI as a closed JSON schema."""
    if node.get("x-kubernetes-int-or-string"):
        return {"type": ["integer", "string"]}
    if _is_pod_template(node):
        return {"$ref": POD_TEMPLATE}
    out: dict[str, Any] = {key: node[key] for key in KEPT if node.get(key) not in (None, [])}
    if "required" in out:
        out["required"] = sorted(out["required"])
    if "properties" in node:
        fields = sorted(node["properties"].items())
        out["properties"] = {name: reduced(inner) for name, inner in fields}
        if not node.get(ANYTHING):
            out["additionalProperties"] = False
    elif isinstance(node.get("additionalProperties"), dict):
        out["additionalProperties"] = reduced(node["additionalProperties"])
    if "items" in node:
        out["items"] = reduced(node["items"])
    return out


def _is_pod_template(node: dict[str, Any]) -> bool:
    fields = node.get("properties", {})
    return set(fields) == {"metadata", "spec"} and "containers" in fields["spec"]["properties"]


def of_object(node: dict[str, Any]) -> dict[str, Any]:
    """A whole object's schema: metadata is Kubernetes' own, a status the controller's."""
    schema = reduced({**node, "properties": {**node["properties"], "status": {}}})
    schema["properties"] |= {
        "apiVersion": {"type": "string"},
        "kind": {"type": "string"},
        "metadata": {"$ref": METADATA},
        "status": {},
    }
    return schema


def shared(schema: dict[str, Any]) -> dict[str, Any]:
    """The same with parts that repeat under `$defs`."""
    seen: Counter[str] = Counter()

    def count(node: Any) -> None:
        if isinstance(node, dict):
            if "properties" in node:
                seen[json.dumps(node, sort_keys=True)] += 1
            for inner in node.values():
                count(inner)

    count(schema)
    names = {
        text: f"part{number}"
        for number, text in enumerate(t for t, n in seen.items() if n > 1 and len(t) >= LEAST)
    }

    def named(node: Any, top: bool = False) -> Any:
        if not isinstance(node, dict):
            return node
        name = None if top else names.get(json.dumps(node, sort_keys=True))
        return {"$ref": f"#/$defs/{name}"} if name else {k: named(v) for k, v in node.items()}

    parts = {name: named(json.loads(text), top=True) for text, name in names.items()}
    return {**named(schema), **({"$defs": parts} if parts else {})}


def main(source: str, files: list[str]) -> None:
    """Writes a file a kind."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for file in files:
        for document in yaml.safe_load_all(Path(file).read_text(encoding="utf-8")):
            spec = document["spec"]
            group, kind = spec["group"], spec["names"]["kind"]
            newest = spec["versions"][0]
            out = {
                "source": source,
                "group": group,
                "kind": kind,
                "versions": [version["name"] for version in spec["versions"]],
                "schema": shared(of_object(newest["schema"]["openAPIV3Schema"])),
            }
            text = json.dumps(out, separators=(",", ":"), sort_keys=False)
            (FOLDER / f"{group}_{kind}.json".lower()).write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    main(sys.argv[1], sys.argv[2:])
