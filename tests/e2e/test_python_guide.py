"""The example of docs/guides/python.md, run as it is: plan, deploy, measure and take down."""

import json
import re
from pathlib import Path

import pytest
from tests.e2e.engine_cache import knowing

from deployctl.operations.deploy.services import status
from process_parts import write_checkpoint

GUIDE = Path(__file__).resolve().parents[2] / "docs" / "guides" / "python.md"


@pytest.fixture
def example(monkeypatch, tmp_path, free_port):
    """The program, for a folder that holds `my-awq-model`, on a port that is free."""
    monkeypatch.setenv("DEPLOYCTL_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("DEPLOYCTL_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)
    monkeypatch.chdir(tmp_path)
    program = re.search(r"```python\n(.*?)```", GUIDE.read_text(), re.DOTALL)[1]
    assert program.count("8000") == 1
    # To compile takes a minute of two cores, and is no part of what the example says.
    assert program.count('gpu="cpu"') == 1
    program = program.replace('gpu="cpu"', 'gpu="cpu", enforce_eager=True')
    return program.replace("8000", str(free_port))


def run(program, told):
    names = {"print": lambda *words: told.append(words)}
    exec(compile(program, str(GUIDE), "exec"), names)
    (service,) = status("chat")
    assert (service.status, service.health) == ("removed", "stopped")
    summary = json.loads((names["measured"].folder / "summary.json").read_text())
    assert summary["requests"]["ok"] > 0
    assert summary["slo"]["text"] == "error_rate=1%"


@pytest.mark.usefixtures("fake_engine")
def test_the_example_runs_on_the_fake_engine(example, tmp_path):
    write_checkpoint(tmp_path / "my-awq-model")
    told = []
    run(example, told)
    assert told[0][0] == "fits"
    assert any("starting the engine" in str(words[0]) for words in told)


@pytest.mark.vllm
def test_the_example_runs_on_vllm(example, tiny_checkpoint, checkpoint_cache, tmp_path):
    knowing(tmp_path / "cache", checkpoint_cache, "chat")
    (tmp_path / "my-awq-model").symlink_to(tiny_checkpoint)
    run(example, [])
