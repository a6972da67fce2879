"""The script of docs/guides/shell.md, as it is: checks, deploys and gates on the fake engine."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import ports
from process_parts import PYTHONPATH, write_checkpoint

GUIDE = Path(__file__).resolve().parents[2] / "docs" / "guides" / "shell.md"


@pytest.fixture
def pipeline(tmp_path):
    """`pipeline(stage, …)`: the script's exit code and what it said, for the service `chat`."""
    write_checkpoint(tmp_path / "tiny")
    script = tmp_path / "pipeline"
    script.write_text(re.search(r"```bash\n(.*?)```", GUIDE.read_text(), re.DOTALL)[1])
    script.chmod(0o755)
    command = tmp_path / "bin" / "deployctl"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m deployctl "$@"\n')
    command.chmod(0o755)
    spec = tmp_path / "service.yaml"
    spec.write_text(f"model: ./tiny\nname: chat\ngpu: cpu\nport: {ports.free()}\n")
    env = {
        **os.environ,
        "PATH": f"{command.parent}:{os.environ['PATH']}",
        "PYTHONPATH": PYTHONPATH,
        "DEPLOYCTL_STATE_DIR": str(tmp_path / "state"),
        "DEPLOYCTL_CACHE_DIR": str(tmp_path / "cache"),
        "NO_COLOR": "1",
        "FOR": "2s",
    }
    env.pop("GITHUB_STEP_SUMMARY", None)

    def run(*words, **more):
        done = subprocess.run(
            words, cwd=tmp_path, env={**env, **more}, capture_output=True, text=True, timeout=300
        )
        return done.returncode, done.stdout + done.stderr

    yield lambda stage, **more: run("./pipeline", stage, "service.yaml", **more)
    run("deployctl", "down", "--all")


def settled(pipeline, stage, **more):
    """A stage, again where this machine was too slow to send its load when it was due."""
    for _ in range(3):
        code, said = pipeline(stage, **more)
        if "client_bottleneck" not in said:
            break
    return code, said


@pytest.mark.night  # three loads
def test_a_service_is_deployed_and_gated(pipeline, tmp_path):
    for stage in ("check", "deploy", "gate"):
        code, said = settled(pipeline, stage)
        assert code == 0, (stage, said)
    assert (tmp_path / "results/gate/report.html").exists()
    assert (tmp_path / "junit.xml").exists()

    code, said = settled(pipeline, "gate", SLO="ttft_p95=0.1ms")
    assert code == 5, said
    assert "ttft_p95" in said


def test_what_does_not_fit_is_refused_before_anything_runs(pipeline, tmp_path):
    spec = tmp_path / "service.yaml"
    spec.write_text(spec.read_text() + "max_model_len: 400000\n")
    code, said = pipeline("check")
    assert code == 3, said
    spec.write_text("model: [\n")
    assert pipeline("check")[0] == 2
