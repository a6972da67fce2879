"""The gateway before processes, of the fake engine: updates without a failed request."""

import itertools
import json
import os
import signal
import socket
import time
from urllib.parse import urlsplit

import pytest
from tests.e2e.gateway_parts import SlowUsers, Users, answer, needs_caddy
from tests.e2e.stream_parts import Relay, Stream

import ports
from deployctl import assets
from deployctl.render.gateway import ACCESS_LOG
from deployctl.targets.process import procfs
from deployctl.targets.waits import waits_of
from process_shell import until


@pytest.fixture
def served(shell):
    """A shell whose service is behind a gateway at `shell.gateway`."""
    needs_caddy()
    shell.behind = ["--gateway", "--gateway-port", str(ports.free())]
    shell.gateway = f"http://127.0.0.1:{shell.behind[-1]}"
    return shell


def up(shell, *words, code=0, beside="no", **fake):
    words = ["--beside", beside, "--output", "json", *words]
    got, out, err = shell.up(*shell.behind, *words, **fake)
    assert got == code, err
    return json.loads(out)["services"][0] if code == 0 else err


def serves(shell):
    try:
        return answer(shell.gateway, "/v1/models")[0] == 200
    except OSError:
        return False


def caddy(shell):
    """The proxy's pid."""
    return json.loads((shell.state / "gateway" / "engine.json").read_text())["pid"]


def test_no_request_fails_in_an_update_a_bad_revision_and_a_rollback(served):
    first = up(served, token_s="0.01")
    assert (first["url"], first["gateway"]["held"]) == (f"{served.gateway}/v1", None)
    under_way = Stream(int(served.behind[-1]), tokens=200)
    with Users(served.gateway) as users:
        held = up(served, token_s="0.011", loading_s="1.5")["gateway"]["held"]
        assert "revision 2 serves again" in up(served, die_loading="3", code=4)
        code, _, err = served.run("rollback", "tiny", "--beside", "no")
        assert (code, "requests waited" in err) == (0, True)
        until(lambda: users.asked and users.asked[-1].began > users.begun + 3)
    assert users.failed == []
    assert under_way.whole, under_way.error
    assert held["turned_away"] == 0
    assert 1.5 < held["seconds"] < users.longest_s + 5


def test_one_that_comes_up_beside_the_other_takes_over_and_nobody_waits(served):
    up(served, token_s="0.01")
    under_way = Stream(int(served.behind[-1]), tokens=200)
    with Users(served.gateway) as users:
        told = up(served, beside="yes", token_s="0.011", loading_s="1.5")
        assert (told["revision"], told["gateway"]["held"]) == (2, None)
        pid = served.status()["pid"]
        err = up(served, beside="yes", die_loading="3", code=4)
        assert "revision 2 served all the while" in err
        assert served.status()["pid"] == pid
        with socket.create_server(("127.0.0.1", served.port)):  # which revision 1 has let go
            code, _, err = served.run("rollback", "tiny", "--beside", "yes")
        assert (code, "comes up beside revision 2" in err) == (0, True)
        until(lambda: users.asked and users.asked[-1].began > users.begun + 3)
    assert users.failed == []
    assert under_way.whole, under_way.error
    told = waits_of("tiny", 0.0, (served.state / "gateway" / ACCESS_LOG).read_text())
    assert told.requests
    assert told.longest_s < 1.5  # as long as one loads
    assert [status for _, status in served.history()][-3:] == ["superseded", "failed", "deployed"]


def test_who_waits_longer_than_the_hold_is_told_to_come_again(served, tmp_path):
    served.behind += ["--hold", "1"]
    up(served)
    hold = tmp_path / "go"
    process = served.start(*served.up_words(*served.behind, "--beside", "no", hold=hold))
    until(lambda: (served.state / "gateway" / "upstreams" / "tiny").read_text().startswith("unix"))
    began = time.monotonic()
    status, headers, text = answer(served.gateway, "/v1/models")
    assert (status, headers["Retry-After"]) == (503, "10")
    assert json.loads(text)["error"]["type"] == "service_unavailable"
    assert 1 <= time.monotonic() - began < 10
    monitor = (served.state / "gateway" / "monitor_port").read_text()
    counted = answer(f"http://127.0.0.1:{monitor}", "/metrics")[2]
    place = f'method="GET",server="port-{urlsplit(served.gateway).port}"'  # of no host
    labels = f'{{code="502",handler="subroute",{place}}} 1\n'
    assert f"caddy_http_request_duration_seconds_count{labels}" in counted
    hold.touch()
    process.communicate()
    assert process.returncode == 0
    assert answer(served.gateway, "/v1/models")[0] == 200


def test_of_a_killed_engine_what_was_inside_fails_and_what_comes_later_waits(served):
    up(served, token_s="0.02")
    engine, proxy = served.status()["pid"], caddy(served)
    with Users(served.gateway, tokens=100) as users:  # 2 s each stream: some are inside
        until(lambda: len(users.asked) > 4)
        time.sleep(0.5)  # they end together: into the next ones
        os.kill(engine, signal.SIGKILL)
        until(lambda: not procfs.identify(engine))  # until then its socket takes connections
        died = time.monotonic()
        until(lambda: any(e.began > died + 0.1 and not e.problem for e in list(users.asked)))
    assert users.failed
    assert all(each.began < died for each in users.failed), users.failed
    assert users.untold == []
    with Users(served.gateway) as users:  # the proxy is started again
        failed, seconds = users.outage(lambda: os.kill(proxy, signal.SIGKILL))
    assert caddy(served) != proxy
    print(f"{failed} requests failed of the proxy that was killed, in {seconds} s")


def test_who_sends_much_and_is_turned_away_is_told_so_and_not_that_the_engine_has_ended(
    served, tmp_path
):
    (tmp_path / "key").write_text("the-key-of-this-test")
    served.behind += ["--api-key-file", str(tmp_path / "key")]
    up(served)
    much = b"x" * 8_000_000
    for path, status in (("/v1/completions", 401), ("/nothing", 404)):
        for _ in range(4):
            assert answer(served.gateway, path, method="POST", body=much)[0] == status


def has_a_page_to_chat_on(shell, url):
    """Of the service `other`, and of no other, as it is in its file."""
    assert url == f"{shell.gateway}/other/chat/"
    assert url in shell.run("status", "other", "--connect")[1]
    status, headers, text = answer(shell.gateway, "/other/chat/")
    assert (status, text) == (200, assets.path("deploy", "chat", "index.html").read_text())
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    status, headers, _ = answer(shell.gateway, "/other/chat")
    assert (status, headers["Location"]) == (308, "chat/")
    assert answer(shell.gateway, "/chat/")[0] == 404
    assert answer(shell.gateway, "/tiny/chat/")[0] == 404


def goes_and_cuts_nothing(shell, service, gone):
    """Takes a service down: answers under way are whole, and who comes later is told that it is
    `gone`."""
    under_way = Relay(int(shell.behind[-1]), tokens=200, below=f"/{service}")
    process, told = shell.start("down", service), []
    while process.poll() is None:
        try:
            told.append(answer(shell.gateway, f"/{service}/v1/models")[0])
        except ConnectionError:  # refused, or in the moment in which the port is closed
            told.append("refused")
        time.sleep(0.02)
    assert under_way.whole, [each.error for each in under_way.streams]
    assert [each for each, _ in itertools.groupby(told)] == [200, gone]
    return process.communicate()[1]


def test_services_share_it_by_path_and_metrics_are_not_for_clients(served, tmp_path):
    up(served)
    other = ["up", "--model", served.model, "--gpu", "cpu", "--name", "other", *served.behind]
    other += ["--with-chat", "--port", ports.free()]
    under_way = Relay(int(served.behind[-1]), tokens=200)  # until its service has gone
    with Users(served.gateway, kept=2) as users:
        code, out, err = served.run(*other, "--output", "json")
    assert code == 0, err
    # Another configuration closes what is kept and idle, once, and nothing else.
    closed = ("RemoteDisconnected", "ConnectionReset", "BrokenPipe")
    assert [each for each in users.failed if not each.problem.startswith(closed)] == []
    assert len(users.failed) <= 2
    told = json.loads(out)["services"][0]
    assert told["url"] == f"{served.gateway}/other/v1"
    has_a_page_to_chat_on(served, told["gateway"]["chat_url"])
    for path in ("/v1/models", "/tiny/v1/models", "/other/v1/models"):
        assert answer(served.gateway, path)[0] == 200
    token = next(served.state.glob("process/tiny/operator_token")).read_text().strip()
    operator = {"Authorization": f"Bearer {token}"}
    for path in ("/metrics", "/tiny/metrics", "//metrics", "/tiny//metrics", "/metrics/"):
        status, _, text = answer(served.gateway, path, headers=operator)
        assert status == 404, path
        assert "vllm:" not in text
    assert answer(served.gateway, "/nobody/v1/models")[0] == 404
    assert "gateway has ended" not in goes_and_cuts_nothing(served, "tiny", 404)
    assert under_way.whole, [each.error for each in under_way.streams]
    assert answer(served.gateway, "/other/v1/models")[0] == 200
    pid = caddy(served)
    assert "gateway has ended" in goes_and_cuts_nothing(served, "other", "refused")
    assert not os.path.exists(f"/proc/{pid}")  # noqa: PTH110


def test_tls_by_an_authority_of_its_own_is_verified_and_no_update_fails_a_request(shell):
    needs_caddy()
    port = ports.free()
    shell.behind = ["--domain", "localhost", "--tls", "internal", "--gateway-port", str(port)]
    told = up(shell)
    assert told["url"] == f"https://localhost:{port}/v1"
    trusted = told["gateway"]["ca_file"]
    large = {"prompt": "x" * 150_000, "ca": trusted}  # is not sent again, either
    with (
        Users(f"https://localhost:{port}", new=1, kept=1, **large) as users,
        SlowUsers(port, trusted) as slow,
    ):
        until(lambda: len(users.asked) > 4)
        assert up(shell, token_s="0.011")["gateway"]["held"]["turned_away"] == 0
        seen = len(users.asked)
        until(lambda: len(users.asked) > seen + 4)
    assert users.failed == []
    assert set(slow.told) == {True}, slow.told
    with Users(f"https://localhost:{port}", new=1, kept=0) as strangers:
        until(lambda: strangers.asked)
    assert "CERTIFICATE_VERIFY_FAILED" in strangers.asked[0].problem


@pytest.mark.night
def test_one_that_hangs_is_started_again_and_up_waits_until_it_leads_on(served):
    up(served, token_s="0.01")
    proxy = caddy(served)
    os.kill(proxy, signal.SIGSTOP)
    up(served, token_s="0.011")
    assert caddy(served) != proxy
    assert serves(served)


@pytest.mark.night
def test_a_killed_up_leaves_a_hold_that_is_told_and_keeps_no_other_waiting(served, tmp_path):
    up(served)
    words = [*served.behind, "--beside", "no"]
    process = served.start(*served.up_words(*words, hold=tmp_path / "never"))
    until(lambda: served.status()["held_since"])
    assert "new requests wait in the gateway since" in served.status()["detail"]
    process.kill()
    process.communicate()
    assert "nobody brings it up now" in served.status()["detail"]
    other = ["up", "--model", served.model, "--gpu", "cpu", "--name", "other", *served.behind]
    began = time.monotonic()
    code, _, err = served.run(*other, "--port", ports.free())
    assert code == 0, err
    assert time.monotonic() - began < 120  # it would be --hold, 300 s
    up(served)
    assert served.status()["held_since"] is None
    assert serves(served)


@pytest.mark.night
def test_what_the_gateway_alone_is_to_do_otherwise_stops_no_engine(served):
    first = up(served)
    pid = served.status()["pid"]
    under_way = Stream(int(served.behind[-1]), tokens=1000)
    served.behind += ["--hold", "7"]
    again = up(served)
    assert under_way.whole, under_way.error
    assert (again["changed"], again["revision"]) == (False, first["revision"])
    assert served.status()["pid"] == pid
    configuration = (served.state / "gateway" / "caddy.json").read_text()
    assert '"try_duration": "7s"' in configuration
