"""`deployctl history`: a service's revisions."""

from typing import TYPE_CHECKING, Any

from deployctl.cli.console import Output, answer_json, print_rows
from deployctl.cli.options import OutputOption, ServiceArgument, TargetOption
from deployctl.cli.rolloutprogress import DOCUMENT_VERSION

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
    from deployctl.operations.deploy.services import history

    ref, releases = history(name, target)
    revisions = [_document(release) for release in releases]
    if output is Output.json:
        known = {"service": ref.service, "target": ref.target, "revisions": revisions}
        answer_json({"version": DOCUMENT_VERSION, **known})
    else:
        print_rows([_HEADER, *([str(row[key]) for key in _COLUMNS] for row in revisions)])


_COLUMNS = ("revision", "status", "created", "reason", "digest", "message")
_HEADER = tuple(name.upper() for name in _COLUMNS)


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
