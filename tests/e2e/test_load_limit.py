"""The search for the highest load that an SLO allows, against an engine whose limit is known."""

import json

import pytest

from load_parts import again_if_late, finished, loadtest, refused

SEARCH_S = 600  # a minute, where the machine does nothing else


@again_if_late
def test_the_limit_of_users_is_found(engine, tmp_path):
    # Four users are answered at once, in 0.48 s; of five, one in five answers waits for that
    # long, or each for a quarter of it.
    out = tmp_path / "out"
    run = loadtest(
        engine, out, "--model", "four_at_once", "--find-max", "goodput", "--users", "4",
        "--slo", "ttft_p90=200ms", "--duration", "5s", "--warmup", "1s",
    )  # fmt: skip
    series = finished(run, seconds=SEARCH_S)
    limit = series["limit"]
    assert (series["kind"], series["variable"]) == ("find_max", "users")
    assert limit["holds"] == 4
    # Whether 20% are more than 10% takes many requests; it must not say that five held.
    expected = {"found": 5, "unresolved": 6}
    assert limit["breaks"] == expected[limit["status"]]
    # Four places of 0.48 s each.
    assert limit["goodput_low"] <= limit["goodput_per_s"] <= limit["goodput_high"]
    assert 6.5 <= limit["goodput_per_s"] <= 8.5
    assert [p["value"] for p in series["points"] if p["held"] != "unclear"][:2] == [4, 8]
    assert all(p["why"] for p in series["points"])
    assert json.loads((out / "series.json").read_text())["limit"] == limit


@pytest.mark.night
@again_if_late
def test_the_limit_of_a_rate_is_what_the_engine_can_serve(engine, tmp_path):
    # 4 places ÷ 0.48 s: 8.3 a second. Evenly spaced, 8 need no queue; at more, it grows.
    run = loadtest(
        engine, tmp_path / "out", "--model", "four_at_once", "--find-max", "goodput", "--rate",
        "6", "--arrivals", "constant", "--slo", "ttft_p50=200ms", "--duration", "6s", "--warmup",
        "1s",
    )  # fmt: skip
    series = finished(run, seconds=SEARCH_S)
    limit = series["limit"]
    assert series["variable"] == "rate"
    assert series["points"][0]["value"] == 6
    assert 6 <= limit["holds"] < 9.5
    assert limit["breaks"] <= 12


def test_a_limit_takes_an_slo(engine, tmp_path):
    run = loadtest(engine, tmp_path / "out", "--model", "steady", "--find-max", "goodput")
    assert "--slo" in refused(run)
