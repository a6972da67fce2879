"""The project of the monitoring stack: its parts, their images, ports and files."""

import itertools
import json
import re
from pathlib import Path

from deployctl.render.alerting import PROBES
from deployctl.render.monitoring import monitoring_folder
from deployctl.render.monitoring.stack import StackSettings, parts, stack_files
from monitoring_parts import loaded, receivers


def compose(services=(), **settings):
    return loaded(stack_files(services, StackSettings(**settings), "/state"), "compose.yaml")


def test_every_part_is_fenced_in_and_on_loopback(watched):
    document = compose([watched()], cards=True, certificates=True)
    assert set(document["services"]) == set(parts())
    for name, part in document["services"].items():
        assert part["cap_drop"] == ["ALL"]
        assert part["security_opt"] == ["no-new-privileges:true"]
        assert part["deploy"]["resources"]["limits"]["memory"]
        assert part["read_only"] is (name != "dcgm-exporter")
        assert part["user"].startswith("0:") is (name == "dcgm-exporter")
        assert all(v.get("read_only") for v in part["volumes"] if v["type"] == "bind")
        said = json.dumps([part.get("command"), part.get("environment")])
        assert "127.0.0.1" in said
        assert "0.0.0.0" not in said
        assert ":latest" not in part["image"]


def test_images_are_pinned_by_digest_where_one_is_known():
    images = {name: part["image"] for name, part in parts().items()}
    pinned = {
        n for n, image in images.items() if re.search(r":v?[\d.]+@sha256:[0-9a-f]{64}$", image)
    }
    assert set(images) - pinned == {"dcgm-exporter"}
    assert re.search(r":\d+\.\d+\.\d+-", images["dcgm-exporter"])


def test_ports_and_images_of_ones_own(watched):
    settings = {"ports": {"prometheus": 19090}, "images": {"grafana": "mirror/grafana:1"}}
    files = stack_files([watched()], StackSettings(**settings), "/state")
    document = loaded(files, "compose.yaml")
    assert "--web.listen-address=127.0.0.1:19090" in document["services"]["prometheus"]["command"]
    assert document["services"]["grafana"]["image"] == "mirror/grafana:1"
    sources = loaded(files, "grafana/provisioning/datasources/deployctl.yaml")
    assert sources["datasources"][0]["url"] == "http://127.0.0.1:19090"
    jobs = loaded(files, "prometheus/prometheus.yaml")["scrape_configs"]
    assert ["127.0.0.1:19090"] in [job["static_configs"][0]["targets"] for job in jobs]


def test_cards_are_looked_at_where_there_are_any(watched):
    assert "dcgm-exporter" not in compose([watched()])["services"]
    files = stack_files([watched()], StackSettings(cards=True), "/state")
    jobs = loaded(files, "prometheus/prometheus.yaml")["scrape_configs"]
    assert "dcgm-exporter" in [job["job_name"] for job in jobs]
    counters = files["dcgm-exporter/counters.csv"].splitlines()
    assert all(re.fullmatch(r"DCGM_FI_DEV_\w+, (gauge|counter), \w+", line) for line in counters)
    asked = set(re.findall(r"DCGM_\w+", files["prometheus/rules/host_rules.yaml"]))
    asked |= set(
        re.findall(r"DCGM_\w+", "".join(t for p, t in files.items() if "/dashboards/" in p))
    )
    assert asked == {line.split(",")[0] for line in counters}


def test_certificates_are_looked_at_where_there_are_any(watched):
    plain, domain = watched("plain"), {"domain": "llm.example.com", "tls": "internal"}
    chat = watched(**domain, gateway_port=8443)
    code = chat._replace(plan=chat.plan.model_copy(update={"name": "code"}))
    usual = watched("usual", port=8001, **domain)
    settings = StackSettings(ports={"blackbox-exporter": 19115})
    assert settings.unseen([plain]) == []
    assert settings.unseen([plain, chat]) == ["certificates"]
    assert settings.seeing([chat]).unseen([chat]) == []
    assert "blackbox-exporter" in settings.seeing([chat]).seeing([]).parts  # it stays
    assert "blackbox-exporter" not in settings.parts

    def probes(*services):
        files = stack_files(services, settings.seeing(services), "/state")
        jobs = loaded(files, "prometheus/prometheus.yaml")["scrape_configs"]
        return [job for job in jobs if job["job_name"] == PROBES]

    assert probes(plain) == probes() == []
    (job,) = probes(plain, chat, code, usual)
    assert job["static_configs"] == [
        {
            "targets": ["127.0.0.1:19115"],
            "labels": {
                "instance": f"llm.example.com:{port}",
                "__param_target": f"127.0.0.1:{port}",
                "__param_hostname": "llm.example.com",
            },
        }
        for port in (443, 8443)
    ]
    folder = monitoring_folder([plain, chat], ())
    (_, _, theirs) = loaded(folder, "prometheus/scrape.yaml")["scrape_configs"]
    assert theirs["static_configs"][0]["targets"] == ["127.0.0.1:9115"]
    assert theirs["params"]["module"][0] in loaded(folder, "blackbox/blackbox.yaml")["modules"]
    assert "blackbox-exporter (0.24 or newer)" in folder["README.md"]  # to it `hostname` is known
    assert not any(path.startswith("blackbox") for path in monitoring_folder([plain], ()))


def test_figures_of_load_tests_are_read_where_deployctl_writes_them():
    def command(**settings):
        return compose(**settings)["services"]["node-exporter"]["command"]

    assert "--collector.textfile" not in command()
    said = command(textfiles="/var/lib/node_exporter")
    assert "--collector.textfile.directory=/host/var/lib/node_exporter" in said
    (host,) = compose()["services"]["node-exporter"]["volumes"]
    assert (host["source"], host["target"]) == ("/", "/host")


def test_no_secret_is_in_a_rendered_file_and_each_part_sees_its_own(watched):
    files = stack_files([watched()], StackSettings(receivers=receivers()), "/state")
    assert "/run/pd" not in "".join(files.values())
    told = loaded(files, "alertmanager/alertmanager.yaml")["receivers"]
    (pager,) = (each for each in told if each["name"] == "on-call")
    assert (
        pager["pagerduty_configs"][0]["routing_key_file"] == "/run/secrets/on-call.routing_key_file"
    )
    mounted = {
        name: [v["source"] for v in part["volumes"] if v["target"] == "/run/secrets"]
        for name, part in loaded(files, "compose.yaml")["services"].items()
    }
    assert mounted == {
        "prometheus": ["./secrets/prometheus"], "alertmanager": ["./secrets/alertmanager"],
        "grafana": ["./secrets/grafana"], "node-exporter": [],
    }  # fmt: skip


def test_no_service_can_have_the_projects_name():
    from deployctl.render.compose import project_name
    from deployctl.render.monitoring.stack import PROJECT
    from deployctl.spec.service import NAME_PATTERN

    service = PROJECT.removeprefix("deployctl").lstrip("-")
    assert project_name("monitoring") != PROJECT
    assert not re.match(NAME_PATTERN, service)


# Grafana: by the types of its own reader (pkg/services/provisioning/{datasources,dashboards}/
# types.go), which refuses no field that it does not know: so this does.
SOURCE = {
    "name", "uid", "type", "access", "url", "orgId", "isDefault", "editable", "jsonData",
}  # fmt: skip
PROVIDER = {
    "name", "orgId", "folder", "folderUid", "type", "disableDeletion", "editable",
    "updateIntervalSeconds", "allowUiUpdates", "options",
}  # fmt: skip


def test_grafana_is_told_in_its_own_words(watched):
    for files in (
        monitoring_folder([watched()], ()),
        stack_files([watched()], StackSettings(), "/state"),
    ):
        sources = loaded(files, "grafana/provisioning/datasources/deployctl.yaml")
        assert sources["apiVersion"] == 1
        for source in sources["datasources"]:
            assert set(source) <= SOURCE
            assert source["type"] in ("prometheus", "alertmanager")
        assert len({s["uid"] for s in sources["datasources"]}) == len(sources["datasources"])
        told = loaded(files, "grafana/provisioning/dashboards/deployctl.yaml")
        (provider,) = told["providers"]
        assert told["apiVersion"] == 1
        assert set(provider) <= PROVIDER
        assert Path(provider["options"]["path"]).is_absolute()
        boards = [
            json.loads(t) for path, t in files.items() if path.startswith("grafana/dashboards/")
        ]
        assert len({board["uid"] for board in boards}) == len(boards) == 4


def test_grafana_reads_the_folder_that_is_mounted(watched):
    files = stack_files([watched()], StackSettings(), "/state")
    part = loaded(files, "compose.yaml")["services"]["grafana"]
    mounts = {v["target"]: v["source"] for v in part["volumes"]}
    told = loaded(files, "grafana/provisioning/dashboards/deployctl.yaml")
    assert mounts[told["providers"][0]["options"]["path"]] == "./grafana/dashboards"
    home = part["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    folder, _, name = home.rpartition("/")
    assert f"{mounts[folder]}/{name}".removeprefix("./") in files


def test_dashboards_have_the_names_of_the_newest_release_that_is_served(watched):
    old, new = watched(version="0.9.1"), watched("b", version="0.32.0", port=8001)
    for order in itertools.permutations([old, new]):
        files = monitoring_folder(order, ())
        assert "vLLM 0.32.0" in json.loads(files["grafana/dashboards/service.json"])["description"]
