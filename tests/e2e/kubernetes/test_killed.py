"""`up` killed at any moment, or begun twice: the next one makes the service whole, and its history
says what happened. One service for all tests of this file.
"""

import json
import time

import pytest
from tests.e2e.docker_parts import until
from tests.e2e.kubernetes.background import Begun
from tests.e2e.kubernetes.namespaces import Namespace

MOMENTS = 10  # of an update, and as many of a first start
SLOW = ("--env", "FAKE_ENGINE_LOADING_S=3")
PENDING = "owner=helm,status in (pending-install,pending-upgrade,pending-rollback,uninstalling)"
LEASE = "deployctl-{}"


@pytest.fixture(scope="module")
def place(cluster, fake_image, tiny_checkpoint, tmp_path_factory):
    """A namespace with a service that serves."""
    place = Namespace.made(cluster, tmp_path_factory.mktemp("killed"))
    place.words(fake_image, tiny_checkpoint, *SLOW)
    try:
        place.up()
        place.whole = place.belongings()
        yield place
    finally:
        place.end()


def assert_whole(place, whole, number):
    """One pod of the wanted revision serves, nothing of another is there, and no lock is held."""
    (pod,) = [p for p in place.get("pods") if "-pull-" not in p["metadata"]["name"]]
    assert f"--max-num-seqs {number}" in " ".join(map(str, flags_of(pod)))
    assert len(place.pods()) == 1
    assert place.belongings() == whole
    assert place.kubectl("get", "secrets", f"--selector={PENDING}", "-o", "name") == ""
    lease = place.cluster.json(
        "--namespace", place.name, "get", "lease", LEASE.format(place.service)
    )
    assert not lease["spec"]["holderIdentity"]
    told = place.history()
    assert (told[-1], told.count("deployed"), told.count("pending")) == ("deployed", 1, 0)
    assert place.status(place.service)["health"] == "serving"


def flags_of(pod):
    (engine,) = [c for c in pod["spec"]["containers"] if c["name"] == "engine"]
    return [*engine.get("command", ()), *engine.get("args", ())]


def flag(number):
    return ("--max-num-seqs", number)


@pytest.mark.parametrize(
    ("says", "then"),
    [("helm upgrade", "the next finishes it"), ("the engine starts", "the next goes on with it")],
)
def test_killed_in_an_update_the_next_makes_it_whole(place, says, then):
    number = 3 + len(place.history())
    with Begun(place, "up", *place.given, *flag(number)) as begun:
        begun.until(says)
    place.up(*flag(number))
    assert_whole(place, place.whole, number)
    assert "unchanged" in place.up(*flag(number)).stderr


def test_a_second_one_is_told_who_changes_it_and_a_third_changes_another(
    place, fake_image, tiny_checkpoint, tmp_path
):
    number = 3 + len(place.history())
    ann = Namespace(place.cluster, tmp_path / "ann", place.name)
    other = ann.words(fake_image, tiny_checkpoint, name="other")
    with Begun(place, "up", *place.given, *flag(number)) as begun:
        begun.until("helm upgrade")
        with Begun(ann, "up", *other) as beside:
            refused = ann("up", *place.given, *flag(99), code=4).stderr
            assert "chat is being changed by deployctl up" in refused
            assert f"pid {begun.pid}" in refused
            begun.ends()
            beside.ends()
    assert place.history()[-1] == "deployed"
    ann("down", "other", "--volumes", "--target", "kubernetes")
    until(lambda: place.belongings() == place.whole, seconds=60, what="other is gone")
    assert_whole(place, place.whole, number)


@pytest.mark.night
def test_killed_at_ten_moments_of_an_update_the_next_makes_it_whole(place):
    begun = time.monotonic()
    place.up(*flag(100))
    takes = time.monotonic() - begun
    for moment in range(MOMENTS):
        number = 101 + moment
        with Begun(place, "up", *place.given, *flag(number)) as killed:
            killed.lives_for(takes * (moment + 0.5) / MOMENTS)
        print(f"killed after {takes * (moment + 0.5) / MOMENTS:.1f} s:\n{killed.said}")
        # Every other time something else is wanted by then.
        number += 1000 if moment % 2 else 0
        place.up(*flag(number))
        assert_whole(place, place.whole, number)


@pytest.mark.night
def test_killed_at_ten_moments_of_a_first_start_the_next_makes_it_whole(
    place, fake_image, tiny_checkpoint, tmp_path
):
    def first(service):
        own = Namespace(place.cluster, tmp_path / service, place.name)
        own.words(fake_image, tiny_checkpoint, *SLOW, name=service)
        return own

    here = place.belongings()
    begun = time.monotonic()
    first("measured").up()
    takes = time.monotonic() - begun
    first("measured")("down", "measured", "--volumes", "--target", "kubernetes")
    for moment in range(MOMENTS):
        own = first(f"first-{moment}")
        with Begun(own, "up", *own.given, *flag(4)) as killed:
            killed.lives_for(takes * (moment + 0.5) / MOMENTS)
        print(f"killed after {takes * (moment + 0.5) / MOMENTS:.1f} s:\n{killed.said}")
        if moment % 3 == 2:  # nobody wants it any more
            own("down", own.service, "--volumes", "--target", "kubernetes", code=None)
        else:
            number = 4 if moment % 2 else 5
            own.up(*flag(number))
            (pod,) = own.get("pods", f"--selector=app.kubernetes.io/instance={own.service}")
            assert f"--max-num-seqs {number}" in " ".join(map(str, flags_of(pod)))
            assert own.history()[-1] == "deployed"
            own("down", own.service, "--volumes", "--target", "kubernetes")
        until(lambda: place.belongings() == here, seconds=60, what="nothing of it is left")


@pytest.mark.night
def test_of_a_release_that_was_killed_nothing_stays_that_the_next_does_not_want(place, tmp_path):
    scaled = tmp_path / "scaled.yaml"
    scaled.write_text(json.dumps({"autoscaling": {"kind": "hpa", "maxReplicas": 2}}))
    with Begun(place, "up", *place.given, "--values", scaled) as begun:
        begun.until("helm upgrade")
        until(lambda: "autoscaler" in str(place.belongings()), seconds=30, what="an autoscaler")
    # As a helm would leave it that was killed in the middle.
    place.up(*flag(7))
    assert_whole(place, place.whole, 7)
