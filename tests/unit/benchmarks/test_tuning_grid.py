"""A measured grid becomes a surface that the race reads, with the noise that was in it."""

import json
import math
import random

import pytest
from benchmarks.tuning.gridsurface import COLUMNS, Meta, assemble, noise, server_minutes
from benchmarks.tuning.surface.file import read
from benchmarks.tuning.surface.truth import Truth

from deployctl.tuning.trial import Configuration

META = Meta(
    "grid", "A grid", "tiny", "0.32.0", "two cores", [("max_num_seqs", (8, 128), 128)],
    "ttft_p95=1s,itl_p95=40ms", 600, 16, 6.0, True,
)  # fmt: skip


def run(load, rate, good=1.0, spent=9.0):
    values = dict.fromkeys(COLUMNS, 0.01)
    return {
        **values, "load": load, "requests_per_s": rate, "output_tokens_per_s": 16 * rate,
        "goodput_per_s": good * rate, "seconds": 6.0, "spent_s": spent,
    }  # fmt: skip


def start(number, settings, *runs, seconds=30.0):
    return {"settings": settings, "start": number, "startup_s": seconds, "runs": list(runs)}


def test_means_over_starts_and_a_file_that_is_read(tmp_path):
    lines = [
        start(1, {}, run(2.0, 10.0), run(4.0, 20.0, good=0.5), seconds=30.0),
        start(2, {}, run(4.0, 22.0, good=1.0), seconds=40.0),
        start(1, {"max_num_seqs": 8}, run(2.0, 11.0)),
    ]
    file = tmp_path / "grid.json"
    file.write_text(json.dumps(assemble(META, lines)))
    surface = read(file)
    assert (surface.kind, surface.overhead_s) == ("measured", 3.0)
    assert surface.problem.slo == {"ttft_p95_s": 1.0, "itl_p95_s": 0.04}
    baseline, small = surface.points
    assert (baseline.settings, baseline.startup_s) == ({}, 35.0)
    rows = [dict(zip(surface.columns, row, strict=True)) for row in baseline.rows]
    assert [row["load"] for row in rows] == [2.0, 4.0]
    assert (rows[1]["requests_per_s"], rows[1]["good_share"]) == (21.0, 0.75)
    assert small.settings == {"max_num_seqs": 8}
    assert server_minutes(lines) == pytest.approx((100 + 4 * 9) / 60)


def test_an_slo_on_a_90th_percentile_is_read_and_judged_by_it(tmp_path):
    meta = META._replace(slo="ttft_p90=30ms")
    slow = {**run(3.0, 12.0), "ttft_p90_s": 0.04, "ttft_p95_s": 0.05}
    file = tmp_path / "grid.json"
    file.write_text(json.dumps(assemble(meta, [start(1, {}, run(2.0, 10.0), slow)])))
    assert Truth(read(file)).score(Configuration()) == 10.0


def test_failures_keep_their_reason_and_their_chance(tmp_path):
    broken = {"at": "start", "kind": "out_of_memory", "reason": "no memory", "spent_s": 12.0}
    lines = [
        start(1, {}, run(2.0, 10.0)),
        {"settings": {"max_num_seqs": 8}, "start": 1, "failure": broken},
        start(2, {"max_num_seqs": 8}, run(2.0, 9.0)),
    ]
    file = tmp_path / "grid.json"
    file.write_text(json.dumps(assemble(META, lines)))
    failure = read(file).points[1].failure
    assert (failure.kind, failure.chance, failure.spent_s) == ("out_of_memory", 0.5, 12.0)


def test_noise_of_starts_and_of_runs_are_told_apart():
    draw = random.Random(5)
    grid = []
    for _ in range(400):
        starts = []
        for number in (1, 2):
            speed = math.exp(draw.gauss(0, 0.05))
            runs = [run(n, speed * 10 * math.exp(draw.gauss(0, 0.02))) for n in (2.0, 4.0, 4.0)]
            starts.append(start(number, {}, *runs))
        grid.append(starts)
    between_starts, between_runs = noise(grid)
    assert between_starts == pytest.approx(0.05, rel=0.15)
    assert between_runs == pytest.approx(0.02, rel=0.15)


def test_noise_that_was_not_measured_is_none():
    assert noise([[start(1, {}, run(2.0, 10.0))]]) == (0.0, 0.0)
