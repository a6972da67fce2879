"""Compose files against what Compose takes: what it refuses is named before it is asked."""

import shutil
import subprocess

import pytest
import yaml

from deployctl.checking.rules.compose_schema import known_keys

GOOD = {
    "name": "chat",
    "services": {
        "engine": {
            "image": "vllm/vllm-openai:v0.32.0",
            "command": ["--model", "Qwen/Qwen2.5-7B-Instruct-AWQ"],
            "user": "1000",
            "restart": False,  # `no`, as YAML 1.1 reads it
            "shm_size": "8gb",
            "cpus": 2,
            "mem_limit": "${LIMIT}",
            "stop_grace_period": "60s",
            "healthcheck": {"test": ["CMD", "true"], "x-why": "a word"},
            "volumes": [
                "cache:/c",
                "./a:/b",
                "/d",
                {"type": "bind", "source": "/", "target": "/e"},
            ],
            "networks": {"front": {"aliases": ["a"]}, "default": None},
            "secrets": ["key", {"source": "key", "target": "k"}],
            "depends_on": {"proxy": {"condition": "service_started"}},
        },
        "proxy": {"image": "proxy:1"},
    },
    "volumes": {"cache": None},
    "networks": {"front": {}},
    "secrets": {"key": {"file": "./key"}},
    "x-anything": {"services": 1},
}
WRONG = [
    ("compose-key", {"serivces": {}}, "serivces", "did you mean services?"),
    ("compose-key", {"services.engine.enviroment": {}}, "services.engine.enviroment",
     "did you mean environment?"),
    ("compose-key", {"services.engine.healthcheck.start_periods": "1m"},
     "services.engine.healthcheck.start_periods", "did you mean start_period?"),
    ("compose-key", {"services.engine.deploy": {"resources": {"reservation": {}}}},
     "services.engine.deploy.resources.reservation", "did you mean reservations?"),
    ("compose-key", {"services.engine.ports": [{"target": 1, "publish": 2}]},
     "services.engine.ports[0].publish", "did you mean published?"),
    ("compose-value", {"services.engine.user": 1000}, "services.engine.user",
     'write user: "1000"'),
    ("compose-value", {"services.engine.stop_grace_period": 60},
     "services.engine.stop_grace_period", 'write stop_grace_period: "60s"'),
    ("compose-value", {"services.engine.shm_size": "lots"}, "services.engine.shm_size",
     "write 8gb or 4"),
    ("compose-value", {"services.engine.volumes": {"a": "b"}}, "services.engine.volumes",
     "write a list"),
    ("compose-value", {"services.engine.healthcheck": ["true"]}, "services.engine.healthcheck",
     "write a mapping"),
    ("compose-undefined", {"services.engine.volumes": ["cahce:/c"]},
     "services.engine.volumes[0]", "did you mean cache?"),
    ("compose-undefined", {"services.engine.secrets": ["token"]}, "services.engine.secrets[0]",
     "write secrets: {token: …} at the top"),
    ("compose-undefined", {"services.engine.networks": ["back"]}, "services.engine.networks[0]",
     "write networks: {back: …} at the top"),
    ("compose-undefined", {"services.engine.depends_on": ["redis"]},
     "services.engine.depends_on[0]", "remove it, or write the service"),
]  # fmt: skip


def changed(change):
    document = yaml.safe_load(yaml.safe_dump(GOOD))
    for path, value in change.items():
        *folders, last = path.split(".")
        place = document
        for folder in folders:
            place = place[folder]
        place[last] = value
    return yaml.safe_dump(document)


def structure(found, text):
    told = found(text, file="compose.yaml")
    codes = ("compose-key", "compose-value", "compose-undefined")
    return [(f.code, f.where.partition(": ")[2], f.fix) for f in told if f.code in codes]


def test_a_good_file_is_good(found):
    assert structure(found, changed({})) == []


@pytest.mark.parametrize(("code", "change", "where", "fix"), WRONG, ids=lambda v: str(v)[:50])
def test_what_compose_refuses(code, change, where, fix, found):
    assert structure(found, changed(change)) == [(code, where, fix)]


def test_another_file_may_define_what_this_one_uses(found):
    text = changed({"services.engine.volumes": ["other:/c"]})
    assert structure(found, text)
    assert not structure(found, text + "---\nservices: {}\nvolumes: {other: {}}\n")
    assert not structure(found, text + "include: [more.yaml]\n")


@pytest.mark.parametrize(
    "hostile", [{"services": {1: {2: 3}}}, {"services": {"a": {"volumes": 1}}}]
)
def test_nonsense_does_no_harm(hostile, found):
    assert found(yaml.safe_dump(hostile), file="compose.yaml")


KINDS = {"text": "a", "a number": 3, "a list": ["a"], "a mapping": {"zz": "b"}}


@pytest.mark.skipif(shutil.which("docker") is None, reason="docker compose is not installed")
def test_compose_itself_takes_no_key_that_we_refuse(found, tmp_path):
    """One file with every key and kind that we refuse: Compose refuses each of them too."""
    if subprocess.run(["docker", "compose", "version"], capture_output=True).returncode:
        pytest.skip("docker compose is not installed")
    newer = {"models", "provider", "use_api_socket"}  # than the Compose that tests may meet
    file = tmp_path / "compose.yaml"
    wanted = [(k, v) for k in ("user", "ports", "deploy", "shm_size") for v in KINDS.values()]
    assert set(known_keys()["services", "*"]) >= newer | {key for key, _ in wanted}
    for key, value in wanted:
        file.write_text(yaml.safe_dump({"services": {"a": {"image": "x:1", key: value}}}))
        if structure(found, file.read_text()):
            done = subprocess.run(
                ["docker", "compose", "--file", file, "config", "--quiet"], capture_output=True
            )
            assert done.returncode, (key, value)


def test_the_lists_are_whole():
    known = known_keys()
    assert all(key == key.lower() for keys in known.values() for key in keys)
    kinds = {kind for kinds in known["services", "*"].values() for kind in kinds}
    assert kinds == {*KINDS, "true or false"}
    assert all(known["services", "*"].values())
