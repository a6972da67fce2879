"""scripts/vllm_dropped.py: the architectures that a release says it has no more."""

import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
REGISTRY = """
_MODELS = {"LlamaForCausalLM": ("llama", "LlamaForCausalLM")}
_PREVIOUSLY_SUPPORTED_MODELS = {
    "BambaForCausalLM": "0.23.0",  # a note
}
"""


@pytest.fixture
def script():
    path = ROOT / "scripts" / "vllm_dropped.py"
    spec = importlib.util.spec_from_file_location("vllm_dropped", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("text", "found"), [(REGISTRY, {"BambaForCausalLM": "0.23.0"}), ("_MODELS = {}", {})]
)
def test_what_went_is_read_with_its_last_release(script, tmp_path, text, found):
    file = tmp_path / "model_executor/models/registry.py"
    file.parent.mkdir(parents=True)
    file.write_text(text)
    assert script.dropped_of(tmp_path) == found
