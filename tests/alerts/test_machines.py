"""Rules about a machine, and what is rendered for Compose, in Prometheus' own evaluation."""

import re
from pathlib import Path

import pytest
import yaml

import known
from alert_parts import HOUR, case, flat, holds, labelled, promtool, steady, written
from deployctl.render.alerting import Scope, host_groups
from deployctl.render.monitoring import Watched, monitoring_files
from deployctl.render.monitoring.prometheus import probe_jobs, probe_module

pytestmark = pytest.mark.promtool

ROOT = Path(__file__).resolve().parents[2]
VERSION = "0.32.0"
GIB = 2**30
CARD = 'gpu="0",UUID="GPU-1",Hostname="box"'
MEMORY = "node_memory_MemAvailable_bytes"
DISK = 'node_filesystem_avail_bytes{fstype="ext4",mountpoint="/",device="sda"}'


def falling(start, step, minutes):
    return f"{start * GIB:.0f}-{step * GIB:.0f}x{minutes}"


def machine(hours=12, **changed):
    """A machine with a card, on which nothing is wrong."""
    minutes = hours * HOUR
    xids = {f'DCGM_FI_DEV_XID_ERRORS{{{CARD},pod="a"}}': flat(0, minutes)}
    return {
        MEMORY: flat(40 * GIB, minutes),
        "node_memory_MemTotal_bytes": flat(64 * GIB, minutes),
        DISK: flat(300 * GIB, minutes),
        DISK.replace("avail", "size"): flat(1000 * GIB, minutes),
        DISK.replace("ext4", "tmpfs"): flat(0, minutes),
        DISK.replace("ext4", "tmpfs").replace("avail", "size"): flat(1, minutes),
        f"DCGM_FI_DEV_GPU_TEMP{{{CARD}}}": flat(70, minutes),
        f"DCGM_FI_DEV_GPU_UTIL{{{CARD}}}": flat(0, minutes),
        f"DCGM_FI_DEV_FB_FREE{{{CARD}}}": flat(2000, minutes),
        f"DCGM_FI_DEV_FB_USED{{{CARD}}}": flat(20000, minutes),
        f"DCGM_FI_DEV_UNCORRECTABLE_REMAPPED_ROWS{{{CARD}}}": flat(2, minutes),
        f"DCGM_FI_DEV_ROW_REMAP_FAILURE{{{CARD}}}": flat(0, minutes),
        **xids,
        **changed,
    }


def card(name, values):
    return {f"DCGM_FI_DEV_{name}{{{CARD}}}": values}


XID = f'DCGM_FI_DEV_XID_ERRORS{{{CARD},pod="%s"}}'
CERTIFICATE = "probe_ssl_earliest_cert_expiry"
EXPIRING, EXPIRES = ("CertificateExpiring", "warning"), ("CertificateExpiring", "critical")
PROBED, UP = (f'{name}{{job="deployctl_certificates"}}' for name in ("probe_success", "up"))
NO_TLS, UNSEEN = (("CertificateProbeFailing", severity) for severity in ("critical", "warning"))
FAILURES = 'prometheus_rule_evaluation_failures_total{rule_group="/r.yaml;deployctl-chat-health"}'
MACHINES = {
    "an idle night": (machine(), {11 * HOUR: []}),
    "nothing is scraped": ({"up": flat(1)}, {2 * HOUR: []}),
    "memory leaks": (
        machine(**{MEMORY: falling(22, 0.02, 12 * HOUR)}),
        {7 * HOUR: [], 9 * HOUR: [("HostMemoryGrowing", "warning")]},
    ),
    "memory is used up at once": (
        machine(**{MEMORY: f"{40 * GIB}x{HOUR} {flat(GIB, HOUR)}"}),
        {HOUR: [], HOUR + 8: [("HostMemoryGrowing", "critical")]},
    ),
    "a model is loaded into memory": (
        machine(**{MEMORY: f"{50 * GIB}x{6 * HOUR} {falling(50, 1, 35)} {flat(15 * GIB, 400)}"}),
        {6 * HOUR + 30: [], 8 * HOUR + 10: [], 11 * HOUR: []},
    ),
    "a machine starts anew": (
        machine(**{MEMORY: f"{falling(15, 0.02, 300)} _x3 {flat(60 * GIB, 400)}"}),
        {4 * HOUR: [], 6 * HOUR: [], 8 * HOUR: []},
    ),
    "a disk fills": (
        machine(**{DISK: falling(290, 0.25, 12 * HOUR)}),
        {7 * HOUR: [], 9 * HOUR: [("HostDiskFilling", "warning")]},
    ),
    "a checkpoint is fetched": (
        machine(**{DISK: f"{250 * GIB}x{6 * HOUR} {falling(250, 5, 20)} {flat(150 * GIB, 400)}"}),
        {6 * HOUR + 15: [], 8 * HOUR: [], 11 * HOUR: []},
    ),
    "a disk is full": (
        machine(**{DISK: f"{250 * GIB}x{HOUR} {flat(9 * GIB, HOUR)}"}),
        {HOUR: [], HOUR + 10: [("HostDiskFilling", "critical")]},
    ),
    "a card is hot": (
        machine(**card("GPU_TEMP", f"70x{HOUR} {flat(88, 2 * HOUR)}")),
        {HOUR + 10: [], HOUR + 30: [("GpuHot", "warning")]},
    ),
    "a card is hot for moments": (machine(**card("GPU_TEMP", "70 88 " * 300)), {8 * HOUR: []}),
    "the card fails": (
        machine(**{XID % "a": f"0x{HOUR} {flat(79, 3 * HOUR)}"}),
        {HOUR: [], HOUR + 4: [("GpuXid", "critical")], 3 * HOUR: []},
    ),
    "the card had failed before another pod got it": (
        machine(**{XID % "a": f"79x{HOUR}", XID % "b": f"_x{HOUR} {flat(79, HOUR)}"}),
        {50: [("GpuXid", "critical")], HOUR + 30: []},
    ),
    "a program failed": (machine(**{XID % "a": f"0x{HOUR} {flat(31, HOUR)}"}), {HOUR + 4: []}),
    "its memory is full": (
        machine(**card("FB_FREE", f"2000x{HOUR} {flat(20, 2 * HOUR)}")),
        {HOUR + 10: [], HOUR + 30: [("GpuMemoryFull", "warning")]},
    ),
    "its memory is broken": (
        machine(**card("UNCORRECTABLE_REMAPPED_ROWS", f"2x{HOUR} {flat(3, 2 * HOUR)}")),
        {HOUR: [], HOUR + 4: [("GpuMemoryErrors", "critical")]},
    ),
    "its driver counts from nothing": (
        machine(**card("UNCORRECTABLE_REMAPPED_ROWS", f"2x{HOUR} {flat(0, 2 * HOUR)}")),
        {HOUR + 10: []},
    ),
    "nothing can be replaced": (
        machine(**card("ROW_REMAP_FAILURE", f"0x{HOUR} {flat(1, 2 * HOUR)}")),
        {HOUR: [], HOUR + 4: [("GpuMemoryErrors", "critical")]},
    ),
    "nobody uses a card": (machine(27), {24 * HOUR: [], 26 * HOUR: [("GpuIdle", "warning")]}),
    "somebody uses it in the morning": (
        machine(27, **card("GPU_UTIL", f"0x{10 * HOUR} 60 {flat(0, 16 * HOUR)}")),
        {26 * HOUR: []},
    ),
    "a certificate is renewed every eight hours": (
        {CERTIFICATE: f"{12 * 3600}x479 {20 * 3600}x479 {28 * 3600}x479 {36 * 3600}x479"},
        {hours * HOUR: [] for hours in (7, 15, 23, 31)},
    ),
    "it is renewed no more": (
        {CERTIFICATE: flat(12 * 3600, 20 * HOUR)},
        {8 * HOUR + 55: [], 9 * HOUR + 50: [], 11 * HOUR: [EXPIRING, EXPIRES]},
    ),
    "one of six days is renewed with two left": (
        {CERTIFICATE: f"{6 * 86400}x{96 * HOUR} {flat(10 * 86400, 96 * HOUR)}"},
        {95 * HOUR: [], 100 * HOUR: [], 190 * HOUR: []},
    ),
    "it is renewed no more with two left": (
        {CERTIFICATE: flat(6 * 86400, 140 * HOUR)},
        {107 * HOUR: [], 110 * HOUR: [EXPIRING]},
    ),
    "it took the place of one of ninety days": (
        {CERTIFICATE: f"{90 * 86400}x{48 * HOUR} {flat(8 * 86400, 120 * HOUR)}"},
        {47 * HOUR: [], 50 * HOUR: [], 145 * HOUR: []},
    ),
    "a public one is renewed": (
        {CERTIFICATE: f"{15 * 86400}x{12 * HOUR} {flat(90 * 86400, 36 * HOUR)}"},
        {20 * HOUR: [], 40 * HOUR: []},
    ),
    "no TLS connection comes about": (
        {PROBED: f"1x{HOUR} {flat(0, HOUR)}"}, {HOUR + 3: [], HOUR + 10: [NO_TLS]},
    ),
    "a gateway is started anew": ({PROBED: f"1x{HOUR} 0x3 {flat(1, HOUR)}"}, {HOUR + 10: []}),
    "nobody can look": (
        {PROBED: f"1x{HOUR} stale", UP: f"1x{HOUR} {flat(0, HOUR)}"},
        {HOUR + 10: [], HOUR + 20: [UNSEEN]},
    ),
    "a probe of somebody's own fails": ({"probe_success": flat(0)}, {2 * HOUR: []}),
    "rules of ours are not evaluated": (
        {FAILURES: f"0x{HOUR} {steady(2, HOUR)}"},
        {HOUR: [], HOUR + 15: [("DeployctlRulesFailing", "warning")]},
    ),
    "rules of others are not": (
        {FAILURES.replace("deployctl-", "x-"): steady(2)}, {2 * HOUR: []},
    ),
}  # fmt: skip
MACHINE = Scope("", VERSION, ())


@pytest.fixture
def planned_here():
    """What a Compose project's Prometheus is given."""
    plan, spec, _ = known.planned("awq", "l4")
    return monitoring_files(plan, spec)


@pytest.mark.parametrize("name", MACHINES)
def test_what_fires_of_a_machine(name, tmp_path):
    series, expected = MACHINES[name]
    files = written(tmp_path, host_groups(MACHINE))
    box = 'instance="box:9100"'
    series = {
        labelled(name, box if "job=" in name else f'{box},job="node"'): values
        for name, values in series.items()
    }
    holds(tmp_path, files, case(series, expected))


def test_the_page_says_what_a_prometheus_takes_to_have_certificates(tmp_path):
    page = (ROOT / "docs" / "runbooks" / "CertificateExpiring.md").read_text()
    module, jobs = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    plan, spec, _ = known.planned("awq", "l4", domain="llm.example.com", tls="internal")
    ours = probe_jobs([Watched(plan, spec, "127.0.0.1:8000", "")], "127.0.0.1:9115")
    assert yaml.safe_load(module) == probe_module()
    assert yaml.safe_load(jobs) == {"scrape_configs": ours}
    rules = {"rule_files": [str(file) for file in written(tmp_path, host_groups(MACHINE))]}
    (tmp_path / "prometheus.yml").write_text(yaml.safe_dump({**rules, **yaml.safe_load(jobs)}))
    done = promtool("check", "config", tmp_path / "prometheus.yml")
    assert done.returncode == 0, done.stderr
    assert f'{CERTIFICATE}{{job="{yaml.safe_load(jobs)["scrape_configs"][0]["job_name"]}"}}' in page


def test_prometheus_takes_what_is_rendered_for_compose(tmp_path, planned_here):
    for path, text in planned_here.items():
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text(text)
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "operator_token").write_text("x")
    config = {
        "rule_files": ["monitoring/rules.yaml", "monitoring/host-rules.yaml"],
        "scrape_config_files": ["monitoring/scrape.yaml"],
    }
    (tmp_path / "prometheus.yml").write_text(yaml.safe_dump(config))
    done = promtool("check", "config", "--lint=all", "--lint-fatal", tmp_path / "prometheus.yml")
    assert done.returncode == 0, done.stdout + done.stderr
    (tmp_path / "secrets" / "operator_token").unlink()
    assert promtool("check", "config", tmp_path / "prometheus.yml").returncode
