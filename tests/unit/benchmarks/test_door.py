"""What the benchmark of the door says of runs in pairs."""

import asyncio
import json
import subprocess
import sys

import numpy as np
import pytest
from benchmarks.door import clock, cold, first, instructions
from benchmarks.door.__main__ import row, verdict
from benchmarks.door.client import Seen, interval_s
from benchmarks.door.paired import KEPT, MISSED, UNRESOLVED, Measured, interval
from benchmarks.door.servers import Start, how

from deployctl.render import door as rendered


def runs(*cpu_ms, first_ms=300.0):
    return [Measured(each / 1e3, Seen(first_ms / 1e3, 0.32, 0.004)) for each in cpu_ms]


def test_the_interval_is_that_of_the_differences():
    """Whatever both runs of a pair share is in neither."""
    centre, half = interval(np.array([0.01, 0.02, 0.03]))
    assert (centre, half) == (pytest.approx(0.02), pytest.approx(4.3027 * 0.01 / 3**0.5, rel=1e-3))


def test_a_row_has_both_runs_and_what_is_more():
    door = runs(2.02, 4.04, 3.03, first_ms=300.1)
    text = row(Start("bare", 1024 / 6000), 1024, runs(2.0, 4.0, 3.0), door)
    cells = [cell.strip() for cell in text.strip("|").split("|")]
    assert cells == [
        "1,024", "171", "3.00", "3.03", "+1.0% ± 0.0%", "+0.100 ± 0.000",
        "20.00", "20.00", "4.00", "4.00",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("door", "code"),
    [
        (runs(2.02, 4.04, 3.03, first_ms=301), KEPT),
        (runs(2.1, 4.2, 3.15), MISSED),
        (runs(2.0, 4.2, 3.06), UNRESOLVED),
    ],
)
def test_pairs_at_once_are_held_to_the_cpu(door, code):
    """And where the interval has what the door may cost within it, neither is said."""
    assert verdict(runs(2.0, 4.0, 3.0), door) == code


def test_a_way_past_the_door_is_taken_by_the_query_alone():
    asked = []

    def way(name):
        async def application(scope, receive, send):
            asked.append(name)

        return application

    door = way("door")
    door._app = way("behind")
    switch = first.Switch(door)
    for query in (b"past", b"door", b""):
        asyncio.run(switch({"query_string": query}, None, None))
    assert asked == ["behind", "door", "door"]


def test_all_streams_together_send_what_a_server_can():
    assert interval_s(64, "bare") == 0.02
    assert 1024 / interval_s(1024, "bare") == pytest.approx(6000)
    assert 64 / interval_s(64, "vllm") == pytest.approx(1500)


@pytest.mark.parametrize("app", ["vllm", "fastapi", "bare", "silent"])
def test_servers_of_a_pair_differ_by_the_door_alone(app, tmp_path, monkeypatch):
    monkeypatch.setenv(rendered.VARIABLE, "another/door.json")  # of whoever runs the benchmark
    monkeypatch.setenv("DOOR_CONFIGURATION", "another/door.json")
    (plain, bare), (guarded, told) = (
        how(tmp_path, Start(app, 0.02), 8000, door=door) for door in (False, True)
    )
    as_vllm = app == "vllm"
    variable = rendered.VARIABLE if as_vllm else "DOOR_CONFIGURATION"
    more = ["--middleware", rendered.MIDDLEWARE] if as_vllm else []
    assert guarded == [*plain, *more]
    names = {name for name in bare.keys() | told.keys() if bare.get(name) != told.get(name)}
    assert names == {"PYTHONPATH", variable}
    assert told[variable] == str(tmp_path / rendered.CONFIGURATION)


def test_a_clock_tells_the_steps_of_a_stream():
    """Of each request: itself, the head, the first text, the others and the end."""
    requests = [[100_000, 9_000, 5_000, 400, 500, 600, 20_000]] * 3
    assert clock.steps(requests) == pytest.approx([100, 9, 5, 0.5, 20, 100 + 9 + 5 + 63 * 0.5 + 20])


def test_a_stream_is_run_in_steps_and_every_door_passes_it(capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", ["cold", "--warm", "--rounds", "2"])
    assert cold.main() == 0
    rows = [line.strip("|").split("|") for line in capsys.readouterr().out.splitlines()[2:]]
    assert [row[0].strip() for row in rows] == [
        "no door", "a passage that does nothing", "a passage that counts", "the door",
        "the door, of an engine that tells usage in the stream alone",
    ]  # fmt: skip
    assert all(len(row) == 7 for row in rows)
    assert all(float(cell) > 0 for cell in rows[0][1:])


OBJECTS = """
import asyncio, json
from benchmarks.door import objects
found = asyncio.run(objects.measure(100))
print(json.dumps({way: each.objects for way, each in found.items()}))
"""


def test_of_a_stream_under_way_the_door_keeps_three_objects():
    """And the list of headers, which an engine's framework exchanges for one of its own: what lives
    is walked over by the garbage collector, the more often the more streams there are."""
    # In a process of its own: what other threads of this one make and drop would be counted too.
    done = subprocess.run([sys.executable, "-c", OBJECTS], capture_output=True, text=True)
    found = json.loads(done.stdout)
    assert found["a passage that does nothing"] == {"coroutine": 1}
    door = {"coroutine": 1, "Exchange": 1, "method": 1, "list": 1}
    assert found["the door"] == door
    silent = found["the door, of an engine that tells usage in the stream alone"]
    assert silent == {**door, "Counter": 1, "list": 2}


def test_instructions_are_those_of_more_streams(monkeypatch):
    """What a process takes before the first stream is in neither."""
    taken = {"no door": 100_000, "the door": 250_000}

    def count(place, way, texts, streams):
        return 5_000_000 + streams * taken.get(way, 0)

    monkeypatch.setattr(instructions, "_count", count)
    rows = [line.strip("| ").split(" | ") for line in instructions.table(64, 300)]
    assert rows[0] == ["no door", "100,000", "+0"]
    assert ["the door", "250,000", "+150,000"] in rows


def test_instructions_are_not_told_where_valgrind_is_not(monkeypatch, capsys):
    monkeypatch.setattr(instructions, "_TOOL", ["no-such-valgrind"])
    monkeypatch.setattr("sys.argv", ["instructions"])
    assert instructions.main() == 4
    assert "valgrind is not installed" in capsys.readouterr().err
