"""`deployctl history`: a service's revisions."""

from typing import TYPE_CHECKING, Any

from deployctl.cli.console import Output, answer_json
from deployctl.cli.endpoint import ServiceArgument, TargetOption
from deployctl.cli.options import OutputOption

if TYPE_CHECKING:
    from deployctl.targets.release import Release


def command(
    name: ServiceArgument = None,
    target: TargetOption = None,
    output: OutputOption = Output.text,
) -> None:
    """List a service's revisions, oldest first: when, why, and how each went.

    Revisions with the same digest run the same thing. deployctl rollback brings an earlier one
    back as a new revision.

    [bold]Example[/bold]: deployctl history my-model
    """
    from deployctl.cli.services import DOCUMENT_VERSION, find, open_store

    _, store = open_store()
    ref = find(store, name, target)
    releases = store.releases(ref)
    if output is Output.json:
        answer_json(
            {
                "version": DOCUMENT_VERSION,
                "service": ref.service,
                "target": ref.kind,
                "revisions": [_document(release) for release in releases],
            }
        )
        return
    from rich.table import Table

    from deployctl.cli.console import out

    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("revision", "status", "created", "why", "digest", "message"):
        table.add_column(heading, overflow="fold")
    for release in releases:
        document = _document(release)
        table.add_row(*(str(document[key]) for key in _COLUMNS))
    out.print(table, markup=False)


_COLUMNS = ("revision", "status", "created", "reason", "digest", "message")


def _document(release: "Release") -> dict[str, Any]:
    return {
        "revision": release.revision,
        "status": release.status,
        "created": release.created,
        "reason": release.reason,
        "message": release.message,
        "digest": release.bundle.digest,
        "model": release.plan.model,
        "engine": f"{release.plan.engine.name} {release.plan.engine.version}",
    }
