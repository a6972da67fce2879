"""`deployctl check`, as a user and a pipeline run it."""

import importlib
import io
import json
import pkgutil
import sys
from typing import NamedTuple
from xml.etree import ElementTree

import jsonschema
import pytest

from deployctl import assets
from deployctl.boundedyaml import parse
from deployctl.checking import RULES, Rule, check_texts, finding, rules
from deployctl.checking.formats import sarif
from deployctl.cli.app import main


class Done(NamedTuple):
    code: int
    stdout: str
    stderr: str


@pytest.fixture
def check(tmp_path, monkeypatch, capsys):
    def run(*words, stdin=""):
        monkeypatch.setattr(sys, "argv", ["deployctl", "check", *map(str, words)])
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin.encode())))
        with pytest.raises(SystemExit) as ended:
            main()
        told = capsys.readouterr()
        return Done(ended.value.code, told.out, told.err)

    monkeypatch.chdir(tmp_path)
    return run


@pytest.fixture
def good(tmp_path, spoilt):
    (tmp_path / "k8s").mkdir()
    (tmp_path / "k8s" / "chat.yaml").write_text(spoilt.text)
    return tmp_path / "k8s"


@pytest.fixture
def bad(good, spoilt):
    spoilt.engine["image"] = "vllm/vllm-openai:latest"
    spoilt.engine["readinessProbe"]["timeoutSeconds"] = 1
    (good / "chat.yaml").write_text(spoilt.text)
    return good


def test_a_good_folder_is_good(check, good):
    done = check(good)
    assert done.code == 0
    assert done.stdout == "nothing to fix in 11 documents of 1 file, 1 engine\n"


def test_findings_have_a_code_a_place_a_reason_and_a_fix(check, bad):
    done = check("k8s")
    assert done.code == 3
    assert "k8s/chat.yaml" in done.stdout
    assert "error  image-not-pinned  line " in done.stdout
    assert "the tag latest is not fixed" in done.stdout
    assert "fix: name a release" in done.stdout
    assert "1 finding to fix" in done.stderr


def test_warnings_refuse_when_asked(check, bad):
    assert check("k8s", "--ignore", "image-not-pinned").code == 0
    assert check("k8s", "--ignore", "image-not-pinned", "--strict").code == 3


def test_standard_input(check, bad):
    text = (bad / "chat.yaml").read_text()
    done = check("-", stdin=text)
    assert done.code == 3
    assert done.stdout.startswith("stdin\n")


def test_json_is_a_documented_document(check, bad):
    done = check("k8s", "--output", "json")
    document = json.loads(done.stdout)
    assert document["version"] == 1
    assert document["counts"] == {"error": 1, "warning": 1, "note": 1}
    assert {f["code"] for f in document["findings"]} == {
        "image-not-pinned", "readiness-timeout", "engine-version-unknown",
    }  # fmt: skip
    assert all(f["fix"] and f["message"] and f["line"] for f in document["findings"])


def test_sarif_and_junit(check, bad, tmp_path):
    done = check("k8s", "--sarif", "out/f.sarif", "--junit", "out/f.xml")
    assert done.code == 3
    log = json.loads((tmp_path / "out" / "f.sarif").read_text())
    jsonschema.validate(log, SARIF)
    run = log["runs"][0]
    for result in run["results"]:
        assert run["tool"]["driver"]["rules"][result["ruleIndex"]]["id"] == result["ruleId"]
    suites = ElementTree.parse(tmp_path / "out" / "f.xml").getroot()
    (suite,) = suites
    assert (suite.get("tests"), suite.get("failures")) == ("3", "1")
    assert suite.find("testcase/failure").get("type") == "error"


def test_a_path_in_sarif_is_a_reference(check, bad, tmp_path):
    (tmp_path / "k8s").rename(tmp_path / "k 8s: ä")
    check("k 8s: ä", "--sarif", "f.sarif")
    log = json.loads((tmp_path / "f.sarif").read_text())
    place = log["runs"][0]["results"][0]["locations"][0]["physicalLocation"]
    assert place["artifactLocation"]["uri"].startswith("k%208s%3A%20%C3%A4/")


def test_a_file_name_that_is_no_text_is_written_as_its_bytes():
    (result,) = sarif(check_texts({"a\udce4.yaml": "["}))["runs"][0]["results"]
    location = result["locations"][0]["physicalLocation"]["artifactLocation"]
    assert location == {"uri": "a%E4.yaml"}


# The parts of SARIF 2.1.0 that code hosts insist on.
TEXT = {"type": "object", "required": ["text"], "properties": {"text": {"type": "string"}}}
SARIF = {
    "type": "object",
    "required": ["version", "runs"],
    "properties": {
        "version": {"const": "2.1.0"},
        "runs": {
            "type": "array",
            "minItems": 1,
            "items": {
                "required": ["tool", "results"],
                "properties": {
                    "tool": {"required": ["driver"]},
                    "results": {
                        "items": {
                            "required": ["ruleId", "ruleIndex", "level", "message", "locations"],
                            "properties": {
                                "level": {"enum": ["none", "note", "warning", "error"]},
                                "message": TEXT,
                                "locations": {
                                    "items": {
                                        "properties": {
                                            "physicalLocation": {
                                                "required": ["artifactLocation", "region"],
                                                "properties": {
                                                    "region": {
                                                        "properties": {"startLine": {"minimum": 1}}
                                                    }
                                                },
                                            }
                                        }
                                    }
                                },
                            },
                        }
                    },
                },
            },
        },
    },
}


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["nowhere"], "there is no such file"),
        (["empty"], "no YAML or JSON file"),
        (["k8s", "--ignore", "image-pinned"], "did you mean image-not-pinned?"),
        (["k8s", "--kubernetes", "latest"], "is not a version"),
        (["k8s", "--engine-version", "new"], "is not a version"),
        (["bytes.yaml"], "not UTF-8"),
        ([], "Missing argument"),
    ],
)
def test_wrong_use_is_said(words, says, check, good, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "bytes.yaml").write_bytes(b"\xff\xfe\x00")
    done = check(*words)
    assert done.code == 2
    assert says.lower() in done.stderr.lower()


def test_a_file_too_large_is_refused(check, tmp_path, monkeypatch):
    monkeypatch.setattr("deployctl.boundedyaml.MAX_BYTES", 10)
    (tmp_path / "a.yaml").write_text("a: 1234567890\n")
    done = check("a.yaml")
    assert done.code == 2
    assert "larger than" in done.stderr


@pytest.mark.parametrize("held", ["providers: [{name: a, type: file}]", "datasources: []"])
def test_what_grafana_is_provisioned_with_is_no_manifest(check, tmp_path, held):
    (tmp_path / "grafana.yaml").write_text(f"apiVersion: 1\n{held}\n")
    done = check("grafana.yaml")
    assert (done.code, "unrecognised" in done.stdout) == (0, True)


@pytest.fixture
def chart(good):
    folder = good / "chart"
    (folder / "templates").mkdir(parents=True)
    (folder / "Chart.yaml").write_text("apiVersion: v2\nname: x\nversion: 0.1.0\n")
    (folder / "values.yaml").write_text("replicas: 1\n")
    (folder / "templates" / "d.yaml").write_text("a: {{ .Values.replicas }}\n")
    return folder


def test_a_chart_without_helm_is_not_taken_for_manifests(check, chart, monkeypatch):
    monkeypatch.setenv("PATH", "")
    done = check("k8s")
    assert done.code == 0, done.stdout
    assert "pipe helm template into" in done.stderr
    assert check("k8s/chart").code == 2


def test_a_chart_is_filled_in_by_helm(check, chart, monkeypatch):
    from deployctl.targets import helm

    def template(folder, values, *, name, namespace):
        return "apiVersion: v1\nkind: Service\nmetadata: {name: vllm}\nspec: {}\n"

    monkeypatch.setattr(helm, "template", template)
    done = check("k8s")
    assert "k8s/chart (helm template)\n  error  service-named-vllm" in done.stdout


def test_a_service_file_is_held_against_its_settings(check, tmp_path):
    (tmp_path / "service.yaml").write_text("model: a/b\ngpu: l4\n---\nmodel: c/d\nreplica: 2\n")
    done = check("service.yaml")
    assert done.code == 3
    assert "line 5  services/1: replica" in done.stdout
    listed = json.loads(check("service.yaml", "--output", "json").stdout)["findings"]
    assert [f["code"] for f in listed] == ["service-file"]
    assert "did you mean replicas?" in done.stdout


def test_our_own_command_file(check, tmp_path):
    command = {
        "version": 1,
        "arguments": [
            "-m",
            "vllm.entrypoints.openai.api_server",
            "--model",
            "/m",
            "--port",
            "8000",
        ],
        "environment": {"VLLM_CPU_KVCACHE_SPACE": "1"},
        "engine_version": "0.32.0",
    }
    (tmp_path / "command.json").write_text(json.dumps(command))
    assert check("command.json").code == 0
    command["arguments"].append("--swap-space=4")
    (tmp_path / "command.json").write_text(json.dumps(command))
    assert "flag-removed" in check("command.json").stdout


def test_every_rule_says_its_consequence():
    for code, rule in RULES.items():
        assert code == rule.code
        assert rule.consequence.endswith(".")
        assert rule.group


def test_the_catalogue_and_the_rules_name_the_same_codes():
    modules = [
        importlib.import_module(f"{rules.__name__}.{module.name}")
        for module in pkgutil.iter_modules(rules.__path__)
    ]
    used = [r.code for m in modules for r in vars(m).values() if isinstance(r, Rule)]
    assert sorted(used) == sorted(RULES)
    with pytest.raises(KeyError):
        finding.rule("no-such-rule")


def test_the_catalogue_says_nothing_twice():
    catalogue = assets.path("deploy", "checks", "rules.yaml").read_text()
    (document,), troubles = parse(catalogue)
    codes = [code for group in document.data.values() for code in group]
    assert not troubles
    assert len(codes) == len(set(codes))
    assert all(len(told) == 1 for group in document.data.values() for told in group.values())
