"""EngineBench on a driver that is all memory: what it starts, ends, and makes of every fate."""

import pytest

from bench_parts import BASELINE, REF, SLO, World
from deployctl.errors import (
    EngineError,
    HubError,
    InterruptedByUserError,
    LockedError,
    PortTakenError,
    Reason,
    StateError,
    TargetError,
)
from deployctl.render import render_for
from deployctl.targets.store import Store
from deployctl.tuning import enginebench
from deployctl.tuning.trial import Configuration, Failure, Invalid, Load, Observation, Started
from deployctl_loadtest.result import Verdict


@pytest.fixture
def world(tmp_path, settings, make_plan):
    return World(tmp_path, settings, make_plan)


def test_one_engine_after_the_other_under_a_name_and_port_of_its_own(world):
    with world.bench() as bench:
        assert isinstance(bench.start(BASELINE), Started)
        assert bench.start(Configuration.of({"max_num_seqs": 8, "block_size": 16})) == Started(1.0)
        first, second = world.driver.started
        assert world.driver.running == {second.revision}
        assert (second.service, second.spec.port) == ("tiny-tune", 27100)
        assert first.spec.max_num_seqs == 64
        assert second.spec.max_num_seqs == 8
        assert second.spec.engine_args == {"block_size": 16}
        assert first.spec.replicas == 1
    assert not world.driver.running


def test_the_model_is_fetched_once_and_on_no_trial_s_clock(world):
    world.download_s = 1200.0
    with world.bench() as bench:
        assert bench.start(BASELINE) == Started(1.0)
        bench.start(Configuration.of({"max_num_seqs": 8}))
        assert world.brought == [1]


def test_a_start_that_fails_has_not_spent_the_download(world):
    world.download_s, world.driver.fate = 1200.0, ["ValueError: No available memory"]
    with world.bench() as bench:
        failure = bench.start(BASELINE)
        assert isinstance(failure, Failure)
        assert failure.spent_s < 60


def test_where_the_model_cannot_be_had_nothing_is_tried(world):
    world.hub_is_down = True
    with world.bench() as bench, pytest.raises(HubError, match="HTTP 503"):
        bench.start(BASELINE)
    assert world.driver.started == []


def test_on_a_cluster_nothing_of_the_bench_is_left_but_what_its_service_needs(
    world, settings, monkeypatch
):
    monkeypatch.setattr(enginebench, "open_store", lambda given: Store(given.state_dir))
    world.driver.target = "kubernetes"
    world.spec = world.spec.model_copy(update={"target": "kubernetes"})
    store, ref = Store(settings.state_dir), REF._replace(target="kubernetes")
    with world.bench(render=lambda _, *more: render_for("process", *more)) as bench:
        bench.start(BASELINE)
        assert store.has(ref)
    assert world.driver.purged == [(bench.service, world.spec.service)]
    assert not store.has(ref)


def test_what_let_the_bench_in_is_forgotten(world):
    with world.bench() as bench:
        bench.start(BASELINE)
        token = Store(world.settings.state_dir).folder(REF) / "operator_token"
        token.write_text("as a driver makes it")
    assert not token.exists()


def test_a_start_is_a_fresh_one_even_of_what_runs(world):
    with world.bench() as bench:
        bench.start(BASELINE)
        bench.start(BASELINE)
        assert len(world.driver.started) == 2
        assert len(world.driver.running) == 1


def test_what_a_killed_bench_left_running_is_ended(world):
    killed = world.bench()
    killed.start(BASELINE)  # and it never came to stop it
    left = world.driver.started[0]
    with world.bench() as bench:
        bench.stop()
        assert not world.driver.running
        bench.start(BASELINE)
        assert world.driver.running == {left.revision + 1}


def test_two_benches_of_one_service_do_not_end_each_other(world):
    with world.bench() as bench:
        bench.start(BASELINE)
        with pytest.raises(LockedError, match="tiny-tune"), world.bench():
            pass
        assert world.driver.running


def test_a_measurement(world):
    with world.bench() as bench:
        bench.start(BASELINE)
        seen = bench.measure(Load("users", 4), 10.0, seed=7)
        assert isinstance(seen, Observation)
        assert (seen.held, seen.ok, seen.spent_s) == ("yes", 200, 11.0)
        assert seen.ttft_p95_s == pytest.approx(0.1)
        assert seen.folder == "measurements/0001-users-4"
        setup, endpoint, folder = world.loads[0]
        assert folder == world.folder / seen.folder
        assert setup.url == endpoint.url == "http://127.0.0.1:27100"
        told = (setup.model, setup.mode, setup.users, setup.duration_s, setup.warmup_s, setup.seed)
        assert told == ("tiny", "closed", 4, 10.0, 1.0, 7)


def test_an_open_loop_and_folders_that_go_on_where_another_bench_was_killed(world):
    with world.bench() as bench:
        bench.start(BASELINE)
        bench.measure(Load("rate", 2.5), 10.0, seed=1)
    with world.bench() as bench:
        bench.start(BASELINE)
        bench.measure(Load("rate", 2.5), 10.0, seed=2)
    (one, _, first), (_, _, second) = world.loads
    assert (one.mode, one.rate, one.arrivals, one.users) == ("open", 2.5, "poisson", 0)
    assert (first.name, second.name) == ("0001-rate-2.5", "0002-rate-2.5")


def test_without_an_slo_what_is_answered_is_good(world):
    with world.bench(slo=None) as bench:
        bench.start(BASELINE)
        seen = bench.measure(Load("users", 4), 10.0, seed=7)
        assert (seen.held, seen.why) == ("yes", "there is no SLO")
        assert seen.goodput_per_s == seen.goodput_low == seen.requests_per_s > 0


@pytest.mark.parametrize(
    ("words", "kind", "reason"),
    [
        (
            ["ValueError: No available memory for the cache blocks."],
            "out_of_memory",
            "the weights leave no memory for the KV cache "
            "(it said: ValueError: No available memory for the cache blocks.)",
        ),
        (
            ["pydantic error", "ValueError: max_num_batched_tokens (4) must be >= max_num_seqs"],
            "start_refused",
            "max_num_batched_tokens (4) must be >= max_num_seqs",
        ),
    ],
)
def test_an_engine_that_does_not_come_up_says_why(world, words, kind, reason):
    with world.bench() as bench:
        world.driver.fate = words
        failure = bench.start(BASELINE)
        assert isinstance(failure, Failure)
        assert failure.kind == kind
        assert reason in failure.reason
        assert "exit code 1" in failure.reason
        world.driver.fate = None
        assert isinstance(bench.start(BASELINE), Started)


def test_an_engine_that_never_answers(world):
    with world.bench() as bench:
        world.driver.fate = "silent"
        failure = bench.start(BASELINE)
        assert failure.kind == "never_healthy"
        assert failure.spent_s > 30  # the start-up budget of its plan
        assert not world.driver.running


def test_what_the_planner_refuses_never_starts(world):
    world.reasons = (Reason(code="kv_cache_too_small", message="the KV cache is full", fix="-"),)
    with world.bench() as bench:
        assert bench.start(BASELINE) == Failure("refused_by_plan", "the KV cache is full", 0.0)
    assert not world.driver.started


def test_what_is_nobodys_fault_ends_the_study(world):
    with world.bench() as bench:
        world.driver.fate = ["OSError: [Errno 28] No space left on device"]
        with pytest.raises(EngineError, match="disk is full"):
            bench.start(BASELINE)
        world.driver.refuses = PortTakenError("port 27100 is taken")
        with pytest.raises(PortTakenError):
            bench.start(BASELINE)


@pytest.mark.parametrize(
    ("words", "kind", "reason"),
    [
        (["torch.OutOfMemoryError: CUDA out of memory."], "out_of_memory", "GPU ran out of memory"),
        (["RuntimeError: illegal access"], "died_under_load", "RuntimeError: illegal access"),
        ([], "died_under_load", "the engine died under load (exit code 1)"),
    ],
)
def test_an_engine_that_dies_under_load(world, words, kind, reason):
    with world.bench() as bench:
        bench.start(BASELINE)
        world.during = lambda: world.driver.kill(*words)
        failure = bench.measure(Load("users", 4), 10.0, seed=7)
        assert isinstance(failure, Failure)
        assert (failure.kind, failure.spent_s) == (kind, 11.0)
        assert reason in failure.reason
        world.during = lambda: None
        assert isinstance(bench.start(BASELINE), Started)
        assert isinstance(bench.measure(Load("users", 4), 10.0, seed=8), Observation)


def test_a_server_whose_engine_is_dead_lives_on_and_answers_nothing(world):
    with world.bench() as bench:
        bench.start(BASELINE)
        world.outcome, world.answers = "http_error", False
        failure = bench.measure(Load("users", 4), 10.0, seed=7)
        assert failure.kind == "died_under_load"
        assert "no longer answers" in failure.reason
        assert not world.driver.running


def test_failed_requests_of_an_engine_that_serves_are_a_result(world):
    with world.bench() as bench:
        bench.start(BASELINE)
        world.outcome = "timeout"
        seen = bench.measure(Load("users", 4), 10.0, seed=7)
        assert isinstance(seen, Observation)
        assert (seen.held, seen.ok, seen.failed) == ("no", 0, 200)


def test_a_client_that_could_not_says_nothing_of_the_engine(world):
    with world.bench() as bench:
        bench.start(BASELINE)
        world.verdicts = [Verdict("bad", "client_bottleneck", "The client was too slow.")]
        for slo in (SLO, None):
            bench._slo = slo
            seen = bench.measure(Load("users", 4), 10.0, seed=7)
            assert seen == Invalid("The client was too slow.", 11.0)
        assert world.driver.running


def test_a_load_test_that_fails_is_no_failure_of_the_engine(world):
    def broken():
        raise TargetError("Locust ended with exit code 2 and no result")

    with world.bench() as bench:
        bench.start(BASELINE)
        world.during = broken
        seen = bench.measure(Load("users", 4), 10.0, seed=7)
        assert seen == Invalid("Locust ended with exit code 2 and no result", 12.0)


def test_a_result_that_cannot_be_written_ends_the_study(world):
    def full():
        raise StateError("the result could not be written: no space")

    with world.bench() as bench:
        bench.start(BASELINE)
        world.during = full
        with pytest.raises(StateError):
            bench.measure(Load("users", 4), 10.0, seed=7)


def test_ctrl_c_is_no_observation(world):
    with world.bench() as bench:
        bench.start(BASELINE)
        world.interrupted = True
        with pytest.raises(InterruptedByUserError):
            bench.measure(Load("users", 4), 10.0, seed=7)
    assert not world.driver.running


def test_the_service_itself_is_not_touched(world):
    with world.bench() as bench:
        bench.start(BASELINE)
    names = [ref.service for ref in Store(world.settings.state_dir).services()]
    assert names == [REF.service]
