"""A machine is restarted that runs a real systemd: requests under way end first, and services of
the target process and their gateway serve again, by the unit that `deployctl boot` prints,
installed as it says.

The machine is a container: its processes, control groups, users and /run are its own, and at each
start it has another boot id.
"""

import json
import re
import subprocess
import sys
import sysconfig
import time
from pathlib import Path

import pytest
from tests.e2e.docker_parts import docker
from tests.e2e.gateway_parts import needs_caddy
from tests.e2e.kubernetes.images import built

from deployctl.targets.process.caddy import _program
from process_parts import write_checkpoint

pytestmark = [
    pytest.mark.docker,
    pytest.mark.night,
    pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="the image has a Python 3.11"),
]

ROOT = Path(__file__).resolve().parents[2]
NAMES = ("one", "two", "gone")
ONE, TWO = (f"process/{name}/runs/000001" for name in NAMES[:2])
NAME, PATIENCE_S = "deployctl-test-machine", 180
# A container's boot id and settings of the kernel are its host's: it gets an id of its own, and may
# change nothing. Where the host's control groups are those of version 1, which a systemd of today
# refuses, it has a tree of version 2 for itself.
START = """\
set -e
cat /proc/sys/kernel/random/uuid > /run/boot_id
mount --bind --options ro /proc/sys /proc/sys
mount --bind /run/boot_id /proc/sys/kernel/random/boot_id
if [ "$(stat --file-system --format %T /sys/fs/cgroup)" != cgroup2fs ]; then
  umount --recursive /sys/fs/cgroup
  mount -t cgroup2 cgroup2 /sys/fs/cgroup
fi
container=docker exec /usr/lib/systemd/systemd
"""


# What a reboot takes away, and a late disk: the Python of the unit is on it.
PYTHON, MOUNTS = "/srv/late/python3", "mount --bind /home/me/disk /srv/late"


class Machine:
    """A machine with the user `me`."""

    def __init__(self, image, models):
        packages = sysconfig.get_path("purelib")
        mounted = {ROOT: "/opt/deployctl", packages: "/opt/packages", _program(): "/usr/bin/caddy"}
        mounted[models] = "/srv/models"
        volumes = [f"--volume={here}:{there}:ro" for here, there in mounted.items()]
        kept_in_memory = ("--tmpfs=/run", "--tmpfs=/tmp:exec")
        how = ("--privileged", "--cgroupns=private", "--network=none", *kept_in_memory)
        docker("run", "--detach", "--name", NAME, *how, *volumes, image, "sh", "-c", START)
        self.until("systemctl is-system-running --wait | grep -E 'running|degraded'", user="root")

    def run(self, line, *, user="me", code=0):
        """Standard output and error of a line of the shell, as somebody who has logged in."""
        words = self._words(["sh", "-c", line], user)
        done = subprocess.run(words, capture_output=True, text=True, timeout=PATIENCE_S)
        assert code in (None, done.returncode), f"{line}\n{done.stdout}\n{done.stderr}"
        return done.stdout, done.stderr

    def begin(self, words):
        """A program that goes on, as long as the machine does."""
        return subprocess.Popen(self._words(words, "me"))

    def _words(self, words, user):
        home = "/root" if user == "root" else f"/home/{user}"
        settings = (f"HOME={home}", f"USER={user}", "XDG_RUNTIME_DIR=/run/user/1000", "NO_COLOR=1")
        given = [word for each in settings for word in ("--env", each)]
        return ["docker", "exec", "--user", user, *given, "--workdir", home, NAME, *words]

    def until(self, line, **more):
        """What a line says once it succeeds."""
        end = time.monotonic() + PATIENCE_S
        while time.monotonic() < end:
            said, _ = self.run(f"(\n{line}\n) && echo yes; true", **more)
            if said.endswith("yes\n"):
                return said
            time.sleep(0.5)
        raise AssertionError(f"not within {PATIENCE_S} s: {line}\n{self.journal()}")

    def journal(self):
        """What the unit said since the machine was started."""
        unit = "_SYSTEMD_USER_UNIT=deployctl.service"
        return self.run(f"journalctl --boot {unit} --output cat", user="root", code=None)[0]

    def health(self):
        said, _ = self.run("deployctl status --output json", code=None)
        return {each["service"]: each["health"] for each in json.loads(said)["services"]}

    def began(self, folder):
        """When the program of a supervisor began, in ticks since the host's start."""
        return self.recorded(folder, "engine")["start"]

    def recorded(self, folder, what):
        return json.loads(self.run(f"cat ~/.local/state/deployctl/{folder}/{what}.json")[0])

    def disk_comes(self):
        """Once the unit waits for it."""
        self.until(f"journalctl --boot --user --unit deployctl | grep 'waiting for {PYTHON}'")
        assert self.run("systemctl --user is-active deployctl", code=3)[0] == "activating\n"
        self.run(MOUNTS, user="root")


@pytest.fixture
def machine(cpu_image, tmp_path):
    needs_caddy()
    docker("rm", "--force", NAME, check=False)
    file = Path(__file__).with_name("systemd.Dockerfile")
    image = built("deployctl/test-machine", file, tmp_path)
    (models := tmp_path / "models").mkdir()
    for name in NAMES:
        write_checkpoint(models / name)
    yield Machine(image, models)
    docker("rm", "--force", "--volumes", NAME, check=False)


def through_the_gateway(machine, service):
    where = f"http://127.0.0.1:8080/{service}/v1/models"
    ask = f"import urllib.request; print(urllib.request.urlopen('{where}', timeout=60).status)"
    return machine.run(f'python3 -c "{ask}"')[0] == "200\n"


# Reads a long answer of the service `one`, as it comes, into a file that the next boot finds.
READS = """\
import json, urllib.request
body = {"model": "one", "prompt": "Hello", "max_tokens": 150, "ignore_eos": True, "stream": True}
where = "http://127.0.0.1:8080/one/v1/completions"
asked = urllib.request.Request(where, json.dumps(body).encode())
asked.add_header("Content-Type", "application/json")
with open("/home/me/answer", "wb", 0) as file, urllib.request.urlopen(asked, timeout=60) as answer:
    for line in answer:
        file.write(line)
"""


def test_services_and_their_gateway_serve_again(machine, tmp_path):
    machine.run(f"mkdir /srv/late /home/me/disk && {MOUNTS}", user="root")
    machine.run(f"ln -s /usr/local/bin/python3 {PYTHON} && chown me: /home/me/disk", user="root")

    def up(number, gateway="--gateway"):
        name = NAMES[number]
        where = f"--model /srv/models/{name} --name {name} --port {8000 + number}"
        return f"deployctl up {where} --gpu cpu {gateway} --env FAKE_ENGINE_TOKEN_S=0.1"

    machine.run(up(1))
    machine.run(up(2))
    machine.run("deployctl down gone")
    _, told = machine.run("deployctl boot")
    for line in re.findall("^  (.*)$", told, re.MULTILINE):
        user = "root" if line.startswith("sudo ") else "me"
        line = line.replace("deployctl boot >", f"{PYTHON} -m deployctl boot >")
        machine.until(line.removeprefix("sudo ").replace("$USER", "me"), user=user)
    # Somebody logs in, brings one up and leaves: what logins have left, a shutdown ends first.
    machine.run(f"su --login me --command '{up(0)}'", user="root")

    reads = machine.begin(["python3", "-c", READS])
    machine.until("test -s answer")
    docker("stop", "-t", PATIENCE_S, NAME)
    reads.wait(PATIENCE_S)
    docker("start", NAME)
    machine.disk_comes()
    machine.until("systemctl --user is-active deployctl")
    assert machine.run("tail -n 2 answer")[0] == "data: [DONE]\n\n"
    assert machine.health() == {"one": "serving", "two": "serving"}
    assert through_the_gateway(machine, "one")
    assert through_the_gateway(machine, "two")
    said = machine.journal()
    assert said.index("one serves: revision 1") < said.index("two serves: revision 1")
    # First the gateway, where requests wait from then on; and one engine at a time.
    assert machine.began("gateway") < machine.began(ONE) < machine.began(TWO)

    (tmp_path / "models" / "one").rename(tmp_path / "away")  # its disk comes late
    docker("kill", NAME)  # the power goes
    docker("start", NAME)
    machine.disk_comes()
    machine.until("journalctl --user --unit deployctl --output cat | grep 'again in 15 s'")
    assert machine.health() == {"one": "dead", "two": "serving"}
    assert "one does not serve: the model's folder is not there" in machine.journal()
    # What a login brings up now is none of that login's: the unit is still to end it.
    # Past the gateway, which takes no other as long as requests for `one` may wait in it.
    machine.run(f"su --login me --command '{up(2, gateway='')}'", user="root")
    pid = machine.recorded("process/gone/runs/000002", "supervisor")["pid"]
    group = machine.run(f"cat /proc/{pid}/cgroup")[0]
    assert "session" not in group, group
    assert group.endswith(".scope\n"), group
    machine.run("deployctl down gone")
    other = machine.began(TWO)
    (tmp_path / "away").rename(tmp_path / "models" / "one")
    machine.until("systemctl --user is-active deployctl")
    assert machine.health() == {"one": "serving", "two": "serving"}
    machine.run("systemctl --user reload deployctl")
    assert machine.began(TWO) == other  # nobody touched it
    machine.run("systemctl --user stop deployctl")
    assert machine.health() == {"one": "halted", "two": "halted"}
    machine.run("systemctl --user start deployctl")
    assert machine.health() == {"one": "serving", "two": "serving"}
