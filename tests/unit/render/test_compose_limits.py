"""What a Compose project may take of its host, and what it is not given."""

import re

import pytest
import yaml

from deployctl.render import render_compose


def services(plan, spec):
    return yaml.safe_load(render_compose(plan, spec).files["compose.yaml"])["services"]


def engine(plan, spec):
    return services(plan, spec)["engine"]


def test_no_container_takes_the_whole_host(by_hand, planned):
    for plan, spec in (by_hand(), planned("awq", "l4")):
        found = services(plan, spec)
        for service in found.values():
            limits = service["deploy"]["resources"]["limits"]
            assert limits["pids"] <= 16384
            assert re.fullmatch(r"[0-9]+[gm]", limits["memory"])
        assert found["engine"]["tmpfs"] == ["/tmp:exec,mode=1777,size=4g"]


@pytest.fixture
def limits(by_hand):
    """`limits("--flag", …)`: the limits of an engine with these flags."""
    plan, spec = by_hand(accelerator="cuda", tensor_parallel_size=2)

    def ask(*args):
        told = plan.engine.model_copy(update={"args": args})
        service = engine(plan.model_copy(update={"engine": told}), spec)
        return service["deploy"]["resources"]["limits"]

    return ask


@pytest.fixture
def limit(limits):
    """As `limits`: GiB of memory."""
    return lambda *args: int(limits(*args)["memory"].removesuffix("g"))


def test_memory_that_flags_set_aside_is_not_held_against_the_engine(limit):
    assert limit("--cpu-offload-gb", "10") == limit() + 20  # of each card
    assert limit("--kv-offloading-size=7.5") == limit() + 8
    assert limit("--cpu-offload-gb", "1e300") == limit("--swap-space", "x") == limit()


def test_memory_for_images_is_each_server_s_and_the_engine_s(limit):
    assert limit("--mm-processor-cache-gb", "20") == limit() + 2 * (20 - 4)
    assert limit("--mm-processor-cache-gb=0") == limit() - 2 * 4
    assert limit("--mm-processor-cache-gb", "1e300") < limit()
    three = limit("--api-server-count", "3", "--mm-processor-cache-gb", "10")
    assert three == limit("--mm-processor-cache-gb", "10") + 2 * (6 + 10)


@pytest.mark.parametrize(
    "words",
    [
        ("--kv-transfer-config", '{"kv_connector": "LMCacheConnectorV1", "kv_role": "kv_both"}'),
        ("--kv-transfer-config.kv_connector", "LMCacheConnectorV1"),
        ("--offload-group-size=8", "--offload-num-in-group=2"),
        ("--data-parallel-size", "2"),
    ],
)
def test_memory_that_nobody_can_tell_is_not_limited(limits, words):
    assert limits(*words) == {"pids": limits()["pids"]}


def test_a_folder_needs_no_token_of_the_hub(by_hand):
    plan, spec = by_hand()
    assert "HF_TOKEN_PATH" not in engine(plan, spec)["environment"]
    hub = plan.model_copy(update={"model": "org/m", "model_local": False})
    assert engine(hub, spec)["environment"]["HF_TOKEN_PATH"]
    named = engine(*by_hand(args=("--tokenizer", "org/other")))["environment"]
    assert named["HF_TOKEN_PATH"]
    assert "HF_HUB_OFFLINE" not in named
