"""`deployctl history`: a service's revisions."""

from typing import TYPE_CHECKING, Any

from deployctl.cli.console import Output, answer_json
from deployctl.cli.options import OutputOption
from deployctl.operations.measure.endpoint import ServiceArgument, TargetOption

if TYPE_CHECKING:
    from deployctl.targets.history import Release


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
    from deployctl.operations.deploy.services import DOCUMENT_VERSION, find, open_store

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
    from deployctl.operations.deploy.services import print_rows

    rows = [_document(release) for release in releases]
    print_rows([_COLUMNS_SHOWN, *([str(row[key]) for key in _COLUMNS] for row in rows)])


_COLUMNS = ("revision", "status", "created", "reason", "digest", "message")
_COLUMNS_SHOWN = tuple(name.upper() for name in _COLUMNS)


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
