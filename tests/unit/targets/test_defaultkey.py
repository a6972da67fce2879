"""The key default while a service is brought up: revoked, replaced meanwhile, put back."""

import pytest

from deployctl.errors import EngineError
from deployctl.targets import keyfile, keys
from deployctl.targets.store import ServiceRef

REF = ServiceRef("process", "tiny")


@pytest.fixture
def folder(world, make_release):
    """That of an exposed service, which runs with the key `first`."""
    world.environment["DEPLOYCTL_API_KEY"] = "first"
    world.up(make_release(expose=True))
    del world.environment["DEPLOYCTL_API_KEY"]
    return world.store.folder(REF)


def revoke(folder, *, lifted=False):
    file = keyfile.EMPTY.revoking_default("first")
    (folder / "keys.json").write_bytes((file.lifted("default") if lifted else file).content())


def revoked(folder):
    return keyfile.read(folder / "keys.json").revoked


@pytest.mark.parametrize("port", [8000, 9000])  # the same service, and another
def test_a_new_key_lifts_the_revocation_of_the_one_before(world, make_release, folder, port):
    revoke(folder)
    world.environment["DEPLOYCTL_API_KEY"] = "second"
    world.driver.did.clear()
    outcome = world.up(make_release(expose=True, port=port))
    assert (folder / "api_key").read_text() == "second"
    assert revoked(folder) == ()
    assert world.driver.did[-1] == ("publish", outcome.release.revision)


@pytest.mark.parametrize("port", [8000, 9000])
def test_a_revoked_key_stays_revoked_and_up_says_so(world, make_release, folder, port):
    revoke(folder)
    world.up(make_release(expose=True, port=port))
    assert (folder / "api_key").read_text() == "first"
    assert revoked(folder) == ("default",)
    assert "keys add tiny default makes another" in world.notes()[-1]


def test_a_revoked_key_that_is_given_again_is_not_taken(world, make_release, folder):
    revoke(folder, lifted=True)
    (folder / "api_key").write_text("second")
    world.environment["DEPLOYCTL_API_KEY"] = "first"
    assert not world.up(make_release(expose=True)).changed
    assert (folder / "api_key").read_text() == "second"
    assert "was revoked, and is not taken again" in world.notes()[-1]


@pytest.mark.parametrize("given", [None, "second"])
@pytest.mark.parametrize("port", [8000, 9000])
def test_up_makes_a_key_for_one_that_is_gone(world, make_release, folder, monkeypatch, port, given):
    """The error said that `up` makes one, of `up` too, which ended with it."""
    endpoint = world.driver.endpoint

    def asked(release):
        keys.needed_key(folder)
        return endpoint(release)

    monkeypatch.setattr(world.driver, "endpoint", asked)
    (folder / "api_key").unlink()
    if given:
        world.environment["DEPLOYCTL_API_KEY"] = given
    outcome = world.up(make_release(expose=True, port=port))
    assert outcome.changed is (port == 9000)
    assert keys.needed_key(folder) == (given or keys.needed_key(folder)) != "first"
    assert (("publish", 1) in world.driver.did) is (port == 8000)
    assert "the service's API key was gone: it has a new one" in world.notes()


def test_a_failed_update_does_not_lift_it(world, make_release, folder):
    revoke(folder)
    world.environment["DEPLOYCTL_API_KEY"] = "second"
    world.driver.fates[2] = "dies"
    with pytest.raises(EngineError):
        world.up(make_release(expose=True, port=9000))
    assert (folder / "api_key").read_text() == "first"
    assert revoked(folder) == ("default",)


@pytest.mark.parametrize("fate", [None, "dies"])
@pytest.mark.parametrize("given", [None, "second"])
def test_a_key_that_is_put_in_place_meanwhile_stays(
    world, make_release, folder, monkeypatch, fate, given
):
    if given:
        world.environment["DEPLOYCTL_API_KEY"] = given
    world.driver.fates[2] = fate
    begin = world.driver.start

    def start(release, tell, **more):
        if release.revision == 2:
            (folder / "api_key").write_text("meanwhile")
        begin(release, tell, **more)

    monkeypatch.setattr(world.driver, "start", start)
    try:
        world.up(make_release(expose=True, port=9000))
    except EngineError:
        assert fate
    assert (folder / "api_key").read_text() == "meanwhile"


def test_keys_that_are_damaged_do_not_fail_what_serves(world, make_release, folder, monkeypatch):
    begin = world.driver.start

    def start(release, tell, **more):
        (folder / "keys.json").write_text("{")
        begin(release, tell, **more)

    monkeypatch.setattr(world.driver, "start", start)
    world.up(make_release(expose=True, port=9000))
    assert world.statuses() == {1: "superseded", 2: "deployed"}
    assert "may be revoked still" in world.notes()[-1]
