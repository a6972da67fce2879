"""Values that are wrong, or wrong together: a message that says where, and no manifest."""

import copy
import re

import pytest

from chart.helmtool import RefusedError, maximal, template
from deployctl.render.values import Values
from deployctl.render.values.refusals import refusals, rules

pytestmark = pytest.mark.helm

TOGETHER = [
    ({"engine.image": "vllm/vllm-openai"}, "engine.image: vllm/vllm-openai is not pinned"),
    ({"engine.image": "registry:5000/vllm"}, "is not pinned"),
    ({"engine.image": "vllm/vllm-openai:latest"}, "latest is not a fixed image"),
    ({"router.image": "vllm/vllm-router:latest"}, "latest is not a fixed image"),
    ({"router.proxyImage": "haproxy:latest"}, "latest is not a fixed image"),
    ({"download.image": "vllm/vllm-openai:latest"}, "latest is not a fixed image"),
    ({"model.claim": "a", "model.hostPath": "/b"}, "are three places, and several are set"),
    ({"model.claim": "a", "model.image": "b:1"}, "are three places, and several are set"),
    ({"model.image": "b:1", "model.hostPath": "/b"}, "are three places, and several are set"),
    ({"model.image": "models/awq:latest"}, "latest is not a fixed image"),
    ({"model.id": "/srv/model"}, 'model.id: "/srv/model" is no Hub id'),
    ({"model.id": "--trust-remote-code"}, "is no Hub id"),
    ({"replicas": 2, "cache.accessMode": "ReadWriteOnce"}, "use ReadWriteMany"),
    ({"replicas": 2, "cache.existingClaim": "c"}, "say so with cache.accessMode"),
    ({"rollout.maxSurge": 1}, "rollout.maxSurge: a new pod would wait"),
    ({"rollout.maxUnavailable": 0}, "no pod could ever be replaced"),
    ({"download.enabled": True}, "use cache.accessMode: ReadWriteMany"),
    ({"download.enabled": True, "cache.enabled": False}, "there is no cache to download into"),
    ({"download.enabled": True, "model.claim": "c"}, "the model is not from the Hub"),
    ({"drain.gracePeriodSeconds": 30, "drain.preStopSeconds": 25}, "at least 10 s"),
    ({"autoscaling.kind": "keda"}, "autoscaling.prometheusUrl"),
    ({"autoscaling.kind": "hpa", "autoscaling.minReplicas": 3}, "fewer than minReplicas"),
    ({"ingress.enabled": True}, "ingress.host"),
    ({"ingress.enabled": True, "ingress.host": "a.b"}, "ingress.tlsSecret"),
    ({"httpRoute.enabled": True}, "httpRoute.parents: name a Gateway"),
    ({"apiKey.enabled": False, "service.type": "LoadBalancer"}, "needs an API key"),
    ({"autoscaling.kind": "hpa", "autoscaling.cpuPercent": 80}, "a CPU is busy whether"),
    ({"monitoring.kind": "podMonitor", "apiKey.value": "a"}, "metrics want an operator's token"),
    ({"operatorToken.value": "a", "operatorToken.existingSecret": "b"}, "operatorToken: value and"),
    ({"apiKey.value": "a", "apiKey.existingSecret": "b"}, "apiKey: value and existingSecret"),
    ({"hubToken.value": "a", "hubToken.existingSecret": "b"}, "hubToken: value and"),
    ({"engine.args": ["--api-key=s3cret"]}, "engine.args: --api-key is set by the chart"),
    ({"engine.args": ["--port", "1"]}, "engine.args: --port is set by the chart"),
    ({"engine.env": {"HF_TOKEN": "x"}}, "engine.env.HF_TOKEN: looks like a secret"),
    ({"group.size": 2, "autoscaling.kind": "hpa"}, "a group of nodes is not scaled"),
    ({"group.size": 2, "router.enabled": True}, "the router would send requests to every pod"),
    ({"gpu.allocation": "claim"}, "gpu.cards: a claim says which cards will do"),
    ({"gpu.cards": [{"name": "l4"}]}, "gpu.cards: a device plugin is not told which card"),
    (
        {"gpu.allocation": "claim", "gpu.count": 0, "gpu.cards": [{"name": "a"}]},
        "gpu.allocation: no card is used",
    ),
    ({"security.readOnlyRootFilesystem": True}, "NVIDIA's hook writes into the root"),
]
ALONE = [
    ({"replica": 2}, "replica"),
    ({"replicas": "2"}, "want integer"),
    ({"replicas": -1}, "minimum"),
    ({"replicas": 10**9}, "maximum"),
    ({"replicas": 1.5}, "want integer"),
    ({"gpu.count": 0.5}, "want integer"),
    ({"gpu.count": 17}, "maximum"),
    ({"gpu.allocation": "plugin"}, "must be one of"),
    ({"gpu.cards": [{"name": "a b"}]}, "does not match pattern"),
    ({"gpu.cards": [{"memory": "20Gi') || true"}]}, "does not match pattern"),
    ({"gpu.cards": [{"leastCapability": "8"}]}, "does not match pattern"),
    ({"gpu.cards": [{"name": "a"}] * 9}, "maxItems"),
    ({"engine.image": "a b:1"}, "does not match pattern"),
    ({"engine.image": "a:1\nhostNetwork: true"}, "does not match pattern"),
    ({"engine.args": "--foo"}, "want array"),
    ({"engine.env": {"A B": "1"}}, "additional properties 'A B' not allowed"),
    ({"engine.env": {"A": 1}}, "want string"),
    ({"labels": {"a b": "c"}}, "additional properties 'a b' not allowed"),
    ({"labels": {"a": "c\nd: e"}}, "does not match pattern"),
    ({"name": "Upper"}, "does not match pattern"),
    ({"name": "-x"}, "does not match pattern"),
    ({"cache.size": "-5Gi"}, "does not match pattern"),
    ({"cache.size": "5Gigs"}, "does not match pattern"),
    ({"cache.accessMode": "ReadOnlyMany"}, "must be one of"),
    ({"resources.cpuLimit": "0"}, "does not match pattern"),
    ({"security.runAsUser": 0}, "minimum"),
    ({"probes.timeoutSeconds": 0}, "minimum"),
    ({"probes.livenessPeriodSeconds": 61}, "maximum"),
    ({"service.port": 70000}, "maximum"),
    ({"model.id": ""}, "minLength"),
    ({"model.id": "a\nb"}, "does not match pattern"),
    ({"ingress.host": "a b"}, "does not match pattern"),
    ({"scheduling.tolerations": [{"operator": "Maybe"}]}, "must be one of"),
    ({"door.routes.user": ["get /v1/models"]}, "does not match pattern"),
    ({"door.routes.user": ["GET /v1/a b"]}, "does not match pattern"),
    ({"door.routes.operator": ["GET /a\n"]}, "does not match pattern"),
    ({"door.routes.probe": ["GET /x"]}, "additional properties 'probe' not allowed"),
    ({"door.limits.depth": 0}, "minimum"),
    ({"door.limits.seconds": 0}, "exclusiveMinimum"),
    ({"door.limits.tokens": -1}, "minimum"),
    ({"door.requestLog": "yes"}, "want boolean"),
    ({"router.policy": "random"}, "must be one of"),
    ({"monitoring.kind": True}, "got boolean"),
]


def nested(flat, base=None):
    values = copy.deepcopy(base or {})
    for path, value in flat.items():
        *folders, last = path.split(".")
        place = values
        for folder in folders:
            place = place.setdefault(folder, {})
        place[last] = value
    return values


@pytest.mark.parametrize(("flat", "message"), TOGETHER, ids=lambda v: str(v)[:60])
def test_values_that_do_not_fit_together(flat, message):
    with pytest.raises(RefusedError) as caught:
        template(nested(flat))
    assert message in str(caught.value)
    # The same before helm, in the chart's words and order.
    assert told(caught.value) == [*map(str, refusals(Values.model_validate(nested(flat))))]


def told(error):
    """The refusals in helm's message: one behind it, or several below it."""
    text = str(error).split("): ", 1)[1].split("\n\nUse --debug")[0].strip()
    head, *lines = text.splitlines()
    assert not lines or head == f"the values are refused for {len(lines)} reasons:"
    return [line.strip() for line in lines] or [head]


def test_refusals_are_told_all_at_once():
    """By the chart and, in the same words, before helm is asked."""
    flat = {
        "engine.image": "vllm/vllm-openai:latest",
        "engine.args": ["--port=1", "--max-num-seqs=8", "--api-key=s3cret"],
        "engine.env": {"B_TOKEN": "x", "A_SECRET": "%s {item}", "PLAIN": "y"},
        "rollout.maxUnavailable": 0,
        "drain.gracePeriodSeconds": 30,
        "drain.preStopSeconds": 21,
    }
    with pytest.raises(RefusedError) as caught:
        template(nested(flat))
    assert told(caught.value) == [
        "engine.image: vllm/vllm-openai:latest: latest is not a fixed image; "
        "pin a release or a digest",
        "rollout: maxSurge and maxUnavailable are both 0, so that no pod could ever be replaced",
        "drain.gracePeriodSeconds: give requests at least 10 s after drain.preStopSeconds",
        "engine.args: --port is set by the chart; see model, engine.port and apiKey",
        "engine.args: --api-key is set by the chart; see model, engine.port and apiKey",
        "engine.env.A_SECRET: looks like a secret; use apiKey or hubToken",
        "engine.env.B_TOKEN: looks like a secret; use apiKey or hubToken",
    ]
    assert told(caught.value) == [*map(str, refusals(Values.model_validate(nested(flat))))]
    assert "s3cret" not in str(caught.value)


def test_what_the_chart_takes_is_refused_by_nobody():
    assert refusals(Values.model_validate(maximal())) == []
    assert refusals(Values()) == []


@pytest.mark.parametrize("index", range(len(rules()["refusals"])))
def test_every_refusal_is_of_some_values_above(index):
    rule = rules()["refusals"][index]
    said = [str(r) for flat, _ in TOGETHER for r in refusals(Values.model_validate(nested(flat)))]
    message = re.sub(r"\\{(item|value)\\}", ".+", re.escape(f"{rule['path']}: {rule['message']}"))
    assert any(re.match(message, line) for line in said), message


@pytest.mark.parametrize(("flat", "message"), ALONE, ids=lambda v: str(v)[:60])
def test_values_that_no_schema_lets_through(flat, message):
    with pytest.raises(RefusedError) as caught:
        template(nested(flat))
    text = str(caught.value)
    assert message in text
    assert next(iter(flat)).split(".")[0] in text


def test_what_is_fenced_in_stays_so_with_every_part():
    with pytest.raises(RefusedError, match="needs an API key"):
        template(nested({"apiKey.enabled": False, "apiKey.existingSecret": ""}, maximal()))


def test_labels_cannot_take_the_place_of_selectors():
    text = template({"labels": {"app.kubernetes.io/name": "other", "team": "a"}})
    assert "name: other" not in text
    assert "team: a" in text
