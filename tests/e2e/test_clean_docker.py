"""`clean` on a real Docker engine, of images that were pulled and checkpoints that were sent: what
a kept revision needs stays, and `rollback` needs nothing again."""

import json
import shutil
import subprocess
import sys

import pytest
from tests.e2e import sshd
from tests.e2e.docker_parts import docker, inspect
from tests.e2e.sshd import on

from deployctl.targets import brought
from deployctl.targets.docker import disks
from deployctl.targets.docker.engine import here

pytestmark = [
    pytest.mark.docker,
    pytest.mark.night,
    pytest.mark.alone,  # it looks at all that is on the engine
    pytest.mark.skipif(sshd.missing() is not None, reason=str(sshd.missing())),
]
# Two days from now, for what came less than a day ago stays.
CLEAN = """\
import json, sys, time
from deployctl.operations.clean.run import look, remove
found = look(keep=int(sys.argv[1]), now=lambda: time.time() + 2 * 86400)
remove(found)
print(json.dumps(found.document(removed=True)))
"""


@pytest.fixture
def images(fake_engine_image, service):
    """Three images, of a repository of their own."""
    names = [f"test-clean/{service}:{number}" for number in range(3)]
    made = docker("create", fake_engine_image, "true")
    for name in names:
        docker("commit", "--change", f"LABEL of={name}", made, name)
    docker("rm", made)
    yield names
    for name in names:
        docker("image", "rm", name, check=False)


def test_what_kept_revisions_need_stays(host, tmp_path, tiny_checkpoint, images, service, port):
    mine = on(host, tmp_path / "state")

    def volume():
        mounts = inspect(f"deployctl-{service}-engine-1")["Mounts"]
        return next(m["Name"] for m in mounts if m["Destination"] == f"/models/{service}")

    def clean(keep):
        words = [sys.executable, "-c", CLEAN, str(keep)]
        environment = {**mine.environment, "DOCKER_HOST": host.url}
        done = subprocess.run(words, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        pieces = json.loads(done.stdout)["pieces"]
        return {each["place"] for each in pieces if each["goes"]}

    volumes = []
    for number, image in enumerate(images):
        model = tmp_path / f"model-{number}"
        shutil.copytree(tiny_checkpoint, model)
        (model / "generation_config.json").write_text(json.dumps({"top_k": number + 1}))
        mine("up", "--model", model, "--gpu", "cpu", "--name", service, "--port", port,
             "--image", image)  # fmt: skip
        volumes.append(volume())
        brought.note(tmp_path / "state", brought.Brought("image", image, here().identity()))
    try:
        assert clean(2) == {volumes[0], images[0]}
        there = {each.name for each in disks.checkpoints(here())}
        assert not {volumes[0]} & there
        assert {*volumes[1:]} <= there
        back = mine("rollback", service)
        assert "sending" not in back.stderr
        assert (volume(), mine.status(service)["health"]) == (volumes[1], "serving")
        assert clean(1) == {volumes[2], images[2]}  # the one that serves is kept
        assert mine.status(service)["health"] == "serving"
    finally:
        mine("down", service, "--volumes", code=None)
        mine.environment.pop("DEPLOYCTL_HOST")
        for name in volumes:
            docker("volume", "rm", "--force", name, check=False)
