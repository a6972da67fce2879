"""Data files: found, and read in both formats."""

import pytest

from deployctl import assets


def test_a_file_is_found_or_named():
    assert assets.path("deploy", "profiles").is_dir()
    with pytest.raises(FileNotFoundError, match=r"deploy/nothing\.yaml is not installed"):
        assets.path("deploy", "nothing.yaml")


def test_tables_are_read_from_json_and_yaml():
    assert "rollout" in {
        rule["path"] for rule in assets.table("deploy", "kubernetes", "refusals.yaml")["refusals"]
    }
    assert assets.table("deploy", "engines", "vllm-behaviour.json")
    with pytest.raises(FileNotFoundError):
        assets.table("deploy", "engines", "nothing.json")
