"""One cluster and its images, for all tests of this folder: whoever puts a file here has them.

    cluster      the cluster: kubectl(…), json(…), needs("keda's definition"), fault("stop", …)
    namespace    deployctl in a namespace of the test's own, which is removed after it
    namespaces   makes more of them
    fake_image   a small image whose engine is a fake, on every node
    vllm_image   real vLLM for the CPU, on every node
    registry     one from which the nodes can pull nothing, which is what each of its images is for
    no_image     the name of an image that nobody has
    load_image   what makes load from pods, on every node
    router_image, prometheus_image   what is around engines, for the tests of several replicas

Every test here is marked `kubernetes`, and skipped where there is no cluster, with the reason.
What takes longer than a check of every change allows (9 minutes for the folder) is marked `night`.
"""

from pathlib import Path

import pytest
from tests.e2e.kubernetes import clusters
from tests.e2e.kubernetes import registry as registries
from tests.e2e.kubernetes.images import built
from tests.e2e.kubernetes.namespaces import Namespace

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
FAKE = HERE.parents[1] / "fake_engine"
IMAGES = {"fake_image", "vllm_image", "load_image", "router_image", "prometheus_image"}


@pytest.hookimpl(tryfirst=True)  # before marks decide what runs
def pytest_collection_modifyitems(items):
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.kubernetes)
            item.add_marker(pytest.mark.helm)
            if IMAGES & set(item.fixturenames):
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
    files = sorted(FAKE.rglob("*.py"))
    image = built("deployctl/fake-engine", HERE / "fake-engine.Dockerfile", FAKE, made_of=files)
    cluster.load(image)
    return image


@pytest.fixture(scope="session")
def load_image(cluster):
    """Over the layers that `.ci/docker-engine image` built."""
    folder = ROOT / "loadtest"
    files = [file for kind in ("py", "yaml", "txt") for file in sorted(folder.rglob(f"*.{kind}"))]
    file = ROOT / "docker" / "loadtest.Dockerfile"
    image = built("deployctl/loadtest", file, folder, made_of=files, certificates=True)
    cluster.load(image)
    return image


@pytest.fixture(scope="session")
def router_image(cluster):
    file = ROOT / "docker" / "router.Dockerfile"
    folder = ROOT / "docker"
    files = [folder / "router-requirements.txt"]
    image = built("deployctl/vllm-router", file, folder, made_of=files, certificates=True)
    cluster.load(image)
    return image


@pytest.fixture(scope="session")
def prometheus_image(cluster):
    image = built("deployctl/prometheus", HERE / "prometheus.Dockerfile", HERE)
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
