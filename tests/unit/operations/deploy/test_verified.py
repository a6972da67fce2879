"""What a verified rollout says of what it is about to do."""

from types import SimpleNamespace

import pytest

from deployctl.operations.deploy import verified
from deployctl.operations.deploy.placement import Placement
from deployctl.operations.deploy.verified import VerifiedRollout


@pytest.mark.parametrize("behind", [False, True])
def test_a_gap_is_told_of_where_no_gateway_has_requests_wait(make_release, monkeypatch, behind):
    release, told = make_release(gateway=behind or None), []
    monkeypatch.setattr(verified, "port", lambda after: after + 1)
    monkeypatch.setattr(verified.canaries, "run", lambda *given: "verified: ttft_p95 1 ms")
    rollout = VerifiedRollout(
        None,
        SimpleNamespace(spec=release.spec, plan=release.plan),
        release.bundle,
        driver=SimpleNamespace(target="process"),
        store=None,
        rollout=None,
        tell=told.append,
    )
    rollout._as_canary(Placement(True, "there is room"), release)
    assert told[-1].text.startswith("the SLO is met; replacing the old revision")
    assert ("with a gap of about the start-up time" in told[-1].text) is not behind
