"""What a verified rollout says of what it is about to do, and of what came of it."""

from types import SimpleNamespace

import pytest

from deployctl.errors import InterruptedByUserError, SloMissedError, TargetError
from deployctl.operations.deploy import verified
from deployctl.operations.deploy.placement import Placement
from deployctl.operations.deploy.verified import VerifiedRollout
from deployctl.targets.store import ServiceRef, Store


@pytest.mark.parametrize("behind", [False, True])
def test_a_gap_is_told_of_where_no_gateway_has_requests_wait(make_release, monkeypatch, behind):
    release, told = make_release(gateway=behind or None), []
    monkeypatch.setattr(verified, "port", lambda after, target: after + 1)
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


@pytest.mark.parametrize(
    ("status", "error", "kept"),
    [
        # While the former one had its last requests end.
        ("deployed", InterruptedByUserError("revision 1 of tiny serves"), True),
        ("failed", InterruptedByUserError("revision 1 of tiny is stopped"), False),
        ("failed", SloMissedError("ttft_p95 missed"), False),
        ("deployed", TargetError("the disk is full"), False),
    ],
)
def test_what_serves_after_ctrl_c_is_said_to_be_kept(
    make_release, tmp_path, monkeypatch, status, error, kept
):
    release, store = make_release(status=status), Store(tmp_path)
    store.save(ServiceRef("process", "tiny"), release)

    def up(*_, **__):
        raise error

    rollout = VerifiedRollout(
        None,
        SimpleNamespace(spec=release.spec, plan=release.plan),
        release.bundle,
        driver=SimpleNamespace(target="process"),
        store=store,
        rollout=SimpleNamespace(up=up, gaps_s=[]),
        tell=None,
    )
    monkeypatch.setattr(rollout, "_place", lambda: Placement(False, "no room"))
    rollout._verifier = SimpleNamespace(began=True, document=dict)
    with pytest.raises(type(error)):
        rollout.run()
    assert error.result.document()["kept"] is kept
