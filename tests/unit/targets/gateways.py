"""A gateway whose files are a folder, whose proxy is memory, and whose clock moves by sleeping."""

import json

from deployctl.render.gateway import GatewayEntry
from deployctl.targets.gateway import Gateway
from deployctl.targets.gatewayfiles import FolderFiles
from deployctl.targets.gatewayrecords import Knowledge

ADDRESS = "127.0.0.1:8000"


class MemoryProxy:
    """What it was told, and with which configuration."""

    def __init__(self):
        self.alive, self.loaded, self.refuses = False, [], None
        self.stopped = None  # once it has loaded
        self.folder, self.known, self.ready = None, [], True

    contained = False

    def ready_for(self, wanted):
        return self.ready

    def free_port(self, usual, but):
        return next(port for port in (usual, 20190, 20191) if port and port not in but)

    def check(self):
        return None

    def check_port(self, wanted):
        return None

    def runs(self):
        return self.alive

    def apply(self, entries, monitor_port):
        if self.refuses:
            raise self.refuses
        name = "next.json" if self.alive else "caddy.json"
        self.alive, self.known = True, entries
        self.loaded.append(json.loads((self.folder / name).read_text()))
        if self.stopped:
            raise self.stopped

    def end(self):
        self.alive = False


class Machine:
    def __init__(self, folder, engines=None):
        self.now, self.proxy = 0.0, MemoryProxy()
        self.proxy.folder = folder
        self.waking = lambda: None
        self.says = []  # why no request comes to an engine, one after another
        self.killed, self.gone = set(), set()
        known = Knowledge(lambda name: name not in self.killed, self.gone.__contains__, engines)
        world = {"clock": lambda: self.now, "sleep": self._sleep, "ask": self._ask}
        world["known"] = known
        self.gateway = Gateway(FolderFiles(folder), self.proxy, **world)
        self.folder = folder

    def _ask(self, entry, ca_file):
        return self.says.pop(0) if self.says else None

    def _sleep(self, seconds):
        self.now += seconds
        self.waking()

    def address(self, service="tiny"):
        return (self.folder / "upstreams" / service).read_text()

    def log(self, *lines, name="access.log"):
        folder = self.folder / "logs"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("".join(json.dumps(line) + "\n" for line in lines))


def wanting(service="tiny", **more):
    given = {"port": 8080, "exposed": False, "domain": None, "tls": None, "hold_s": 30}
    return GatewayEntry(service=service, **{**given, **more})


def ports(machine):
    return [sorted(loaded["apps"]["http"]["servers"]) for loaded in machine.proxy.loaded]
