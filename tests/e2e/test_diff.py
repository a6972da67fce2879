"""What `deployctl diff` says restarts, Docker itself makes anew; and nothing else."""

import subprocess

import pytest
from tests.e2e.docker_parts import inspect

pytestmark = pytest.mark.docker


def test_diff_and_docker_agree(cli, cpu_image, tiny_checkpoint, service, port, tmp_path):
    folder = tmp_path / "rendered"
    words = ("--model", tiny_checkpoint, "--gpu", "cpu", "--target", "docker", "--name", service)
    words = (*words, "--port", port, "--enforce-eager")

    def apply(*more):
        cli("render", *words, *more, "-o", folder)
        compose = ["docker", "compose", "--project-directory", folder, "up", "--detach"]
        subprocess.run(compose, capture_output=True, check=True)
        return inspect(f"deployctl-{service}-engine-1")["Id"]

    first = apply()
    assert cli("diff", *words, "--exit-code").stdout.endswith("nothing differs\n")
    assert apply() == first

    for change in (("--max-model-len", "512"), ("--env", "SOME=thing")):
        running = inspect(f"deployctl-{service}-engine-1")["Id"]
        told = cli.json("diff", *words, *change)
        assert told["effect"] == "restarts"
        assert len(told["changes"]) in (1, 2)  # the second also undoes the first
        assert apply(*change) != running
        assert cli("diff", *words, *change).stdout.endswith("nothing differs\n")

    # The rendered files are gone: the container still tells.
    (folder / "compose.yaml").rename(tmp_path / "elsewhere")
    assert cli("diff", *words, "--env", "SOME=thing").stdout.endswith("nothing differs\n")
    told = cli.json("diff", *words)
    assert [c["where"] for c in told["changes"]] == ["services.engine.environment.SOME"]
