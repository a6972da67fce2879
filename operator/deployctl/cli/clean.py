"""`deployctl clean`: what nothing needs any more goes, and what it would free is said first."""

import sys
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from deployctl.cli.clusteroptions import HostOption, on_host
from deployctl.cli.console import Output, answer_json, print_rows, story, tell
from deployctl.cli.options import OutputOption
from deployctl.units import size

if TYPE_CHECKING:
    from deployctl.operations.clean.run import Cleaning

DOCUMENT_VERSION = 1


def command(
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Remove it, and do not ask.")] = False,
    keep: Annotated[
        int,
        typer.Option(
            "--keep",
            help="Revisions of each service that keep what they need: those that rollback reaches.",
            metavar="N",
        ),
    ] = 10,
    everything: Annotated[
        bool,
        typer.Option(
            "--all",
            help="Also models, images and caches that deployctl does not know to have brought.",
        ),
    ] = False,
    host: HostOption = None,
    output: OutputOption = Output.text,
) -> None:
    """Free disks: models, images, compile caches and logs that no kept revision needs.

    Shows what would go and asks; without a terminal nothing goes but with --yes. What a revision
    needs that rollback reaches stays, of every service, also of one that is down; so does what is
    in use, and what came less than a day ago. Records, keys, reports and studies are never
    touched. With --host, what of that host's Docker engine is deployctl's, and nothing here.

    [bold]Examples[/bold]

      deployctl clean

      deployctl clean --keep 2 --yes

      deployctl clean --host ssh://ops@gpu1
    """
    from deployctl.operations.clean.run import look, remove

    if host is not None:
        on_host(host)
    looked = partial(look, keep=keep, everything=everything, elsewhere=host is not None)
    cleaning = looked()
    if output is Output.text:
        _show(cleaning)
    goes = bool(cleaning.going) and (yes or (output is Output.text and _wanted()))
    if goes and not yes:  # while a person thought, somebody may have begun an up
        cleaning = looked().within(cleaning)
    if goes:
        remove(cleaning, tell)
    if output is Output.json:
        answer_json({"version": DOCUMENT_VERSION, **cleaning.document(removed=goes)})


def _show(cleaning: "Cleaning") -> None:
    for why in cleaning.unknown:
        story(f"not looked at: {why}")
    rows = [
        ("goes" if fate.goes else "stays", size(fate.piece.bytes), fate.piece.name, fate.why)
        for fate in sorted(cleaning.fates, key=lambda f: (not f.goes, -f.piece.bytes))
    ]
    if rows:
        print_rows([("", "SIZE", "WHAT", "WHY"), *rows])
    story(f"{size(cleaning.freed)} would be free" if cleaning.going else "nothing to remove")


def _wanted() -> bool:
    """Whether a person says so, where one can be asked."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        story("nothing was removed: --yes removes it")
        return False
    return typer.confirm("Remove it?", err=True)
