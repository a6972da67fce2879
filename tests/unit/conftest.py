"""No unit test asks the Docker engine of the machine that it runs on."""

import pytest


@pytest.fixture(autouse=True)
def _no_docker_engine(monkeypatch):
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere/docker.sock")
    monkeypatch.delenv("DOCKER_CONTEXT", raising=False)
    monkeypatch.setenv("DOCKER_CONFIG", "/nowhere/docker")  # has the context in use
