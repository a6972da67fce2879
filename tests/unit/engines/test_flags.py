"""The flag table: periods, types, near misses; and what each version does."""

import json

import pytest

from deployctl import assets
from deployctl.engines.vllm import flags
from deployctl.engines.vllm.versions import at_least, behaviour, key


def test_versions_order_by_number():
    assert key("0.10.0") > key("0.9.2")
    assert key("0.10.1.1") > key("0.10.1")
    assert key("0.10.2.post2") == key("0.10.2")
    assert at_least("0.32.0", "0.8.5")
    assert at_least("0.1.dev3+ge31d2168b", "0.32.0")


def test_every_release_from_085_on_is_held():
    assert flags.versions()[0] == "0.8.5"
    assert flags.versions()[-1] == "0.33.0"
    assert len(flags.versions()) >= 43


def test_a_flag_knows_its_time():
    assert flags.flag("swap-space", "0.17.1") is not None
    assert flags.flag("swap-space", "0.18.0") is None
    assert flags.flag("kv-cache-memory-bytes", "0.10.1") is None
    assert flags.flag("kv-cache-memory-bytes", "0.10.2").kind == "int"
    assert flags.flag("gpu-memory-utilization", "0.19.1").default == 0.9
    assert flags.flag("gpu-memory-utilization", "0.20.0").default == 0.92


@pytest.mark.parametrize(
    ("name", "value", "version", "code"),
    [
        ("seed", 7, "0.32.0", None),
        ("max_num_seqs", "1k", "0.32.0", None),
        ("no_enable_prefix_caching", True, "0.32.0", None),
        ("tool_call_parser", "hermes", "0.32.0", None),
        ("override_generation_config", '{"temperature": 0}', "0.32.0", None),
        ("seed", "seven", "0.32.0", "wrong_flag_value"),
        ("enable_prefix_caching", "yes", "0.32.0", "wrong_flag_value"),
        ("dtype", "int8", "0.32.0", "wrong_flag_value"),
        ("num_scheduler_steps", 8, "0.10.1", "removed_flag"),
        ("num_scheduler_steps", 8, "0.10.0", None),
        ("kv_cache_memory_bytes", 1, "0.9.2", "unknown_flag"),
        ("api_key", "sk-x", "0.32.0", "flag_managed"),
    ],
)
def test_arguments_are_refused_by_name(name, value, version, code):
    problem = flags.check(name, value, version)
    assert (problem.code if problem else None) == code
    if problem:
        assert problem.fix


def test_a_switch_without_a_negative_form_is_known():
    assert flags.flag("enable-prefix-caching", "0.32.0").negatable
    assert not flags.flag("disable-log-stats", "0.32.0").negatable
    assert not flags.flag("seed", "0.32.0").negatable
    assert flags.check("no-enable-prefix-caching", True, "0.32.0") is None
    assert flags.check("no-disable-log-stats", True, "0.32.0").code == "unknown_flag"


def test_the_nearest_flag_is_offered():
    assert flags.check("max_model_length", 1, "0.32.0").fix == "did you mean --max-model-len?"


def test_a_secret_is_not_repeated():
    assert "sk-x" not in str(flags.check("api_key", "sk-x", "0.32.0"))


def test_every_change_of_behaviour_has_its_source():
    path = assets.path("deploy", "engines", "vllm-behaviour.json")
    table = json.loads(path.read_text(encoding="utf-8"))
    assert table.pop("about")
    for name, entries in table.items():
        firsts = [key(entry[0]) for entry in entries]
        assert firsts == sorted(firsts), name
        assert all(len(entry) == 3 and len(entry[2]) > 10 for entry in entries), name
        assert behaviour(name, flags.versions()[-1]) == entries[-1][1]


def test_the_table_is_small():
    assert assets.path("deploy", "engines", "vllm-flags.json").stat().st_size < 80_000
