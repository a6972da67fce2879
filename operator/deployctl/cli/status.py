"""`deployctl status`: what runs, and whether it answers."""

from typing import TYPE_CHECKING, Any

import typer

from deployctl.cli.console import Output, answer_json, story
from deployctl.cli.options import OutputOption
from deployctl.operations.measure.endpoint import ServiceArgument, TargetOption

if TYPE_CHECKING:
    from deployctl.spec import Settings
    from deployctl.targets.history import Release
    from deployctl.targets.store import ServiceRef, Store

ASK_TIMEOUT_S = 10.0  # a saturated engine queues; one that is silent for longer is no service
LINES_OF_THE_DEAD = 10
TARGET_FAILED = 4


def command(
    name: ServiceArgument = None,
    target: TargetOption = None,
    output: OutputOption = Output.text,
) -> None:
    """Say what runs and whether it answers; without a name, for every service on every target.

    Each running engine is asked for a completion of one token: a health check can be green while
    the engine hangs. Exit code 4 when a service that should serve does not.

    [bold]Examples[/bold]

      deployctl status

      deployctl status my-model --output json
    """
    from deployctl.operations.deploy.services import DOCUMENT_VERSION, open_store

    settings, store = open_store()
    refs = [store.find(name, target)] if name else store.services()
    documents = [
        described
        for ref in refs
        if target in (None, ref.kind)
        and (described := describe(settings, store, ref))
        and (name or described["status"] != "removed")
    ]
    if output is Output.json:
        answer_json({"version": DOCUMENT_VERSION, "services": documents})
    else:
        _tell(documents)
    if any(document["health"] in ("dead", "silent", "unknown") for document in documents):
        raise typer.Exit(TARGET_FAILED)


def describe(settings: "Settings", store: "Store", ref: "ServiceRef") -> dict[str, Any] | None:
    """One service as the JSON document shows it; None when it has no record after all."""
    from deployctl.errors import DeployctlError

    try:
        releases = store.releases(ref)
        if not releases:
            return None
        return _look(settings, ref, releases)
    except DeployctlError as error:
        # One broken service must not hide the others.
        unknown = dict.fromkeys(_FIELDS)
        detail = f"{error.message} ({error.where})" if error.where else error.message
        known = {"service": ref.service, "target": ref.kind, "status": "unknown"}
        return {**unknown, **known, "health": "unknown", "detail": detail, "log_tail": []}


_FIELDS = (
    *("service", "target", "revision", "status", "health", "detail", "url", "model", "gpu"),
    *("started", "pid", "container", "memory_bytes", "log", "log_tail"),
)


def _look(settings: "Settings", ref: "ServiceRef", releases: "list[Release]") -> dict[str, Any]:
    from deployctl.targets import history, open_driver
    from deployctl.targets.readiness import ask

    driver = open_driver(ref.kind, settings)
    # A revision that is being brought up speaks for the service, once its engine is there.
    deployed = history.deployed(releases)
    release = deployed or releases[-1]
    state = driver.state(release)
    for unfinished in history.pending(releases):
        at_work = driver.state(unfinished)
        if at_work.condition != "absent":
            release, state = unfinished, at_work
    health, detail, endpoint = "stopped", state.detail, None
    if state.condition == "running":
        endpoint = driver.endpoint(release)
        answer = ask(endpoint, ASK_TIMEOUT_S)
        late = "starting" if release.status == "pending" else "silent"
        health = "serving" if answer.ok else late
        if not answer.ok:
            detail = "; ".join(filter(None, [detail, answer.detail]))
    elif release.status == "deployed" or state.condition == "dead":
        health = "dead"
        detail = state.detail or "the engine is gone"
    elif release.status == "failed":
        detail = release.message
    log = driver.log_path(release)
    tail = driver.logs(release, tail=LINES_OF_THE_DEAD, follow=False) if health == "dead" else ()
    return {
        "service": ref.service,
        "target": ref.kind,
        "revision": release.revision,
        "status": release.status,
        "health": health,  # serving, starting, silent, dead, stopped, unknown
        "detail": detail,
        "url": f"{endpoint.url}/v1" if endpoint else None,
        "model": release.plan.served_model_name,
        "gpu": release.plan.gpu,
        "started": state.started,
        "pid": state.pid,
        "container": state.container,
        "memory_bytes": state.memory_bytes,
        "log": str(log) if log else None,
        "log_tail": list(tail),
    }


def _tell(documents: list[dict[str, Any]]) -> None:
    from deployctl.operations.deploy.services import print_rows

    if not documents:
        story("no service; start one with deployctl up")
        return
    rows = [("SERVICE", "TARGET", "REVISION", "HEALTH", "UP", "MEMORY", "URL")]
    rows += [_row(document) for document in documents]
    print_rows(rows)
    for document in documents:
        if document["detail"] and document["health"] != "serving":
            _explain(document)


def _row(document: dict[str, Any]) -> tuple[str, str, str, str, str, str, str]:
    from datetime import UTC, datetime

    from deployctl.units import duration, size

    memory, started = document["memory_bytes"], document["started"]
    alive = document["health"] in ("serving", "starting", "silent")
    up = "-"
    if started and alive:
        passed = datetime.now(UTC) - datetime.fromisoformat(started)
        up = duration(max(0.0, passed.total_seconds()))
    return (
        document["service"],
        document["target"],
        str(document["revision"] or "?"),
        document["health"],
        up,
        size(memory) if memory else "-",
        document["url"] or "-",
    )


def _explain(document: dict[str, Any]) -> None:
    name = document["service"]
    story(f"{name}: {document['health']}: {document['detail']}")
    for line in document["log_tail"]:
        story(f"     | {line}", style="dim")
    if document["health"] == "dead":
        story(f" hint: deployctl logs {name} shows more; deployctl up starts it again", prefix=6)
