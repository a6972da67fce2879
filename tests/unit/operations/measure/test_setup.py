from pathlib import Path

import pytest

from deployctl import host
from deployctl.endpoint import Endpoint
from deployctl.errors import InputError
from deployctl.operations.measure import runs
from deployctl.operations.measure import setup as setups
from deployctl.operations.measure.endpoint import Served
from deployctl.operations.measure.request import LoadRequest

ENDPOINT = Endpoint("http://h:1", "m", None, None)


def build(**flags):
    return setups.build(LoadRequest(**flags), ENDPOINT, Served("m", "vllm"))


def test_the_defaults_are_a_closed_loop():
    setup = build()
    assert (setup.mode, setup.users, setup.duration_s, setup.warmup_s) == ("closed", 4, 30, 5)
    assert (setup.input_tokens, setup.output_tokens, setup.ignore_eos) == (128, 64, True)
    assert (setup.rate, setup.arrivals, setup.workers) == (None, None, 1)
    assert build().seed != build().seed
    assert build(seed=7).seed == 7


def test_a_rate_opens_the_loop():
    setup = build(rate=2.5, ramp="10s")
    assert (setup.mode, setup.users, setup.rate, setup.arrivals) == ("open", 0, 2.5, "poisson")
    assert setup.cut_s == 15


def test_a_number_of_requests_is_the_end_and_cuts_no_warm_up():
    setup = build(requests=50)
    assert (setup.requests, setup.warmup_s, setup.duration_s) == (50, 0, 3600)
    assert build(requests=50, duration="10s", warmup="1s").cut_s == 1


def test_a_workloads_lengths_and_what_overrides_them():
    setup = build(workload="lognormal")
    assert (setup.input_tokens, setup.input_fixed, setup.output_fixed) == (200, False, False)
    setup = build(workload="lognormal", output_tokens=9)
    assert (setup.output_tokens, setup.output_fixed, setup.input_fixed) == (9, True, False)


def test_a_trace_lasts_as_long_as_it_does(tmp_path):
    file = tmp_path / "t.csv"
    file.write_text("Timestamp,Request tokens,Response tokens\n0,10,5\n9000,30,7\n")
    setup = build(trace=file, trace_speed=2.0)
    assert (setup.mode, setup.duration_s, setup.warmup_s) == ("trace", 4500 + 3600, 0)
    for more in ({"rate": 1.0}, {"users": 2}, {"workload": "chat"}, {"output_tokens": 5}):
        with pytest.raises(InputError, match="does not go with --trace"):
            build(trace=file, **more)


def test_workers_are_no_more_than_users_and_auto_than_cores(monkeypatch):
    monkeypatch.setattr(host, "cores", lambda: 8)
    assert build(users=2, workers="4").workers == 2
    assert build(rate=1.0, workers="4").workers == 4
    assert build(users=100, workers="auto").workers == 1
    assert build(users=1000, workers="auto").workers == 4
    assert build(rate=1000.0, workers="auto").workers == 7  # 64,000 chunks a second
    assert build(rate=1e6, workers="auto").workers == 8
    assert build(sweep="users=1,1000", workers="auto").workers == 4
    for wrong in ("0", "-1", "x", "999"):
        with pytest.raises(InputError):
            build(workers=wrong)


def test_each_run_of_a_sweep_has_its_load_and_prompts_of_its_own():
    setup = build(sweep="users=1,8", workers="4", seed=1)
    several = [runs.nth(setup, "users", value, n) for n, value in enumerate((1, 8))]
    assert [(run.users, run.workers) for run in several] == [(1, 1), (8, 4)]
    assert several[0].seed != several[1].seed
    (rate,) = [runs.nth(build(seed=1), "rate", 2.5, 0)]
    assert (rate.mode, rate.rate, rate.arrivals, rate.users) == ("open", 2.5, "poisson", 0)


@pytest.mark.parametrize("text", ["", "users", "users=", "users=0", "users=1.5", "rate=x", "a=1"])
def test_what_is_no_sweep_is_refused(text):
    with pytest.raises(InputError):
        runs.parse(text)
    assert runs.parse("rate=0.5,2") == ("rate", [0.5, 2.0])


def test_flags_without_their_partner_are_refused():
    for flags in (
        {"arrivals": "poisson"},
        {"trace_speed": 2.0},
        {"find_max": "goodput", "sweep": "users=1"},
        {"sweep": "users=1", "users": 2},
        {"rate": float("nan")},
        {"trace": Path("absent")},
    ):
        with pytest.raises(InputError):
            build(**flags)


INSIDE = Endpoint("http://127.0.0.1:7", "m", None, "chat", inside="http://chat.llm.svc:8000")


def built(endpoint, **flags):
    return setups.build(LoadRequest(on="kubernetes", **flags), endpoint, Served("m", "vllm"))


def test_load_from_pods_goes_where_pods_reach_the_service(monkeypatch):
    setup = built(INSIDE, workers="3", rate=5.0)
    assert (setup.url, setup.on, setup.workers) == ("http://chat.llm.svc:8000", "kubernetes", 3)
    assert setup.worker_image.startswith("deployctl/loadtest:")
    assert built(INSIDE, worker_image="r/l:1").worker_image == "r/l:1"
    assert built(Endpoint("http://h:1", "m", None)).url == "http://h:1"
    monkeypatch.setattr(host, "cores", lambda: 2)  # of this machine: it does not matter
    assert built(INSIDE, rate=1000.0, workers="auto").workers == 7
    assert build().on is build().worker_image is None


@pytest.mark.parametrize(
    ("endpoint", "flags", "why"),
    [
        (Endpoint("http://127.0.0.1:7", "m", None, "chat"), {}, "does not run in a cluster"),
        (Endpoint("http://localhost:7", "m", None), {}, "another machine for each pod"),
        (INSIDE, {"find_max": "goodput", "workers": "auto"}, "is not known beforehand"),
    ],
)
def test_what_pods_cannot_do_is_refused(endpoint, flags, why):
    with pytest.raises(InputError, match=why):
        built(endpoint, **flags)


def test_an_image_without_pods_is_refused():
    with pytest.raises(InputError, match="goes with --on"):
        build(worker_image="r/l:1")
