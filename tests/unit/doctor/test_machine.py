"""What another machine says of itself, where the Docker engine is reached by ssh."""

import subprocess

import pytest

from deployctl.doctor import machine, probes
from deployctl.doctor.facts import Disk, HostFacts
from deployctl.doctor.shell import Ran
from deployctl.errors import PortTakenError
from deployctl.host import HostMemory, free_port

THERE = {"DOCKER_HOST": "ssh://ops@gpu1"}
SAID = """\
==> /etc/os-release
ID=ubuntu
VERSION_ID="24.04"
PRETTY_NAME="Ubuntu 24.04.3 LTS"
==> /proc/meminfo
MemTotal:       65536000 kB
MemFree:         1048576 kB
MemAvailable:   52428800 kB
==> /proc/net/tcp
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid
   0: 0100007F:1F40 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0
   1: 0100007F:1F41 0100007F:C350 01 00000000:00000000 00:00000000 00000000     0
==> /proc/net/tcp6
  sl  local_address                         remote_address                        st tx_queue
   0: 00000000000000000000000000000000:1F42 00000000000000000000000000000000:0000 0A 00000000:0
==> uname
x86_64
==> nproc
16
==> cpuinfo
model name	: AMD EPYC 9R14
flags		: fpu avx2 avx512f
"""


def test_it_is_read_from_one_answer():
    asked = []

    def run(argv, timeout_s):
        asked.append(argv)
        return Ran(0, SAID)

    found = machine.of("docker", run, THERE)
    assert [argv[-2] for argv in asked] == ["ssh://ops@gpu1"]
    assert found.memory == HostMemory(62.5, 50.0)
    assert found.named == "AMD EPYC 9R14, 16 threads"
    assert found.ports == {8000, 8002}  # not 8001, at which somebody is connected
    facts = probes.moved(HostFacts(os_id="debian", python=(3, 11, 7)), found, 8000)
    assert (facts.os_id, facts.machine, facts.cpus) == ("ubuntu", "x86_64", 16)
    assert (facts.memory_gib, facts.memory_available_gib) == (62.5, 50.0)
    assert "avx512f" in facts.cpu_flags
    assert (facts.port_free, facts.port_error) == (False, "something listens there")
    assert facts.python == (3, 11, 7)  # deployctl's own
    assert probes.moved(facts, found, 8001).port_free is True


@pytest.mark.parametrize("said", ["", "==> /proc/meminfo\nMemTotal: 1 kB\n==> nproc\nmany\n"])
def test_what_it_does_not_say_is_unknown_and_never_this_machine_s(said):
    found = machine.of("docker", lambda argv, timeout_s: Ran(255, said), THERE)
    assert found == machine.Machine(None, None, None)
    facts = probes.moved(HostFacts(memory_gib=8.0, port_free=True), found, 8000)
    assert facts.memory_gib is facts.port_free is facts.cpus is None


def test_a_process_and_an_engine_here_are_on_this_machine(monkeypatch):
    monkeypatch.setattr("deployctl.host.memory", lambda: HostMemory(8.0, 4.0))
    for target, environ in (("process", THERE), ("docker", {}), (None, THERE)):
        assert machine.of(target, pytest.fail, environ).memory == HostMemory(8.0, 4.0)


def test_a_free_port_of_another_machine_is_none_of_those_taken_there():
    assert free_port(8000, taken={8001, 8002}) == 8003
    with pytest.raises(PortTakenError, match="none of the 100 ports above 8000"):
        free_port(8000, taken=range(8001, 8101))


def test_a_file_that_ends_in_no_newline_hides_not_the_next(tmp_path):
    release = tmp_path / "os-release"
    release.write_text("ID=alpine")
    ask = machine._ASK.replace("/etc/os-release", str(release))
    said = subprocess.run(["sh", "-c", ask], capture_output=True, text=True).stdout
    found = machine.read(said.replace(str(release), "/etc/os-release"))
    assert found.release == "ID=alpine"
    assert found.memory is not None


@pytest.mark.parametrize(
    ("said", "free_gib"),
    [
        ("Filesystem 1024-blocks Used Available Capacity Mounted on\n"
         "/dev/mapper/data 104857600 52428800 41943040 56% /var/lib/docker\n", 40.0),
        ("df: /var/lib/docker: No such file or directory\n", None),
    ],
)  # fmt: skip
def test_the_room_of_its_images_and_models(said, free_gib):
    found = probes.ask_disk_there(lambda argv, timeout_s: Ran(0, said), "/var/lib/docker")
    assert found == tuple(
        Disk(purpose, "/var/lib/docker", free_gib, there=True) for purpose in ("models", "images")
    )
