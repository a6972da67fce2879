"""What may be said of the watchdog, what it is told of it, and how a container runs under it."""

import json

import pytest
import yaml
from pydantic import ValidationError

from deployctl.errors import InputError
from deployctl.hardware import load_profile
from deployctl.render import door, render_compose, render_process
from deployctl.render.helm import helm_values
from deployctl.spec import ServiceSpec
from engine_watchdog import Settings


def told(plan, spec):
    """Its settings in a container, and on a host."""
    engine = yaml.safe_load(render_compose(plan, spec).files["compose.yaml"])["services"]["engine"]
    command = json.loads(render_process(plan, spec).files["command.json"])
    return json.loads(engine["entrypoint"][4]), command["watchdog"], engine


def test_both_targets_tell_it_the_same(by_hand):
    given = {"stall": 120, "restarts": 3, "memory": 0.8, "quiet_hour": 4}
    inside, outside, engine = told(*by_hand(watchdog=given, startup_budget_s=600))
    assert outside == {
        "stall_s": 120,
        "restarts": 3,
        "answer_s": 14,
        "start_s": 1200,
        "memory_share": 0.8,
        "quiet_hour": 4,
    }
    own = {"port", "token", "drain", "events", "grace_s", "stays"}
    assert {k: v for k, v in inside.items() if k not in own} == outside
    assert Settings(**inside).stays
    assert " 8000 14 120 /tmp/deployctl-probe-token" in engine["healthcheck"]["test"][3]


def test_what_is_not_said_is_what_the_watchdog_has_by_itself(by_hand):
    _, outside, _ = told(*by_hand())
    told_all = Settings(port=1, events="", **outside)
    assert told_all._replace(start_s=0.0) == Settings(port=1, events="")


def test_a_longer_wait_of_the_user_s_is_kept_to(by_hand):
    assert told(*by_hand(startup_timeout=9000))[1]["start_s"] == 9000


def test_a_quick_stall_does_not_wait_long_for_an_answer(by_hand):
    for stall, answer in ((3, 3), (0, 14)):
        assert told(*by_hand(watchdog={"stall": stall}))[1]["answer_s"] == answer


def test_the_engine_s_own_words_follow_whole(by_hand):
    _, _, engine = told(*by_hand(version="0.32.0"))
    assert engine["entrypoint"][:4] == ["python3", "-I", "-S", "/opt/deployctl/engine_parent.py"]
    assert engine["entrypoint"][5:] == ["python3", "-m", "vllm.entrypoints.openai.api_server"]
    files = render_compose(*by_hand()).files
    assert {"door/engine_parent.py", "door/engine_watchdog.py", "door/alive.py"} <= files.keys()


def test_where_no_door_stands_docker_alone_starts_it_again(by_hand, monkeypatch):
    monkeypatch.setattr(door, "has_door", lambda version: False)
    plan, spec = by_hand()
    bundle = render_compose(plan, spec)
    engine = yaml.safe_load(bundle.files["compose.yaml"])["services"]["engine"]
    assert engine["entrypoint"] == ["python3", "-m", "vllm.entrypoints.openai.api_server"]
    assert engine["restart"] == "unless-stopped"
    assert "/health" in engine["healthcheck"]["test"][-1]
    assert not [path for path in bundle.files if "watchdog" in path]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"stal": 3}, "'stal' is nothing of it: there are stall, restarts, memory, quiet_hour"),
        ({"stall": 0.5}, "stall is 0, for never, or 1 to 86400 seconds"),
        ({"stall": float("nan")}, "stall is 0"),
        ({"restarts": 1.5}, "a whole number an hour"),
        ({"restarts": -1}, "a whole number an hour"),
        ({"memory": 0}, "a share of the machine's"),
        ({"memory": 90}, "a share of the machine's"),
        ({"memory": 0.9, "quiet_hour": 24}, "an hour of the day"),
        ({"quiet_hour": 3}, "give memory"),
        ({"stall": "long"}, "valid number"),
    ],
)
def test_what_makes_no_sense_is_refused(given, said):
    with pytest.raises(ValidationError, match=said):
        ServiceSpec(model="m", watchdog=given)


def test_on_kubernetes_there_is_none(planned):
    plan, spec = planned("awq", "l4", watchdog={"stall": 120})
    with pytest.raises(InputError, match="the kubelet looks after engines") as caught:
        helm_values(plan, spec, load_profile("l4"))
    assert caught.value.where == "watchdog"
