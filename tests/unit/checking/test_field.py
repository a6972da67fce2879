"""Manifests as found in the field: their known faults are named, on the right line."""

from pathlib import Path

import pytest

MANIFESTS = Path(__file__).resolve().parents[2] / "data" / "manifests"
GOLDEN = Path(__file__).resolve().parents[2] / "golden" / "helm"


def test_a_known_chart_with_two_replicas(found):
    text = (MANIFESTS / "stack-two-replicas.yaml").read_text()
    told = {f.code: f for f in found(text)}
    assert {
        "gpu-fraction",  # becomes none in silence
        "pvc-access-mode",  # the second replica is stuck
        "rollout-surge",  # maxSurge 100%
        "liveness-timeout",  # the default of 1 s
        "readiness-probe-missing",
        "metric-no-sum",
        "metric-label",  # model for model_name
        "service-port",  # ports that the pod has not
        "image-not-pinned",
        "pre-stop-missing",
        "grace-period",
        "service-links",
        "run-as-root",
        "capabilities",
        "seccomp",
        "privilege-escalation",
        "service-account-token",
        "secret-in-manifest",
        "network-policy-missing",
    } <= set(told)
    lines = text.splitlines()
    assert "vllm:num_requests_waiting" in lines[told["metric-label"].line - 1]
    assert "accessModes" in lines[told["pvc-access-mode"].line - 1]
    assert told["pvc-access-mode"].where == (
        "PersistentVolumeClaim/demo-mistral-storage-claim: spec.accessModes"
    )


@pytest.mark.parametrize("name", ["l4-awq-1.yaml", "maximal.yaml"])
def test_our_own_chart_has_nothing_to_mend(name, found):
    told = [f for f in found((GOLDEN / name).read_text()) if f.code != "image-by-tag"]
    # A Secret beside the manifests is there because the maximal values ask for one.
    assert [f.code for f in told] == (["secret-in-manifest"] if name == "maximal.yaml" else [])


def engine(command):
    return (
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: a}\nspec:\n  selector: "
        "{matchLabels: {a: b}}\n  template:\n    metadata: {labels: {a: b}}\n    spec:\n"
        f"      containers:\n        - name: e\n          {command}\n"
    )


@pytest.mark.parametrize(
    "command",
    [
        'image: "vllm/vllm-openai:v0.32.0"\n          args: [m/x, --swap-space, "4"]',
        'image: "vllm/vllm-openai:v0.32.0"\n          args: ["--model=m/x", "--swap_space=4"]',
        'image: "vllm/vllm-openai:v0.32.0"\n          command: [vllm, serve, m/x, --swap-space=4]',
        'image: "reg.io/a/vllm/vllm-openai:v0.32.0"\n          command: [sh, -c]\n'
        '          args: ["sleep 1 && exec vllm serve m/x --swap-space 4 2>&1"]',
        'image: "vllm/vllm-openai:v0.32.0"\n          command: [bash, -lc, "python3 -m '
        'vllm.entrypoints.openai.api_server --model m/x \\\\\\n --swap-space 4"]',
        'image: "vllm/vllm-openai:v0.32.0"\n          command: [/bin/sh, /opt/start.sh]\n'
        '          args: [--model, m/x, --swap-space, "4"]',
        'image: "ubuntu:22.04"\n          command:\n            - /bin/bash\n            - -exc\n'
        "            - |\n              # don't forget to install it\n              "
        "pip install vllm # it's big\n              python -m vllm.entrypoints.openai.api_server "
        "\\\\\n                --port ${PORT} --model m/x --swap-space 4\n",
        'image: "vllm/vllm-openai@sha256:0"\n          command: [/venv/bin/vllm, serve, m/x]\n'
        "          args: [--swap-space=4]",
    ],
)
def test_the_engine_is_found_whatever_starts_it(command, found):
    told = {f.code for f in found(engine(command), engine_version="0.32.0")}
    assert "flag-removed" in told
    assert "model-not-pinned" in told


@pytest.mark.parametrize(
    "command",
    [
        'image: "lmcache/lmstack-router:v1"\n          args: [--port, "8001"]',
        'image: "vllm/vllm-openai:v0.32.0"\n          command: [sleep, infinity]',
        'image: "busybox:1.36"\n          args: [--model, x]',
    ],
)
def test_what_is_no_engine_is_left_alone(command, found):
    assert "startup-probe-missing" not in {f.code for f in found(engine(command))}
    assert "readiness-probe-missing" not in {f.code for f in found(engine(command))}


@pytest.mark.parametrize(
    ("model", "gigabytes"),
    [
        ("Qwen/Qwen2.5-7B-Instruct-AWQ", 4.2),
        ("meta-llama/Llama-3.1-70B-Instruct", 140),
        ("neuralmagic/Llama-3.1-70B-FP8", 73.5),
        ("mistralai/Mixtral-8x7B-Instruct-v0.1", 112),
        ("/models/chat", None),
        ("openai/whisper-large", None),
    ],
)
def test_a_name_tells_the_size(model, gigabytes):
    from deployctl.checking.rules.probes import weight_bytes

    found = weight_bytes(model)
    assert found == (pytest.approx(gigabytes * 1e9) if gigabytes else None)


def test_flags_and_metrics_without_a_release(codes):
    text = engine('image: "vllm/vllm-openai:latest"\n          args: [m/x, --no-such-thing=4]')
    assert "flag-unknown" in codes(text)
    assert "flag-removed" not in codes(text.replace("no-such-thing", "swap-space"))


def test_an_object_may_excuse_itself(spoilt, found):
    spoilt.engine["image"] = "vllm/vllm-openai:latest"
    spoilt["Deployment"]["metadata"]["annotations"] = {
        "deployctl.io/check-ignore": "image-not-pinned, engine-version-unknown"
    }
    assert found(spoilt.text) == []


def test_a_list_is_its_items(good_documents, codes):
    import yaml

    one = {"apiVersion": "v1", "kind": "List", "items": good_documents}
    assert codes(yaml.safe_dump(one)) == set()


def test_objects_of_a_newer_release_than_the_cluster(spoilt, codes):
    assert codes(spoilt.text, kubernetes="1.31") == set()
    assert "schema" in codes(spoilt.text, kubernetes="1.25")  # preStop.sleep came later


def test_a_replica_over_several_nodes_by_ray(codes):
    script = "ray start --head --port=6379 &\\nvllm serve /m --tensor-parallel-size 8\\n"
    limits = "resources: {limits: {nvidia.com/gpu: 4}}"
    head = 'image: "vllm/vllm-openai:v0.32.0"\n          command: [bash, -c]\n          '
    text = engine(f'{head}args: ["{script}"]\n          {limits}')
    assert "gpu-count" not in codes(text)
    assert "gpu-count" in codes(text.replace("ray start", "echo start"))


def test_metrics_of_a_release_older_than_the_lists(spoilt, codes):
    spoilt.engine["image"] = "vllm/vllm-openai:v0.6.0"
    assert "metric-unknown" not in codes(spoilt.text)


@pytest.mark.parametrize(
    ("version", "newer"), [("0.9.5", False), ("0.32.0", False), ("0.40.0", True)]
)
def test_a_release_newer_than_the_lists_is_a_note(version, newer, spoilt, codes):
    spoilt.engine["image"] = f"vllm/vllm-openai:v{version}"
    spoilt.flag("brand-new-flag", 1)
    found = codes(spoilt.text)
    assert ("engine-version-newer" in found) is newer
    assert ("flag-unknown" in found) is not newer  # a newer release may have it


def test_awq_refuses_bfloat16(spoilt, codes):
    spoilt.flag("quantization", "awq")
    spoilt.flag("dtype", "bfloat16")
    assert codes(spoilt.text) == {"awq-bfloat16", "slow-kernel"}


def test_a_custom_resource_is_named_once_and_not_checked(found):
    one = "apiVersion: example.org/v1\nkind: Thing\nmetadata: {name: NAME}\nspec: {any: thing}\n"
    told = found(one.replace("NAME", "a") + "---\n" + one.replace("NAME", "b"))
    assert [(f.code, f.severity.value) for f in told] == [("no-schema", "note")]
