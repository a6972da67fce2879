"""Logs and addresses of what runs on Docker, and how it ends."""

from types import SimpleNamespace

from tests.unit.targets_docker.conftest import REMOTE, quiet

from deployctl.targets.docker.keptkeys import KeptKeys


def test_logs_are_lines_and_of_a_progress_bar_the_last_state(driver, release, container):
    container(log="one\r\nload 1%\rload 2%\nnaïve\nend".encode())
    lines = list(driver.logs(release(), tail=None, follow=False))
    assert lines == ["one", "load 2%", "naïve", "end"]


def test_stop_keeps_the_log_and_leaves_no_secret_but_the_keys(
    driver, engine, release, container, tmp_path
):
    driver.start(release(), quiet)
    container(log=b"first\nlast\n")
    driver.stop(release(), quiet)
    assert engine.did == [("remove", "deployctl-tiny")]
    assert list(driver.logs(release(), tail=1, follow=False)) == ["last"]
    assert driver.log_path(release()).read_text() == "first\nlast\n"
    assert not (tmp_path / "state" / "docker" / "tiny" / "project").exists()
    assert engine.filled == {}
    assert KeptKeys(engine.carriers).kept("tiny").keys() == {"operator_token"}
    driver.stop(release(), quiet)


def test_stopping_an_old_release_leaves_the_one_in_its_place(driver, engine, release, container):
    container(revision="2")
    driver.stop(release(revision=1), quiet)
    assert engine.did == []


def test_stop_finds_a_container_without_our_records(driver, engine, release, container):
    container(revision="1")
    driver.stop(release(), quiet)
    assert engine.did == [("remove", "deployctl-tiny")]


def test_the_endpoint_is_where_the_engine_is(driver, engine, release, tmp_path):
    assert driver.endpoint(release()).url == "http://127.0.0.1:18250"
    assert driver.endpoint(release()).api_key is None
    engine.address = REMOTE
    (tmp_path / "state" / "docker" / "tiny").mkdir(parents=True)
    (tmp_path / "state" / "docker" / "tiny" / "api_key").write_text("k")
    endpoint = driver.endpoint(release(local=False, expose=True, name="tiny"))
    assert endpoint.url == "http://gpu1:18250"
    assert endpoint.api_key == "k"
    engine.address = REMOTE._replace(hostname="fd00::1")
    assert driver.endpoint(release()).url == "http://[fd00::1]:18250"


def test_by_a_line_all_that_it_serves_is_asked_through_it(driver, engine, release):
    """A name of ~/.ssh/config is known to ssh alone; clients have what it stands for."""
    engine.address = REMOTE
    engine.line = SimpleNamespace(
        port=lambda far: far + 1, hostname="fd00::1", tunnel=lambda far: f"ssh -N -L {far}"
    )
    engine.by_line = lambda *given: given
    loopback, exposed = (driver.endpoint(release(local=False, expose=e)) for e in (False, True))
    assert loopback.url == exposed.url == "http://127.0.0.1:18251"
    assert (loopback.shown, loopback.tunnel) == ("http://127.0.0.1:18250", "ssh -N -L 18250")
    assert loopback.own == exposed.own == "http://127.0.0.1:18250"  # and no port of this process
    assert (exposed.shown, exposed.tunnel) == ("http://[fd00::1]:18250", None)


def test_purge_says_what_goes_and_takes_the_keys(driver, engine, release):
    driver.start(release(), quiet)
    events = []
    driver.purge("tiny", events.append)
    assert [e.text for e in events] == [
        "removed volume deployctl-tiny_hub",
        "removed volume deployctl-tiny_vllm",
    ]
    assert engine.filled == {}
    assert KeptKeys(engine.carriers).kept("tiny") == {}


def test_of_what_was_tried_for_another_service_no_volume_stays(driver, engine, release):
    driver.start(release(), quiet)
    driver.purge("tiny", quiet, heir="other")
    assert engine.carriers.volumes_made == engine.carriers.made == {}
