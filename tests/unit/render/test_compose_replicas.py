"""The Compose bundle of several engines: each a service, with cards of its own."""

import re

import pytest
import yaml

from deployctl.errors import PlanRefusedError
from deployctl.render import gateway, render_compose
from deployctl.render.readme import compose_readme


def compose(bundle):
    return yaml.safe_load(bundle.files["compose.yaml"])


def test_several_replicas_are_services_with_cards_and_a_name_of_their_own(planned, golden):
    plan, spec = planned("awq", "l4", gpus=4, tensor_parallel_size=2, replicas=2)
    bundle = render_compose(plan, spec)
    services = compose(bundle)["services"]
    assert list(services) == ["engine", "engine-1", "cache-owner"]
    first, second = services["engine"], services["engine-1"]
    cards = [
        each["deploy"]["resources"]["reservations"]["devices"][0]["device_ids"]
        for each in (first, second)
    ]
    assert cards == [["0", "1"], ["2", "3"]]
    for each in (first, second):
        assert "ports" not in each
        assert "gateway" in each["networks"]
        del each["deploy"]["resources"]["reservations"]
    assert first == second
    assert gateway.entry_of(bundle).upstreams == [f"{plan.name}.0", f"{plan.name}.1"]
    text = re.sub(r"(io\.deployctl\.digest: ).*", r"\1DIGEST", bundle.files["compose.yaml"])
    golden("render/awq-l4-replicas.compose.yaml", text)
    assert "- 4 NVIDIA cards (l4)" in compose_readme(plan, spec)


def test_replicas_share_the_cards_that_are_named_and_fewer_are_refused(planned):
    def cards(named):
        env = {"CUDA_VISIBLE_DEVICES": named}
        bundle = render_compose(*planned("awq", "l4", gpus=2, replicas=2, env=env))
        return [
            compose(bundle)["services"][name]["deploy"]["resources"]["reservations"]
            for name in ("engine", "engine-1")
        ]

    assert [each["devices"][0]["device_ids"] for each in cards("5,3")] == [["5"], ["3"]]
    with pytest.raises(PlanRefusedError, match="names 1 cards, and 2 replicas take 2"):
        cards("5")
