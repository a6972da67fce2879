"""What Prometheus, Alertmanager and Grafana are given, from one source."""

import re

import pytest
import yaml

from deployctl.render import door
from deployctl.render.monitoring import monitoring_files, monitoring_folder
from deployctl.render.monitoring.alertmanager import configuration, routed, unheard
from deployctl.render.monitoring.prometheus import scrape_job
from deployctl.render.monitoring.stack import StackSettings, stack_files
from monitoring_parts import loaded, receivers


def test_a_service_is_judged_and_scraped_the_same_wherever_it_is_rendered(watched):
    one = watched()
    beside = monitoring_files(one.plan, one.spec)
    folder = monitoring_folder([one], ())
    stack = stack_files([one], StackSettings(), "/state")
    rules = loaded(beside, "monitoring/rules.yaml")
    assert rules["groups"]
    assert loaded(folder, "prometheus/rules/chat.yaml") == rules
    assert loaded(stack, "prometheus/rules/chat.yaml") == rules
    hosts = loaded(beside, "monitoring/host-rules.yaml")
    assert loaded(folder, "prometheus/rules/host_rules.yaml") == hosts
    assert loaded(stack, "prometheus/rules/host_rules.yaml") == hosts
    (job,) = loaded(folder, "prometheus/scrape.yaml")["scrape_configs"]
    assert job["authorization"] == {"credentials_file": "/run/secrets/chat"}
    assert job == loaded(stack, "prometheus/prometheus.yaml")["scrape_configs"][0]
    (mine,) = loaded(beside, "monitoring/scrape.yaml")["scrape_configs"]
    assert mine == job | {"authorization": {"credentials_file": "../secrets/operator_token"}}


def test_an_only_engine_of_docker_is_scraped_wherever_it_came_up(watched):
    alone = watched(gateway=True)
    beside = loaded(monitoring_files(alone.plan, alone.spec), "monitoring/scrape.yaml")
    assert beside["scrape_configs"][0]["metrics_path"] == "/services/chat/metrics"


def test_a_project_behind_a_gateway_has_it_scraped_once_a_host(watched):
    found = []
    for name in ("chat", "b"):
        one = watched(name, gateway=True)
        found.append(monitoring_files(one.plan, one.spec)["monitoring/gateway-scrape.yaml"])
    assert found[0] == found[1]
    (job,) = yaml.safe_load(found[0])["scrape_configs"]
    assert job["job_name"] == "deployctl_gateway"
    assert job["static_configs"] == [{"targets": ["127.0.0.1:20190"]}]
    alone = watched()
    assert "monitoring/gateway-scrape.yaml" not in monitoring_files(alone.plan, alone.spec)


def test_a_gateway_is_scraped_once_and_judged_wherever_it_is_rendered(watched):
    both = [watched(name, gateway=True)._replace(gateway="127.0.0.1:20190") for name in "ab"]
    stack = stack_files(both, StackSettings(), "/state")
    jobs = loaded(monitoring_folder(both, ()), "prometheus/scrape.yaml")["scrape_configs"]
    gateways = [job for job in jobs if job["job_name"] == "deployctl_gateway"]
    assert [job["static_configs"] for job in gateways] == [[{"targets": ["127.0.0.1:20190"]}]]
    assert gateways[0] in loaded(stack, "prometheus/prometheus.yaml")["scrape_configs"]
    rules = loaded(stack, "prometheus/rules/host_rules.yaml")["groups"]
    assert "deployctl-gateway" in [group["name"] for group in rules]
    alone = watched()
    assert "deployctl_gateway" not in monitoring_folder([alone], ())["prometheus/scrape.yaml"]


def test_series_of_an_engine_name_the_port_of_the_gateway_that_it_is_behind(watched):
    def labels(monitor, **spec):
        one = watched(**spec)._replace(gateway=monitor)
        return scrape_job(one)["static_configs"][0]["labels"]

    at = "127.0.0.1:20191"
    assert labels(at, gateway=True) == {"service": "chat", "gateway": f"{at}/port-8080"}
    assert labels(at, gateway=True, gateway_port=8081)["gateway"] == f"{at}/port-8081"
    assert labels(at, domain="a.example", tls="internal")["gateway"] == f"{at}/port-443"
    assert labels("") == {"service": "chat"}


def test_a_worse_alert_mutes_none_of_another_thing(watched):
    """What a summary tells it by is what both must have."""
    files = monitoring_folder([watched()], ())
    groups = [g for name in files if "/rules/" in name for g in loaded(files, name)["groups"]]
    alerts = [rule for group in groups for rule in group["rules"] if "alert" in rule]
    worse = {each["alert"] for each in alerts if each["labels"]["severity"] == "critical"}
    muted = [e for e in alerts if e["alert"] in worse and e["labels"]["severity"] == "warning"]
    told = {name for e in muted for name in re.findall(r"\$labels\.(\w+)", str(e["annotations"]))}
    assert {"mountpoint", "server"} <= told
    (rule,) = configuration(())["inhibit_rules"]
    assert told <= {*rule["equal"]}


def test_replicas_are_scraped_each_by_its_port_or_its_path(watched):
    def places(one):
        folder = monitoring_folder([one], ())
        job, *_ = loaded(folder, "prometheus/scrape.yaml")["scrape_configs"]
        return job["static_configs"]

    processes = watched(replicas=2)
    (both,) = places(processes)
    assert both["targets"] == ["127.0.0.1:8000", "127.0.0.1:8001"]
    beside = loaded(monitoring_files(processes.plan, processes.spec), "monitoring/scrape.yaml")
    contained = processes._replace(address="127.0.0.1:20190", path="/engines/chat-engine-1")
    assert places(contained) == beside["scrape_configs"][0]["static_configs"]
    assert places(contained) == [
        {
            "targets": ["127.0.0.1:20190"],
            "labels": {
                "service": "chat",
                "gateway": "127.0.0.1:20190/port-8080",
                "instance": f"chat/{number}",
                "__metrics_path__": f"/engines/{container}/metrics",
            },
        }
        for number, container in enumerate(("chat-engine-1", "chat-engine-1-1"))
    ]


def test_a_service_that_is_called_host_takes_no_rules_of_machines_away(watched):
    one = watched("host")
    for files in (monitoring_folder([one], ()), stack_files([one], StackSettings(), "/state")):
        groups = {
            group["name"]
            for path in files
            if path.startswith("prometheus/rules/")
            for group in loaded(files, path)["groups"]
        }
        assert {"deployctl-host", "deployctl-host-health"} <= groups


def test_a_release_without_a_door_is_scraped_without_a_token(watched, monkeypatch):
    monkeypatch.setattr(door, "has_door", lambda version: version != "0.9.1")
    folder = monitoring_folder([watched(version="0.9.1"), watched("b", port=8001)], ())
    first, second = loaded(folder, "prometheus/scrape.yaml")["scrape_configs"]
    assert "authorization" not in first
    assert second["authorization"]
    assert "chat/operator_token" not in folder["README.md"]
    assert "/b/operator_token secrets/b" in folder["README.md"]


def test_the_page_names_services_receivers_and_what_nobody_hears(watched):
    page = monitoring_folder([watched()], receivers("on-call"))["README.md"]
    assert "| `chat` | `127.0.0.1:8000` | vLLM 0.32.0 |" in page
    assert "| `on-call` | pagerduty | critical | `/run/pd` |" in page
    assert "Nobody is told of alerts of severity warning." in page
    assert "$" not in re.sub(r"\$STATE", "", page)


def test_the_page_says_of_which_services_the_port_may_change(watched):
    behind = watched("behind", gateway=True, gateway_port=8080)

    def page(one, target):
        spec = one.spec.model_copy(update={"target": target})
        return monitoring_folder([one._replace(spec=spec)], ())["README.md"]

    assert "An update of `behind` may" in page(behind, "process")
    assert not any("--beside" in p for p in (page(behind, "docker"), page(watched(), "process")))


def test_a_disk_is_told_once_and_not_for_each_file_that_docker_mounts():
    compose = yaml.safe_load(stack_files([], StackSettings(), "/state")["compose.yaml"])
    (flag,) = [w for w in compose["services"]["node-exporter"]["command"] if "exclude" in w]
    left_out = re.compile(flag.partition("=")[2].replace("$$", "$"))
    files = "/etc/hosts", "/etc/hostname", "/etc/resolv.conf"
    assert all(map(left_out.search, (*files, "/dev/shm", "/var/lib/docker/overlay2/a/merged")))
    assert not any(map(left_out.search, ("/", "/etc", "/home", "/var/lib/docker", "/devices")))


def test_the_same_gives_the_same_bytes(watched):
    one = [watched(), watched("b", port=8001)]
    assert monitoring_folder(one, receivers()) == monitoring_folder(one, receivers())
    assert stack_files(one, StackSettings(), "/s") == stack_files(one, StackSettings(), "/s")


# Who is told.


def test_secrets_are_files_of_the_names_that_alertmanager_knows():
    told = {each["name"]: each for each in configuration(receivers())["receivers"]}
    assert told["nobody"] == {"name": "nobody"}
    assert told["on-call"]["pagerduty_configs"][0]["routing_key_file"] == "/run/pd"
    assert told["team"]["slack_configs"][0]["api_url_file"] == "/run/slack"
    assert told["hook"]["webhook_configs"] == [{"url_file": "/run/hook", "send_resolved": True}]
    mail = told["mail"]["email_configs"][0]
    assert mail["auth_password_file"] == "/run/mail"
    assert mail["from"] == "deployctl@example.com"


@pytest.mark.parametrize(
    ("named", "missing"),
    [
        ([], []),
        (["on-call"], ["warning"]),
        (["team"], ["critical"]),
        (["hook"], []),
        (["on-call", "team"], []),
    ],
)
def test_of_which_alerts_nobody_hears(named, missing):
    assert unheard(receivers(*named)) == missing
    assert unheard(()) == ["critical", "warning"]


def test_a_test_of_one_receiver_goes_to_it_alone():
    told = receivers()
    labels = {"severity": "critical", "deployctl_test": "1"}
    assert routed(told, labels) == ["on-call", "hook", "mail"]
    assert routed(told, {**labels, "deployctl_receiver": "team"}) == ["team"]
    assert routed(told, {**labels, "deployctl_receiver": "who"}) == ["on-call", "hook", "mail"]
    assert routed((), labels) == ["nobody"]


# A project of our own.
