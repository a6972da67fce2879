"""What the end-to-end tests share."""

import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.e2e import sshd
from tests.e2e.docker_parts import IMAGE, Cli, sweep, sweep_gateway
from tests.e2e.engine_cache import knowing
from tests.e2e.gateway_parts import needs_caddy
from tests.e2e.guarded import TEAM, Guarded, place, ring
from tests.e2e.kubernetes.images import built
from tests.e2e.measured import Measured

import ports
from deployctl.targets.process.caddy import _program
from load_parts import FakeEngine
from process_shell import until

# Files that measure time, or share the one engine of a test run: `./test` runs them by
# themselves, and all others two at a time; as it does single tests that are marked so.
ALONE = {
    *("test_load.py", "test_tune.py", "test_tuned_vllm.py"),
    *("test_door.py", "test_door_hang.py", "test_door_keys.py", "test_door_traffic.py"),
    *("test_keys.py", "test_scraped.py"),
}


# Of those that run two at a time: the longest first, and beside it those that wait for a clock,
# which would leave both cores idle beside each other.
LONGEST, WAITING = "test_docker.py", ("test_fidelity.py", "test_load_")

KUBERNETES = Path(__file__).parent / "kubernetes"


def name_here(item):
    """The name of a test's file, where it is one of this folder: others have files of that name."""
    return item.path.name if item.path.parent == Path(__file__).parent else ""


def turn(item):
    """Which files come first, as a number; within one, and after these, all is as it was. Last are
    those that share a cluster, which is taken down after them."""
    if KUBERNETES in item.path.parents:
        return 3
    name = name_here(item)
    return 0 if name == LONGEST else 1 if name.startswith(WAITING) else 2


@pytest.hookimpl(tryfirst=True)  # before marks decide what runs
def pytest_collection_modifyitems(items):
    items.sort(key=turn)
    for item in items:
        if name_here(item) in ALONE:
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


@pytest.fixture(scope="session")
def fake_engine_image(cpu_image):
    """A small image whose engine is a fake: it answers as vLLM does, at once."""
    folder = Path(__file__).parents[1] / "fake_engine"
    file = Path(__file__).parent / "kubernetes" / "fake-engine.Dockerfile"
    return built("deployctl/fake-engine", file, folder, made_of=sorted(folder.rglob("*.py")))


@pytest.fixture(scope="session")
def caddy_image(cpu_image, tmp_path_factory):
    """The gateway's image, of the Caddy that there is."""
    needs_caddy()
    folder = tmp_path_factory.mktemp("caddy")
    program = Path(shutil.copy(_program(), folder / "caddy"))
    file = Path(__file__).with_name("caddy.Dockerfile")
    return built("deployctl/test-caddy", file, folder, made_of=[program])


@pytest.fixture
def gateway_image(caddy_image, monkeypatch):
    """The same, for every deployctl of a test; no gateway is there before, or left."""
    monkeypatch.setenv("DEPLOYCTL_GATEWAY_IMAGE", caddy_image)
    sweep_gateway()
    yield caddy_image
    sweep_gateway()


@pytest.fixture
def host(tmp_path):
    """A host that is reached by ssh alone: this one."""
    made = sshd.Sshd(tmp_path / "sshd")
    yield made
    made.stop()


@pytest.fixture
def port():
    return ports.free()


SHARED = {
    "guarded_engine": (Guarded, "tiny_checkpoint"),
    "measured_engine": (Measured, "awq_checkpoint"),
}


@pytest.fixture(scope="session")
def shared_engines(request, checkpoint_cache, tmp_path_factory):
    """Those of SHARED that this run's tests want, as futures: started side by side, since a start
    of vLLM keeps one core busy."""
    wanted = {name for item in request.session.items for name in item.fixturenames}

    def start(kind, checkpoint, folder):
        cache = knowing(folder / "cache", checkpoint_cache, kind.name)
        return kind(folder, checkpoint, ports.free(), cache)

    with ThreadPoolExecutor() as pool:
        started = {}
        for name in wanted & SHARED.keys():
            kind, checkpoint = SHARED[name]
            arguments = kind, request.getfixturevalue(checkpoint), tmp_path_factory.mktemp(name)
            started[name] = pool.submit(start, *arguments)
        yield started
    for engine in started.values():
        if engine.exception() is None:
            engine.result().down()  # whatever the tests that wanted it came to


@pytest.fixture(scope="session")
def guarded_engine(shared_engines):
    """A real vLLM behind its door, with the key `default`: one start for every test of the door."""
    return shared_engines["guarded_engine"].result()


@pytest.fixture(scope="session")
def measured_engine(shared_engines):
    """A real vLLM whose model has sense, and that no test's load spoils for another."""
    return shared_engines["measured_engine"].result()


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
