"""Engine arguments that are switches: as people type them, as a release takes them."""

import pytest


@pytest.mark.parametrize(
    ("arguments", "version", "words"),
    [
        ({"enable_expert_parallel": True}, "0.32.0", ["--enable-expert-parallel"]),
        ({"enable-expert-parallel": True}, "0.8.5", ["--enable-expert-parallel"]),
        ({"no-enable-prefix-caching": True}, "0.32.0", ["--no-enable-prefix-caching"]),
        ({"--enable-prefix-caching": False}, "0.8.5", ["--no-enable-prefix-caching"]),
        ({"enable_sleep_mode": False}, "0.9.1", ["--no-enable-sleep-mode"]),
        # store_true: there is no form with --no-, and off is how it is anyway
        ({"enable_sleep_mode": False}, "0.8.5", []),
        ({"disable_log_stats": True}, "0.32.0", ["--disable-log-stats"]),
        ({"no_disable_log_stats": True}, "0.32.0", []),
        ({"no_enforce_eager": True}, "0.32.0", []),
        ({"enforce-eager": True}, "0.32.0", ["--enforce-eager"]),
    ],
)
def test_a_switch_is_written_as_the_release_takes_it(config, plan, arguments, version, words):
    lean = {"max_model_len": 4096, "engine_version": version}
    without = plan(config("llama-8b"), **lean).engine.args
    found = plan(config("llama-8b"), **lean, engine_args=arguments)
    assert found.reasons == ()
    assert sorted(found.engine.args) == sorted([*without, *words])


@pytest.mark.parametrize("name", ["max_num_seqs", "max-logprobs", "dtype", "middleware", "seed"])
def test_a_name_alone_is_no_value(config, plan, name):
    found = plan(config("llama-8b"), max_model_len=4096, engine_args={name: True})
    flag = name.replace("_", "-")
    (reason,) = found.reasons
    assert (reason.code, reason.message) == ("wrong_flag_value", f"--{flag} needs a value")
    assert reason.fix.startswith(("give a", "it takes "))
