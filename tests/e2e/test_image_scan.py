"""A scanner of others over the images that docker/ builds finds no secret in them, and nothing
amiss in how they are made without a written reason. It reads that from an image's history, and
says nothing of one that it cannot parse. Vulnerabilities need a database: the night's workflow
looks for them.
"""

import json
import subprocess

import pytest
from tests.e2e.docker_parts import docker

pytestmark = [pytest.mark.docker, pytest.mark.scanner]

SMALL, LARGE = ("loadtest", "vllm-router"), ("vllm-cpu",)
REASONS = {
    ("DS026", ""): "Compose and the chart bring a health check of their own, which knows the port",
}
PLANTED = "deployctl-scan:1"
SECRET = "ghp_" + "a1B2" * 9


def here(name):
    """The newest image of that name, or why there is none."""
    found = docker("image", "ls", "--format", "{{.Repository}}:{{.Tag}}", f"deployctl/{name}")
    if not found:
        pytest.skip(f"no image deployctl/{name}; .ci/docker-engine image builds it")
    return found.splitlines()[0]


@pytest.fixture(scope="module")
def scan(tmp_path_factory):
    """`scan(image)`: the (check, file) of every finding; no file is how the image is made."""
    cache = tmp_path_factory.mktemp("trivy")

    def found(image):
        command = ["trivy", "image", "--quiet", "--format", "json", "--cache-dir", str(cache)]
        command += ["--scanners", "secret,misconfig", "--image-config-scanners", "secret,misconfig"]
        command += ["--image-src", "docker", "--offline-scan", "--skip-check-update"]
        command += ["--timeout", "15m", image]
        done = subprocess.run(command, capture_output=True, text=True, timeout=900)
        assert done.returncode == 0, done.stderr
        findings, checked = set(), 0
        for result in json.loads(done.stdout).get("Results", ()):
            file = "" if result["Target"].startswith(image) else result["Target"]
            findings |= {(each["RuleID"], file) for each in result.get("Secrets", ())}
            findings |= {(each["ID"], file) for each in result.get("Misconfigurations", ())}
            checked += 0 if file else result.get("MisconfSummary", {}).get("Successes", 0)
        assert checked > 20, f"{image}: how it is made was not looked at: {done.stderr}"
        return findings

    return found


def test_what_is_put_into_an_image_of_ours_is_found(scan, tmp_path):
    (tmp_path / "settings.py").write_text(f'TOKEN = "{SECRET}"\n')
    (tmp_path / "Dockerfile").write_text(
        f"FROM {here(SMALL[0])}\nCOPY settings.py /srv/\nENV TOKEN={SECRET}\nUSER root\n"
    )
    docker("build", "--quiet", "--tag", PLANTED, tmp_path)
    try:
        assert scan(PLANTED) - set(REASONS) == {
            ("github-pat", "/srv/settings.py"),
            ("github-pat", ""),
            ("DS002", ""),  # runs as root
            ("DS031", ""),  # a secret in its environment
        }
    finally:
        docker("image", "rm", PLANTED)


@pytest.mark.parametrize(
    "name", [*SMALL, *(pytest.param(name, marks=pytest.mark.night) for name in LARGE)]
)
def test_there_is_nothing_unexplained_in_an_image_of_ours(scan, name):
    assert scan(here(name)) == set(REASONS)
