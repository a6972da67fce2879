"""The door before the engine, as the chart gives it to a pod."""

import base64
import json
import os
import subprocess
import sys

import pytest
import yaml

from chart.helmtool import MAXIMAL, engine, objects, one, planned, pod
from deployctl.render.door import door_files
from deployctl.render.helm import VALUES_FILE, render_helm
from deployctl_door import configuration

pytestmark = pytest.mark.helm

MIDDLEWARE = ["--middleware", "deployctl_door.vllm.Middleware", "--disable-fastapi-docs"]
FOLDER = "/opt/deployctl"


def mounted(found):
    """What the pod has below /opt/deployctl, by path: the ConfigMap, as its volume gives it."""
    volume = next(v for v in pod(found)["volumes"] if v["name"] == "files")["configMap"]
    data = one(found, "ConfigMap", volume["name"])["data"]
    assert {item["key"] for item in volume["items"]} == set(data)
    return {item["path"]: data[item["key"]] for item in volume["items"]}


def told(found, tmp_path):
    """The door's configuration, read as the door reads it."""
    path = tmp_path / "door.json"
    path.write_text(mounted(found)["door.json"])
    return configuration.load(path)


def environment(found):
    return {variable["name"]: variable["value"] for variable in engine(found)["env"]}


def sources(found):
    """Secrets of the pod by the file that each gives: (Secret, key, whether it may be missing)."""
    volume = next(v for v in pod(found)["volumes"] if v["name"] == "secrets")
    return {
        item["path"]: (s["secret"]["name"], item["key"], s["secret"].get("optional", False))
        for s in volume["projected"]["sources"]
        for item in s["secret"]["items"]
    }


@pytest.mark.parametrize("tasks", [("generate",), ("embed", "score"), ("transcribe",)])
@pytest.mark.parametrize("version", ["0.32.0", "0.9.2"])
def test_it_is_told_what_a_compose_project_s_door_is_told(tasks, version, tmp_path):
    limits = {"n": 2, "seconds": 1.5, "tokens": 4096, "prompts": 10**9}
    plan, spec, profile = planned(
        "awq",
        "l4",
        name="qwen",
        expose=True,
        request_log=True,
        request_limits=limits,
        otlp_traces_endpoint="http://c:4317" if version == "0.32.0" else None,
    )
    plan = plan.model_copy(
        update={"engine": plan.engine.model_copy(update={"tasks": tasks, "version": version})}
    )
    values = yaml.safe_load(render_helm(plan, spec, profile).files[VALUES_FILE])
    (tmp_path / "compose").mkdir()
    files = door_files(
        plan,
        spec,
        secrets="/run/secrets",
        drain_file="/tmp/deployctl-drain",
        probe_token="/tmp/deployctl-probe-token",
        drain_after_s=55,
    )
    (tmp_path / "compose" / "door.json").write_text(files["door.json"])
    found = objects(values)
    expected = configuration.load(tmp_path / "compose" / "door.json")
    assert told(found, tmp_path) == expected
    assert expected.tell_request_id == (version == "0.32.0")
    (policy,) = [o for (kind, _), o in found.items() if kind == "NetworkPolicy"]
    out = [p["port"] for rule in policy["spec"]["egress"] for p in rule.get("ports", ())]
    assert (4317 in out) == expected.tell_request_id
    shared = {path: text for path, text in files.items() if path != "door.json"}
    assert {path: mounted(found)[path] for path in shared} == shared


def test_defaults_of_the_values_are_the_door_s_own(small, tmp_path):
    assert told(small, tmp_path).body == configuration.BodyLimits()
    assert "door" not in yaml.safe_load(
        render_helm(*planned("awq", "l4", name="qwen")).files[VALUES_FILE]
    )


def test_the_engine_starts_with_it_whatever_the_user_says():
    own = {"PYTHONPATH": "/mine", "DEPLOYCTL_DOOR": "/mine/door.json", "API_KEY_REQUIRED": "0"}
    found = objects({"engine": {"args": ["--middleware", "my.own"], "env": own}})
    assert engine(found)["args"][-5:] == ["--middleware", "my.own", *MIDDLEWARE]
    variables = environment(found)
    assert variables["PYTHONPATH"] == f"{FOLDER}:/mine"
    assert variables["DEPLOYCTL_DOOR"] == f"{FOLDER}/door.json"
    assert variables["API_KEY_REQUIRED"] == "1"
    assert not [name for name in variables if name.startswith("VLLM_API")]


def test_its_folder_says_what_is_wrong_before_the_model_loads(small, tmp_path):
    files = mounted(small)
    document = json.loads(files["door.json"])
    for name in ("secrets", "drain_file", "probe_token"):
        document[name] = str(tmp_path / name)
    for path, text in {**files, "door.json": json.dumps(document)}.items():
        (tmp_path / "files" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "files" / path).write_text(text)
    (tmp_path / "secrets").mkdir()
    (tmp_path / "drain_file").touch()  # of a run before: /tmp outlives a restart

    def tried():
        return subprocess.run(
            [sys.executable, "-S", "-m", "deployctl_door"],
            env={**os.environ, "PYTHONPATH": str(tmp_path / "files"),
                 "DEPLOYCTL_DOOR": str(tmp_path / "files" / "door.json")},
            capture_output=True, text=True,
        )  # fmt: skip

    done = tried()
    assert done.returncode == 78
    assert "there is no key: neither api_key nor keys.json" in done.stderr
    (tmp_path / "secrets" / "api_key").write_text("s3cret")
    assert tried().returncode == 0
    assert not (tmp_path / "drain_file").exists()
    assert (tmp_path / "probe_token").stat().st_mode & 0o777 == 0o600


def test_a_pod_starts_with_any_of_its_keys_and_the_door_says_which_it_needs(small):
    assert sources(small) == {
        "api_key": ("qwen-api-key", "api_key", True),
        "keys.json": ("qwen-api-key", "keys.json", True),
        "operator_token": ("qwen-api-key", "operator_token", True),
    }
    mount = next(m for m in engine(small)["volumeMounts"] if m["name"] == "secrets")
    assert "subPath" not in mount


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"apiKey": {"existingSecret": "mine", "key": "k"}}, {"api_key": "mine/k",
          "keys.json": "mine/keys.json", "operator_token": "mine/operator_token"}),
        ({"operatorToken": {"existingSecret": "ours", "key": "t"}}, {"operator_token": "ours/t",
          "api_key": "qwen-api-key/api_key", "keys.json": "qwen-api-key/keys.json"}),
        ({"apiKey": {"enabled": False}}, {"operator_token": "qwen-api-key/operator_token"}),
        ({"hubToken": {"existingSecret": "hub"}, "apiKey": {"enabled": False}},
         {"operator_token": "qwen-api-key/operator_token", "hf_token": "hub/hf_token"}),
    ],
)  # fmt: skip
def test_secrets_are_those_that_the_values_name(values, expected):
    found = sources(objects(values))
    assert {path: f"{name}/{key}" for path, (name, key, _) in found.items()} == expected
    assert [path for path, (*_, optional) in found.items() if not optional] == [
        path for path in expected if path == "hf_token"
    ]


def test_for_trying_out_the_chart_makes_both():
    found = objects({"apiKey": {"value": "a key"}, "operatorToken": {"value": "a token"}})
    for path, text in (("api_key", b"a key"), ("operator_token", b"a token")):
        name, key, _ = sources(found)[path]
        assert base64.b64decode(one(found, "Secret", name)["data"][key]) == text


def test_without_an_api_key_clients_need_none_and_the_operator_does(tmp_path):
    found = objects({"apiKey": {"enabled": False}})
    assert told(found, tmp_path).keyless is True
    assert "API_KEY_REQUIRED" not in environment(found)
    assert ("GET", "/metrics") in told(found, tmp_path).operator


def test_probes_carry_the_probe_s_token(small, tmp_path):
    token = str(told(small, tmp_path).probe_token)
    container = engine(small)
    assert container["startupProbe"]["httpGet"] == {"path": "/health", "port": "http"}
    # Together with the failures in a row that follow: 600 and 45 s.
    for probe, words in (("livenessProbe", ["8000", "14", "465"]),
                         ("readinessProbe", ["--ready", "8000", "14", "20"])):  # fmt: skip
        assert container[probe]["exec"]["command"][4:] == [*words, token]
    for name, probe in (("stallSeconds", "livenessProbe"), ("readinessStallSeconds",
                                                            "readinessProbe")):  # fmt: skip
        short = engine(objects({"probes": {name: 10}}))[probe]
        assert short["exec"]["command"][-2] == "1"  # 0 would turn the look off
    assert (
        engine(objects({"probes": {"stallSeconds": 0}}))["livenessProbe"]["exec"]["command"][-2]
        == "0"
    )
    plain = engine(objects({"probes": {"readinessStallSeconds": 0}}))["readinessProbe"]
    assert plain["httpGet"] == {"path": "/health", "port": "http"}


@pytest.mark.parametrize("kind", ["podMonitor", "serviceMonitor"])
def test_prometheus_carries_the_operator_s_token(kind):
    values = {"monitoring": {"kind": kind}, "operatorToken": {"existingSecret": "o", "key": "t"}}
    spec = one(objects(values), kind[0].upper() + kind[1:])["spec"]
    (endpoint,) = spec.get("podMetricsEndpoints") or spec["endpoints"]
    assert endpoint["authorization"] == {
        "type": "Bearer", "credentials": {"name": "o", "key": "t"},
    }  # fmt: skip


def test_a_stop_closes_the_door_before_the_engine_ends(small, tmp_path):
    door = told(small, tmp_path)
    *shell, drain, port, token, least, most = engine(small)["lifecycle"]["preStop"]["exec"][
        "command"
    ]
    # Before Python begins, which takes its time on a busy node.
    assert shell == ["sh", "-c", ': >"$0"; exec python3 -S /opt/deployctl/leave.py "$@"']
    assert (port, drain, token) == ("8000", str(door.drain_file), str(door.probe_token))
    assert (float(least), door.drain_after_s, float(most)) == (15, 55, 65)
    assert pod(small)["terminationGracePeriodSeconds"] == 75
    assert {"alive.py", "leave.py"} <= mounted(small).keys()
    assert any(m["mountPath"] == "/tmp" for m in engine(small)["volumeMounts"])


def test_pods_are_made_anew_for_another_door_and_not_for_another_chart():
    def template(values):
        return pod(objects(values))["volumes"][0]

    first = template({})
    assert template({"monitoring": {"kind": "podMonitor"}}) == first
    # Another name, so that pods of before keep the files that they were made for.
    other = template({"door": {"limits": {"choices": 2}}})
    assert other["configMap"]["name"] != first["configMap"]["name"]
    assert other["configMap"]["items"] == first["configMap"]["items"]


def test_the_service_test_reaches_engines_behind_a_router_and_has_every_route():
    found = objects(files=[MAXIMAL])
    words = found["Pod", "qwen-smoke"]["spec"]["containers"][0]["args"]
    assert words[:2] == ["qwen", "qwen-router"]
    peers = one(found, "NetworkPolicy")["spec"]["ingress"][0]["from"]
    labels = found["Pod", "qwen-smoke"]["metadata"]["labels"].items()
    assert any(p["podSelector"]["matchLabels"].items() <= labels for p in peers)
    data = one(found, "ConfigMap", "qwen-smoke")["data"]
    assert "POST /invocations\n" in data["routes.txt"]
    assert "POST /v1/completions\n" in data["user.txt"]
