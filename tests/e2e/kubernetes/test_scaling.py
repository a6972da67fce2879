"""A service scales from one replica to two and back while clients ask, and loses no request: by
KEDA on a Prometheus in the cluster, and by the HPA on the pods' CPU.
"""

import time

import pytest
from tests.e2e.docker_parts import until
from tests.e2e.kubernetes.prometheus import Prometheus
from tests.e2e.kubernetes.test_rollout import OWN
from tests.e2e.kubernetes.traffic import Clients, addresses, until_serving

pytestmark = pytest.mark.night

LIGHT = ("new", "kept", "kept and idle")
HEAVY = ("kept, long answers",)
SCALED_S = 600  # metrics-server and the HPA look every 15 s each, and a real engine has to start


@pytest.fixture
def prometheus(cluster):
    prometheus = Prometheus(cluster)
    yield prometheus
    prometheus.end()


def there_and_back(namespace, image, model, busy):
    """One replica, two under load, one again; none of the requests of that time failed."""
    light = Clients(namespace, image, model, kinds=LIGHT)
    heavy = Clients(namespace, image, model, name="heavy", kinds=busy)
    until_serving(namespace, 1)
    with light:
        with heavy:
            until(lambda: len(addresses(namespace)) == 2, seconds=SCALED_S, what="two serve")
            time.sleep(15)  # both are asked
        until_serving(namespace, 1, seconds=SCALED_S)
    assert light.told["failed"] == heavy.told["failed"] == []


@pytest.mark.parametrize(
    "image", ["fake_image", pytest.param("vllm_image", marks=pytest.mark.vllm)]
)
def test_keda_by_running_requests(namespace, prometheus, request, image, fake_image,
                                  prometheus_image, tiny_checkpoint):  # fmt: skip
    namespace.cluster.needs("scaledobjects.keda.sh")
    image = request.getfixturevalue(image)
    values = {**OWN, "networkPolicy": {"prometheus": {"namespace": prometheus.name}}}
    own = ("--replicas", "2")
    namespace.words(image, tiny_checkpoint, *own, name=namespace.name, values=values)
    namespace.up()
    pods = namespace.engines()
    prometheus.start(prometheus_image, namespace)
    series = f'sum(vllm:num_requests_running{{namespace="{namespace.name}"}})'
    until(lambda: prometheus.ask(series) == [0.0], seconds=60, what="it is scraped")
    scaling = {"kind": "keda", "prometheusUrl": prometheus.url, "maxReplicas": 2,
               "runningPerReplica": 1, "pollingSeconds": 2, "scaleDownSeconds": 60}  # fmt: skip
    values["autoscaling"] = scaling
    words = namespace.words(image, tiny_checkpoint, name=namespace.name, values=values)
    namespace.up()
    assert namespace.engines() == pods  # what was two stays so, until it is known that one will do
    there_and_back(namespace, fake_image, tiny_checkpoint.name, HEAVY * 3)
    # What an autoscaler has made is no drift, and a second up leaves it.
    done = namespace("diff", *words, "--exit-code")
    assert "spec.replicas" not in done.stdout
    assert "unchanged" in namespace.up().stderr


def test_the_hpa_by_the_pods_cpu(namespace, fake_image, tiny_checkpoint):
    namespace.cluster.needs("metrics")
    scaling = {"kind": "hpa", "cpuPercent": 60, "maxReplicas": 2, "scaleDownSeconds": 10}
    values = {**OWN, "autoscaling": scaling}
    namespace.words(fake_image, tiny_checkpoint, name=namespace.name, values=values)
    namespace.up()
    there_and_back(namespace, fake_image, tiny_checkpoint.name, HEAVY * 12)
