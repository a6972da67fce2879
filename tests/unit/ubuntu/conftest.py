"""A pretended Ubuntu: a root folder, and commands that keep its state in it."""

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
SETUP = ROOT / "deploy" / "ubuntu" / "setup.sh"

# Each command reads and writes $STATE, so that a second run sees what the first one did, and
# whatever changes the host is written to $STATE/log.
COMMANDS = {
    "dpkg-query": 'grep -qsx "${@: -1}" "$STATE/packages" && printf "ii "',
    "dpkg": "echo amd64",
    "apt-cache": """
        grep -qsx "$2" "$STATE/unavailable" && exit 0
        if [ "$2" = nvidia-container-toolkit ] && [ -e "$STATE/root/etc/apt/sources.list.d" ]; then
            echo "  Candidate: 1.18.0-1"; exit 0
        fi
        [ "$2" = nvidia-container-toolkit ] && [ ! -e "$STATE/carries-toolkit" ] && {
            echo "  Candidate: (none)"; exit 0; }
        echo "  Candidate: 1.0"
    """,
    "apt-get": """
        echo "apt-get $*" >> "$STATE/log"
        case " $* " in *" install "*) ;; *) exit 0 ;; esac
        for word in "$@"; do
            case $word in
                -*|install|DPkg*) continue ;;
                nvidia-container-toolkit) cp "$STATE/nvidia-ctk" "$STATE/bin/nvidia-ctk" ;;
            esac
            echo "$word" >> "$STATE/packages"
        done
    """,
    "systemctl": """
        unit=${@: -1}
        case $1 in
            is-enabled|is-active) grep -qsx "$unit" "$STATE/running" ;;
            cat) grep -qs nvidia-headless "$STATE/packages" ;;
            *) echo "systemctl $*" >> "$STATE/log"; echo "$unit" >> "$STATE/running" ;;
        esac
    """,
    "id": """
        case $1 in
            -u) echo "${FAKE_UID:-0}" ;;
            -nG) cat "$STATE/groups" 2>/dev/null || echo users ;;
            *) [ "$1" = ubuntu ] ;;
        esac
    """,
    "usermod": 'echo "usermod $*" >> "$STATE/log"; echo users docker > "$STATE/groups"',
    "nvidia-smi": """
        [ -s "$STATE/driver" ] && { cat "$STATE/driver"; exit 0; }
        echo "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver."; exit 9
    """,
    "uname": "echo 6.8.0-1046-aws",
    "curl": 'echo "curl $*" >> "$STATE/log"; touch "$5"',
    "python3": """
        echo "python $*" >> "$STATE/log"
        mkdir -p "$3/bin"
        printf '#!/bin/sh\\necho "pip $*" >> "$STATE/log"\\n' > "$3/bin/pip"
        printf '#!/bin/sh\\necho "deployctl 0.1.0"\\n' > "$3/bin/deployctl"
        chmod +x "$3/bin/pip" "$3/bin/deployctl"
    """,
}

# Comes with its package only.
NVIDIA_CTK = """#!/bin/bash
echo "nvidia-ctk $*" >> "$STATE/log"
mkdir -p "$STATE/root/etc/docker"
echo '{"runtimes": {"nvidia": {}}}' > "$STATE/root/etc/docker/daemon.json"
"""


class Host:
    """A pretended host; `run` runs setup.sh on it."""

    def __init__(self, folder: Path) -> None:
        self.state = folder
        self.root = folder / "root"
        for name in (
            "root/etc",
            "root/run",
            "root/usr/local/bin",
            "root/sys/bus/pci/devices",
            "bin",
        ):
            (folder / name).mkdir(parents=True)
        for name, body in {**COMMANDS, "python3.11": COMMANDS["python3"]}.items():
            command = folder / "bin" / name
            command.write_text(f"#!/bin/bash\n{body}\n")
            command.chmod(0o755)
        (folder / "nvidia-ctk").write_text(NVIDIA_CTK)
        (folder / "nvidia-ctk").chmod(0o755)
        self.release("24.04")

    def release(self, version: str, id: str = "ubuntu") -> None:
        (self.root / "etc/os-release").write_text(f'ID={id}\nVERSION_ID="{version}"\n')

    def card(self, slot: str = "0000:00:1e.0", kind: str = "0x030200") -> None:
        device = self.root / "sys/bus/pci/devices" / slot
        device.mkdir()
        (device / "vendor").write_text("0x10de\n")
        (device / "class").write_text(f"{kind}\n")

    def run(self, *options: str, **env: str) -> subprocess.CompletedProcess[str]:
        (self.state / "log").unlink(missing_ok=True)
        return subprocess.run(
            ["bash", str(SETUP), *options],
            capture_output=True,
            text=True,
            timeout=60,
            env={
                "PATH": f"{self.state / 'bin'}:{os.environ['PATH']}",
                "STATE": str(self.state),
                "SETUP_ROOT": str(self.root),
                **env,
            },
        )

    @property
    def log(self) -> str:
        file = self.state / "log"
        return file.read_text() if file.exists() else ""

    def tree(self) -> dict[str, str]:
        files = [p for p in self.root.rglob("*") if p.is_file() and not p.is_symlink()]
        return {str(p.relative_to(self.root)): p.read_text() for p in files}


@pytest.fixture
def host(tmp_path):
    return Host(tmp_path)
