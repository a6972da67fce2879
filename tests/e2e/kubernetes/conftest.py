"""One cluster and its images, for all tests of this folder: whoever puts a file here has them.

    cluster      the cluster: kubectl(…), json(…), needs("keda's definition"), fault("stop", …)
    namespace    deployctl in a namespace of the test's own, which is removed after it
    namespaces   makes more of them
    fake_image   a small image whose engine is a fake, on every node
    vllm_image   real vLLM for the CPU, on every node
    registry     one from which the nodes can pull nothing, which is what each of its images is for
    no_image     the name of an image that nobody has

Every test here is marked `kubernetes`, and skipped where there is no cluster, with the reason.
What takes longer than a check of every change allows (9 minutes for the folder) is marked `night`.
"""

import hashlib
from pathlib import Path

import pytest
from tests.e2e.docker_parts import docker
from tests.e2e.kubernetes import clusters
from tests.e2e.kubernetes import registry as registries
from tests.e2e.kubernetes.namespaces import Namespace

HERE = Path(__file__).parent
FAKE = HERE.parents[1] / "fake_engine"
BASE = "deployctl/python:3.11-trixie"  # of .ci/docker-engine, where nothing can be pulled


@pytest.hookimpl(tryfirst=True)  # before marks decide what runs
def pytest_collection_modifyitems(items):
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.kubernetes)
            item.add_marker(pytest.mark.helm)
            if {"fake_image", "vllm_image"} & set(item.fixturenames):
                item.add_marker(pytest.mark.docker)


@pytest.fixture(scope="session")
def cluster(request, tmp_path_factory, checkpoint_cache):
    night = any(item.get_closest_marker("night") for item in request.session.items)
    folder = tmp_path_factory.mktemp("cluster")
    found = clusters.open_cluster(folder, checkpoint_cache, night=night)
    yield found
    found.down()


@pytest.fixture(scope="session")
def fake_image(cluster):
    """Named after what it is made of, so that a node that has it has the one of today."""
    files = sorted(file for file in FAKE.rglob("*.py"))
    made_of = [file.read_bytes() for file in (*files, HERE / "fake-engine.Dockerfile")]
    digest = hashlib.sha256(b"\0".join(made_of)).hexdigest()
    image = f"deployctl/fake-engine:made-of-{digest[:12]}"
    if not docker("image", "ls", "--quiet", image):
        base = ("--build-arg", f"BASE={BASE}") if docker("image", "ls", "--quiet", BASE) else ()
        docker("build", "--file", HERE / "fake-engine.Dockerfile", "--tag", image, *base, FAKE)
    cluster.load(image)
    return image


@pytest.fixture(scope="session")
def vllm_image(cluster, cpu_image):
    cluster.load(cpu_image)
    return cpu_image


@pytest.fixture(scope="session")
def registry(cluster):
    cluster.needs("faults")  # its nodes know where it is
    with registries.serving():
        yield registries


@pytest.fixture(scope="session")
def no_image(cluster, request):
    """Of a registry that says so, where that is at hand: others are not there, or away."""
    if cluster.has("faults"):
        return request.getfixturevalue("registry").MISSING
    return "registry.invalid/none:1"


@pytest.fixture
def namespaces(cluster, tmp_path):
    made = []

    def make():
        made.append(Namespace.made(cluster, tmp_path))
        return made[-1]

    yield make
    for namespace in made:
        namespace.end()


@pytest.fixture
def namespace(namespaces):
    return namespaces()
