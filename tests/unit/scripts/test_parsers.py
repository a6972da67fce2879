"""scripts/vllm_parsers.py: the parsers of releases, as old ones and new ones name them."""

import importlib.util
from pathlib import Path

import pytest

from deployctl.engines.vllm import flags, parsers
from deployctl.engines.vllm.versions import document

ROOT = Path(__file__).resolve().parents[3]
OLD = '@ToolParserManager.register_module(["one", "two"])\nclass P: ...\n'
OLDER = '@ReasoningParserManager.register_module(name="think")\nclass R: ...\n'
NEW = '_TOOL_PARSERS_TO_REGISTER = {"two": ("file", "P"), "three": ("file", "Q")}\n'


@pytest.fixture
def script():
    spec = importlib.util.spec_from_file_location(
        "vllm_parsers", ROOT / "scripts" / "vllm_parsers.py"
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_parsers_as_old_and_new_releases_name_them(script, tmp_path):
    for path, text in {
        "1/vllm/entrypoints/openai/tool_parsers/p.py": OLD,
        "1/vllm/reasoning/r.py": OLDER,
        "2/vllm/tool_parsers/__init__.py": NEW,
        "2/vllm/reasoning/r.py": OLDER,
    }.items():
        (tmp_path / path).parent.mkdir(parents=True)
        (tmp_path / path).write_text(text)
    first, second = tmp_path / "1/vllm", tmp_path / "2/vllm"
    assert script.parsers_of(first, "tool") == ["one", "two"]
    assert script.parsers_of(second, "tool") == ["three", "two"]
    assert script.parsers_of(first, "reasoning") == script.parsers_of(second, "reasoning")
    assert script.parsers_of(first, "reasoning") == ["think"]


def test_the_file_covers_the_releases_whose_flags_are_known():
    assert tuple(document("parsers")["versions"]) == flags.versions()


@pytest.mark.parametrize(
    ("kind", "name", "first", "before"),
    [
        ("tool", "hermes", "0.8.5", None),
        ("tool", "kimi_k2", "0.10.0", "0.9.2"),
        ("tool", "gemma4", "0.19.0", "0.18.1"),
        ("reasoning", "qwen3", "0.9.0.1", "0.8.5"),
        ("reasoning", "nemotron_v3", "0.17.1", "0.17.0"),
    ],
)
def test_what_releases_have(kind, name, first, before):
    assert name in parsers.names(kind, first)
    assert name in parsers.names(kind, "0.32.0")
    assert before is None or name not in parsers.names(kind, before)


def test_a_parser_that_went():
    assert "minimax" in parsers.names("tool", "0.23.0")
    assert "minimax" not in parsers.names("tool", "0.24.0")
