"""A service on record, whose engine is a door that reads what is published to it."""

from contextlib import contextmanager

from deployctl.endpoint import Endpoint
from deployctl.targets import keys
from deployctl.targets.driver import EngineState
from deployctl.targets.store import ServiceRef
from deployctl_door.keyfolder import KeyFolder
from deployctl_door.keys import KeysError

REF = ServiceRef("process", "tiny")


class Engine:
    """The driver of one service; and its door, which can be asked who gets in."""

    target = "process"
    keys_count = "now"

    def __init__(self, store):
        self._folder = store.folder(REF)
        self.secrets = store.root / "published"
        self.running = True
        self.held = 0  # how often its keys are being changed
        self.fault = None  # what publishing raises
        self.complaints = []
        self._door = None
        self._passed = 0.0

    def state(self, release):
        return EngineState("running" if self.running else "absent")

    def learn_keys(self, service):
        pass

    @contextmanager
    def changing_keys(self, service):
        self.held += 1
        yield
        self.held -= 1

    def publish_keys(self, release):
        if self.fault is not None:
            raise self.fault
        if not self.running:
            return  # it has no door; a target that others change keeps them
        with keys.locked(self._folder):
            files = keys.of_the_door(self._folder, release.spec)
            keys.publish(self.secrets, files, mode=0o600)

    def endpoint(self, release):
        return Endpoint("http://127.0.0.1:1", "tiny", None)

    def opens(self, *, keyless):
        """Starts the door."""
        self._door = KeyFolder(
            self.secrets, self.complaints.append, keyless=keyless, clock=lambda: self._passed
        )

    def lets_in(self, key, now=0.0):
        """The name under which a key gets in, or None; `anyone` where none is needed."""
        self._passed += 1.0
        ring = self._door.now()
        found = ring.find(key, now)
        return "anyone" if ring.open else found and found.name

    def restarts(self, *, keyless):
        """Whether a new start finds keys, or needs none."""
        try:
            self.opens(keyless=keyless)
        except KeysError:
            return False
        return True


class Service:
    """The service: its records, its keys' file, its engine."""

    def __init__(self, store, make_release):
        self.store, self.make_release = store, make_release
        self.engine = Engine(store)
        self.folder = store.folder(REF)
        self.file = self.folder / "keys.json"

    def begins(self, *, replicas=1, args=("--served-model-name", "tiny"), **spec):
        """Puts a release on record, and its engine behind its door."""
        release = self.make_release(status="deployed", **spec)
        engine = release.plan.engine.model_copy(update={"args": args})
        plan = release.plan.model_copy(update={"replicas": replicas, "engine": engine})
        release = release.model_copy(update={"plan": plan})
        self.store.save(REF, release)
        if release.spec.needs_api_key:
            keys.place_key(self.folder / "api_key", "the-default-key")
        self.engine.publish_keys(release)
        self.engine.opens(keyless=not release.spec.needs_api_key)
        return release
