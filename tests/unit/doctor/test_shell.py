"""On which machine a command runs."""

import json

import pytest

from deployctl.doctor.shell import Ran, away, there
from deployctl.targets.docker import commands
from deployctl.targets.docker.address import docker_host


@pytest.mark.parametrize(
    ("given", "current", "found"),
    [
        ({}, None, ""),
        ({}, "default", ""),
        ({}, "far", "ssh://ops@far"),
        ({"DOCKER_HOST": "unix:///run/docker.sock"}, "far", "unix:///run/docker.sock"),
        ({"DOCKER_HOST": "unix:///run/docker.sock", "DOCKER_CONTEXT": "gpu1"}, None, "unix:///run/docker.sock"),
        ({"DOCKER_HOST": "", "DOCKER_CONTEXT": "gpu1"}, "far", "ssh://ops@gpu1"),
        ({"DOCKER_CONTEXT": "default"}, "far", ""),
    ],
)  # fmt: skip
def test_a_context_says_where_the_engine_is_too(tmp_path, monkeypatch, given, current, found):
    """As the docker command has it; this machine was looked at in place of that one."""

    def run(words, more):
        # By name: a variable DOCKER_HOST, also an empty one, had Docker 20.10 name no context.
        assert (more, words[-2]) == ({"DOCKER_CONFIG": str(tmp_path)}, commands.context_host()[-1])
        return commands.Result(0, f"ssh://ops@{words[-1]}\n", "")

    monkeypatch.setattr(commands, "run", run)
    if current is not None:
        (tmp_path / "config.json").write_text(json.dumps({"currentContext": current}))
    environ = {"DOCKER_CONFIG": str(tmp_path), **given}
    assert docker_host(environ) == found
    assert away(environ) is found.startswith("ssh:")
    asked = []
    there(lambda words, timeout_s: asked.append(words) or Ran(0), environ)(["nproc"], 1)
    assert asked[0][-2:] == ([found, "nproc"] if found.startswith("ssh:") else ["nproc"])
