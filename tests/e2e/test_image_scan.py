"""A scanner of others over the images that docker/ builds finds no secret in them, and nothing
amiss in how they are made. What it says of the Dockerfiles is held by tests/chart. Vulnerabilities
need a database: the night's workflow looks for them.
"""

import json
import subprocess

import pytest
from tests.e2e.docker_parts import docker

pytestmark = [pytest.mark.docker, pytest.mark.scanner]

SMALL, LARGE = ("loadtest", "vllm-router"), ("vllm-cpu",)


def here(name):
    """The newest image of that name, or why there is none."""
    found = docker("image", "ls", "--format", "{{.Repository}}:{{.Tag}}", f"deployctl/{name}")
    if not found:
        pytest.skip(f"no image deployctl/{name}; .ci/docker-engine image builds it")
    return found.splitlines()[0]


@pytest.fixture(scope="module")
def scan(tmp_path_factory):
    """`scan(image)`: the (check, file) of every finding."""
    cache = tmp_path_factory.mktemp("trivy")

    def found(image):
        command = ["trivy", "image", "--quiet", "--format", "json", "--cache-dir", str(cache)]
        command += ["--scanners", "secret,misconfig", "--image-config-scanners", "secret,misconfig"]
        command += ["--image-src", "docker", "--offline-scan", "--skip-check-update", image]
        done = subprocess.run(command, capture_output=True, text=True, timeout=900)
        assert done.returncode == 0, done.stderr
        findings = set()
        for result in json.loads(done.stdout).get("Results", ()):
            file = "" if result["Target"].startswith(image) else result["Target"]
            findings |= {(each["RuleID"], file) for each in result.get("Secrets", ())}
            findings |= {(each["ID"], file) for each in result.get("Misconfigurations", ())}
        return findings

    return found


def test_a_secret_that_is_put_into_an_image_of_ours_is_found(scan, tmp_path):
    (tmp_path / "settings.py").write_text('TOKEN = "ghp_' + "a1B2" * 9 + '"\n')
    (tmp_path / "Dockerfile").write_text(f"FROM {here(SMALL[0])}\nCOPY settings.py /srv/\n")
    docker("build", "--quiet", "--tag", "deployctl-scan:1", tmp_path)
    try:
        assert ("github-pat", "/srv/settings.py") in scan("deployctl-scan:1")
    finally:
        docker("image", "rm", "deployctl-scan:1")


@pytest.mark.parametrize(
    "name", [*SMALL, *(pytest.param(name, marks=pytest.mark.night) for name in LARGE)]
)
def test_there_is_none_in_an_image_of_ours(scan, name):
    assert not scan(here(name))
