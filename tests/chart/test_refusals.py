"""Values that are wrong, or wrong together: a message that says where, and no manifest."""

import copy
from pathlib import Path

import pytest

from chart.helmtool import CHART, RefusedError, maximal, template
from deployctl.render.values import Values, together
from deployctl.render.values.together import refusals

pytestmark = pytest.mark.helm

TOGETHER = [
    ({"engine.image": "vllm/vllm-openai"}, "engine.image: vllm/vllm-openai is not pinned"),
    ({"engine.image": "registry:5000/vllm"}, "is not pinned"),
    ({"engine.image": "vllm/vllm-openai:latest"}, "latest is another image tomorrow"),
    ({"router.image": "vllm/vllm-router:latest"}, "latest is another image tomorrow"),
    ({"model.claim": "a", "model.hostPath": "/b"}, "claim and hostPath are both set"),
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
    ({"apiKey.enabled": False, "service.type": "LoadBalancer"}, "needs a key"),
    ({"apiKey.value": "a", "apiKey.existingSecret": "b"}, "apiKey: value and existingSecret"),
    ({"hubToken.value": "a", "hubToken.existingSecret": "b"}, "hubToken: value and"),
    ({"engine.args": ["--api-key=s3cret"]}, "engine.args: --api-key is the chart's own"),
    ({"engine.args": ["--port", "1"]}, "engine.args: --port is the chart's own"),
    ({"engine.env": {"HF_TOKEN": "x"}}, "engine.env.HF_TOKEN: looks like a secret"),
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
    ({"service.port": 70000}, "maximum"),
    ({"model.id": ""}, "minLength"),
    ({"model.id": "a\nb"}, "does not match pattern"),
    ({"ingress.host": "a b"}, "does not match pattern"),
    ({"scheduling.tolerations": [{"operator": "Maybe"}]}, "must be one of"),
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
    # The same before helm: whatever the chart says first, in its words.
    first = next(refusals(Values.model_validate(nested(flat))))
    said = f"{first.path}: {first.message}" + (f"; {first.hint}" if first.hint else "")
    latest = "latest is another image" in said  # the chart names the image, not the value
    assert (said.partition(": ")[2] if latest else said) in str(caught.value)


def test_what_the_chart_takes_is_refused_by_nobody():
    assert list(refusals(Values.model_validate(maximal()))) == []
    assert list(refusals(Values())) == []


def test_the_chart_and_the_model_refuse_as_often():
    """A refusal that is in one list alone would not be found by the cases above."""
    chart = (CHART / "templates" / "_checks.tpl").read_text()
    model = Path(together.__file__).read_text()
    tested = {message for _, message in TOGETHER}
    assert len(tested) >= chart.count("fail ") - 2  # the images share one
    assert model.count("yield Refusal(") == chart.count("fail ") - 1  # the two secrets share one


@pytest.mark.parametrize(("flat", "message"), ALONE, ids=lambda v: str(v)[:60])
def test_values_that_no_schema_lets_through(flat, message):
    with pytest.raises(RefusedError) as caught:
        template(nested(flat))
    text = str(caught.value)
    assert message in text
    assert next(iter(flat)).split(".")[0] in text


def test_what_is_fenced_in_stays_so_with_every_part():
    with pytest.raises(RefusedError, match="needs a key"):
        template(nested({"apiKey.enabled": False, "apiKey.existingSecret": ""}, maximal()))


def test_labels_cannot_take_the_place_of_selectors():
    text = template({"labels": {"app.kubernetes.io/name": "other", "team": "a"}})
    assert "other" not in text
    assert "team: a" in text
