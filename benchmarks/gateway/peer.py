"""The peer: nginx before the same engine, as plain as it can be and not fail streams.

It forwards each request at once, on a connection of its own, passes texts on as they come, and
writes a line a request: what the gateway does, too. It holds no request, reads no address anew and
counts nothing.
"""

import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
from benchmarks.door.paired import Server, listens

from deployctl import host

STARTS_S = 10.0
_TEMPORARY = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")


def here() -> str | None:
    """What says which nginx is on PATH; None where none is."""
    if shutil.which("nginx") is None:
        return None
    done = subprocess.run(["nginx", "-v"], capture_output=True, text=True, check=True)
    return done.stderr.rpartition(" ")[2].strip()


def configuration(folder: Path, listens_on: int, engine: int) -> str:
    """Of one worker that leads to the engine's port."""
    temporary = "\n".join(f"  {name}_temp_path {folder}/{name};" for name in _TEMPORARY)
    return f"""\
worker_processes 1;
pid {folder}/pid;
events {{ worker_connections 4096; }}
http {{
  access_log {folder}/access.log;
{temporary}
  server {{
    listen 127.0.0.1:{listens_on} backlog=2048;
    location / {{
      proxy_pass http://127.0.0.1:{engine};
      proxy_http_version 1.1;
      proxy_buffering off;
    }}
  }}
}}
"""


@contextmanager
def nginx(folder: Path, engine: int) -> Iterator[Server]:
    """A running one, with the cores of whoever starts it.

    Raises:
        RuntimeError: it does not start.
    """
    folder.mkdir(exist_ok=True)
    port = host.free_port()
    (folder / "nginx.conf").write_text(configuration(folder, port, engine))
    words = ["nginx", "-c", str(folder / "nginx.conf"), "-e", str(folder / "error.log")]
    master = subprocess.Popen([*words, "-g", "daemon off;"])
    try:
        deadline = time.monotonic() + STARTS_S
        while not (listens(port) and (workers := psutil.Process(master.pid).children())):
            if master.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"nginx does not start: see {folder}/error.log")
            time.sleep(0.05)
        yield Server(workers[0].pid, port)
    finally:
        master.terminate()
        master.wait()
