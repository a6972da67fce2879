"""Adapters and other memory that engine arguments take: what is counted, what is warned of."""

import pytest


@pytest.mark.parametrize(
    ("arguments", "warns"),
    [
        ({"enable_lora": True}, True),
        ({"enable_dbo": True}, True),
        ({"enable_dbo": False}, False),
        ({"data_parallel_size": 2}, True),
        ({"data_parallel_size": 1}, False),
    ],
)
def test_memory_that_is_not_counted_is_warned_of(config, plan, warned, arguments, warns):
    found = plan(config("qwen2.5-7b"), max_model_len=4096, engine_args=arguments)
    assert ("memory_not_counted" in warned(found)) == warns
