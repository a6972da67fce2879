"""Compose files: ours pass, and each mistake in one of them is caught under its own code."""

import copy
from pathlib import Path

import pytest
import yaml

GOLDEN = Path(__file__).resolve().parents[2] / "golden" / "render"
DIGEST = "@sha256:" + 64 * "a"
OURS = sorted(GOLDEN.glob("*.compose.yaml"))


@pytest.mark.parametrize("file", OURS, ids=lambda p: p.name)
def test_what_we_render_passes(file, found):
    # By the tag of a release, of which no digest is known here.
    told = found(file.read_text())
    assert {f.code for f in told} <= {"image-by-tag"}
    assert ("image-by-tag" in {f.code for f in told}) == ("cpu" not in file.name)


@pytest.fixture(scope="session")
def rendered():
    """A rendered project with two cards."""
    project = yaml.safe_load((GOLDEN / "awq-rtx4090.compose.yaml").read_text())
    for service in project["services"].values():
        service["image"] += DIGEST
    return project


def engine(project):
    return project["services"]["engine"]


def set_flag(project, name, value):
    command = engine(project)["command"]
    if f"--{name}" in command:
        command[command.index(f"--{name}") + 1] = value
    else:
        command += [f"--{name}", value]


MISTAKES = {
    "start-period": lambda p: engine(p)["healthcheck"].update(start_period="60s"),
    "healthcheck-missing": lambda p: engine(p).pop("healthcheck"),
    "healthcheck-timeout": lambda p: engine(p)["healthcheck"].update(timeout="1s"),
    "shm": lambda p: (set_flag(p, "tensor-parallel-size", "2"), engine(p).pop("shm_size"),
                      engine(p)["deploy"]["resources"]["reservations"]["devices"][0].update(
                          count=2)),
    "gpu-count": lambda p: (set_flag(p, "tensor-parallel-size", "4"),
                            engine(p).update(shm_size="32g")),
    "gpu-reservation": lambda p: engine(p).pop("deploy"),
    "restart-policy": lambda p: engine(p).update(restart="on-failure"),
    "grace-period": lambda p: engine(p).pop("stop_grace_period"),
    "exposed-without-key": lambda p: engine(p)["environment"].pop("API_KEY_REQUIRED"),
    "exposed-without-door": lambda p: set_flag(p, "middleware", "mine.Own"),
    "run-as-root": lambda p: engine(p).pop("user"),
    "capabilities": lambda p: engine(p).pop("cap_drop"),
    "privilege-escalation": lambda p: engine(p).pop("security_opt"),
    "privileged": lambda p: engine(p).update(privileged=True),
    "host-namespaces": lambda p: engine(p).update(pid="host"),
    "image-not-pinned": lambda p: engine(p).update(image="vllm/vllm-openai"),
    "image-by-tag": lambda p: engine(p).update(image="vllm/vllm-openai:v0.32.0"),
    "secret-inline": lambda p: engine(p)["environment"].update(HF_TOKEN="hunter2"),
    "secret-in-args": lambda p: set_flag(p, "api-key", "hunter2"),
    "home-unwritable": lambda p: engine(p)["environment"].update(HOME="/home/vllm"),
    "flag-removed": lambda p: set_flag(p, "swap-space", "4"),
    "slow-kernel": lambda p: set_flag(p, "quantization", "awq"),
    "model-not-kept": lambda p: engine(p)["environment"].update(HF_HOME="/tmp/hub"),
    "compose-service": lambda p: engine(p).pop("image"),
}  # fmt: skip


@pytest.mark.parametrize("code", MISTAKES)
def test_a_mistake_is_caught_under_its_own_code(code, rendered, codes):
    project = copy.deepcopy(rendered)
    MISTAKES[code](project)
    also = {"engine-version-unknown"} if code in ("image-not-pinned", "compose-service") else set()
    assert code in codes(yaml.safe_dump(project))
    assert codes(yaml.safe_dump(project)) <= {code} | also


def test_a_file_as_tutorials_show_it(found):
    text = (GOLDEN.parents[1] / "data" / "manifests" / "compose-as-found.yaml").read_text()
    told = {f.code: f for f in found(text)}
    assert {
        "shm", "gpu-reservation", "image-not-pinned", "secret-inline", "exposed-without-key",
        "restart-policy", "privileged", "start-period", "slow-kernel", "healthcheck-timeout",
        "run-as-root", "model-not-kept",
    } <= set(told)  # fmt: skip
    assert told["start-period"].line == 17
    assert not any("hf_abc" in f.message + f.fix + f.where for f in found(text))


@pytest.mark.parametrize(
    ("port", "is_open"),
    [
        ("8000:8000", True),
        ("0.0.0.0:8000:8000", True),
        ("[::]:8000:8000", True),
        ("127.0.0.1:8000:8000", False),
        ("localhost:8000:8000", False),
        ("[::1]:8000:8000", False),
        ({"target": 8000}, False),
        ({"target": 8000, "published": 8000}, True),
        ({"target": 8000, "published": "8000", "host_ip": "127.0.0.1"}, False),
    ],
)
def test_which_ports_are_open(port, is_open, codes):
    text = yaml.safe_dump({"services": {"a": {"image": "vllm/vllm-openai:v0.32.0", "ports": [port],
                                              "command": ["--model", "m"]}}})  # fmt: skip
    assert ("exposed-without-key" in codes(text)) is is_open


def test_a_file_may_excuse_itself(rendered, codes):
    project = copy.deepcopy(rendered)
    engine(project).pop("user")
    project["x-deployctl"]["check-ignore"] = "run-as-root"
    assert codes(yaml.safe_dump(project)) == set()


def compose(text):
    return f"services:\n  vllm:\n    image: vllm/vllm-openai:v0.32.0{DIGEST}\n{text}"


def test_spellings_of_the_field(codes):
    text = compose(
        "    restart: always\n    runtime: nvidia\n    ipc: host\n"
        "    ports: ['127.0.0.1:9001:9001']\n"
        "    volumes: ['F:/hub:/root/.cache/huggingface', '~/c:/root/.cache/vllm:rw']\n"
        "    environment: [\"HUGGING_FACE_HUB_TOKEN=${HF_TOKEN}\", 'NVIDIA_VISIBLE_DEVICES=all']\n"
        "    command: |\n      --model Qwen/Qwen3-Reranker-0.6B --revision abc\n"
        "      --port 9001 --cpu-offload-gb 10\n"
        '      --hf_overrides \'{"architectures": ["X"], "is": true}\'\n'
    )
    assert codes(text) == {
        "run-as-root", "capabilities", "privilege-escalation", "healthcheck-missing",
        "grace-period", "host-namespaces",
    }  # fmt: skip


def test_arguments_that_only_the_shell_knows(codes):
    text = compose(
        "    entrypoint: python3\n"
        "    command: -m vllm.entrypoints.openai.api_server --port=${PORT} ${VLLM_ARGS}\n"
    )
    assert "restart-policy" in codes(text)
    assert not {"flag-unknown", "flag-value", "model-not-pinned"} & codes(text)


def test_a_health_check_of_a_path_that_wants_the_key(codes):
    text = compose(
        "    command: --model /m\n    environment: {VLLM_API_KEY: '${KEY}'}\n    healthcheck:\n"
        "      test: [CMD, curl, -f, 'http://localhost:8000/v1/models']\n"
    )
    assert "probe-needs-key" in codes(text)
    assert "probe-needs-key" not in codes(text.replace("/v1/models", "/health"))


def test_an_image_of_ones_own_may_be_for_a_cpu(found):
    text = compose("    command: --model /m\n").replace("vllm/vllm-openai:v0.32.0", "me/vllm:arm64")
    (told,) = [f for f in found(text) if f.code == "gpu-reservation"]
    assert told.severity.value == "note"
