"""Cards by claim, given by a real scheduler: three kinds of them, on nodes that run nothing.

What NVIDIA's DRA driver would publish is written by hand, so that no GPU is needed; the engine
never starts.
"""

import json
import signal
import subprocess
import sys
from contextlib import contextmanager

import pytest
from tests.e2e.docker_parts import until
from tests.e2e.kubernetes.clusters import TAINT

from known import tiny_folder

# Two cards each: productName, architecture, cudaComputeCapability, memory.
CARDS = [
    ("Tesla T4", "Turing", "7.5.0", "15360Mi"),
    ("NVIDIA L4", "Ada Lovelace", "8.9.0", "23034Mi"),
    ("NVIDIA A100-SXM4-80GB", "Ampere", "8.0.0", "81920Mi"),
]
CLASS = {
    "apiVersion": "resource.k8s.io/v1",
    "kind": "DeviceClass",
    "metadata": {"name": "gpu.nvidia.com"},
    "spec": {
        "selectors": [
            {
                "cel": {
                    "expression": "device.driver == 'gpu.nvidia.com' && "
                    "device.attributes['gpu.nvidia.com'].type == 'gpu'"
                }
            }
        ]
    },
}
QWEN_7B = {
    "architectures": ["Qwen2ForCausalLM"],
    "model_type": "qwen2",
    "hidden_size": 3584,
    "intermediate_size": 18944,
    "num_hidden_layers": 28,
    "num_attention_heads": 28,
    "num_key_value_heads": 4,
    "vocab_size": 152064,
    "max_position_embeddings": 32768,
    "torch_dtype": "bfloat16",
}
VALUES = {
    "resources": {"cpu": "1m", "memory": "1Mi", "memoryLimit": "9Gi"},
    "cache": {"enabled": False},
    "scheduling": {
        "tolerations": [{"key": TAINT, "operator": "Exists"}],
        "nodeSelector": {"type": "kwok"},
    },
}


def published(node, product, architecture, capability, memory):
    """The slice of a node, as NVIDIA's driver writes it."""
    said = {"type": "gpu", "productName": product, "architecture": architecture}
    attributes = {key: {"string": text} for key, text in said.items()}
    attributes |= {"cudaComputeCapability": {"version": capability}}
    devices = [
        {
            "name": f"gpu-{i}",
            "attributes": attributes | {"uuid": {"string": f"GPU-{node}-{i}"}},
            "capacity": {"memory": {"value": memory}},
        }
        for i in range(2)
    ]
    return {
        "apiVersion": "resource.k8s.io/v1",
        "kind": "ResourceSlice",
        "metadata": {"name": f"deployctl-test-{node}"},
        "spec": {
            "driver": "gpu.nvidia.com",
            "nodeName": node,
            "pool": {"name": node, "generation": 1, "resourceSliceCount": 1},
            "devices": devices,
        },
    }


@pytest.fixture(scope="module")
def cards(cluster):
    """Which node has which kind of card."""
    cluster.needs("hollow")
    if cluster.kubectl("get", "resourceslices", "--output=name"):
        pytest.skip("kubernetes: this cluster's nodes offer cards by claim themselves")
    nodes = cluster.json("get", "nodes", "--selector=type=kwok")["items"]
    names = [node["metadata"]["name"] for node in nodes][: len(CARDS)]
    if len(names) < len(CARDS):
        pytest.skip(f"kubernetes: this cluster has not {len(CARDS)} hollow nodes")
    own = [CLASS, *(published(node, *card) for node, card in zip(names, CARDS, strict=True))]
    document = json.dumps({"apiVersion": "v1", "kind": "List", "items": own})
    cluster.kubectl("apply", "--filename=-", data=document)
    yield {card[0]: node for node, card in zip(names, CARDS, strict=True)}
    cluster.kubectl("delete", "--filename=-", data=document)


@pytest.fixture
def words(namespace, tmp_path):
    """Options of a service whose model no T4 holds."""
    model = tiny_folder(tmp_path / "qwen-7b", **QWEN_7B)
    file = tmp_path / "values.json"
    file.write_text(json.dumps({**VALUES, "model": {"hostPath": str(model)}}))
    return ("--target", "kubernetes", "--name", "chat", "--model", model), ("--values", file)


@contextmanager
def coming_up(namespace, *words):
    """`up` of pods that never answer: it is interrupted in the end, and removes what it made."""
    command = [sys.executable, "-m", "deployctl", "up", *map(str, words)]
    with subprocess.Popen(
        command, env=namespace.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        try:
            yield
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(timeout=120)
    assert not namespace.get("resourceclaimtemplates")


def test_the_cheapest_card_that_fits_is_taken(namespace, words, cards):
    service, values = words
    plan = json.loads(namespace("plan", *service, "--gpu", "any", "--output", "json").stdout)
    found = [(card["gpu"], card["verdict"]) for card in plan["cards"]]
    assert found == [
        ("l4", "fits"),
        ("a100-80gb", "fits"),
        ("other", "fits"),
        ("t4", "does_not_fit"),
    ]

    with coming_up(namespace, *service, *values, "--gpu", "any", "--replicas", "3"):
        until(
            lambda: len(namespace.status("chat")["cards"]) == 3 if namespace.pods() else False,
            seconds=60,
            what="three cards",
        )
        given = namespace.status("chat")["cards"]
    large, small = cards["NVIDIA A100-SXM4-80GB"], cards["NVIDIA L4"]
    # Both of the cheaper kind, and only then the dearer one.
    assert given == [
        f"NVIDIA A100-SXM4-80GB, {large}/gpu-0, asked for as a100-80gb",
        f"NVIDIA L4, {small}/gpu-0, asked for as l4",
        f"NVIDIA L4, {small}/gpu-1, asked for as l4",
    ]


def test_a_model_that_fits_none_says_which_was_nearest(namespace, words, cards):
    service, values = words
    large = ("--gpu", "any", "--users", "200", "--max-model-len", "32768")
    for verb in (("plan", *service), ("up", *service, *values)):
        refused = namespace(*verb, *large, code=3)
        told = refused.stdout + refused.stderr
        # A plan's lines are wrapped.
        assert "nearest was NVIDIA A100 SXM4 (80 GB), which lacks" in " ".join(told.split())
    assert namespace.pods() == {}


def test_a_card_that_is_not_there_says_which_was_nearest(namespace, words, cards):
    service, values = words
    with coming_up(namespace, *service, *values, "--gpu", "h100", "--cards", "claim"):
        said = "no device matches: nearest was"
        until(
            lambda: said in namespace.status("chat")["detail"] if namespace.pods() else False,
            seconds=60,
            what=said,
        )
        detail = namespace.status("chat")["detail"]
    assert "it is no NVIDIA H100 80GB HBM3" in detail


@pytest.mark.night
def test_who_has_the_cards_is_told(namespace, words, cards):
    service, values = words
    with coming_up(namespace, *service, *values, "--gpu", "l4", "--cards", "claim",
                   "--replicas", "3"):  # fmt: skip
        said = "on no node a card that matches is free"
        until(
            lambda: said in namespace.status("chat")["detail"] if namespace.pods() else False,
            seconds=60,
            what=said,
        )
        status = namespace.status("chat")
    assert f"{cards['NVIDIA L4']} has 2 NVIDIA L4 ({namespace.name}/chat-" in status["detail"]
    assert len(status["cards"]) == 2
