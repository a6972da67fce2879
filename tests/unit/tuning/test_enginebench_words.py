"""What an engine's last words, and a result's figures, are taken for."""

import dataclasses

import pytest

from deployctl.errors import EngineError
from deployctl.load.summary import summarize
from deployctl.tuning import results
from deployctl.tuning.plans import bench_name
from deployctl.tuning.results import STORM, observe
from deployctl.tuning.trial import Failure, Load, Observation
from deployctl_loadtest.result import Server, Setup
from deployctl_loadtest.sample import Sample, WorkerReport

DIED = "the engine died (exit code 1)"


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ("ValueError: No available memory for the cache blocks.", "out_of_memory"),
        (
            "ValueError: To serve at least one request with the models's max seq len (8192), …",
            "out_of_memory",
        ),
        (
            "ValueError: Free memory on device (20.1/23.5 GiB) on startup is less than desired "
            "GPU memory utilization (0.98, 23.0 GiB).",
            "out_of_memory",
        ),
        (
            "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB",
            "out_of_memory",
        ),
        ("RuntimeError: CUDA error: out of memory", "out_of_memory"),
        ("ValueError: Unknown quantization method", "start_refused"),
        ("vllm: error: unrecognized arguments: --no-such-flag", "start_refused"),
    ],
)
def test_at_start(line, kind):
    failure = results.at_start(EngineError(DIED), ["INFO Starting to load model x", line], 12.0)
    assert (failure.kind, failure.spent_s) == (kind, 12.0)
    assert failure.reason.startswith(DIED)
    assert line.removeprefix("ValueError: ")[:40] in failure.reason


@pytest.mark.parametrize(
    "line",
    [
        "OSError: [Errno 28] No space left on device",
        "OSError: [Errno 98] Address already in use",
        "ModuleNotFoundError: No module named 'vllm'",
        "huggingface_hub.errors.GatedRepoError: 403 Client Error",
    ],
)
def test_what_no_configuration_can_help_is_no_failure_of_one(line):
    error = EngineError(DIED)
    with pytest.raises(EngineError) as raised:
        results.at_start(error, [line], 1.0)
    assert raised.value is error


def test_what_is_wrong_with_a_setting_is_a_line_below_the_error():
    lines = [
        "(APIServer pid=7) pydantic_core._pydantic_core.ValidationError: 1 validation error for "
        "SchedulerConfig",
        "(APIServer pid=7)   Value error, max_num_batched_tokens (4) must be greater than or equal "
        "to max_num_seqs (64). [type=value_error, input_value=ArgsKwargs((), {'ru...}), …]",
    ]
    failure = results.at_start(EngineError(DIED), lines, 12.0)
    assert failure.kind == "start_refused"
    assert "(4) must be greater than or equal to max_num_seqs (64)" in failure.reason


def test_memory_that_was_short_at_the_start_is_not_what_ended_it_later():
    lines = [
        "WARNING torch.OutOfMemoryError: CUDA out of memory, trying a smaller workspace",
        "INFO Application startup complete.",
    ]
    assert results.under_load(DIED, lines, 1.0).kind == "died_under_load"
    assert results.under_load(DIED, [*lines, *lines[:1]], 1.0).kind == "out_of_memory"
    assert results.under_load("killed: out of memory", lines, 1.0).kind == "out_of_memory"


def test_long_words_are_cut():
    failure = results.under_load(DIED, ["RuntimeError: " + "x" * 9000], 1.0)
    assert len(failure.reason) < 1200


def _result(preemptions, requests):
    setup = Setup("s", "", "", "chat", 4, 10.0, 0.0, 64, 8, True, 0, 60.0)
    samples = [
        Sample("w", i / 20, "ok", ttft_s=0.1, e2e_s=0.2, duration_s=0.2) for i in range(requests)
    ]
    server = Server(0, 0, 0, None, None, None, preemptions, None, kv_cache_usage_max=0.99)
    report = WorkerReport("w", 0.0, 10.0, requests, [], [])
    result = summarize(setup, samples, [report], lost=0, started="", tools={}, server=server)
    return result, samples


@pytest.mark.parametrize(
    ("preemptions", "requests", "storm"),
    [(None, 100, False), (99, 100, False), (100, 100, True), (500, 100, True), (20, 5, False)],
)
def test_a_preemption_storm_is_a_failure(preemptions, requests, storm):
    result, samples = _result(preemptions, requests)
    seen = observe(result, samples, None, Load("users", 4), spent_s=12.0)
    if storm:
        assert isinstance(seen, Failure)
        assert (seen.kind, seen.spent_s) == ("preemption_storm", 12.0)
        assert f"{preemptions} preemptions in {requests} requests" in seen.reason
        assert f"limit: {STORM:g}" in seen.reason
    else:
        assert isinstance(seen, Observation)
        assert seen.preemptions == preemptions
        assert seen.kv_cache_usage_max == 0.99


def test_without_the_servers_figures_nothing_is_made_up():
    result, samples = _result(0, 50)
    seen = observe(
        dataclasses.replace(result, server=None), samples, None, Load("users", 4), spent_s=1.0
    )
    assert isinstance(seen, Observation)
    assert (seen.preemptions, seen.kv_cache_usage_max, seen.waiting_max) == (None, None, None)


@pytest.mark.parametrize("service", ["tiny", "a" * 40, "a" * 34 + "-bcdef"])
def test_the_benchs_name_is_a_services_name(service):
    from deployctl.spec import ServiceSpec

    name = bench_name(service)
    assert ServiceSpec(model="m", name=name).service == name
    assert name != service
