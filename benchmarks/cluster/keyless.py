"""Asks routes of an engine without a key, from inside the cluster, and prints those that answer.

python3 - HOST PORT MODEL < keyless.py
"""

import http.client
import json
import sys

GET = ("/health", "/ping", "/version", "/load", "/metrics", "/docs", "/openapi.json", "/v1/models",
       "/tokenizer_info", "/server_info", "/is_sleeping")  # fmt: skip
POST = ("/v1/completions", "/v1/chat/completions", "/invocations", "/tokenize", "/detokenize",
        "/is_scaling_elastic_ep", "/v1/load_lora_adapter", "/reset_prefix_cache")  # fmt: skip


def status(host: str, port: int, method: str, route: str, body: str | None) -> int:
    """What is answered."""
    connection = http.client.HTTPConnection(host, port, timeout=120)
    connection.request(method, route, body, {"Content-Type": "application/json"})
    answer = connection.getresponse()
    answer.read()
    connection.close()
    return answer.status


def main(host: str, port: str, model: str) -> None:
    """Prints a list: those with a status of 200."""
    body = {"model": model, "prompt": "Once", "max_tokens": 1, "tokens": [1]}
    asked = [("GET", route, None) for route in GET]
    asked += [("POST", route, json.dumps(body)) for route in POST]
    open_ = [f"{m} {route}" for m, route, b in asked if status(host, int(port), m, route, b) == 200]
    print(json.dumps(open_))


if __name__ == "__main__":
    main(*sys.argv[1:])
