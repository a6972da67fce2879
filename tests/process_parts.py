"""Parts for the targets' tests: specs and plans by hand, and a driver that is all memory."""

import json
import os
from pathlib import Path

import pytest

import ports
from deployctl.planning.plan import EnginePlan, ServingPlan
from deployctl.render import render_process
from deployctl.spec import ServiceSpec
from deployctl.spec.settings import Settings
from deployctl.targets.history import Release

FAKE_ENGINE = Path(__file__).resolve().parent / "fake_engine"
# Programs that a test starts find the fake engine first, then what the test itself runs.
PYTHONPATH = os.pathsep.join(filter(None, [str(FAKE_ENGINE), os.environ.get("PYTHONPATH")]))


def _plan(spec: ServiceSpec, **more) -> ServingPlan:
    given = {
        "name": spec.service,
        "model": spec.model,
        "model_local": True,
        "served_model_name": "tiny",
        "gpu": "cpu",
        "accelerator": "cpu",
        "verdict": "fits",
        "engine": EnginePlan(
            name="vllm",
            version="0.32.0",
            image="none",
            args=("--served-model-name", "tiny"),
            env=spec.env,
        ),
        "startup_budget_s": 30,
        **more,
    }
    return ServingPlan(**given)


@pytest.fixture
def make_plan():
    return _plan


@pytest.fixture
def make_release(tmp_path):
    """A release of the service `tiny`, with a model folder that looks like one."""
    model = tmp_path / "tiny"
    model.mkdir()
    (model / "config.json").write_text("{}")

    def make(revision=1, status="pending", plan=None, **spec) -> Release:
        wanted = ServiceSpec(**{"model": str(model), "gpu": "cpu", "target": "process", **spec})
        planned = _plan(wanted, **(plan or {}))
        return Release(
            service=wanted.service,
            revision=revision,
            status=status,
            created="2026-11-24T07:00:00+00:00",
            reason="up",
            spec=wanted,
            plan=planned,
            bundle=render_process(planned, wanted),
        )

    return make


def before_the_door(release: Release) -> Release:
    """The same release, as a deployctl recorded it that knew of no door."""
    document = release.model_dump(mode="json")
    document["bundle"]["files"] = {
        path: text
        for path, text in release.bundle.files.items()
        if not path.startswith(("door/", "secrets/"))
    }
    del document["plan"]["engine"]["tasks"]
    for field in ("request_log", "request_limits", "watchdog"):
        del document["spec"][field]
    return Release.model_validate(document)


@pytest.fixture
def settings(tmp_path) -> Settings:
    return Settings(state_dir=tmp_path / "state", cache_dir=tmp_path / "cache")


@pytest.fixture
def free_port() -> int:
    return ports.free()


@pytest.fixture
def fake_engine(monkeypatch):
    """Puts the fake engine where the real one would be found, here and in what is started."""
    monkeypatch.setenv("PYTHONPATH", PYTHONPATH)
    monkeypatch.syspath_prepend(str(FAKE_ENGINE))


def write_checkpoint(folder: Path) -> Path:
    """A checkpoint that plans well and holds nothing: one layer of zeros, for the fake engine."""
    folder.mkdir()
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "num_hidden_layers": 1,
        "vocab_size": 128,
        "max_position_embeddings": 512,
        "torch_dtype": "float16",
    }
    (folder / "config.json").write_text(json.dumps(config))
    size = 128 * 64 * 2
    header = {
        "model.embed_tokens.weight": {"dtype": "F16", "shape": [128, 64], "data_offsets": [0, size]}
    }
    text = json.dumps(header).encode()
    (folder / "model.safetensors").write_bytes(len(text).to_bytes(8, "little") + text + bytes(size))
    return folder
