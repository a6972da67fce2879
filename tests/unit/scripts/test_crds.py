"""scripts/crds.py: a definition's fields, closed, with parts that repeat written once."""

import importlib.util
import json
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[3]
SECRET = {
    "type": "object",
    "description": "where the word is",
    "required": ["name"],
    "properties": {
        "name": {"type": "string", "minLength": 1, "description": "of the Secret"},
        "key": {"type": "string", "default": "token"},
        "optional": {"type": "boolean"},
    },
}
DEFINITION = {
    "spec": {
        "group": "example.org",
        "names": {"kind": "Thing"},
        "versions": [
            {
                "name": "v1",
                "schema": {
                    "openAPIV3Schema": {
                        "type": "object",
                        "properties": {
                            "spec": {
                                "type": "object",
                                "properties": {
                                    "one": SECRET,
                                    "other": SECRET,
                                    "port": {"x-kubernetes-int-or-string": True},
                                    "labels": {"additionalProperties": {"type": "string"}},
                                    "free": {
                                        "properties": {"a": {"type": "string"}},
                                        "x-kubernetes-preserve-unknown-fields": True,
                                    },
                                },
                            }
                        },
                    }
                },
            }
        ],
    }
}


def test_a_definition_becomes_a_small_closed_schema(tmp_path, monkeypatch):
    file = ROOT / "scripts" / "crds.py"
    spec = importlib.util.spec_from_file_location("crds", file)
    crds = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(crds)
    monkeypatch.setattr(crds, "FOLDER", tmp_path / "schemas")
    (tmp_path / "thing.yaml").write_text(yaml.safe_dump(DEFINITION))
    crds.main("Example 1.0", [str(tmp_path / "thing.yaml")])
    out = json.loads((tmp_path / "schemas" / "example.org_thing.json").read_text())
    assert (out["source"], out["versions"]) == ("Example 1.0", ["v1"])
    fields = out["schema"]["properties"]["spec"]["properties"]
    assert fields["one"] == fields["other"] == {"$ref": "#/$defs/part0"}
    part = out["schema"]["$defs"]["part0"]
    assert part["properties"]["name"] == {"type": "string", "minLength": 1}
    assert part["additionalProperties"] is False
    assert part["required"] == ["name"]
    assert fields["port"] == {"type": ["integer", "string"]}
    assert fields["labels"]["additionalProperties"] == {"type": "string"}
    assert "additionalProperties" not in fields["free"]
    assert out["schema"]["properties"]["status"] == {}
