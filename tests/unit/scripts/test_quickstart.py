"""./quickstart: what it checks before it downloads, and the commands it then shows.

The script runs for real, in a copy of the checkout whose path has a space; the environment it
would install is a stand-in that writes down what it is asked.
"""

import json
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
TOOLS = "awk bash cat cut date df dirname flock grep head id readlink sed sha256sum tail tr uname"
MACHINE_LINES = {
    "awk": 'case "$*" in *MemAvailable*) echo 16 ;; *) exec {real} "$@" ;; esac',
    "grep": 'case "$*" in *avx2*) exit 0 ;; *) exec {real} "$@" ;; esac',
    "df": 'printf "a\\nb 0 0 %s\\n" $((50 * 1048576))',
    "uname": "case $1 in -s) echo Linux ;; *) echo x86_64 ;; esac",
}
PYTHON = """#!{bash}
case "$*" in
  *version_info*) echo {version} ;;
  *ensurepip*) exit {no_venv} ;;
  *libnuma*) exit {no_libnuma} ;;
  -VV) echo "Python {version}" ;;
  *) exec {real} "$@" ;;
esac
"""


class Checkout:
    """A copy of the scripts, and a machine made of stand-ins in front of them."""

    def __init__(self, folder):
        self.root = folder / "a clone"
        self.bin = folder / "bin"
        self.bin.mkdir()
        requirements = ("docker/requirements.txt", "requirements/cpu.txt", "requirements/dev.txt")
        for name in ("quickstart", ".ci/helm", "scripts/env.sh", "pyproject.toml", *requirements):
            (self.root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, self.root / name)
        for tool in TOOLS.split():
            self.tool(tool, f'exec {shutil.which(tool)} "$@"')
        for tool, line in MACHINE_LINES.items():
            self.tool(tool, line.format(real=shutil.which(tool)))
        self.env = {"PATH": str(self.bin), "HOME": str(folder), "NO_COLOR": "1"}

    def tool(self, name, line):
        (self.bin / name).write_text(f"#!{shutil.which('bash')}\n{line}\n")
        (self.bin / name).chmod(0o755)

    def python(self, name="python3.12", version="3.12", no_venv=0, no_libnuma=0):
        text = PYTHON.format(
            bash=shutil.which("bash"),
            real=sys.executable,
            version=version,
            no_venv=no_venv,
            no_libnuma=no_libnuma,
        )
        (self.bin / name).write_text(text)
        (self.bin / name).chmod(0o755)

    def installed(self, status=None):
        """As if `.[cpu]` were there: deployctl writes its arguments down."""
        binaries = self.root / ".venv" / "bin"
        binaries.mkdir(parents=True)
        (binaries / "activate").write_text(f"PATH='{binaries}':$PATH\n")
        (binaries / "python").symlink_to(sys.executable)
        answer = json.dumps({"services": [status]}) if status else ""
        (binaries / "deployctl").write_text(
            f"#!{shutil.which('bash')}\n"
            'echo "$@" >>"${0%/*}/asked"\n'
            f"case \"$*\" in *'output json'*) echo '{answer}'; [ -n '{answer}' ] ;; esac\n"
        )
        (binaries / "deployctl").chmod(0o755)
        key = self.bash(". scripts/env.sh; find_python; environment_key").stdout
        (self.root / ".venv" / ".installed-cpu").write_text(key)

    def bash(self, script):
        return self.run(shutil.which("bash"), "-c", f"set -euo pipefail; {script}")

    def run(self, *command):
        return subprocess.run(
            command, cwd=self.root, env=self.env, capture_output=True, text=True, timeout=60
        )

    def quickstart(self, *arguments):
        return self.run("./quickstart", *arguments)

    def asked(self):
        lines = (self.root / ".venv" / "bin" / "asked").read_text().splitlines()
        return [line for line in lines if "json" not in line and line != "--version"]


@pytest.fixture
def checkout(tmp_path):
    return Checkout(tmp_path)


def refused(done):
    """The lines marked as missing; nothing may have been made."""
    assert done.returncode == 2, done.stderr
    assert "nothing was downloaded" in done.stderr
    return [line.strip() for line in done.stderr.splitlines() if line.startswith("  no ")]


def test_no_python_is_one_line_with_its_fix(checkout):
    (line,) = refused(checkout.quickstart())
    assert "no Python from 3.11" in line
    assert "apt install python3.12" in line
    assert not (checkout.root / ".venv").exists()


@pytest.mark.parametrize("version", ["3.10", "3.14"])
def test_a_python_without_hashes_is_no_python(checkout, version):
    checkout.python("python3", version)
    (line,) = refused(checkout.quickstart())
    assert "no Python from 3.11 to 3.13" in line
    assert "uv python install 3.13" in line
    assert "Python 3.11 to 3.13," in checkout.quickstart("--help").stdout


@pytest.mark.parametrize(
    ("pythons", "taken"),
    [
        ({"python3": "3.12", "python3.13": "3.13"}, "python3"),
        ({"python3": "3.14", "python3.11": "3.11"}, "python3.11"),
        ({"python3": "3.10"}, None),
        ({}, None),
    ],
)
def test_a_scanner_is_installed_by_a_python_that_has_hashes(checkout, pythons, taken):
    for name, version in pythons.items():
        said = f'case "$*" in *version_info*) echo {version} ;; *) echo "${{0##*/}} $*" ;; esac'
        checkout.tool(name, said)
    done = checkout.run(".ci/helm", "checkov")
    assert (f"{taken} -m venv" in done.stdout) == (taken is not None)
    if taken is None:
        assert done.returncode == 2
        assert "error: no Python from 3.11 to 3.13\n hint: apt install" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "problem", "fix"),
    [
        ({"no_venv": 1}, "no venv module", "apt install python3.12-venv"),
        ({"no_libnuma": 1}, "libnuma.so.1", "apt install libnuma1"),
    ],
)
def test_what_python_lacks_is_named(checkout, arguments, problem, fix):
    checkout.python(**arguments)
    (line,) = refused(checkout.quickstart())
    assert problem in line
    assert fix in line


@pytest.mark.parametrize(
    ("tool", "line", "problem", "fix"),
    [
        ("uname", "echo Darwin", "Darwin Darwin", "Linux on x86_64"),
        ("grep", "exit 1", "no AVX2", "2015"),
        ("awk", MACHINE_LINES["awk"].replace("echo 16", "echo 1"), "only 1 GiB of memory", "4 GiB"),
        ("df", 'printf "a\\nb 0 0 3145728\\n"', "only 3 GiB of disk", "6 GiB"),
    ],
)
def test_what_the_machine_lacks_is_named(checkout, tool, line, problem, fix):
    checkout.python()
    checkout.tool(tool, line.replace("{real}", shutil.which(tool)))
    lines = refused(checkout.quickstart())
    assert any(problem in line and fix in line for line in lines), lines


def test_all_that_is_missing_is_said_at_once(checkout):
    checkout.tool("uname", "echo Darwin")
    assert len(refused(checkout.quickstart())) == 2  # the platform, and no Python


def test_the_newest_python_is_taken_unless_local_wheels_fit_another(checkout, tmp_path):
    checkout.python("python3.13", "3.13")
    checkout.python("python3.11", "3.11")
    chosen = ". scripts/env.sh; find_python; echo $PYTHON_VERSION"
    assert checkout.bash(chosen).stdout == "3.13\n"
    (tmp_path / "torch-2.13.0+cpu-cp311-cp311-linux_x86_64.whl").touch()
    checkout.env["PIP_FIND_LINKS"] = str(tmp_path)
    assert checkout.bash(chosen).stdout == "3.11\n"


def test_it_shows_the_commands_in_order_and_says_how_to_stop(checkout):
    checkout.python()
    checkout.installed()
    done = checkout.quickstart("--load", "10s", "--port", "18490")
    assert done.returncode == 0, done.stderr
    verbs = [line.split()[0] for line in checkout.asked()]
    assert verbs == ["demo-model", "plan", "up", "smoke", "loadtest", "status"]
    shown = [line[2:] for line in done.stderr.splitlines() if line.startswith("$ deployctl")]
    assert [line.removeprefix("deployctl ") for line in shown] == checkout.asked()
    assert "deployctl down smollm2-135m-awq" in done.stderr
    assert "report.html" in done.stderr


def test_a_taken_port_is_left_alone(checkout):
    checkout.python()
    checkout.installed()
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        done = checkout.quickstart("--load", "0", "--port", str(port))
    assert done.returncode == 0, done.stderr
    assert f"port {port} is taken" in done.stderr
    assert f"--port {port}" not in "\n".join(checkout.asked())


def test_a_running_service_keeps_its_port(checkout):
    checkout.python()
    checkout.installed(status={"url": "http://127.0.0.1:18491/v1"})
    done = checkout.quickstart("--load", "0")
    assert done.returncode == 0, done.stderr
    assert any(line.startswith("up ") and "--port 18491" in line for line in checkout.asked())
    assert not any(line.startswith("loadtest") for line in checkout.asked())


@pytest.mark.parametrize(
    "arguments", [("--nonsense",), ("--port",), ("--port", "x"), ("--format", "fp8")]
)
def test_wrong_arguments_are_refused_before_anything(checkout, arguments):
    done = checkout.quickstart(*arguments)
    assert done.returncode == 2
    assert "checking this machine" not in done.stderr


def test_words_that_need_quotes_get_them(checkout):
    done = checkout.bash(""". scripts/env.sh; typed echo "it's" a/b 'two words' ''""")
    assert done.stdout == r"""echo 'it'\''s' a/b 'two words' ''"""


def test_a_folder_in_a_path_with_a_space_gets_its_environment_elsewhere(checkout):
    # torch.compile cannot take such a path.
    checkout.tool("ln", f'exec {shutil.which("ln")} "$@"')
    for tool in ("mkdir", "rm"):
        checkout.tool(tool, f'exec {shutil.which(tool)} "$@"')
    place = checkout.root / ".venv"
    done = checkout.bash(". scripts/env.sh; PYTHON=true; make_venv")
    made = place.readlink()
    made.rmdir()
    assert done.returncode == 0, done.stderr
    assert " " not in str(made)
    assert str(made) in done.stderr
