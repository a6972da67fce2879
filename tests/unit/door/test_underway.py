"""What is under way in all API-server processes of an engine, as each of them tells it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from deployctl_door import underway
from deployctl_door.underway import UnderWay

DOOR = Path(__file__).resolve().parents[3] / "deploy" / "door"
OTHER = """
import pathlib, sys
from deployctl_door.underway import UnderWay
count = UnderWay(pathlib.Path(sys.argv[1]))
for line in sys.stdin:
    count.add(int(line))
    print(count.total(), flush=True)
"""


@pytest.fixture
def other(tmp_path):
    """Another API-server process; what it is given comes in there."""
    process = subprocess.Popen(
        [sys.executable, "-c", OTHER, tmp_path / "n"],
        env={**os.environ, "PYTHONPATH": str(DOOR)}, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip

    def add(number):
        process.stdin.write(f"{number}\n")
        process.stdin.flush()
        return int(process.stdout.readline())

    add.process = process
    with process:
        yield add
        process.kill()


def test_each_process_tells_what_is_under_way_in_all(tmp_path, other):
    ours = UnderWay(tmp_path / "n")
    assert other(2) == 2
    ours.add(1)
    assert ours.total() == 3
    assert other(300) == 303
    ours.add(-1)
    assert other(-302) == 0
    assert ours.total() == 0


def test_what_a_process_had_that_died_is_over(tmp_path, other):
    ours = UnderWay(tmp_path / "n")
    other(5)
    assert ours.total() == 5
    other.process.kill()
    other.process.wait()
    assert ours.total() == 0


def test_what_a_former_run_had_is_forgotten(tmp_path):
    (tmp_path / "n").mkdir()
    (tmp_path / "n" / str(os.getppid())).write_bytes((7).to_bytes(8, "little"))
    ours = UnderWay(tmp_path / "n")
    assert ours.total() == 7
    underway.forget(tmp_path / "n")
    assert ours.total() == 0


def test_metrics_of_one_process_tell_of_all(build, engine, ask, tmp_path):
    door = build(processes=2, drain_file="drain")
    other = tmp_path / "drain-under-way" / str(os.getppid())
    other.write_bytes((7).to_bytes(8, "little"))
    answer = ask("GET", "/metrics", key="the-operator-token", through=door)
    assert b"deployctl_door_requests_under_way 7\n" in answer.body
    alone = ask("GET", "/metrics", key="the-operator-token", through=build(drain_file="drain"))
    assert b"deployctl_door_requests_under_way 0\n" in alone.body
