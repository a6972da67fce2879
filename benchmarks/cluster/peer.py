"""python -m benchmarks.cluster.peer --peer-chart DIR --model DIR --image IMAGE [--real]

What clients meet while pods come and go: a service by deployctl, and one by production-stack's
chart (its `helm` folder), one after the other on the cluster of KUBECONFIG, with the same engine
image, checkpoint and clients. Prints rows of a table in Markdown.

Without --real the image is that of a fake engine (tests/e2e/kubernetes builds one), which needs
next to nothing: an update of one flag under load, and a drained node. A fake ends at SIGTERM as
vLLM does without --shutdown-timeout: what it works on is lost. With --real it is vLLM for the CPU:
an engine that hangs (SIGSTOP), and what answers without a key. The namespace is made and removed.
"""

import argparse
import json
import secrets
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.cluster.sides import Deployctl, ProductionStack, Setting, Side, run

PROGRAMS = Path(__file__).resolve().parents[2] / "tests" / "e2e" / "kubernetes"
_PATIENCE_S = 900
_HANGS_S = 150  # after which an engine that hangs is left alone
_POLL_S = 1.0
Row = dict[str, str]


def main() -> int:
    """Measures both, and shows."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cluster.peer")
    parser.add_argument("--peer-chart", type=Path, required=True)
    parser.add_argument("--model", type=Path, required=True, help="a checkpoint in a folder")
    parser.add_argument("--real", action="store_true", help="vLLM itself, and not a fake")
    parser.add_argument("--replicas", type=int, default=2)
    parser.add_argument("--image", required=True, help="the engine's, on every node")
    parser.add_argument("--namespace", default=f"peer-{secrets.token_hex(3)}")
    given = parser.parse_args()
    run("kubectl", "create", "namespace", given.namespace)
    with tempfile.TemporaryDirectory() as folder:
        setting = Setting(
            given.namespace,
            Path(folder),
            given.model.absolute(),
            given.image,
            given.replicas,
            cards=0 if given.real else 1,
            real=given.real,
        )
        try:
            _begin_clients(setting)
            sides = [Deployctl(setting), ProductionStack(setting, given.peer_chart)]
            _show({side.title: _measured(setting, side) for side in sides})
        finally:
            run("kubectl", "delete", "namespace", given.namespace, "--wait=false")
    return 0


def _measured(setting: Setting, side: Side) -> Row:
    side.up(16)
    _until(lambda: _settled(setting, side), "all pods serve")
    try:
        if setting.real:
            return {"routes that answer without a key": _keyless(setting, side)} | _hang(
                setting, side
            )
        return _update(setting, side) | _drain(setting, side)
    finally:
        side.down()


def _update(setting: Setting, side: Side) -> Row:
    before = frozenset(_pods(setting, side))
    with _asking(setting, side) as told, _watched(setting, side) as cards:
        begun = time.monotonic()
        side.up(8)
        _until(lambda: _settled(setting, side, but=before), "every pod is another one")
        took = time.monotonic() - begun
    return {
        "update of a flag: requests that failed": failures(told),
        "cards at once, of pods that are to stay": str(max(cards)),
        "seconds that it took": f"{took:.0f}",
    }


def _drain(setting: Setting, side: Side) -> Row:
    pods = _pods(setting, side)
    node = pods[min(pods)]["spec"]["nodeName"]
    words = ["drain", node, f"--pod-selector={side.pods}", "--delete-emptydir-data"]
    with _asking(setting, side) as told:
        begun = time.monotonic()
        try:
            _kubectl(setting, *words, f"--timeout={_PATIENCE_S}s")
            _until(lambda: _settled(setting, side), "all pods serve")
        finally:
            _kubectl(setting, "uncordon", node)
        took = time.monotonic() - begun
    return {
        "drained node: requests that failed": failures(told),
        "seconds until all serve": f"{took:.0f}",
    }


def _hang(setting: Setting, side: Side) -> Row:
    pod = min(_pods(setting, side))
    with _asking(setting, side):
        program = (PROGRAMS / "hanging.py").read_text()
        core = _kubectl(setting, "exec", "-i", pod, "--", "python3", "-", text=program).strip()
        begun, out = time.monotonic(), ""
        while not out and time.monotonic() - begun < _HANGS_S:
            time.sleep(_POLL_S)
            out = "" if pod in _ready(setting, side) else f"{time.monotonic() - begun:.0f}"
        goes_on = f"import os, signal; os.kill({core}, signal.SIGCONT)"
        _kubectl(setting, "exec", pod, "--", "python3", "-c", goes_on)
    return {"seconds until a hung engine gets no requests": out or f"still does after {_HANGS_S}"}


def _keyless(setting: Setting, side: Side) -> str:
    program = (Path(__file__).parent / "keyless.py").read_text()
    words = (_address(setting, side), str(side.port), setting.model.name)
    told = _kubectl(setting, "exec", "-i", "clients", "--", "python3", "-", *words, text=program)
    return ", ".join(f"`{route}`" for route in json.loads(told)) or "none"


def failures(told: dict[str, Any]) -> str:
    """Of how many requests; and of which clients."""
    count = sum(told["requests"].values())
    if min(told["requests"].values()) < 2:
        raise RuntimeError(f"of some clients all that is known is their first request: {told}")
    kinds = sorted({each["kind"] for each in told["failed"]})
    return f"{len(told['failed'])} of {count}" + (f" ({'; '.join(kinds)})" if kinds else "")


def cards_of(pods: list[dict[str, Any]]) -> int:
    """Cards that pods ask for which are to stay: one that ends gives its own back."""
    return sum(
        int(container["resources"].get("requests", {}).get("nvidia.com/gpu", 0))
        for pod in pods
        if "deletionTimestamp" not in pod["metadata"]
        for container in pod["spec"]["containers"]
    )


@contextmanager
def _asking(setting: Setting, side: Side) -> Iterator[dict[str, Any]]:
    """Clients that ask meanwhile; afterwards what they met is in what was yielded."""
    exec_ = ["kubectl", "--namespace", setting.namespace, "exec", "-i", "clients", "--"]
    run(*exec_, "rm", "-f", "/tmp/stop")
    words = (_address(setting, side), str(side.port), setting.model.name, side.key(), "/tmp/stop")
    told: dict[str, Any] = {}
    with subprocess.Popen(
        [*exec_, "python3", "-", *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as asking:
        assert asking.stdin is not None
        assert asking.stdout is not None
        asking.stdin.write((PROGRAMS / "asking.py").read_text())
        asking.stdin.close()
        if asking.stdout.readline() != "asking\n":
            raise RuntimeError(f"clients of {side.title} do not ask: see above")
        try:
            yield told
        finally:
            run(*exec_, "touch", "/tmp/stop")
            told |= json.loads(asking.stdout.read())
    print(f"{side.title}: {told}", file=sys.stderr)


@contextmanager
def _watched(setting: Setting, side: Side) -> Iterator[list[int]]:
    """Cards that its pods ask for, looked at again and again."""
    ended, cards = threading.Event(), [0]

    def look() -> None:
        while not ended.wait(_POLL_S):
            cards.append(cards_of(list(_pods(setting, side).values())))

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield cards
    finally:
        ended.set()
        thread.join()


def _begin_clients(setting: Setting) -> None:
    container = {
        "name": "clients",
        "image": setting.image,
        "command": ["sleep", "infinity"],
        "resources": {"requests": {"cpu": "200m"}},  # else it gets none beside engines
    }
    spec = {"containers": [container], "terminationGracePeriodSeconds": 0}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "clients"}, "spec": spec}
    _kubectl(setting, "apply", "-f", "-", text=json.dumps(pod))
    _kubectl(setting, "wait", "--for=condition=Ready", "pod/clients", "--timeout=120s")


def _settled(setting: Setting, side: Side, but: frozenset[str] = frozenset()) -> bool:
    """Whether so many pods as are wanted are there, all of them serve, and none is one of those."""
    pods = set(_pods(setting, side))
    return len(pods) == setting.replicas and pods == _ready(setting, side) and not pods & but


def _pods(setting: Setting, side: Side) -> dict[str, dict[str, Any]]:
    """Those that are there, ending ones among them."""
    found = json.loads(_kubectl(setting, "get", "pods", "--selector", side.pods, "-o", "json"))
    return {pod["metadata"]["name"]: pod for pod in found["items"]}


def _ready(setting: Setting, side: Side) -> set[str]:
    """Names of the pods to which the Service sends new connections."""
    selector = f"kubernetes.io/service-name={side.service}"
    slices = json.loads(
        _kubectl(setting, "get", "endpointslices", "--selector", selector, "-o", "json")
    )
    return {
        endpoint["targetRef"]["name"]
        for each in slices["items"]
        for endpoint in each.get("endpoints") or ()
        if endpoint["conditions"].get("ready")
    }


def _address(setting: Setting, side: Side) -> str:
    """A name would be asked for again with each new connection."""
    words = ("get", "service", side.service, "-o", "jsonpath={.spec.clusterIP}")
    return _kubectl(setting, *words)


def _kubectl(setting: Setting, *words: str, text: str | None = None) -> str:
    return run("kubectl", "--namespace", setting.namespace, *words, text=text)


def _until(ready: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + _PATIENCE_S
    while not ready():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {_PATIENCE_S} s: {what}")
        time.sleep(_POLL_S)


def _show(sides: dict[str, Row]) -> None:
    titles = list(sides)
    print(f"| | {' | '.join(titles)} |\n|---{'|---' * len(titles)}|")
    for what in sides[titles[0]]:
        print(f"| {what} | {' | '.join(sides[title][what] for title in titles)} |")


if __name__ == "__main__":
    sys.exit(main())
