"""What the door is told of a plan, and what would pass it by."""

import json

import pytest

from deployctl.errors import PlanRefusedError
from deployctl.render import door


def told(plan, spec):
    files = door.door_files(plan, spec, secrets="s", drain_file="d", probe_token="p")
    return json.loads(files[door.CONFIGURATION])


@pytest.mark.parametrize(
    ("args", "processes"),
    [
        ((), 1),
        (("--api-server-count", "4"), 4),
        (("--data-parallel-size", "2"), 2),
        (("--data-parallel-size", "2", "--api-server-count", "1"), 1),
        (("--api-server-count", "x"), 1),
        (("--api-server-count",), 1),
    ],
)
def test_it_knows_of_several_processes(by_hand, args, processes):
    """Where there are several, it takes no key with limits."""
    assert told(*by_hand(args=args))["processes"] == processes


@pytest.mark.parametrize(
    ("given", "where"),
    [
        ({"env": {"VLLM_USE_RUST_FRONTEND": "1"}}, "env/VLLM_USE_RUST_FRONTEND"),
        ({"args": ("--grpc",)}, "engine_args/grpc"),
    ],
)
def test_a_server_that_takes_no_door_is_refused(by_hand, given, where):
    with pytest.raises(PlanRefusedError, match="passes the door by") as refused:
        told(*by_hand(**given))
    assert refused.value.where == where
    told(*by_hand(env={"VLLM_USE_RUST_FRONTEND": "0"}))
