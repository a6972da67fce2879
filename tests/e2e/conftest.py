"""What the end-to-end tests share."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.e2e.docker_parts import IMAGE, Cli, sweep
from tests.e2e.engine_cache import knowing
from tests.e2e.guarded import TEAM, Guarded, place, ring

import ports
from load_parts import FakeEngine
from process_shell import until

# Tests that measure time, or share the one engine of a test run: `./test` runs them by
# themselves, and all others two at a time.
ALONE = {
    *("test_load.py", "test_load_faithful.py", "test_load_gate.py", "test_load_limit.py"),
    *("test_load_modes.py", "test_fidelity.py", "test_tune.py", "test_tuned_vllm.py"),
    *("test_door.py", "test_door_keys.py", "test_door_traffic.py", "test_keys.py"),
}


@pytest.hookimpl(tryfirst=True)  # before marks decide what runs
def pytest_collection_modifyitems(items):
    for item in items:
        if item.path.name in ALONE:
            item.add_marker(pytest.mark.alone)


@pytest.fixture
def engine(tmp_path):
    """A streaming engine whose every delay and fault is known, for the tests of load."""
    engine = FakeEngine(tmp_path / "sent.jsonl")
    yield engine
    engine.stop()


@pytest.fixture
def cli(tmp_path):
    return Cli(tmp_path / "state")


@pytest.fixture(scope="session")
def cpu_image():
    if subprocess.run(["docker", "image", "inspect", IMAGE], capture_output=True).returncode:
        reason = f"no image {IMAGE}: build it from docker/cpu.Dockerfile"
        if "docker" in os.environ.get("DEPLOYCTL_REQUIRE", ""):
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)
    return IMAGE


@pytest.fixture
def port():
    return ports.free()


@pytest.fixture(scope="session")
def guarded_engine(tiny_checkpoint, checkpoint_cache, tmp_path_factory):
    """A real vLLM behind its door, with the key `default`: one start for every test of the door."""
    folder = tmp_path_factory.mktemp("guarded")
    cache = knowing(folder / "cache", checkpoint_cache, Guarded.name)
    engine = Guarded(folder, tiny_checkpoint, ports.free(), cache)
    yield engine
    engine.deployctl("down", engine.name)


@pytest.fixture(scope="module")
def keyed_engine(guarded_engine):
    """The same with the named keys of guarded.py; it has its own again afterwards."""
    file, own = guarded_engine.secrets / "keys.json", guarded_engine.folder / "keys.json"

    def status():
        return guarded_engine.ask("GET", "/v1/models", key=TEAM).status

    place(file, ring())
    until(lambda: status() == 200)
    yield guarded_engine
    # A key file that is gone again would be taken for a mishap.
    place(file, own.read_bytes() if own.exists() else b'{"version": 1, "keys": []}')
    until(lambda: status() == 401)


@pytest.fixture
def docker_over_tcp():
    """The engine's socket as tcp://127.0.0.1:PORT, as if it were on another host."""
    proxy = Path(__file__).with_name("docker_proxy.py")
    with subprocess.Popen([sys.executable, proxy], stdout=subprocess.PIPE, text=True) as serving:
        yield f"tcp://127.0.0.1:{serving.stdout.readline().strip()}"
        serving.terminate()


@pytest.fixture
def service(request):
    """A Docker service's name, its test's own, swept up after it."""
    name = request.node.name.replace("_", "-")[:38].strip("-")
    sweep(name)
    yield name
    sweep(name)
