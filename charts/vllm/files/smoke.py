"""`helm test`: the service answers, keeps strangers out, and completes a prompt.

python3 -I -S smoke.py HOST PORT KEYED
"""

import http.client
import json
import sys

KEY_FILE = "/run/secrets/api_key"


def ask(host, port, method, path, body=None, key=None):
    """Status and JSON of one request."""
    headers = {"Content-Type": "application/json"}
    if key:
        headers["Authorization"] = f"Bearer {key}"
    connection = http.client.HTTPConnection(host, port, timeout=60)
    connection.request(method, path, body and json.dumps(body), headers)
    answer = connection.getresponse()
    text = answer.read()
    return answer.status, json.loads(text) if text.startswith(b"{") else {}


def main(host, port, keyed):
    """Returns what is wrong, or None."""
    key = None
    if keyed:
        with open(KEY_FILE) as file:
            key = file.read().strip()
        status, _ = ask(host, port, "GET", "/v1/models")
        if status != 401:
            return f"/v1/models without a key: {status}, not 401"
    status, models = ask(host, port, "GET", "/v1/models", key=key)
    if status != 200 or not models.get("data"):
        return f"/v1/models: {status}"
    name = models["data"][0]["id"]
    body = {"model": name, "prompt": "Hello", "max_tokens": 4}
    status, answer = ask(host, port, "POST", "/v1/completions", body, key)
    if status != 200 or not answer.get("choices"):
        return f"/v1/completions: {status}"
    print(f"{name} answers: {answer['choices'][0]['text']!r}")
    return None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], int(sys.argv[2]), sys.argv[3] == "1"))
