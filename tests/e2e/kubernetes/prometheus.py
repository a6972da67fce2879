"""A Prometheus in a namespace of its own, which scrapes a service as the guide says."""

import json
import secrets
import urllib.parse
from pathlib import Path

import yaml
from tests.e2e.kubernetes.traffic import secret_of

GUIDE = Path(__file__).resolve().parents[3] / "docs" / "guides" / "kubernetes.md"
TOKENS = "/etc/prometheus/secrets/qwen"
LABELS = {"app.kubernetes.io/name": "prometheus"}


def guide():
    """The configuration that the guide shows."""
    blocks = GUIDE.read_text().split("```yaml\n")[1:]
    (text,) = [b.partition("```")[0] for b in blocks if b.startswith("scrape_configs:")]
    return yaml.safe_load(text)


class Prometheus:
    """`name`, its namespace's, is known before it starts, since services let that in; `url` then.
    By the pod's address: KEDA need not run where Services and their names are known."""

    def __init__(self, cluster):
        self._cluster = cluster
        self.name = f"deployctl-test-prometheus-{secrets.token_hex(3)}"
        cluster.kubectl("create", "namespace", self.name)

    def start(self, image, service):
        """Scrapes a service every two seconds."""
        config = {"global": {"scrape_interval": "2s", "scrape_timeout": "2s"}, **guide()}
        (discovery,) = config["scrape_configs"][0]["kubernetes_sd_configs"]
        discovery["namespaces"]["names"] = [service.name]
        token = secret_of(service, "operator_token")
        role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "pods"}
        subjects = [{"kind": "ServiceAccount", "name": "default", "namespace": self.name}]
        reader = {"subjects": subjects, "roleRef": role}
        rules = [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "watch"]}]
        self._apply(
            _object("v1", "ConfigMap", "config", data={"prometheus.yml": yaml.safe_dump(config)}),
            _object("v1", "Secret", "qwen", stringData={"operator_token": token}),
            _object("rbac.authorization.k8s.io/v1", "Role", "pods", service.name, rules=rules),
            _object("rbac.authorization.k8s.io/v1", "RoleBinding", "pods", service.name, **reader),
            _object("v1", "Pod", "prometheus", spec=_pod(image)),
        )  # fmt: skip
        self.kubectl("wait", "--for=condition=Ready", "pod/prometheus", "--timeout=300s",
                     seconds=320)  # fmt: skip
        pod = self._cluster.json("--namespace", self.name, "get", "pod", "prometheus")
        self.url = f"http://{pod['status']['podIP']}:9090"

    def ask(self, query):
        """The values of an instant query, through the API server."""
        path = f"/api/v1/namespaces/{self.name}/pods/prometheus:9090/proxy/api/v1/query"
        said = self._cluster.kubectl("get", "--raw", f"{path}?query={urllib.parse.quote(query)}")
        return [float(one["value"][1]) for one in json.loads(said)["data"]["result"]]

    def kubectl(self, *words, **options):
        return self._cluster.kubectl("--namespace", self.name, *words, **options)

    def end(self):
        print(self.kubectl("logs", "prometheus", "--tail=20", check=False))
        self._cluster.kubectl("delete", "namespace", self.name, "--wait=false", check=False)

    def _apply(self, *objects):
        for each in objects:
            each["metadata"].setdefault("namespace", self.name)
        items = {"apiVersion": "v1", "kind": "List", "items": objects}
        self._cluster.kubectl("apply", "--filename=-", data=json.dumps(items))


def _object(version, kind, name, namespace=None, **content):
    metadata = {"name": name, "labels": LABELS, **({"namespace": namespace} if namespace else {})}
    return {"apiVersion": version, "kind": kind, "metadata": metadata, **content}


def _pod(image):
    words = ["--config.file=/etc/prometheus/prometheus.yml", "--storage.tsdb.path=/data"]
    mounts = {"config": "/etc/prometheus", "tokens": TOKENS, "data": "/data"}
    return {
        "terminationGracePeriodSeconds": 1,
        "enableServiceLinks": False,
        "containers": [
            {
                "name": "prometheus",
                "image": image,
                "command": ["prometheus", *words],
                "ports": [{"containerPort": 9090}],
                "resources": {"requests": {"cpu": "300m"}},  # else it gets none beside engines
                "readinessProbe": {
                    "httpGet": {"path": "/-/ready", "port": 9090},
                    "periodSeconds": 2,
                    "timeoutSeconds": 10,
                },
                "volumeMounts": [{"name": n, "mountPath": path} for n, path in mounts.items()],
            }
        ],
        "volumes": [
            {"name": "config", "configMap": {"name": "config"}},
            {"name": "tokens", "secret": {"secretName": "qwen"}},
            {"name": "data", "emptyDir": {}},
        ],
    }
