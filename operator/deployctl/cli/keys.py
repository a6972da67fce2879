"""`deployctl keys`: adds, lists and revokes the keys of a service's clients."""

import sys
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deployctl.cli.console import Output, answer_json, print_rows, say, story
from deployctl.cli.options import OutputOption, TargetOption, request_options
from deployctl.errors import InputError, StateError
from deployctl.operations.keys.request import KeyRequest

if TYPE_CHECKING:
    from deployctl.operations.keys.manage import AddedKey, KeyList, ListedKey, RevokedKey

DOCUMENT_VERSION = 1
HELP = """Add, list and revoke the keys of a service's clients.

A key has a name, and may have an expiry, models and limits. Only its hash is kept. A change needs
no restart: it counts when the command returns.

[bold]Examples[/bold]

  deployctl keys add my-model alice --expires 30d --tokens-per-minute 20000

  deployctl keys list my-model

  deployctl keys revoke my-model alice
"""

_ServiceArgument = Annotated[
    str, typer.Argument(help="The service. With --file, it is left out.", metavar="SERVICE")
]
_NameArgument = Annotated[
    str | None, typer.Argument(help="The key's name.", metavar="NAME", show_default=False)
]
_FileOption = Annotated[
    Path | None,
    typer.Option(
        "--file",
        help="A keys.json instead of a service: for a Secret on Kubernetes.",
        metavar="PATH",
        show_default=False,
    ),
]
_COUNTS_FROM = {
    "now": "the engine that runs takes it",
    "soon": "the pods take it once their nodes have looked at the Secret: within two minutes",
    "next_start": "nothing runs: it counts from the next start on",
    "next_up": "what runs has no door: it counts from the next deployctl up on",
    None: "it counts once the file is where the door reads it",
}


@request_options
def add(
    service: _ServiceArgument,
    name: _NameArgument = None,
    *,
    request: KeyRequest,
    file: _FileOption = None,
    target: TargetOption = None,
    output: OutputOption = Output.text,
) -> None:
    """Make a key, and show it once.

    The key alone goes to stdout, all else to stderr; what is kept is its hash. The engine that runs
    takes it when this returns, without a restart. The first key of a service that had none closes
    it: from then on every client needs one.

    A service that was given an API key has a key named default. Revoked, a new one takes its
    place by that name.

    [bold]Examples[/bold]

      deployctl keys add my-model alice --note 'research, laptop' --expires 30d

      deployctl keys add my-model batch --concurrent 4 --tokens-per-minute 50000 > batch.key

      deployctl keys add my-model ci --key-file ci.key --model my-model

      deployctl keys add --file keys.json alice
    """
    from deployctl.operations.keys.manage import add_key
    from deployctl.targets.guards import shielded

    where, name = _which(service, name, file)
    with shielded(lambda: story("a moment: a key that is kept is to be shown")):
        added = add_key(where, name, request, file=file, target=target)
        if output is Output.json:
            answer_json({"version": DOCUMENT_VERSION, **added._asdict()})
        else:
            _show_added(added)


def list_(
    service: Annotated[
        str | None,
        typer.Argument(
            help="The service. May be left out when there is one.",
            metavar="SERVICE",
            show_default=False,
        ),
    ] = None,
    *,
    file: _FileOption = None,
    target: TargetOption = None,
    output: OutputOption = Output.text,
) -> None:
    """List the keys: who may ask, what, until when.

    The keys themselves are not kept, so they are not shown. default is the key that deployctl up
    was given or made. The operator's token, with which deployctl itself asks, is none of them.

    [bold]Examples[/bold]

      deployctl keys list my-model

      deployctl keys list --file keys.json --output json
    """
    from deployctl.operations.keys.manage import list_keys

    listed = list_keys(service, file=file, target=target)
    if output is Output.json:
        keys = [key._asdict() for key in listed.keys]
        answer_json({"version": DOCUMENT_VERSION, **listed._asdict(), "keys": keys})
    else:
        _show_list(listed)


def revoke(
    service: _ServiceArgument,
    name: _NameArgument = None,
    *,
    file: _FileOption = None,
    target: TargetOption = None,
    output: OutputOption = Output.text,
) -> None:
    """Take a key away: the engine that runs refuses it when this returns.

    Requests that are under way with it end as they would. Where it was the last key, nobody gets
    in until there is another.

    [bold]Examples[/bold]

      deployctl keys revoke my-model alice

      deployctl keys revoke my-model default

    The second takes away the key that deployctl up was given or made. To have one again:

      deployctl keys add my-model default
    """
    from deployctl.operations.keys.manage import revoke_key
    from deployctl.targets.guards import shielded

    where, name = _which(service, name, file)
    with shielded(lambda: story("a moment: what runs is being told")):
        revoked = revoke_key(where, name, file=file, target=target)
    if output is Output.json:
        answer_json({"version": DOCUMENT_VERSION, **revoked._asdict()})
    else:
        _show_revoked(revoked)


PARTS = {"add": add, "list": list_, "revoke": revoke}


def _which(service: str, name: str | None, file: Path | None) -> tuple[str | None, str]:
    """The service and the key's name: with --file, the only word is the name."""
    if file is None and name is None:
        raise InputError(
            "say which service, and the key's name",
            where="SERVICE NAME",
            hint=f"for example: {service} alice; deployctl status lists the services",
        )
    if file is not None and name is not None:
        raise InputError(
            "with --file, give the key's name alone", where=service, hint=f"leave out {service}"
        )
    return (service, name) if name is not None else (None, service)


def _show_added(added: "AddedKey") -> None:
    story(f"key {added.name} of {added.service or added.file}")
    if added.expires:
        story(f"  expires {_time(added.expires)}")
    for remark in added.remarks:
        story(f"  {remark}")
    story(f"  {_COUNTS_FROM[added.counts_from]}")
    if added.key is None:
        return
    kept = "it is kept" if added.name == "default" else "what is kept is its hash"
    story(f"  the key itself, on stdout this once; {kept}:")
    try:
        sys.stdout.write(f"{added.key}\n")
        sys.stdout.flush()
    except OSError as error:
        raise StateError(
            f"the key could not be written to stdout: {error.strerror}",
            hint=f"revoke {added.name}, and add it again: its key is lost",
        ) from error


def _show_revoked(revoked: "RevokedKey") -> None:
    place, name = revoked.service or revoked.file, revoked.name
    when = {
        "now": "the engine that runs refuses it",
        "soon": "the pods refuse it once their nodes have looked at the Secret: within two minutes",
        "next_start": "nothing runs",
        "next_up": "what runs has no door, and takes it until the next deployctl up",
        None: "the door refuses it once it reads this file",
    }[revoked.counts_from]
    say(f"{name} of {place} is revoked: {when}")
    if revoked.left == 0:
        story("  no key is left: nobody gets in until there is one")
    if name == "default" and revoked.service:
        story(f"  deployctl keys add {place} default makes a new one")


def _show_list(listed: "KeyList") -> None:
    place = listed.service or listed.file
    if listed.open:
        story(f"{place} has no keys, and needs none: it listens on loopback alone")
    elif not listed.keys:
        story(f"{place} has no keys: nobody gets in until there is one")
    else:
        header = ("NAME", "STATE", "EXPIRES", "CREATED", "MODELS", "LIMITS", "NOTE")
        print_rows([header, *map(_row, listed.keys)])


def _row(key: "ListedKey") -> tuple[str, ...]:
    units = zip(key.limits.values(), ("at once", "req/min", "tok/min"), strict=True)
    return (
        key.name,
        key.state,
        _time(key.expires) if key.expires else "-",
        (key.created or "-")[:10],
        "all" if key.models is None else ",".join(key.models) or "none",
        ", ".join(f"{amount} {what}" for amount, what in units if amount is not None) or "-",
        key.note or "-",
    )


def _time(text: str) -> str:
    return datetime.fromisoformat(text).strftime("%Y-%m-%d %H:%M %Z")
