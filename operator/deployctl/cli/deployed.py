"""What the verbs of services share: the version of their documents, and a service that serves."""

import json
import shlex
from typing import TYPE_CHECKING

from deployctl.cli.console import print_rows

if TYPE_CHECKING:
    from deployctl.operations.deploy.deployment import Deployed

DOCUMENT_VERSION = 1  # of every JSON document that these verbs write


def show_deployed(deployed: "Deployed") -> None:
    """Says on stdout where a service serves, and what to do with it."""
    name, endpoint, key_file = deployed.release.service, deployed.endpoint, deployed.api_key_file
    rows = [("url", f"{endpoint.url}/v1"), ("model", str(endpoint.model))]
    if key_file:
        rows.append(("key", f"in {key_file}"))
    # A line that tries the service, without the key in it.
    body = {"model": endpoint.model, "prompt": "The capital of France is", "max_tokens": 16}
    words = ["curl", f"{endpoint.url}/v1/completions", "-H", "Content-Type: application/json"]
    key = f' -H "Authorization: Bearer $(cat {shlex.quote(str(key_file))})"' if key_file else ""
    data = shlex.quote(json.dumps(body, ensure_ascii=False))
    rows += [
        ("log", str(deployed.log or f"deployctl logs {name}")),
        ("try", f"{shlex.join(words)}{key} -d {data}"),
        ("stop", f"deployctl down {name}"),
    ]
    print_rows(rows)
