"""The gateway of a Docker engine before containers of the fake engine: a real Caddy in a container,
updates without a failed request, and what follows when it is killed, hangs, or is gone."""

import json
import subprocess

import pytest
from tests.e2e import sshd
from tests.e2e.docker_parts import GATEWAY, Cli, docker, inspect, left, until
from tests.e2e.docker_parts import sweep as sweep_service
from tests.e2e.gateway_parts import Users, answer
from tests.e2e.pasted import paste
from tests.e2e.sshd import on
from tests.e2e.stream_parts import Relay

import ports

pytestmark = pytest.mark.docker

CADDY = f"{GATEWAY}-caddy-1"
# Of the fake engine; there is no pgrep. What its watchdog started.
KILL_ENGINE = """\
for each in /proc/[0-9]*; do
  if grep -qa vllm.entrypoints "$each/cmdline" && ! grep -qa engine_parent "$each/cmdline"; then
    kill -KILL "${each#/proc/}"
  fi
done
"""


@pytest.fixture
def behind(gateway_image, cli, tiny_checkpoint, fake_engine_image, service):
    """A shell whose service is behind the gateway at `cli.gateway`; `cli.up` brings it up."""
    cli.service, port = service, ports.free()
    cli.gateway = f"http://127.0.0.1:{port}"
    words = ["up", "--model", tiny_checkpoint, "--gpu", "cpu", "--target", "docker"]
    words += ["--image", fake_engine_image, "--name", service]
    cli.up = [*words, "--gateway", "--gateway-port", port]
    yield cli
    cli("down", service, "--volumes", code=None)


def serves(cli):
    try:
        return answer(cli.gateway, "/v1/models")[0] == 200
    except OSError:
        return False


def test_no_request_fails_in_an_update_a_bad_revision_and_a_rollback(behind, record_property):
    first = behind.json(*behind.up)
    assert (first["url"], first["gateway"]["held"]) == (f"{behind.gateway}/v1", None)

    # It is reached by the gateway alone, and gets nowhere; nothing of the gateway is root's.
    engine, caddy = inspect(f"deployctl-{behind.service}-engine-1"), inspect(CADDY)
    assert list(engine["NetworkSettings"]["Networks"]) == [f"{GATEWAY}_engines"]
    assert engine["NetworkSettings"]["Ports"] == {}
    out = "import socket; socket.create_connection(('192.0.2.1', 9), 2)"
    tried = subprocess.run(
        ["docker", "exec", engine["Id"], "python3", "-c", out], capture_output=True, text=True
    )
    assert "Network is unreachable" in tried.stderr
    assert caddy["HostConfig"]["CapDrop"] == ["ALL"]
    assert caddy["HostConfig"]["ReadonlyRootfs"]
    assert caddy["Config"]["User"] == "10001:10001"
    addresses = {
        each["HostIp"] for at in caddy["HostConfig"]["PortBindings"].values() for each in at
    }
    assert addresses == {"127.0.0.1"}

    with Users(behind.gateway, model=first["model"]) as users:
        until(lambda: len(users.asked) > 20, seconds=60, what="users are served")
        no = ("--beside", "no")
        held = behind.json(*behind.up, *no, "--max-num-seqs", "4")["gateway"]["held"]
        bad = behind(*behind.up, *no, "--env", "FAKE_ENGINE_DIE_LOADING=3", code=4)
        assert "revision 2 serves again" in bad.stderr
        assert "requests waited" in behind("rollback", behind.service, *no).stderr
        seen = len(users.asked)
        until(lambda: len(users.asked) > seen + 20, seconds=60, what="they are served again")
    assert users.failed == []
    assert held["turned_away"] == 0
    record_property("requests", len(users.asked))
    record_property("longest_wait_s", round(users.longest_s, 1))
    print(f"{len(users.asked)} requests, none failed, the longest {users.longest_s:.1f} s")

    # One that is killed is started again. The last service that goes takes it along.
    kill = ("exec", CADDY, "sh", "-c", "kill -KILL $(cat /tmp/caddy.pid)")
    with Users(behind.gateway, model=first["model"]) as users:
        failed, seconds = users.outage(lambda: docker(*kill))
    assert inspect(CADDY)["RestartCount"] == 1
    print(f"{failed} requests failed of the proxy that was killed, in {seconds} s")
    under_way = Relay(int(behind.up[-1]), tokens=200, model=first["model"])
    assert behind("down", behind.service).stderr.count("the gateway has ended") == 1
    assert under_way.whole, [each.error for each in under_way.streams]
    assert docker("ps", "--all", "--quiet", "--filter", f"name={CADDY}") == ""


def places(service):
    """Which places of a service have an engine, and of which revision."""
    at = '{{.Label "com.docker.compose.service"}} {{.Label "io.deployctl.revision"}}'
    label = f"label=com.docker.compose.project=deployctl-{service}"
    lines = docker("ps", "--format", at, "--filter", label).splitlines()
    return {tuple(line.split()) for line in lines if line.startswith("engine")}


def test_one_that_comes_up_beside_the_other_takes_over_and_nobody_waits(behind, record_property):
    name, yes = behind.service, ("--beside", "yes")
    first = behind.json(*behind.up)
    with Users(behind.gateway, model=first["model"]) as users:
        until(lambda: len(users.asked) > 20, seconds=60, what="users are served")
        told = behind.json(*behind.up, *yes, "--env", "FAKE_ENGINE_LOADING_S=6")
        assert (told["revision"], told["gateway"]["held"]) == (2, None)
        assert places(name) == {("engine-b", "2")}
        bad = behind(*behind.up, *yes, "--env", "FAKE_ENGINE_DIE_LOADING=3", code=4)
        assert "revision 2 served all the while" in bad.stderr
        assert places(name) == {("engine-b", "2")}
        seen = len(users.asked)
        until(lambda: len(users.asked) > seen + 20, seconds=60, what="they are served still")
    assert users.failed == []
    assert users.longest_s < 6  # as long as it loads
    record_property("requests", len(users.asked))
    record_property("longest_s", round(users.longest_s, 1))
    print(f"{len(users.asked)} requests, none failed, the longest {users.longest_s:.1f} s")
    assert behind.status(name)["health"] == "serving"
    at = behind.json("metrics", name)["url"]
    assert at.endswith(f"/engines/{name}-engine-b-1")
    assert answer(at.partition("/engines")[0], f"/services/{name}/health")[0] == 200
    assert behind("logs", name).stdout
    behind("down", name)
    assert left(name)["containers"] == []
    assert docker("volume", "ls", "--quiet", "--filter", f"name=deployctl-{name}_secrets") == ""


@pytest.mark.night  # a lock that nobody lets go of lasts half a minute
def test_one_that_was_killed_while_another_came_up_is_mended_by_the_next(behind):
    name, slow = behind.service, ("--beside", "yes", "--env", "FAKE_ENGINE_LOADING_S=8")
    first = behind.json(*behind.up)

    def killed(new, *more):
        up = behind.begin(*behind.up, *slow, *more)
        until(lambda: new in places(name), seconds=60, what="it comes up")
        up.kill()
        up.wait()

    with Users(behind.gateway, model=first["model"]) as users:
        killed(("engine-b", "2"))
        assert places(name) == {("engine", "1"), ("engine-b", "2")}
        told = behind.json(*behind.up, *slow)
        assert (told["revision"], told["gateway"]["held"]) == (2, None)
        assert places(name) == {("engine-b", "2")}
        again = behind("rollback", name, "--beside", "yes").stderr
        assert "comes up beside revision 2" in again
        assert places(name) == {("engine", "3")}
        seen = len(users.asked)
        until(lambda: len(users.asked) > seen + 20, seconds=60, what="they are served still")
    assert users.failed == []
    killed(("engine-b", "4"), "--max-num-seqs", "4")
    behind("down", name)
    assert left(name)["containers"] == []
    assert docker("volume", "ls", "--quiet", "--filter", f"name=deployctl-{name}_secrets") == ""


@pytest.fixture
def replicated(behind):
    """The same with two replicas; `cli.replicas()` is what status says of them."""
    behind.one = [*behind.up, "--kv-cache-gib", "0.25"]
    behind.up = [*behind.one, "--replicas", 2]
    behind.replicas = lambda: behind.status(behind.service)["replicas"]
    behind.ids = lambda: [
        inspect(f"deployctl-{behind.service}-engine-{number}")["Id"] for number in ("1", "1-1")
    ]
    behind.first = behind.json(*behind.up)
    return behind


def test_replicas_are_replaced_one_by_one_and_the_others_serve(replicated, record_property):
    begun, name = replicated.ids(), replicated.service
    assert [each["health"] for each in replicated.replicas()] == ["serving", "serving"]
    cores = [inspect(each)["HostConfig"]["CpusetCpus"] for each in begun]
    assert cores[0] != cores[1] or cores == ["", ""]  # fewer cores than engines
    told = replicated.json("metrics", name)["replicas"]
    assert [each["url"] for each in told] == [each["url"] for each in replicated.replicas()]
    with Users(replicated.gateway, new=1, kept=1, model=replicated.first["model"]) as users:
        updated = replicated(*replicated.up, "--max-num-seqs", "4").stderr
        assert "replacing replica 1" in updated
        assert "requests wait" not in updated
        second = replicated.ids()
        assert set(begun).isdisjoint(second)
        bad = replicated(*replicated.up, "--env", "FAKE_ENGINE_DIE_LOADING=3", code=4)
        assert "revision 2 serves again" in bad.stderr
        third = replicated.ids()
        assert third[0] != second[0]  # it was brought back, and the other never touched
        assert third[1] == second[1]
        until(lambda: len(users.asked) > 20, seconds=60, what="users are served")
        assert users.failed == []
        docker("exec", third[1], "sh", "-c", KILL_ENGINE)
        until(
            lambda: [e["restarts"] for e in replicated.replicas() if e["health"] == "serving"]
            == [0, 1],
            seconds=60, what="the one that was killed is started again alone",
        )  # fmt: skip
    assert len(users.failed) <= 2  # they were inside
    record_property("requests", len(users.asked))
    lines = replicated("logs", name).stdout.splitlines()
    assert {line.partition(":")[0] for line in lines} == {"replica 0", "replica 1"}
    assert "the gateway has ended" in replicated("down", name).stderr
    assert left(name)["containers"] == []
    assert docker("volume", "ls", "--quiet", "--filter", f"name=deployctl-{name}_secrets") == ""


@pytest.mark.night
def test_no_request_fails_where_replicas_come_and_go(replicated):
    with Users(replicated.gateway, model=replicated.first["model"], redials=True) as users:
        assert "ending replica 1" in replicated(*replicated.one).stderr
        assert replicated.replicas() == []
        assert "adding replica 1" in replicated("rollback", replicated.service).stderr
        assert len(replicated.replicas()) == 2
    assert users.failed == []


@pytest.mark.night  # Docker asks it three times
def test_one_that_hangs_is_said_and_ended_and_started_again(behind):
    behind.json(*behind.up)
    docker("exec", CADDY, "sh", "-c", "kill -STOP $(cat /tmp/caddy.pid)")
    seen = behind.status(behind.service)
    assert seen["health"] == "silent"
    assert "the gateway" in seen["detail"]
    until(lambda: inspect(CADDY)["RestartCount"] == 1, seconds=120, what="it is started again")
    until(lambda: serves(behind), seconds=60, what="it serves again")
    assert behind.status(behind.service)["health"] == "serving"


def test_services_share_it_from_any_state_folder(behind, tmp_path):
    """A second comes from a state folder that knows nothing, with TLS on a port of its own."""
    behind.json(*behind.up)

    other = Cli(tmp_path / "other")
    name, port = f"{behind.service[:30]}-too", ports.free()
    sweep_service(name)
    words = [*behind.up[:-3], "--name", name, "--domain", "localhost", "--tls", "internal"]
    try:
        told = other.json(*words, "--gateway-port", port)
        assert told["url"] == f"https://localhost:{port}/v1"
        secured, trusted = f"https://localhost:{port}", told["gateway"]["ca_file"]
        with Users(secured, new=1, kept=1, model=told["model"], ca=trusted) as users:
            until(lambda: len(users.asked) > 4, seconds=60, what="users are served")
        assert users.failed == []
        pasted = other.json("status", name, "--connect")["connect"]["snippets"][0]
        assert (pasted["name"], "--cacert" in pasted["text"]) == ("curl", True)
        assert json.loads(paste(pasted))["choices"]
        assert serves(behind)
        assert "gateway has ended" not in other("down", name).stderr
        assert serves(behind)
    finally:
        other("down", name, "--volumes", code=None)
        sweep_service(name)


@pytest.mark.night  # as the first, with a container more
def test_an_update_that_exposes_it_cuts_none_that_wait_and_says_who_is_refused(behind, tmp_path):
    key, file = "sk-" + "a" * 40, tmp_path / "key"
    file.write_text(key)
    up = [*behind.up, "--api-key-file", file]
    first = behind.json(*up)
    with Users(behind.gateway, model=first["model"], key=key, redials=True) as users:
        until(lambda: len(users.asked) > 20, seconds=60, what="users are served")
        told = behind(*up, "--expose", "--max-num-seqs", "4", "--output", "json")
        seen = len(users.asked)
        until(lambda: len(users.asked) > seen + 20, seconds=60, what="they are served again")
    assert "the gateway is started anew to listen on 0.0.0.0:" in told.stderr
    held = json.loads(told.stdout)["services"][0]["gateway"]["held"]
    assert (held["turned_away"], held["waited"] > 0) == (0, True)
    refused = ("ConnectionRefused", "ConnectionReset", "RemoteDisconnected", "BrokenPipe")
    assert [each for each in users.failed if not each.problem.startswith(refused)] == []
    began = [each.began for each in users.failed]
    print(
        f"{len(began)} of {len(users.asked)} refused, in {max(began) - min(began):.1f} s; "
        f"the longest waited {users.longest_s:.1f} s"
    )


@pytest.mark.skipif(sshd.missing() is not None, reason=str(sshd.missing()))
def test_on_a_host_that_ssh_reaches(
    host, gateway_image, tmp_path, tiny_checkpoint, fake_engine_image, service, port
):
    mine = on(host, tmp_path / "mine")
    up = ("up", "--model", tiny_checkpoint, "--gpu", "cpu", "--image", fake_engine_image)
    up += ("--name", service, "--gateway", "--gateway-port", port)
    assert f"ssh -N -L {port}:127.0.0.1:{port} " in mine(*up).stdout
    with Users(f"http://127.0.0.1:{port}", model="tiny-awq") as users:
        mine(*up, "--max-num-seqs", "4")
    assert (users.failed, users.asked != []) == ([], True)
    colleague = on(host, tmp_path / "colleague")
    seen = colleague.status(service)
    assert (seen["health"], seen["url"]) == ("serving", f"http://127.0.0.1:{port}/v1")
    assert json.loads(colleague("smoke", service, "--output", "json").stdout)["ok"]
    assert "the gateway has ended" in colleague("down", service).stderr
    assert left(service)["containers"] == []
    sent = ("--quiet", "--filter", "label=io.deployctl.checkpoint")
    docker("rm", "--force", *docker("ps", "--all", *sent).split(), check=False)
    docker("volume", "rm", *docker("volume", "ls", *sent).split(), check=False)
