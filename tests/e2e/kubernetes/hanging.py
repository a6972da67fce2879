"""Stops an engine's core while a request runs, inside the engine's container: it hangs, and its
server answers /health as before. Prints the number of the process that was stopped.

    python3 - < hanging.py
"""

import os
import pathlib
import re
import signal
import time
import urllib.request

TOKEN = pathlib.Path("/tmp/deployctl-probe-token")  # where a door stands before the metrics


def running():
    """Whether the engine says that a request runs."""
    given = {"Authorization": f"Bearer {TOKEN.read_text()}"} if TOKEN.exists() else {}
    asked = urllib.request.Request("http://127.0.0.1:8000/metrics", headers=given)
    text = urllib.request.urlopen(asked, timeout=20).read().decode()
    return re.search(r"^vllm:num_requests_running\{.*\} [1-9]", text, re.MULTILINE)


def core():
    """The process that computes."""
    (found,) = [
        int(process.name)
        for process in pathlib.Path("/proc").iterdir()
        if process.name.isdigit() and "EngineCor" in (process / "comm").read_text()
    ]
    return found


def main():
    process = core()
    while True:
        if running():
            os.kill(process, signal.SIGSTOP)
            if running():
                break
            os.kill(process, signal.SIGCONT)
        time.sleep(0.05)
    print(process)


if __name__ == "__main__":
    main()
