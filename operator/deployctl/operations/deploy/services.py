"""What the verbs of a running service share: settings, records, and how one is described."""

import json
import os
import shlex
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from deployctl.errors import InputError, NotFoundError

if TYPE_CHECKING:
    from deployctl.endpoint import Endpoint
    from deployctl.events import Tell
    from deployctl.render.bundle import TargetKind
    from deployctl.spec import Settings
    from deployctl.targets import Driver
    from deployctl.targets.history import Release
    from deployctl.targets.rollout import Outcome, Rollout
    from deployctl.targets.store import ServiceRef, Store

DOCUMENT_VERSION = 1  # of every JSON document these verbs write


def open_store() -> "tuple[Settings, Store]":
    """The settings, and the records where they say."""
    from deployctl.spec import Settings
    from deployctl.targets.store import Store

    settings = Settings()
    return settings, Store(settings.state_dir)


def find(store: "Store", name: str | None, target: "TargetKind | None") -> "ServiceRef":
    """The service of that name, or the only one there is.

    Raises:
        InputError: none is named and there are several; or it is on several targets.
        NotFoundError: there is none.
    """
    if name is not None:
        return store.find(name, target)
    known = [ref for ref in store.services() if target in (None, ref.kind)]
    if not known:
        raise NotFoundError(
            "there is no service", where=str(store.root), hint="start one with deployctl up"
        )
    if len(known) > 1:
        names = ", ".join(dict.fromkeys(ref.service for ref in known))
        raise InputError("say which service", where="NAME", hint=f"known services: {names}")
    return known[0]


def open_rollout(driver: "Driver", store: "Store", service: str, tell: "Tell") -> "Rollout":
    """A rollout on the records, with the environment that may hold the API key."""
    from deployctl.targets.rollout import Rollout

    return Rollout(driver, store, service, tell, environment=os.environ)


def outcome_document(driver: "Driver", store: "Store", outcome: "Outcome") -> dict[str, Any]:
    """What `up` and `rollback` answer: where it serves, and where its key and log are."""
    release = outcome.release
    endpoint = driver.endpoint(release)
    log = driver.log_path(release)
    return {
        "service": release.service,
        "target": driver.kind,
        "revision": release.revision,
        "changed": outcome.changed,
        "url": f"{endpoint.url}/v1",
        "model": endpoint.model,
        "api_key_file": _key_file(driver, store, release),
        "log": str(log) if log else None,
        "seconds": round(outcome.seconds, 1),
    }


def _key_file(driver: "Driver", store: "Store", release: "Release") -> str | None:
    from deployctl.targets.keys import key_path

    if not release.spec.needs_api_key:
        return None
    return str(key_path(store.root, driver.kind, release.service))


def curl(endpoint: "Endpoint", key_file: str | None) -> str:
    """A line that tries the service, without the key in it."""
    body = {"model": endpoint.model, "prompt": "The capital of France is", "max_tokens": 16}
    words = ["curl", f"{endpoint.url}/v1/completions", "-H", "Content-Type: application/json"]
    line = shlex.join(words)
    if key_file:
        line += f' -H "Authorization: Bearer $(cat {shlex.quote(key_file)})"'
    return f"{line} -d {shlex.quote(json.dumps(body, ensure_ascii=False))}"


def tell_outcome(document: dict[str, Any], endpoint: "Endpoint") -> None:
    """The same for a person, on stdout."""
    name = document["service"]
    rows = [("url", document["url"]), ("model", document["model"])]
    if document["api_key_file"]:
        rows.append(("key", f"in {document['api_key_file']}"))
    rows.append(("log", document["log"] or f"deployctl logs {name}"))
    rows.append(("try", curl(endpoint, document["api_key_file"])))
    rows.append(("stop", f"deployctl down {name}"))
    print_rows(rows)


def print_rows(rows: Sequence[Sequence[str]]) -> None:
    """Writes columns; the last is never broken or cut, so that it can be copied."""
    if not rows:
        return
    last = len(rows[0]) - 1
    widths = [max(len(row[column]) for row in rows) for column in range(last)]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        sys.stdout.write("  ".join([*cells, row[last]]).rstrip() + "\n")
