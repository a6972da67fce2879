"""A Docker engine that is all memory, and a `docker` command that only notes what it is told."""

from pathlib import Path

import pytest
import yaml
from tests.unit.targets_docker.memory import MemoryCarriers

from deployctl.errors import DockerError
from deployctl.planning.plan import EnginePlan, ServingPlan
from deployctl.render import render_compose
from deployctl.spec import ServiceSpec
from deployctl.spec.settings import Settings
from deployctl.targets.docker import DockerDriver
from deployctl.targets.docker import driver as driver_module
from deployctl.targets.docker.address import Address
from deployctl.targets.docker.commands import Result
from deployctl.targets.docker.engine import DockerEngine
from deployctl.targets.docker.keptkeys import KeptKeys
from deployctl.targets.history import Release

LOCAL = Address("unix:///var/run/docker.sock", False, "127.0.0.1")
REMOTE = Address("ssh://ops@gpu1", True, "gpu1")
# A service whose engine asks the Hub for its model itself.
FETCHES = {"local": False, "name": "tiny", "env": {"HF_HUB_OFFLINE": "0"}}

# What the engine keeps of a service's keys.
THERE = {"api_key": b"k", "operator_token": b"t", "keys.json": b'{"version": 1, "keys": []}'}


def quiet(event):
    pass


def digest_of(release):
    document = yaml.safe_load(release.bundle.files["compose.yaml"])
    return document["services"]["engine"]["labels"]["io.deployctl.digest"]


class Container:
    """As the SDK shows one."""

    def __init__(self, name, labels, status="running", health="healthy", restarts=0, log=b""):
        self.id = self.name = name
        self.labels = labels
        self.status = status
        self.log = log
        self.attrs = {
            "Name": f"/{name}",
            "RestartCount": restarts,
            "State": {"Status": status, "Health": {"Status": health}, "ExitCode": 1},
        }


class Folder:
    """A folder of this host as a volume."""

    def __init__(self, path):
        self._path = Path(path)

    def __contains__(self, name):
        return (self._path / name).exists()

    def update(self, files):
        for name, content in files.items():
            (self._path / name).write_bytes(content)


class MemoryEngine:
    """Knows containers, images and volumes."""

    endpoint, by_line = DockerEngine.endpoint, DockerEngine.by_line
    engines = DockerEngine.engines
    hostname = DockerEngine.hostname
    line = None

    def __init__(self, address=LOCAL):
        self.address = address
        self.found = []
        self.images = {"deployctl/vllm-cpu:0.32.0"}
        self.publishers = {}
        self.filled = {}
        self.made = []
        self.graces = []
        self.codes = []  # of the commands that are run in a container
        self.did = []
        self.carriers = MemoryCarriers()

    def containers(self, project, service=None):
        return [
            c
            for c in self.found
            if c.labels["com.docker.compose.project"] == project
            and service in (None, c.labels["com.docker.compose.service"])
        ]

    def publisher(self, port):
        return self.publishers.get(port)

    def identity(self):
        return "the-engine"

    def cpus(self):
        return 8

    def has_image(self, image):
        return image in self.images

    def memory(self, container):
        return 1024

    def logs(self, container, *, tail, follow):
        yield container.log

    def execute(self, container, words):
        self.did.append(("execute", words[-1]))
        return self.codes.pop(0)

    def remove(self, project, grace_s, *, only=None):
        self.did.append(("remove", only or project))
        self.graces.append(grace_s)
        gone = self.containers(project, only)
        self.found = [each for each in self.found if each not in gone]

    def remove_volumes(self, project):
        return [f"{project}_hub", f"{project}_vllm"]

    def keep_volume(self, project, name):
        self.did.append(("keep", project, name))
        return f"{project}_{name}"

    def fill_volume(self, name, service, image, files):
        self.made.append(name)
        self.filled[name] = dict(files)
        self.carriers.volumes_made[name] = [{"io.deployctl.service": service}, {}]

    def write_volume(self, name, image, files, *, in_place_of):
        """In place: who has it in sight goes on seeing it. `name` may be a path of this host."""
        if name.startswith("/") and not Path(name).is_dir():
            raise DockerError(f"bind source path does not exist: {name}")
        there = Folder(name) if name.startswith("/") else self.filled[name]
        there.update({n: content for n, content in in_place_of.items() if n in there})
        there.update(files)

    def drop_volume(self, name):
        self.filled.pop(name, None)
        self.carriers.volumes_made.pop(name, None)


class Commands:
    """Notes what it is told to run; answers as `answers` says, by the first words that match."""

    def __init__(self):
        self.ran = []
        self.answers = {}

    def __call__(self, words, environment):
        self.ran.append((list(words), dict(environment)))
        for key, answer in self.answers.items():
            if key in " ".join(words):
                return answer
        return Result(0, "2.26.1\n", "")


@pytest.fixture
def engine(monkeypatch):
    engine = MemoryEngine()
    monkeypatch.setattr(driver_module, "connect", lambda address: engine)
    return engine


@pytest.fixture
def commands():
    return Commands()


@pytest.fixture
def driver(engine, commands, tmp_path):
    return DockerDriver(Settings(state_dir=tmp_path / "state"), run=commands, environment={})


@pytest.fixture
def release(tmp_path):
    """`release(revision=2, port=…)`: a release of the service `tiny`."""
    model = tmp_path / "tiny"
    model.mkdir()
    model.chmod(0o755)
    (model / "config.json").write_text("{}")

    def make(
        revision=1,
        image="deployctl/vllm-cpu:0.32.0",
        local=True,
        args=(),
        replicas=1,
        **settings,
    ):
        spec = ServiceSpec(
            **{
                "model": str(model) if local else "org/tiny",
                "gpu": "cpu",
                "port": 18250,
                **settings,
            }
        )
        plan = ServingPlan(
            name=spec.service,
            model=spec.model,
            model_local=local,
            served_model_name="tiny",
            gpu="cpu",
            accelerator="cpu",
            verdict="fits",
            replicas=replicas,
            engine=EnginePlan(
                name="vllm", version="0.32.0", image=image, args=tuple(args), env=spec.env
            ),
        )
        return Release(
            service=spec.service,
            revision=revision,
            status="pending",
            created="2026-11-24T07:00:00+00:00",
            reason="up",
            spec=spec,
            plan=plan,
            bundle=render_compose(plan, spec),
        )

    return make


def mounted(engine, container):
    """What a container sees at /run/secrets."""
    (mount,) = container.attrs["Mounts"]
    if mount["Type"] == "volume":
        return dict(engine.filled.get(mount["Name"], {}))
    folder = Path(mount["Source"])
    return {p.name: p.read_bytes() for p in folder.iterdir()} if folder.is_dir() else {}


@pytest.fixture
def container(engine):
    """`container(revision="1", …)`: puts an engine's container of the service `tiny` there. That of
    an older deployctl has its keys from a `folder`."""

    def make(revision="1", digest="", folder=None, **more):
        labels = {
            "com.docker.compose.project": "deployctl-tiny",
            "com.docker.compose.service": "engine",
            "io.deployctl.revision": revision,
            "io.deployctl.digest": digest,
        }
        made = Container("deployctl-tiny-engine-1", labels, **more)
        mount = {"Type": "volume", "Name": "deployctl-tiny_secrets"}
        if folder is not None:
            mount = {"Type": "bind", "Source": str(folder)}
        made.attrs["Mounts"] = [{**mount, "Destination": "/run/secrets"}]
        engine.carriers.secrets[made.id] = lambda: mounted(engine, made)
        engine.found.append(made)
        return made

    return make


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "fresh" / "docker" / "tiny"


@pytest.fixture
def fresh(commands, tmp_path):
    """The driver of a state folder that knows nothing."""
    return DockerDriver(Settings(state_dir=tmp_path / "fresh"), run=commands, environment={})


@pytest.fixture
def kept(engine):
    """The keys that the engine keeps: `kept()`, and `kept(name=content)` to have others change
    them."""
    of_engine = KeptKeys(engine.carriers)
    of_engine.keep("tiny", THERE)

    def change(**changed):
        if changed:
            named = {name.replace("keys_", "keys."): content for name, content in changed.items()}
            files = {**of_engine.kept("tiny"), **named}
            of_engine.keep("tiny", {n: c for n, c in files.items() if c is not None})
        return of_engine.kept("tiny")

    return change


@pytest.fixture
def running(engine, container):
    """An engine's container, and what its volume has."""
    engine.filled["deployctl-tiny_secrets"] = dict(THERE)
    return container()
