"""deployctl in a namespace of a test's own, on the cluster of the test run."""

import json
import secrets

from tests.e2e.docker_parts import Cli

# What a pod asks for: little, since all share one machine.
FAKE = {
    "resources": {"cpu": "300m", "memory": "256Mi", "memoryLimit": "1Gi", "sharedMemory": "64Mi"},
    "drain": {"preStopSeconds": 0, "gracePeriodSeconds": 30},
    "probes": {"timeoutSeconds": 60, "livenessFailures": 100},  # of a busy machine
}
REAL = {"resources": {"cpu": "500m", "memory": "2Gi", "memoryLimit": "6Gi"}}


def merged(base, over):
    """Maps by key, everything else whole."""
    both = {key: merged(base[key], value) if isinstance(value, dict) and key in base else value
            for key, value in over.items()}  # fmt: skip
    return {**base, **both}


class Namespace(Cli):
    """The command line with `--namespace` given, and eyes for what is there."""

    patience_s = 1200  # two engines at once, beside a cluster, on two cores that others use too

    def __init__(self, cluster, state, name):
        super().__init__(state)
        self.environment |= cluster.environment | {"DEPLOYCTL_NAMESPACE": name}
        self.cluster, self.name = cluster, name

    @classmethod
    def made(cls, cluster, folder):
        """A new one, with a name of its own."""
        name = f"deployctl-test-{secrets.token_hex(3)}"
        cluster.kubectl("create", "namespace", name)
        return cls(cluster, folder / name, name)

    def words(self, image, checkpoint, *more, name="chat", values=None):
        """Options of `up`, `plan` and `diff` for an engine on CPUs; `up` remembers them."""
        usual = FAKE if "fake" in image else REAL
        own = {"model": {"hostPath": str(checkpoint)}, "cache": {"enabled": False}, **usual}
        self.state.mkdir(exist_ok=True)
        file = self.state / f"{name}-values.json"  # JSON is YAML
        file.write_text(json.dumps(merged(own, values or {})))
        self.service = name
        self.given = (
            *("--target", "kubernetes", "--model", checkpoint, "--gpu", "cpu", "--name", name),
            *("--image", image, "--enforce-eager", "--values", file, *more),
        )
        return self.given

    def up(self, *more, code=0):
        return self("up", *self.given, *more, code=code)

    def kubectl(self, *words, **options):
        return self.cluster.kubectl("--namespace", self.name, *words, **options)

    def get(self, *words):
        """The objects of a kind, but for those that end."""
        items = self.cluster.json("--namespace", self.name, "get", *words)["items"]
        return [item for item in items if "deletionTimestamp" not in item["metadata"]]

    def pods(self, *words):
        """Name to number of restarts."""
        return {
            pod["metadata"]["name"]: sum(
                container["restartCount"]
                for container in pod["status"].get("containerStatuses", ())
            )
            for pod in self.get("pods", *words)
        }

    def engines(self):
        """The same of the service's own pods, routers aside."""
        own = f"app.kubernetes.io/instance={self.service},app.kubernetes.io/component=engine"
        return self.pods(f"--selector={own}")

    def kinds(self):
        """What is there, as KIND/NAME, but for pods and what every namespace has."""
        kinds = "all,configmaps,secrets,pvc,networkpolicies,poddisruptionbudgets,serviceaccounts"
        names = self.kubectl("get", kinds, "-o", "name").split()
        usual = {"configmap/kube-root-ca.crt", "serviceaccount/default"}
        return {n for n in names if n not in usual and not n.startswith("pod/")}

    def belongings(self):
        """Of all that, what a service is: without ReplicaSets, records and Helm's own."""
        ways = ("replicaset.apps/", "secret/sh.helm.release.", "secret/deployctl.")
        return {name for name in self.kinds() if not name.startswith(ways)}

    def history(self):
        """The status of each revision, oldest first."""
        on = ("--target", "kubernetes", "--output", "json")
        told = json.loads(self("history", self.service, *on).stdout)["revisions"]
        return [release["status"] for release in told]

    def end(self):
        """Removes it with all it holds; says first what was there, for a test that failed."""
        print(self.kubectl("get", "pods", "-o", "wide", check=False))
        print(self.kubectl("get", "events", "--sort-by=.lastTimestamp", check=False)[-4000:])
        self.kubectl("delete", "deployments,jobs", "--all", "--wait=false", check=False)
        self.kubectl("delete", "pods", "--all", "--grace-period=1", "--wait=false", check=False)
        self.cluster.kubectl("delete", "namespace", self.name, "--wait=false", check=False)
