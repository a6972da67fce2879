"""A real vLLM starts from what was fetched, and misses no Hub: as a process, and in Docker."""

import hashlib
import json
import os

import pytest
from tests.e2e.docker_parts import IMAGE, complete, docker, inspect, left
from tests.e2e.engine_cache import knowing

from hub_server import Hub, User

EAGER = ("--max-model-len", "512", "--enforce-eager")


def files_of(checkpoint):
    return {path.name: path.read_bytes() for path in checkpoint.iterdir() if path.is_file()}


class Operator(User):
    """With the real engine in the place of the fake one."""

    def __init__(self, folder, hub, port):
        super().__init__(folder, hub, port)
        self.environment["PYTHONPATH"] = os.environ.get("PYTHONPATH", "")

    def up(self, *words, **more):
        out, _ = self.ask(*self.words("up", *EAGER, *words, "--output=json", **more))
        return json.loads(out)["services"][0]


@pytest.mark.vllm
@pytest.mark.parametrize("source", ["cache", pytest.param("bundle", marks=pytest.mark.night)])
def test_a_process_starts_where_the_hub_is_gone(
    awq_checkpoint, checkpoint_cache, tmp_path, free_port, source
):
    with Hub(files_of(awq_checkpoint)) as hub:
        operator = Operator(tmp_path, hub, free_port)
        if source == "cache":
            operator.fetch()
        else:
            operator.fetch("--to", tmp_path / "made")
    knowing(tmp_path / "cache", checkpoint_cache, "tiny")
    model, served = "org/tiny", len(hub.served)
    if source == "bundle":  # another host has the folder, under another name, and nothing else
        model = (tmp_path / "made").rename(tmp_path / "tiny-as-carried")
        assert not operator.cache.exists()
        assert operator.fetch(model=model)["downloaded"] == 0
    try:
        up = operator.up("--offline", "--name=tiny", "--served-model-name=org/tiny", model=model)
        assert up["model"] == "org/tiny"
        code, answer = complete(up["url"], "org/tiny")
        assert (code, "Paris" in answer["choices"][0]["text"]) == (200, True)
        operator.ask("smoke", "tiny")
        assert len(hub.served) == served
    finally:
        operator.end()


@pytest.mark.docker
def test_a_container_starts_from_its_volume(
    tiny_checkpoint, cpu_image, docker_over_tcp, service, port, tmp_path
):
    bridge = docker(
        "network", "inspect", "bridge", "--format", "{{(index .IPAM.Config 0).Gateway}}"
    )
    with Hub(files_of(tiny_checkpoint), host=bridge) as hub:
        operator = Operator(tmp_path, hub, port)
        here = dict(operator.environment)
        words = ("--target=docker", f"--name={service}", *EAGER)

        # An engine on another host: the files are on its volume then, and nothing is here.
        operator.environment["DOCKER_HOST"] = docker_over_tcp
        fetched = operator.fetch(*words)
        assert fetched["place"] == f"the volume deployctl-{service}_hub on 127.0.0.1"
        assert fetched["downloaded"] == fetched["bytes"] > 10e6
        assert left(service)["volumes"] == [f"deployctl-{service}_hub"]
        assert not operator.cache.exists()
        weights = f"{fetched['path']}/model.safetensors"
        volume = f"deployctl-{service}_hub:/cache/hub:ro"
        said = docker("run", "--rm", "-v", volume, "--entrypoint=sha256sum", IMAGE, weights)
        assert said.split()[0] == hashlib.sha256(hub.files["model.safetensors"]).hexdigest()

        # The service starts from there. Its plan reads a header; no weights come again.
        operator.environment = here
        before = len(hub.served)
        up = operator.up(*words[:2])
        again = [s for s in hub.served[before:] if s[2].endswith(".safetensors") and s[1] == "GET"]
        assert all(asked is not None for _, _, _, asked, _, _ in again)
    # The Hub is gone, and the engine does not miss it.
    assert complete(up["url"], up["model"])[0] == 200
    environment = inspect(f"deployctl-{service}-engine-1")["Config"]["Env"]
    assert "HF_HUB_OFFLINE=1" in environment
    operator.ask("down", service, "--volumes")
    assert left(service) == {"containers": [], "networks": [], "volumes": []}
