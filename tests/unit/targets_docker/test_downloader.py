"""Where a model is downloaded on target docker: in a container of the engine's image."""

import pytest
import yaml
from tests.unit.targets_docker.conftest import REMOTE, quiet

from deployctl.errors import DockerError
from deployctl.render.candidate import with_caches_of
from deployctl.targets.docker.commands import Result


def test_offline_no_image_is_pulled(driver, commands, release):
    with pytest.raises(DockerError, match="offline, and the image is not") as caught:
        driver.fetch(release(image="vllm/x:1", offline=True), quiet)
    assert "docker load" in caught.value.hint
    assert not [words for words, _ in commands.ran if "pull" in words]


def test_a_model_is_downloaded_as_its_engine_into_its_volume(driver, engine, commands, release):
    downloader = driver.downloader(release(local=False))
    assert engine.did == [("keep", "deployctl-tiny", "hub")]
    owned, words = commands.ran[-1][0], list(downloader.python)
    assert owned[-4:] == ["chown", "deployctl/vllm-cpu:0.32.0", "10001:10001", "/cache/hub"]
    for ran in (owned, words):
        assert ran[:3] == ["docker", "run", "--rm"]
        assert ran[ran.index("--volume") + 1] == "deployctl-tiny_hub:/cache/hub"
        assert ran[ran.index("--cap-drop") + 1] == "ALL"
        assert ran[ran.index("--pull") + 1] == "never"
    assert words[-3:] == ["--entrypoint", "python3", "deployctl/vllm-cpu:0.32.0"]
    assert "HF_HOME=/cache/hub" in words
    assert "--network" not in words
    proxied = release(local=False, env={"HTTPS_PROXY": "http://p:1", "OTHER": "x"})
    assert "HTTPS_PROXY=http://p:1" in driver.downloader(proxied).python
    assert "OTHER=x" not in driver.downloader(proxied).python
    assert downloader.place == "the volume deployctl-tiny_hub"
    offline = driver.downloader(release(local=False, offline=True)).python
    assert offline[offline.index("--network") + 1] == "none"


def test_an_engine_on_borrowed_volumes_is_brought_its_model_there(driver, engine, release):
    trial = release(local=False, name="tiny-tune")
    bundle = with_caches_of("tiny", trial.bundle)
    found = driver.downloader(trial.model_copy(update={"bundle": bundle}))
    assert engine.did == [("keep", "deployctl-tiny", "hub")]
    assert found.place == "the volume deployctl-tiny_hub"
    assert found.python[found.python.index("--volume") + 1] == "deployctl-tiny_hub:/cache/hub"


def test_on_another_host_it_is_downloaded_there(driver, engine, release):
    engine.address = REMOTE
    assert driver.downloader(release(local=False)).place.endswith("on gpu1")


@pytest.mark.parametrize(
    ("more", "offline"),
    [
        ({}, True),
        ({"args": ["--tokenizer", "org/other"]}, False),
        ({"env": {"HF_HOME": "/x"}}, False),
    ],
)
def test_an_engine_whose_model_was_brought_is_kept_off_the_hub(
    driver, commands, release, tmp_path, more, offline
):
    driver.start(release(local=False, name="tiny", **more), quiet)
    file = tmp_path / "state" / "docker" / "tiny" / "project" / "compose.offline.yaml"
    assert (str(file) in commands.ran[-1][0]) == file.exists() == offline
    if offline:
        engine = yaml.safe_load(file.read_text())["services"]["engine"]
        assert engine == {"environment": {"HF_HUB_OFFLINE": "1"}}


def test_where_the_service_leaves_the_volume_its_engine_downloads(driver, commands, release):
    assert driver.downloader(release(local=False, env={"HF_HOME": "/elsewhere"})) is None
    assert not [words for words, _ in commands.ran if "run" in words]


def test_a_volume_that_cannot_be_made_ready(driver, commands, release):
    commands.answers["docker run"] = Result(125, "", "docker: no such image")
    with pytest.raises(DockerError, match="cannot be made ready: docker: no such image"):
        driver.downloader(release(local=False))
