"""`helm test`: the door before the engine keeps strangers out, and the service completes a prompt.

    python3 -I -S smoke.py ENGINE FRONT PORT KEYED

ENGINE is asked every route that any release has, in a way that does no harm where there is no
door: by GET, which a route for POST alone answers with 405; and what clients may POST with an
empty object. FRONT is what clients talk to.
"""

import http.client
import json
import os
import socket
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
SECRETS = "/run/secrets"
REFUSALS = (401, 403, 404)
UPGRADE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "MDEyMzQ1Njc4OWFiY2RlZg==",
}
# What to ask, by what the service lets clients ask: the first that it has.
QUESTIONS = (
    ("/v1/completions", {"prompt": "Hello", "max_tokens": 4}, "choices"),
    ("/v1/embeddings", {"input": "Hello"}, "data"),
    ("/classify", {"input": "Hello"}, "data"),
    ("/v1/score", {"text_1": "Hello", "text_2": "Hello"}, "data"),
)


def ask(host, port, method, path, *, key=None, body=None, headers=()):
    """Status and bytes of one answer."""
    sent = {"Content-Type": "application/json", **dict(headers)}
    if key:
        sent["Authorization"] = f"Bearer {key}"
    connection = http.client.HTTPConnection(host, port, timeout=60)
    try:
        connection.request(method, path, None if body is None else json.dumps(body), sent)
        answer = connection.getresponse()
        return answer.status, b"" if answer.status == 101 else answer.read()
    finally:
        connection.close()


def address(name, seconds=60.0):
    """Of a Service, once for all: a pod that has just begun may have to wait until it is let out,
    and a busy cluster's DNS does not answer each time."""
    end = time.monotonic() + seconds
    while True:
        try:
            return socket.gethostbyname(name)
        except socket.gaierror:
            if time.monotonic() > end:
                raise
            time.sleep(1)


def secret(name):
    """A secret of the service; None where it has none."""
    try:
        with open(os.path.join(SECRETS, name)) as file:
            return file.read().strip() or None
    except FileNotFoundError:
        return None


def lines(name):
    """The lines of a file beside this one."""
    with open(os.path.join(HERE, name)) as file:
        return file.read().split("\n")[:-1]


def opened(host, port, key, user, keyed):
    """Routes that answer who has no right to them."""
    for route in dict.fromkeys(lines("routes.txt") + user):
        if route in user and not keyed:
            continue
        method, _, path = route.partition(" ")
        path = path.replace("{", "").replace("}", "")
        if route in user and method == "POST":
            status, text = ask(host, port, "POST", path, key=key, body={})
        else:
            headers = UPGRADE if method == "WEBSOCKET" else ()
            status, text = ask(host, port, "GET", path, key=key, headers=headers)
        told_health = path == "/health" and status in (200, 503) and not text
        if status not in REFUSALS and not told_health:
            yield f"{route}: {status}"


def completes(host, port, key, user):
    """Asks the model something; returns what is wrong, or None."""
    status, text = ask(host, port, "GET", "/v1/models", key=key)
    if status != 200:
        return f"/v1/models: {status}"
    name = json.loads(text)["data"][0]["id"]
    for path, body, answer in QUESTIONS:
        if f"POST {path}" in user:
            status, text = ask(host, port, "POST", path, key=key, body={"model": name, **body})
            if status != 200 or not json.loads(text).get(answer):
                return f"{path}: {status}"
            print(f"{name} answers {path}")
            return None
    print(f"{name} is there; its routes are not asked here")
    return None


def main(engine, front, port, keyed):
    """Returns what is wrong, or None."""
    user = lines("user.txt")
    engine, front = address(engine), address(front)
    for key, who in ((None, "no key"), ("wrong", "a wrong key")):
        found = list(opened(engine, port, key, user, keyed))
        if found:
            return f"answered with {who}: {', '.join(found)}"
        if keyed:
            status, _ = ask(front, port, "GET", "/v1/models", key=key)
            if status not in (401, 403):
                return f"/v1/models with {who}: {status}, not 401"
    print(f"{len(lines('routes.txt'))} routes are closed to strangers")
    key, operator = secret("api_key") if keyed else None, secret("operator_token")
    for given, expected in ((key, 401), (operator, 200)):
        if given:
            status, _ = ask(engine, port, "GET", "/metrics", key=given)
            if status != expected:
                whose = "an API key" if given == key else "the operator's token"
                return f"/metrics with {whose}: {status}, not {expected}"
    if keyed and not (key or operator):
        print("no key to ask with: the Secret has only hashes")
        return None
    return completes(front, port, key or operator, user)


if __name__ == "__main__":
    try:
        problem = main(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4] == "1")
    except (OSError, ValueError, LookupError, http.client.HTTPException) as error:
        problem = f"no answer, or none that makes sense: {error!r}"
    sys.exit(problem)
