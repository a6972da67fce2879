"""Clients of a service, in a program that runs inside a pod; traffic.py starts it.

    python3 - HOST PORT MODEL KEY STOP_FILE [KIND…] < asking.py

One client of each kind, or of those that are named, asks again and again until the stop file is
there. The line `asking` says that each has had its first answer; at the end a line of JSON says how
many requests there were, by kind of client, and what each that failed met.
"""

import collections
import http.client
import itertools
import json
import select
import sys
import threading
import time
from pathlib import Path

TIMEOUT_S = 60
# Kinds of clients: whether a connection is kept, tokens of an answer, seconds between two requests.
KINDS = {
    "new": (False, 8, 0.3),
    "kept": (True, 8, 0.3),
    "kept and idle": (True, 8, 2.0),
    # Answers whose head was sent before a pod knew that it ends.
    "kept, long answers": (True, 400, 0.0),
}


def ask(connection, model, key, tokens):
    """What was wrong with one streamed answer, or None."""
    body = {"model": model, "prompt": "Once upon a time", "max_tokens": tokens, "stream": True,
            "ignore_eos": True, "temperature": 0}  # fmt: skip
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    connection.request("POST", "/v1/completions", json.dumps(body), headers)
    answer = connection.getresponse()
    text = answer.read()
    if answer.status != 200:
        return f"{answer.status} {text[:200].decode(errors='replace')}"
    return None if text.endswith(b"data: [DONE]\n\n") else f"broken off: {text[-100:]!r}"


def client(name, where, model, key, stop, told, first):
    kept, tokens, pause = KINDS[name]
    connection = http.client.HTTPConnection(*where, timeout=TIMEOUT_S)
    for number in itertools.count():
        if number == 1:
            first.release()
        if stop.exists():
            told.append({"kind": name, "requests": number})
            return
        begun = time.time()
        # As every pool of connections does: one that the server has closed meanwhile is not used.
        if connection.sock and select.select([connection.sock], [], [], 0)[0]:
            connection.close()
        try:
            failed = ask(connection, model, key, tokens)
        except (OSError, http.client.HTTPException) as error:
            failed = f"{type(error).__name__}: {error}"
            connection.close()
        if failed:
            told.append({"kind": name, "failed": failed, "begun": begun,
                         "seconds": round(time.time() - begun, 2)})  # fmt: skip
        if not kept:
            connection.close()
        time.sleep(pause)


def main(host, port, model, key, stop, *kinds):
    told, first = [], threading.Semaphore(0)
    threads = [
        threading.Thread(
            target=client, args=(name, (host, int(port)), model, key, Path(stop), told, first)
        )
        for name in kinds or KINDS
    ]
    for thread in threads:
        thread.start()
    for _ in threads:
        first.acquire()
    print("asking", flush=True)
    for thread in threads:
        thread.join()
    requests = collections.Counter()
    for one in told:
        requests[one["kind"]] += one.get("requests", 0)
    print(json.dumps({"requests": requests, "failed": [t for t in told if "failed" in t]}))


if __name__ == "__main__":
    main(*sys.argv[1:])
