"""Who fetches: the Hub's token reaches nobody else, and what nobody publishes is not pulled."""

import pytest

from chart.helmtool import engine, maximal, objects, pod

pytestmark = pytest.mark.helm
BUILT = "deployctl/vllm-cpu:0.32.0"


def job(found):
    return next(item for (kind, _), item in found.items() if kind == "Job")["spec"]["template"]


def tokens(spec):
    """The Secrets from which a pod has the Hub's token, and whether each may be missing."""
    volumes = [v["projected"]["sources"] for v in spec["volumes"] if v["name"] == "secrets"]
    return [
        (source["secret"]["name"], source["secret"].get("optional"))
        for sources in volumes
        for source in sources
        if [item["path"] for item in source["secret"]["items"]] == ["hf_token"]
    ]


def variables(found):
    return {entry["name"] for entry in engine(found)["env"]}


@pytest.mark.parametrize(("secret", "optional"), [("qwen-api-key", True), ("mine", None)])
def test_a_token_beside_the_keys_need_not_be_there(secret, optional):
    own = {"hubToken": {"existingSecret": secret}}
    found = objects({**maximal(), **own})
    assert tokens(job(found)["spec"]) == [(secret, optional)]
    assert tokens(pod(found)) == []  # the Job fetches
    assert "HF_TOKEN_PATH" not in variables(found)
    found = objects({**maximal(), **own, "download": {"enabled": False}})
    assert tokens(pod(found)) == [(secret, optional)]
    assert "HF_TOKEN_PATH" in variables(found)


@pytest.mark.parametrize("place", [{"claim": "models"}, {"hostPath": "/models"}])
def test_an_engine_whose_model_is_there_gets_no_token(place):
    found = objects({"model": {"id": "m", **place}, "hubToken": {"existingSecret": "mine"}})
    assert tokens(pod(found)) == []
    assert "HF_TOKEN_PATH" not in variables(found)


def policies(found):
    """Whether the containers of an image may be pulled, by image."""
    told = {}
    for item in found.values():
        spec = item.get("spec", {}).get("template", {}).get("spec") or item.get("spec", {})
        for container in [*spec.get("initContainers", ()), *spec.get("containers", ())]:
            told.setdefault(container["image"], set()).add(container["imagePullPolicy"])
    return told


def test_an_image_that_nobody_publishes_is_never_pulled():
    for image, policy in ((BUILT, "Never"), (f"registry.example/{BUILT}", "IfNotPresent")):
        told = policies(objects({**maximal(), "engine": {**maximal()["engine"], "image": image}}))
        assert told[image] == {policy}
        for other, rules in told.items():
            assert (rules == {"Never"}) == other.startswith("deployctl/"), other


@pytest.mark.parametrize(
    ("image", "policy"), [("deployctl/proxy:1", "Never"), ("haproxy:3.0.11", "IfNotPresent")]
)
def test_nor_is_the_router_s_proxy(image, policy):
    router = {**maximal()["router"], "proxyImage": image}
    containers = pod(objects({**maximal(), "router": router}), "qwen-router")["containers"]
    assert [each["imagePullPolicy"] for each in containers if each["name"] == "proxy"] == [policy]


def test_a_checkpoint_in_such_an_image_is_not_pulled_either():
    for image, policy in ((BUILT, "Never"), ("mine/model:1", "IfNotPresent")):
        found = objects({"model": {"id": "m", "image": image}})
        [volume] = [v for v in pod(found)["volumes"] if v["name"] == "model"]
        assert volume["image"]["pullPolicy"] == policy
