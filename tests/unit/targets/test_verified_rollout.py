"""Looks at a new revision before it counts: what they see decides, and nothing is left behind."""

import pytest

from deployctl.errors import (
    EngineError,
    InputError,
    InterruptedByUserError,
    LockedError,
    SloMissedError,
)
from deployctl.render.candidate import candidate, candidate_name
from deployctl.targets import canary
from deployctl.targets.guards import lock
from deployctl.targets.store import ServiceRef

REF = ServiceRef("process", "tiny")
ASIDE = ServiceRef("process", "tiny-candidate")


def missed(release):
    raise SloMissedError("verification failed: ttft_p95 missed", hint="see the report")


def interrupted(release):
    raise KeyboardInterrupt


def up(world, release, **looks):
    return world.rollout().up(release.spec, release.plan, release.bundle, **looks)


def message(world, revision):
    return next(r.message for r in world.store.releases(REF) if r.revision == revision)


def test_what_was_seen_is_on_record(world, make_release):
    seen = []
    outcome = up(world, make_release(), verify=lambda release: seen.append(release) or "verified")
    assert outcome.release.message == "verified"
    assert (outcome.release.status, seen[0].status) == ("deployed", "pending")


def test_a_miss_in_its_place_brings_the_old_one_back(world, make_release):
    world.up(make_release())
    rollout = world.rollout()
    bad = make_release(port=9000)
    with pytest.raises(SloMissedError) as caught:
        rollout.up(bad.spec, bad.plan, bad.bundle, verify=missed)
    assert caught.value.hint.startswith("see the report; revision 1 serves again, after ")
    assert world.statuses() == {1: "deployed", 2: "failed"}
    assert message(world, 2) == "verification failed: ttft_p95 missed"
    assert world.driver.running == {1}
    assert len(rollout.gaps_s) == 2


def test_a_miss_of_the_first_revision_leaves_nothing(world, make_release):
    with pytest.raises(SloMissedError):
        up(world, make_release(), verify=missed)
    assert world.driver.running == set()
    assert world.statuses() == {1: "failed"}


def test_a_miss_beside_does_not_touch_the_old_one(world, make_release):
    world.up(make_release())
    did = len(world.driver.did)
    rollout = world.rollout()
    bad = make_release(port=9000)
    with pytest.raises(SloMissedError):
        rollout.up(bad.spec, bad.plan, bad.bundle, verify_canary=missed, verify=missed)
    assert [what for what, _ in world.driver.did[did:]] == ["preflight", "fetch", "bring"]
    assert world.statuses() == {1: "deployed", 2: "failed"}
    assert rollout.gaps_s == []


def test_after_a_canary_it_is_not_verified_once_more(world, make_release):
    world.up(make_release())
    outcome = up(world, make_release(port=9000), verify_canary=lambda _: "held", verify=missed)
    assert (outcome.release.revision, outcome.release.message) == (2, "held")
    assert world.driver.running == {2}


def test_ctrl_c_in_a_verification_brings_the_old_one_back(world, make_release):
    world.up(make_release())
    with pytest.raises(InterruptedByUserError):
        up(world, make_release(port=9000), verify=interrupted)
    assert world.driver.running == {1}
    assert message(world, 2) == "interrupted"


def test_an_unchanged_service_is_not_looked_at(world, make_release):
    world.up(make_release())
    assert not up(world, make_release(), verify_canary=missed, verify=missed).changed


class Killed(BaseException):
    """What SIGKILL is to us: nothing after it happens."""


def killed_in_verification(world, release):
    """A deployctl that ended while it verified revision 2 in the place of 1."""
    rollout = world.rollout()
    rollout._undo = lambda *_: Killed()

    def look(_):
        raise Killed

    with pytest.raises(Killed):
        rollout.up(release.spec, release.plan, release.bundle, verify=look)
    assert world.statuses() == {1: "deployed", 2: "pending"}
    assert world.driver.running == {2}


def test_killed_while_it_verified_the_next_one_verifies(world, make_release):
    world.up(make_release())
    new = make_release(port=9000)
    killed_in_verification(world, new)
    assert up(world, new, verify=lambda _: "held").release.message == "held"
    assert world.statuses() == {1: "superseded", 2: "deployed"}


def test_killed_while_it_verified_a_miss_still_brings_the_old_one_back(world, make_release):
    world.up(make_release())
    new = make_release(port=9000)
    killed_in_verification(world, new)
    with pytest.raises(SloMissedError):
        up(world, new, verify=missed)
    assert world.statuses() == {1: "deployed", 2: "failed"}
    assert world.driver.running == {1}


def test_killed_while_it_verified_down_leaves_nothing(world, make_release):
    world.up(make_release())
    killed_in_verification(world, make_release(port=9000))
    world.rollout().down(volumes=False)
    assert world.driver.running == set()


# Candidates.


def stand_in(make_release, owner="tiny"):
    release = make_release()
    tried = candidate(release.spec, release.plan, "process", port=9001, cards=None)
    update = {"service": tried.spec.service, "candidate_of": owner}
    update |= {"spec": tried.spec, "plan": tried.plan, "bundle": tried.bundle}
    return release.model_copy(update=update)


def run_canary(world, release, look):
    tools = world.rollout()._tools
    return canary.run(world.driver, world.store, release, look, world.told.append, tools)


def test_a_candidate_is_on_record_while_it_runs_and_gone_after(world, make_release):
    def look(release):
        assert [r.candidate_of for r in world.store.releases(ASIDE)] == ["tiny"]
        assert world.driver.running == {1}
        with pytest.raises(LockedError), lock(world.store.folder(ASIDE), "x", "y"):
            pass
        return "held"

    assert run_canary(world, stand_in(make_release), look) == "held"
    assert world.driver.running == set()
    assert world.store.services() == []
    assert not world.store.folder(ASIDE).exists()


def test_a_candidate_has_the_named_keys_of_its_service(world, make_release):
    owner = world.store.folder(REF)
    owner.mkdir(parents=True)
    (owner / "keys.json").write_text("{}")
    (owner / "operator_token").write_text("of the owner")
    lent = world.store.folder(ASIDE)

    def look(release):
        assert (lent / "keys.json").read_text() == "{}"
        return str((lent / "operator_token").exists())

    assert run_canary(world, stand_in(make_release), look) == "False"  # its driver makes its own
    assert not lent.exists()
    assert (owner / "keys.json").exists()


@pytest.mark.parametrize(
    ("look", "raised"), [(missed, SloMissedError), (interrupted, InterruptedByUserError)]
)
def test_a_candidate_that_fails_leaves_nothing(world, make_release, look, raised):
    with pytest.raises(raised):
        run_canary(world, stand_in(make_release), look)
    assert world.driver.running == set()
    assert world.store.services() == []


def test_a_candidate_that_does_not_come_up_leaves_nothing(world, make_release):
    world.driver.fates[1] = "dies"
    with pytest.raises(EngineError):
        run_canary(world, stand_in(make_release), lambda _: "")
    assert world.store.services() == []


def test_the_candidate_of_a_killed_deployctl_is_ended_by_the_next(world, make_release):
    world.store.save(ASIDE, stand_in(make_release))
    world.driver.running.add(1)
    assert [ref.service for ref in world.store.services()] == ["tiny-candidate"]
    world.rollout().down(volumes=False)
    assert world.driver.running == set()
    assert ASIDE not in world.store.services()


def test_a_service_of_the_user_s_own_with_that_name_is_left_alone(world, make_release):
    own = stand_in(make_release).model_copy(update={"candidate_of": None, "status": "deployed"})
    world.store.save(ASIDE, own)
    with pytest.raises(InputError, match="there is a service 'tiny-candidate'"):
        run_canary(world, stand_in(make_release), lambda _: "")
    world.rollout().down(volumes=False)
    assert ASIDE in world.store.services()


def test_names_of_candidates_are_names_and_differ():
    long = "a" * 40
    names = {candidate_name(n) for n in (long, long[:-1] + "b", long[:31], "tiny", "a-" * 15 + "b")}
    assert len(names) == 5
    assert all(len(name) <= 40 and "--" not in name for name in names)


def test_a_candidate_runs_the_same_flags_elsewhere(make_release, make_plan):
    release = make_release(expose=True, port=8000)
    tried = candidate(release.spec, release.plan, "process", port=8001, cards="1,3")
    assert tried.plan.engine.args == release.plan.engine.args
    assert tried.plan.engine.env["CUDA_VISIBLE_DEVICES"] == "1,3"
    assert (tried.spec.port, tried.spec.expose, tried.bundle.service) == (
        8001, False, "tiny-candidate",
    )  # fmt: skip
    docker = candidate(release.spec, release.plan, "docker", port=8001, cards=None)
    assert "deployctl-tiny_hub" in docker.bundle.files["compose.yaml"]
    assert "external: true" in docker.bundle.files["compose.yaml"]
