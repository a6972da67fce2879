"""The servers of a pair: each application as it is started, with the door before it or without."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from benchmarks.door.client import configuration
from benchmarks.door.paired import Server, listens

from deployctl import demo, host
from deployctl.render import door as rendered

ROOT = Path(__file__).resolve().parents[2]
MODEL = ROOT / ".demo" / "tiny-awq"  # whose configuration and tokenizer vLLM's API server has
START_S, STOP_S = 300.0, 60.0
UVICORN = ["--log-level", "warning", "--no-access-log", "--backlog", "2048"]
UVICORN += ["--loop", "uvloop", "--http", "httptools"]  # as vLLM has
# What `up` tells vLLM of its HTTP server; that of the door comes behind it.
VLLM = ["--host", "127.0.0.1", "--served-model-name", "demo", "--disable-fastapi-docs"]
VLLM += ["--disable-access-log-for-endpoints", "/health,/metrics"]


class Start(NamedTuple):
    """What is started, and on which schedule it streams."""

    app: str
    interval_s: float  # between two texts of a stream
    more: tuple[str, ...] = ()  # arguments of vLLM's, behind the door's


def prepare(folder: Path, app: str) -> None:
    """Puts what servers of that application need into a folder.

    Raises:
        TargetError: the checkpoint is not there yet, and cannot be built.
    """
    configuration(folder)
    if app == "vllm":
        demo.build(MODEL, "awq", "tiny", lambda *_: None)
        for path, text in rendered.package().items():
            (folder / path).parent.mkdir(exist_ok=True)
            (folder / path).write_text(text)


@contextmanager
def servers(folder: Path, start: Start, doors: tuple[bool, ...]) -> Iterator[list[Server]]:
    """Servers that listen, one for each of `doors`: whether it has one.

    Raises:
        RuntimeError: one does not come up.
    """
    running: list[tuple[subprocess.Popen[bytes], Server]] = []
    logs = []
    try:
        for door in doors:
            port = host.free_port()
            command, environment = how(folder, start, port, door=door)
            logs.append(folder / f"{port}.log")
            with logs[-1].open("wb") as log:
                process = subprocess.Popen(
                    command, cwd=ROOT, env=environment, stdout=log, stderr=log
                )
            running.append((process, Server(process.pid, port)))
        deadline = time.monotonic() + START_S
        while not all(listens(server.port) for _, server in running):
            if time.monotonic() > deadline or any(each.poll() is not None for each, _ in running):
                raise RuntimeError("a server does not come up")
            time.sleep(0.05)
        yield [server for _, server in running]
    except Exception:
        for log_file in logs:
            print(log_file.read_text(errors="replace")[-3000:], file=sys.stderr)
        raise
    finally:
        for process, _ in running:
            process.terminate()
        for process, _ in running:
            process.wait(STOP_S)


def how(folder: Path, start: Start, port: int, *, door: bool) -> tuple[list[str], dict[str, str]]:
    """Command and environment of one server."""
    drop = ("DOOR_CONFIGURATION", rendered.VARIABLE)
    environment = {name: value for name, value in os.environ.items() if name not in drop}
    path = os.pathsep.join(filter(None, [str(ROOT), environment.get("PYTHONPATH")]))
    environment |= {"PYTHONPATH": path, "DOOR_INTERVAL_S": str(start.interval_s)}
    if start.app == "vllm":
        command = [sys.executable, "-m", "benchmarks.door.api", "--model", str(MODEL)]
        command += ["--port", str(port), *VLLM]
        if door:
            command += ["--middleware", rendered.MIDDLEWARE]
            environment |= rendered.environment(str(folder), path)
        return [*command, *start.more], environment
    environment["DOOR_APP"] = start.app
    if door:
        environment["PYTHONPATH"] = os.pathsep.join([str(ROOT / "deploy" / "door"), path])
        environment["DOOR_CONFIGURATION"] = str(folder / rendered.CONFIGURATION)
    command = [sys.executable, "-m", "uvicorn", "benchmarks.door.app:app", "--port", str(port)]
    return [*command, *UVICORN], environment
