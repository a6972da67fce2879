"""One service on a Docker engine, and several state folders: a pipeline's that is empty each time,
a colleague's, one that knows another service of that name, and one whose deployctl is killed."""

import json
import shutil
import signal
import subprocess
import sys

import pytest
from tests.e2e.docker_parts import START_SECONDS, Cli, complete, docker, forget, left, until

pytestmark = pytest.mark.docker

AT = {"secrets": "/run/secrets", "door": "/opt/deployctl"}
HOLD = "/tmp/go"  # in the container: the fake engine loads until it is there


@pytest.fixture
def up(tiny_checkpoint, fake_engine_image, service, port):
    words = ["up", "--model", tiny_checkpoint, "--gpu", "cpu", "--target", "docker"]
    return [*words, "--image", fake_engine_image, "--name", service, "--port", port]


@pytest.fixture
def mine(tmp_path):
    return Cli(tmp_path / "mine")


@pytest.fixture
def fresh(tmp_path):
    """`fresh()`: a state folder that knows nothing."""
    made = []

    def make():
        made.append(Cli(tmp_path / f"fresh-{len(made)}"))
        return made[-1]

    return make


def volumes(service):
    """All of a service's on the engine, also those that Compose knows nothing of."""
    return docker("volume", "ls", "--quiet", "--filter", f"name=deployctl-{service}_").split()


def revisions(cli, service):
    document = json.loads(cli("history", service, "--output", "json").stdout)
    return [(each["revision"], each["status"]) for each in document["revisions"]]


def test_a_state_folder_that_knows_nothing_goes_on(mine, fresh, up, service, docker_over_tcp):
    first = mine.json(*up, "--expose")
    mine("keys", "add", service, "alice")
    key = (mine.state / "docker" / service / "api_key").read_text()

    runner = fresh()
    runner.environment["DOCKER_HOST"] = docker_over_tcp  # as if on another host
    assert runner.status(service)["health"] == "serving"
    assert service in runner("status", code=None).stdout  # beside others' on the same engine
    assert revisions(runner, service) == [(1, "deployed")]
    assert "Application startup complete" in runner("logs", service).stdout
    assert "waiting" in runner("metrics", service).stdout  # the operator's token is read there

    # Another runner updates it. Whoever had a key has it, and the first knows.
    second = fresh().json(*up, "--expose", "--max-num-seqs", "4")
    assert (second["revision"], second["changed"]) == (2, True)
    assert complete(second["url"], second["model"], key=key)[0] == 200
    assert revisions(mine, service) == [(1, "superseded"), (2, "deployed")]
    assert "alice" in fresh()("keys", "list", service).stdout
    fresh()("keys", "add", service, "bob")
    assert "bob" in mine("keys", "list", service).stdout

    back = mine("rollback", service, "--output", "json")
    assert json.loads(back.stdout)["revision"] == 3
    assert complete(first["url"], first["model"], key=key)[0] == 200

    # On another state folder's host `--all` means one's own.
    bystander = fresh()
    assert "left alone" in bystander("down", "--all").stderr
    bystander("down", service)
    assert left(service)["containers"] == []
    assert revisions(mine, service)[-1] == (3, "removed")
    assert "down already" in mine("down", service).stdout


def test_another_service_of_that_name_is_refused_until_it_is_taken_over(mine, fresh, up, service):
    mine(*up)
    other = fresh()
    shutil.copytree(mine.state, other.state)
    (other.state / "docker" / service / "lineage").write_text("another")
    refused = other(*up, "--max-num-seqs", "4", code=4)
    assert "is not the one that this state folder knows" in refused.stderr
    assert "--take-over" in refused.stderr
    assert "not the one" in other.status(service)["detail"]
    assert mine.status(service)["health"] == "serving"

    taken = other("down", service, "--take-over")
    assert "took over" in taken.stderr
    assert "aside-1" in taken.stderr
    assert left(service)["containers"] == []
    assert revisions(mine, service) == [(1, "removed")]


def test_a_service_without_records_is_refused_to_who_does_not_know_it(mine, fresh, up, service):
    mine(*up)
    forget(service)
    refused = fresh()(*up, code=4)
    assert "has records" in refused.stderr
    assert mine.json(*up)["changed"] is False  # who knows it gives the engine its records again
    assert revisions(fresh(), service) == [(1, "deployed")]


def test_two_at_once_and_one_of_them_killed(mine, fresh, up, service):
    held = [*up, "--env", f"FAKE_ENGINE_HOLD={HOLD}"]
    container = f"deployctl-{service}-engine-1"
    with subprocess.Popen(
        [sys.executable, "-m", "deployctl", *map(str, held)],
        env=mine.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as child:
        until(
            lambda: docker("ps", "--quiet", "--filter", f"name={container}"),
            seconds=START_SECONDS,
            what="the engine's container",
        )
        second = fresh()
        refused = second(*held, code=4)
        assert f"{service} is being changed by deployctl up (" in refused.stderr
        assert second.status(service)["health"] == "starting"
        child.send_signal(signal.SIGKILL)
    docker("exec", container, "touch", HOLD)
    went_on = second(*held)
    assert "was killed; its lock is taken" in went_on.stderr
    assert "going on with revision 1" in went_on.stderr
    assert revisions(mine, service) == [(1, "deployed")]
    assert docker("ps", "--all", "--quiet", "--filter", f"name=deployctl-{service}_lock") == ""


def test_a_state_folder_that_is_emptied_each_time_loses_no_key(mine, fresh, up, service):
    """On a local engine, as a pipeline's runner: keys live with the engine, running or not."""
    first = mine.json(*up, "--expose")

    def opens(key):
        return complete(first["url"], first["model"], key=key)[0]

    key = (mine.state / "docker" / service / "api_key").read_text()
    shutil.rmtree(mine.state)
    alice = mine("keys", "add", service, "alice").stdout.strip()
    assert [opens(each) for each in (key, alice, "none")] == [200, 200, 401]
    shutil.rmtree(mine.state)
    assert "alice" in mine("keys", "list", service).stdout
    assert mine.status(service)["health"] == "serving"
    assert "waiting" in fresh()("metrics", service).stdout
    fresh()("smoke", service)
    mine("keys", "revoke", service, "alice")
    assert [opens(each) for each in (key, alice)] == [200, 401]

    # While nothing runs, too; and a new revision has them all.
    fresh()("down", service)
    assert not any("_secrets" in name for name in volumes(service))
    bob = fresh()("keys", "add", service, "bob").stdout.strip()
    fresh()(*up, "--expose", "--max-num-seqs", "4")
    assert [opens(each) for each in (key, alice, bob)] == [200, 401, 200]
    assert fresh().json("rollback", service)["changed"]
    assert [opens(each) for each in (key, alice, bob)] == [200, 401, 200]

    # Taken away with `down --volumes`, they open nothing again where a state folder has a copy.
    assert "bob" in mine("keys", "list", service).stdout
    remover = fresh()
    remover("keys", "revoke", service, "bob")
    remover("down", service, "--volumes")
    kept = [f"deployctl-{service}_keys", f"deployctl-{service}_records"]  # the former, of none
    assert volumes(service) == kept
    mine(*up, "--expose")
    new = (mine.state / "docker" / service / "api_key").read_text()
    assert [opens(each) for each in (key, alice, bob, new)] == [401, 401, 401, 200]
    assert "bob" not in mine("keys", "list", service).stdout


def test_keys_of_an_older_deployctl_move_to_the_engine(mine, fresh, up, service, tmp_path):
    """Its container mounts a folder of its state folder, and the engine keeps none."""
    up += ["--expose"]
    first = mine.json(*up)
    key = (mine.state / "docker" / service / "api_key").read_text()
    project = mine.state / "docker" / service / "project"
    for folder in ("secrets", "door"):
        path = project / folder
        docker("cp", f"deployctl-{service}-engine-1:{AT[folder]}/.", path)
        path.chmod(0o755)
    compose = project / "compose.yaml"
    docker("compose", "--file", compose, "up", "--detach", "--wait", DEPLOYCTL_REVISION="1")
    for name in ("keys", "secrets", "door"):
        docker("rm", "--force", f"deployctl-{service}_{name}", check=False)
        docker("volume", "rm", "--force", f"deployctl-{service}_{name}")

    # It goes on, and takes keys where it has them from.
    moved = fresh()(*up, "--output", "json")
    assert json.loads(moved.stdout)["services"][0]["changed"] is False
    told = f"what runs reads them from {project / 'secrets'} until another takes its place"
    assert told in moved.stderr
    alice = fresh()("keys", "add", service, "alice").stdout.strip()
    assert complete(first["url"], first["model"], key=alice)[0] == 200

    # The folder goes: keys are told, none is said to be given, and the next start has them.
    shutil.rmtree(mine.state)
    assert "alice" in mine("keys", "list", service).stdout
    refused = mine("keys", "add", service, "bob", code=4)
    assert "has its keys from is gone" in refused.stderr
    docker("stop", "--time", "1", f"deployctl-{service}-engine-1")  # it can be mounted no more
    mine("down", service)
    mine(*up)
    assert [complete(first["url"], first["model"], key=k)[0] for k in (key, alice)] == [200, 200]


def test_two_add_keys_at_once(mine, fresh, up, service):
    mine(*up)
    places = [mine, fresh(), fresh()]
    words = [sys.executable, "-m", "deployctl", "keys", "add", service]
    adding = [
        subprocess.Popen([*words, f"key-{n}"], env=place.environment, stdout=subprocess.DEVNULL)
        for n, place in enumerate(places)
    ]
    assert [each.wait() for each in adding] == [0, 0, 0]
    listed = fresh()("keys", "list", service).stdout
    assert [f"key-{n}" in listed for n in range(3)] == [True, True, True]
