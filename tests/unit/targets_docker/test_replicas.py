"""Several engines of one service on Docker, against an engine that is all memory and a Compose that
starts what it is told to."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from tests.unit.targets_docker.conftest import REMOTE, Commands, Container, mounted, quiet

from deployctl.operations.deploy.deployed import Deployed
from deployctl.render.bundle import GATEWAY_FILE
from deployctl.render.gateway import entry_of
from deployctl.spec.settings import Settings
from deployctl.targets import cores
from deployctl.targets.cores import Thread
from deployctl.targets.docker import DockerDriver
from deployctl.targets.docker.commands import Result
from deployctl.targets.history import replicas
from deployctl.targets.several import HostDriver
from deployctl.targets.store import ServiceRef, Store


class Compose(Commands):
    """Starts the service that it is told to, as the files say that it is given."""

    def __init__(self, engine):
        super().__init__()
        self.engine, self.started = engine, {}

    def __call__(self, words, environment):
        if "up" in words:
            files = [yaml.safe_load(Path(file).read_text()) for file in words if ".yaml" in file]
            name = words[-1] if words[-1].startswith("engine") else "engine"
            self.started[name] = [f["services"][name] for f in files if name in f["services"]]
            volumes = {k: v for each in files for k, v in each.get("volumes", {}).items()}
            labels = {
                "com.docker.compose.project": "deployctl-tiny",
                "com.docker.compose.service": name,
                "io.deployctl.revision": environment["DEPLOYCTL_REVISION"],
                "io.deployctl.digest": self.started[name][0]["labels"]["io.deployctl.digest"],
            }
            made = Container(f"deployctl-tiny-{name}-1", labels, log=f"of {name}\n".encode())
            mount = {"Type": "volume", "Name": volumes["secrets"]["name"]}
            made.attrs["Mounts"] = [{**mount, "Destination": "/run/secrets"}]
            self.engine.carriers.secrets[made.id] = lambda: mounted(self.engine, made)
            self.engine.found.append(made)
        return Result(0, "2.26.1\n", "")


@pytest.fixture
def commands(engine):
    return Compose(engine)


@pytest.fixture
def driver(commands, tmp_path, monkeypatch):
    one = DockerDriver(Settings(state_dir=tmp_path / "state"), run=commands, environment={})
    driver = HostDriver(one)
    monkeypatch.setattr(driver.gateway, "begin", lambda *given: None)
    monkeypatch.setattr(cores, "usable", lambda: [Thread(0, n, str(n // 2)) for n in range(8)])
    return driver


@pytest.fixture
def several(driver, release):
    """Revision 1, of two replicas, which run."""
    made = release(replicas=2)
    driver.start(made, quiet)
    return made


def names(engine):
    return {
        (c.labels["com.docker.compose.service"], c.labels["io.deployctl.revision"])
        for c in engine.found
    }


def test_each_has_a_container_volumes_and_cores_of_its_own(driver, engine, commands, several):
    assert names(engine) == {("engine", "1"), ("engine-1", "1")}
    assert set(engine.filled) == {
        f"deployctl-tiny_{what}{number}" for what in ("secrets", "door") for number in ("", "-1")
    }
    own = [commands.started[name][-1] for name in ("engine", "engine-1")]
    assert [each["cpuset"] for each in own] == ["0,2", "4,6"]
    assert own[1]["environment"] == {"VLLM_CPU_OMP_THREADS_BIND": "4,6"}
    driver.start(several, quiet)
    assert len(engine.found) == 2


def test_cores_on_another_host_and_those_that_the_user_names(driver, engine, commands, release):
    engine.address, engine.cpus = REMOTE, lambda: 4
    driver.start(release(replicas=2), quiet)
    assert commands.started["engine-1"][-1]["cpuset"] == "2,3"
    driver.start(release(revision=2, replicas=5), quiet)
    told = commands.started["engine-4"][-1]
    assert told == {"environment": {"VLLM_CPU_OMP_THREADS_BIND": "nobind"}}
    named = {"VLLM_CPU_OMP_THREADS_BIND": "3"}
    driver.start(release(revision=3, replicas=2, env=named), quiet)
    assert not any("cpuset" in each for each in commands.started["engine"])


def test_those_with_cards_have_the_cores_near_these(driver, commands, release, monkeypatch):
    monkeypatch.setattr(cores, "near", lambda cards, _: [4, 5] if cards == ("1",) else [])
    made = release(replicas=2)
    plan = made.plan.model_copy(update={"accelerator": "cuda", "gpu": "l4"})
    driver.start(made.model_copy(update={"plan": plan}), quiet)
    assert commands.started["engine-1"][-1] == {"cpuset": "4,5"}
    assert not any("cpuset" in each for each in commands.started["engine"])


def test_an_engine_in_a_virtual_machine_has_the_cores_of_that(driver, engine, commands, release):
    """As Docker Desktop has: 8 threads here, 4 there."""
    engine.cpus = lambda: 4
    driver.start(release(replicas=2), quiet)
    assert [commands.started[n][-1]["cpuset"] for n in ("engine", "engine-1")] == ["0,1", "2,3"]


def test_together_they_run_where_one_does(driver, engine, several):
    assert driver.state(several).condition == "running"
    second = engine.found[1]
    second.status = second.attrs["State"]["Status"] = "exited"
    state = driver.state(several)
    assert (state.condition, state.detail) == (
        "running",
        "1 of 2 replicas run; replica 1: exit code 1",
    )
    assert [driver.state(each).condition for each in replicas(several)] == ["running", "dead"]
    logs = driver.logs(several, tail=None, follow=False)
    assert list(logs) == ["replica 0: of engine", "replica 1: of engine-1"]


def test_one_is_replaced_and_the_other_is_not_touched(driver, engine, commands, release, several):
    new = release(revision=2, replicas=2)
    driver.stop(replicas(several)[0], quiet)
    assert names(engine) == {("engine-1", "1")}
    assert set(engine.filled) == {"deployctl-tiny_secrets-1", "deployctl-tiny_door-1"}
    driver.start(replicas(new)[0], quiet)
    assert commands.ran == []  # nothing but what it starts
    assert names(engine) == {("engine", "2"), ("engine-1", "1")}
    assert [driver.state(each).condition for each in replicas(several)] == ["absent", "running"]
    driver.stop(new, quiet)
    assert names(engine) == {("engine-1", "1")}
    assert ("remove", "deployctl-tiny") not in engine.did
    driver.stop(several, quiet)
    assert (engine.found, engine.filled) == ([], {})
    assert engine.did[-1] == ("remove", "deployctl-tiny")
    log = driver.logs(replicas(several)[1], tail=None, follow=False)
    assert list(log) == ["of engine-1"]


def test_an_only_one_comes_and_goes_beside_them(driver, engine, release, several):
    alone = release(revision=2, gateway=True)
    driver.stop(replicas(several)[0], quiet)
    driver.start(alone, quiet)
    assert names(engine) == {("engine", "2"), ("engine-1", "1")}
    driver.stop(several, quiet)
    assert names(engine) == {("engine", "2")}
    driver.stop(alone, quiet)
    assert (engine.found, engine.filled) == ([], {})


def test_what_a_damaged_record_says_nothing_of_is_found(driver, engine, several):
    lost = engine.found.pop(0)  # removed by hand; its volumes stay
    files = {p: text for p, text in several.bundle.files.items() if p != GATEWAY_FILE}
    bundle = several.bundle.model_copy(update={"files": files})
    driver.stop(several.model_copy(update={"bundle": bundle}), quiet)
    assert (engine.found, engine.filled) == ([], {}), lost


def test_all_that_a_record_started_of_which_nothing_is_left_is_stopped(driver, engine, several):
    store = Store(Path("state"))
    driver.stop(store.stand_in(ServiceRef("docker", "tiny"), 2), quiet)
    assert names(engine) == {("engine", "1"), ("engine-1", "1")}
    driver.stop(store.stand_in(ServiceRef("docker", "tiny"), 1), quiet)
    assert (engine.found, engine.filled) == ([], {})


def test_keys_come_to_each_door(driver, engine, several, tmp_path):
    folder = tmp_path / "state" / "docker" / "tiny"
    (folder / "operator_token").write_text("another")
    driver.publish_keys(several)
    tokens = [engine.filled[f"deployctl-tiny_secrets{n}"]["operator_token"] for n in ("", "-1")]
    assert tokens == [b"another", b"another"]


def test_they_answer_behind_the_gateway_together_and_each_by_its_name(driver, several, monkeypatch):
    entry = entry_of(several.bundle)
    monkeypatch.setattr(driver.gateway, "entry", lambda service: entry)
    monkeypatch.setattr(driver.gateway, "monitor_port", lambda: 20190)
    found = driver.endpoint(several)
    assert found.url == "http://127.0.0.1:8080/tiny"
    each = driver.engines(several)
    assert found.replicas == tuple(each)
    names = ("tiny-engine-1", "tiny-engine-1-1")
    assert [one.url for one in each] == [f"http://127.0.0.1:20190/engines/{n}" for n in names]
    assert [one.upstream for one in each] == [f"deployctl-{name}:8000" for name in names]
    entry = entry.model_copy(update={"domain": "llm.example.com", "tls": "internal"})
    assert driver.endpoint(several).url == each[0].url


def test_of_another_host_each_is_told_as_it_is_there(driver, engine, several, monkeypatch):
    """The ports that lead there from here are gone with the verb."""
    engine.address = REMOTE
    engine.line = SimpleNamespace(
        hostname="gpu1", port=lambda port: port + 20_000, tunnel=lambda port: f"ssh -L {port}"
    )
    entry = entry_of(several.bundle)
    monkeypatch.setattr(driver.gateway, "entry", lambda service: entry)
    monkeypatch.setattr(driver.gateway, "monitor_port", lambda: 20190)
    found = driver.endpoint(several)
    assert (found.url, found.own) == ("http://127.0.0.1:28080/tiny", "http://127.0.0.1:8080/tiny")
    told = Deployed(several, "docker", True, 1.0, 0.0, found, None, None, None)
    names = ("tiny-engine-1", "tiny-engine-1-1")
    there = [f"http://127.0.0.1:20190/engines/{name}" for name in names]
    assert [each.url for each in told.replicas] == there
    assert told.document()["gateway"]["engine_url"] == "http://127.0.0.1:8080/tiny"
