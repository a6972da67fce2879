"""What this host is asked, and the files that are written on it."""

import errno
import os
import socket
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from deployctl import files, host
from deployctl.errors import PortTakenError, StateError


def test_memory_is_the_kernel_s(tmp_path, monkeypatch):
    monkeypatch.setattr(psutil, "PROCFS_PATH", str(tmp_path))
    assert host.memory() is None
    (tmp_path / "meminfo").write_text("MemTotal: what\n")
    assert host.memory() is None
    names = ("Buffers", "Cached", "Shmem", "Active", "Inactive")
    (tmp_path / "meminfo").write_text(
        "MemTotal: 24600000 kB\nMemFree: 9 kB\nMemAvailable:   4194304 kB\n"
        + "".join(f"{name}: 1 kB\n" for name in names)
    )
    memory = host.memory()
    assert memory.total_gib == pytest.approx(23.46, abs=0.01)
    assert memory.available_gib == 4.0


def test_cores_are_those_that_we_may_use():
    mine = os.sched_getaffinity(0)
    assert host.cores() == len(mine)
    os.sched_setaffinity(0, {min(mine)})
    try:
        assert host.cores() == 1
    finally:
        os.sched_setaffinity(0, mine)


@pytest.mark.parametrize(
    ("cpuinfo", "name"),
    [
        ("processor\t: 0\nmodel name\t: AMD EPYC 9R14\nflags : avx2\n", "AMD EPYC 9R14"),
        ("processor\t: 0\nCPU part\t: 0xd40\n", "0xd40"),
        ("processor\t: 0\n", "CPU"),
        (None, None),
    ],
)
def test_the_processor_s_name(tmp_path, cpuinfo, name):
    if cpuinfo is not None:
        (tmp_path / "cpuinfo").write_text(cpuinfo)
    assert host.processor(tmp_path / "cpuinfo") == name


def test_a_free_port_is_none_that_connections_are_given():
    lowest = int(host._OUTGOING.read_text().split()[0])
    ports = {host.free_port() for _ in range(20)}
    assert len(ports) > 15
    assert all(10_000 <= port < lowest for port in ports)


@pytest.mark.parametrize("said", ["1024 65535", "", None])
def test_without_such_ports_any_will_do(tmp_path, monkeypatch, said):
    if said is not None:
        (tmp_path / "range").write_text(said)
    monkeypatch.setattr(host, "_OUTGOING", tmp_path / "range")
    assert host.free_port() > 0


def test_the_next_free_port():
    free_port = host.free_port()
    with socket.create_server(("127.0.0.1", free_port)):
        assert free_port < host.free_port(free_port - 1) <= free_port + 99
        with pytest.raises(PortTakenError, match="none of the 1 ports above"):
            host.free_port(free_port - 1, within=1)
    assert host.free_port(free_port - 1) == free_port
    with pytest.raises(PortTakenError):
        host.free_port(65535)


def test_why_nobody_can_listen_on_a_port():
    port = host.free_port()
    assert host.port_error(port) is None
    with socket.create_server(("127.0.0.1", port)):
        assert host.port_error(port).errno == errno.EADDRINUSE
        assert host.port_error(port, "").errno == errno.EADDRINUSE


def test_one_that_has_a_port_and_does_not_listen_yet_has_it(tmp_path, monkeypatch):
    """As an engine does while it loads."""
    with socket.socket() as engine:
        engine.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        engine.bind(("127.0.0.1", 0))
        port = engine.getsockname()[1]
        assert host.port_error(port).errno == errno.EADDRINUSE
        monkeypatch.setattr(host, "_CONNECTIONS", (tmp_path / "tcp", tmp_path / "tcp6"))
        assert host.port_error(port) is None  # as far as this system says


def test_a_port_whose_connections_have_ended_is_free():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        client = socket.create_connection(("127.0.0.1", port))
        server.accept()[0].close()  # first: it keeps the port in mind
        client.close()
    assert host._has_connections(port)
    assert host.port_error(port) is None


def test_a_text_is_written_with_its_folders(tmp_path):
    path = tmp_path / "a" / "b" / "report.md"
    files.write_text(path, "é \udcff\n")
    files.write_text(path, "é \udcff\n")
    assert path.read_bytes() == "é \\udcff\n".encode()
    assert list(path.parent.iterdir()) == [path]


def test_what_cannot_be_written_says_which_file_and_why(tmp_path):
    (tmp_path / "file").write_text("x")
    path = tmp_path / "file" / "deeper.md"
    with pytest.raises(StateError, match="the series could not be written: ") as caught:
        files.write_text(path, "x", what="the series", hint="elsewhere")
    assert (caught.value.where, caught.value.hint) == (str(path), "elsewhere")


def test_a_full_disk_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "report.md"
    path.write_text("old")

    def full(self, *args, **options):
        self.touch()
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(StateError, match="No space left"):
        files.write_text(path, "new")
    monkeypatch.undo()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_link_stays_and_what_it_names_is_written(tmp_path):
    real, link = tmp_path / "real.md", tmp_path / "link.md"
    link.symlink_to(real)
    for text in ("new", "newer"):  # at first it leads nowhere
        files.write_text(link, text)
        assert (link.readlink(), real.read_text()) == (real, text)


def test_standard_output_is_no_file_to_be_replaced(tmp_path, monkeypatch):
    replaced = []
    monkeypatch.setattr(Path, "replace", lambda self, target: replaced.append(target))
    with (tmp_path / "out").open("w") as out:
        path = Path(f"/dev/fd/{out.fileno()}")  # as /dev/stdout where a shell sends it to a file
        files.write_text(path, "text")
    assert (tmp_path / "out").read_text() == "text"
    assert replaced == []


def test_what_is_printed_and_what_is_written_to_standard_output_stand_side_by_side(tmp_path):
    program = """if True:
        from deployctl.files import Path, write_text
        print("before")
        write_text(Path("/dev/stdout"), "a report of some length\\n")
        print("after")
    """
    with (tmp_path / "out").open("w") as out:
        subprocess.run(
            [sys.executable, "-c", program],
            stdout=out,
            check=True,
            timeout=60,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
    assert (tmp_path / "out").read_text() == "before\na report of some length\nafter\n"


def test_a_file_keeps_its_permissions(tmp_path):
    path = tmp_path / "report.md"
    path.touch()
    path.chmod(0o640)
    files.write_text(path, "new")
    assert (path.read_text(), path.stat().st_mode & 0o777) == ("new", 0o640)


@pytest.mark.parametrize("number", [errno.EBUSY, errno.EACCES, errno.EPERM, errno.EROFS])
def test_a_file_that_nothing_can_replace_is_written_in_its_place(tmp_path, monkeypatch, number):
    def refuse(self, target):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Path, "replace", refuse)
    path = tmp_path / "report.md"
    with pytest.raises(StateError, match=os.strerror(number)):
        files.write_text(path, "new")
    assert list(tmp_path.iterdir()) == []
    path.write_text("an older and longer one")
    files.write_text(path, "new")
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_another_user_s_file_stays_theirs(tmp_path, monkeypatch):
    path = tmp_path / "report.md"
    path.touch()
    before = path.stat().st_ino
    monkeypatch.setattr(os, "geteuid", lambda: path.stat().st_uid + 1)
    files.write_text(path, "new")
    assert (path.read_text(), path.stat().st_ino) == ("new", before)
    monkeypatch.setattr(os, "access", lambda *_: False)  # theirs alone, in a folder of ours
    files.write_text(path, "newer")
    assert path.read_text() == "newer"
    assert path.stat().st_ino != before


def test_permissions_are_those_that_were_asked_for(tmp_path):
    files.replace_text(tmp_path / "run.sh", "#!/bin/sh\n", mode=0o755)
    assert (tmp_path / "run.sh").stat().st_mode & 0o777 == 0o755
