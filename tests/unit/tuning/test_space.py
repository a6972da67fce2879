"""Which settings are tried: by themselves, from a file, and what the plan says of them."""

import pytest

from deployctl import hub, model
from deployctl.errors import SpecError
from deployctl.hardware import load_profile
from deployctl.planning.make import make_plan
from deployctl.spec import ServiceSpec
from deployctl.tuning import space
from deployctl.tuning.plans import Plans, configured
from deployctl.tuning.trial import Configuration
from process_parts import write_checkpoint

VERSION = "0.32.0"


@pytest.fixture
def facts(tmp_path):
    return model.facts_from(hub.fetch(str(write_checkpoint(tmp_path / "tiny"))))


def spec(**more):
    return ServiceSpec(**{"model": "/models/tiny", "gpu": "cpu", "target": "process", **more})


def planned(facts, gpu="cpu", **more):
    wanted = spec(gpu=gpu, replicas=1, **more)
    return Plans(wanted, facts, load_profile(gpu), 192.0)


def parameters(facts, gpu="cpu", cores=2, asked=None, **more):
    plans = planned(facts, gpu, **more)
    base = plans.plan(Configuration())
    found = space.parameters(plans.base, base, plans.profile, cores=cores, asked=asked)
    return {p.name: (p.values, p.current) for p in found}


def test_by_itself_it_is_batch_settings_and_tensor_parallelism_around_the_engines_own(facts):
    found = parameters(facts)
    assert list(found) == list(space.BY_ITSELF)
    assert found["tensor_parallel_size"] == ((1, 2), 1)
    assert found["max_num_seqs"] == ((16, 32, 64, 128, 256, 512), 128)
    assert found["max_num_batched_tokens"] == ((512, 1024, 2048, 4096, 8192, 16384), 2048)


def test_what_the_service_says_is_among_the_values(facts):
    values, current = parameters(facts, max_num_seqs=100)["max_num_seqs"]
    assert current == 100
    assert values == (16, 32, 64, 100, 128, 256, 512)
    values, current = parameters(facts, engine_args={"max-num-seqs": 48})["max_num_seqs"]
    assert current == 48
    assert values == (8, 16, 32, 48, 64, 128, 256)


@pytest.mark.parametrize(
    ("gpu", "more", "sizes"),
    [
        ("h100", {"gpus": 1}, None),
        ("h100", {"gpus": 2}, ((1, 2), 1)),
        ("h100", {"gpus": 4, "tensor_parallel_size": 2}, ((1, 2, 4), 2)),
    ],
)
def test_tensor_parallelism_goes_up_to_the_gpus_given(facts, gpu, more, sizes):
    assert parameters(facts, gpu, **more).get("tensor_parallel_size") == sizes


def test_one_core_is_one_rank(facts):
    assert "tensor_parallel_size" not in parameters(facts, cores=1)


def read(tmp_path, text):
    file = tmp_path / "space.yaml"
    file.write_text(text)
    return space.read(file, VERSION)


def test_a_file_is_the_whole_space(tmp_path, facts):
    asked = read(
        tmp_path,
        "max_num_seqs: [64, 8, 32]\ngpu-memory-utilization: [0.8, 0.9]\n"
        "enable_chunked_prefill: [true, false]\nkv_cache_dtype: [auto, fp8]\n"
        "max_num_active_seqs: [16, 32]\nmax_num_batched_tokens: auto\n",
    )
    assert asked == {
        "max_num_seqs": (8, 32, 64),
        "gpu_memory_utilization": (0.8, 0.9),
        "enable_chunked_prefill": (True, False),
        "kv_cache_dtype": ("auto", "fp8"),
        "max_num_active_seqs": (16, 32),
        "max_num_batched_tokens": None,
    }
    found = parameters(facts, "h100", asked=asked)
    assert list(found) == list(asked)
    assert found["gpu_memory_utilization"] == ((0.8, 0.9), 0.92)
    assert found["kv_cache_dtype"] == (("auto", "fp8"), "auto")
    assert found["max_num_batched_tokens"][1] == 8192


def test_a_setting_that_stays_as_it_is_is_left_out(facts):
    assert parameters(facts, asked={"max_num_seqs": (128,)}) == {}
    assert parameters(facts, asked={"max_num_seqs": (64,)}) == {"max_num_seqs": ((64,), 128)}


@pytest.mark.parametrize(
    ("text", "where", "message", "hint"),
    [
        ("max_num_seq: [8]", ": max_num_seq", "no flag --max-num-seq", "max_num_seqs"),
        ("chunked_prefill: [true]", ": chunked_prefill", "no flag", "enable-chunked-prefill"),
        ("model: [a]", ": model", "not a setting to tune", "--model"),
        ("max_model_len: [512]", ": max_model_len", "not a setting to tune", "--max-model-len"),
        ("host: ['0.0.0.0']", ": host", "set by deployctl itself", "--expose"),
        ("max_num_seqs: [8, many]", ": max_num_seqs/1", "integer", ""),
        ("max_num_seqs: [8, 0]", ": max_num_seqs/1", "greater than or equal to 1", ""),
        ("max_num_seqs: [8, true]", ": max_num_seqs/1", "not a switch", None),
        ("max_num_seqs: [8, [9]]", ": max_num_seqs/1", "not a single value", ""),
        ("max_num_seqs: 8", ": max_num_seqs", "not a list of values", "[32, 64, 128]"),
        ("max_num_seqs: []", ": max_num_seqs", "not a list of values", ""),
        ("max_num_seqs: [8, 16, 8]", ": max_num_seqs", "twice", None),
        ("max_num_seqs: [8]\nmax-num-seqs: [9]", ": max-num-seqs", "twice", None),
        ("gpu_memory_utilization: [1.5]", ": gpu_memory_utilization/0", "less than", ""),
        ("kv_cache_dtype: [fp9]", ": kv_cache_dtype/0", "does not take 'fp9'", "fp8"),
        ("enforce_eager: [1]", ": enforce_eager/0", "true or false", None),
        ("enable_prefix_caching: [1]", ": enable_prefix_caching/0", "is a switch", "true"),
        ("max_num_active_seqs: [few]", ": max_num_active_seqs/0", "whole number", ""),
        ("kv_cache_dtype: auto", ": kv_cache_dtype", "not a list of values", ""),
    ],
)
def test_what_a_file_may_not_say(tmp_path, text, where, message, hint):
    with pytest.raises(SpecError) as caught:
        read(tmp_path, text)
    assert caught.value.where == f"{tmp_path / 'space.yaml'}{where}"
    assert message in caught.value.message
    assert (hint or "") in (caught.value.hint or "")


def test_an_engine_argument_is_the_versions(tmp_path):
    file = tmp_path / "space.yaml"
    file.write_text("max_num_active_seqs: [16]\n")
    with pytest.raises(SpecError, match="it came with"):
        space.read(file, "0.10.0")


def test_settings_take_the_place_of_the_specs_own():
    own = spec(max_num_seqs=64, engine_args={"no-enable-prefix-caching": True, "seed": 1})
    wanted = Configuration.of({"max_num_seqs": 32, "enable_prefix_caching": True, "block_size": 32})
    found = configured(own, wanted)
    assert found.max_num_seqs == 32
    assert found.engine_args == {"seed": 1, "enable_prefix_caching": True, "block_size": 32}
    assert found.replicas == 1
    twice = configured(spec(engine_args={"max-num-seqs": 64}), Configuration.of({}))
    assert (twice.max_num_seqs, twice.engine_args) == (64, {})


def test_what_the_plan_refuses_is_a_failure_that_took_no_time(facts):
    plans = planned(facts)
    wanted = Configuration.of({"max_num_seqs": 512, "max_num_batched_tokens": 256})
    failure = plans.refused(wanted)
    assert failure.kind == "refused_by_plan"
    assert failure.spent_s == 0
    assert "max_num_batched_tokens (256) is less than max_num_seqs (512)" in failure.reason
    assert plans.refused(Configuration()) is None


def test_more_ranks_than_gpus_are_refused(facts):
    plans = planned(facts, "h100", gpus=1)
    failure = plans.refused(Configuration.of({"tensor_parallel_size": 2}))
    assert "needs 2 GPUs; 1 were given" in failure.reason
    assert planned(facts).refused(Configuration.of({"tensor_parallel_size": 2})) is None


def test_a_prior_is_the_plans(facts):
    prior = planned(facts, "h100", gpus=1).prior(Configuration())
    plan = make_plan(spec(gpu="h100", replicas=1, gpus=1), facts, load_profile("h100"))
    assert prior.concurrency == pytest.approx(plan.memory.kv_cache_tokens / 192)
    assert prior.decode_tokens_s == plan.cost.decode_tokens_s
    assert 0 < prior.startup_s < plan.startup_budget_s
    # Every start of a model of the Hub has the same time: it is downloaded before the first.
    large = facts.model_copy(update={"weight_bytes": 40 * 10**9})
    from_hub = planned(large.model_copy(update={"local": False}), "h100", gpus=1).prior(
        Configuration()
    )
    here = planned(large, "h100", gpus=1).prior(Configuration())
    assert from_hub.startup_s == pytest.approx(here.startup_s, rel=0.2)
    # On a CPU the roofline is no figure to begin with: what its cores compute is.
    assert facts.parameters == 128 * 64
    assert planned(facts).prior(Configuration()).decode_tokens_s == 4e9 / (2 * 128 * 64)
