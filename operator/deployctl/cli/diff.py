"""`deployctl diff`: what a change will do, before it is done."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from deployctl.cli.console import Output, answer_json, out
from deployctl.cli.options import OutputOption, spec_options
from deployctl.errors import InputError
from deployctl.spec import ServiceSpec
from deployctl.units import duration
from deployctl_loadtest.foreign import printable

if TYPE_CHECKING:
    from deployctl.checking.difference import Difference
    from deployctl.operations.deploy.differences import ServiceDiff

DOCUMENT_VERSION = 1
DIFFERS = 3  # with --exit-code
_STYLE = {
    "refused": "bold red",
    "restarts": "red",
    "rolls": "yellow",
    "in_place": "green",
    "nothing": "dim",
}
_WIDEST = 100  # characters of a value that are shown

_AgainstOption = Annotated[
    Path | None,
    typer.Option("--against", metavar="DIR", help="Against a rendered folder.", show_default=False),
]
_AgainstFileOption = Annotated[
    Path | None,
    typer.Option(
        "--against-file",
        metavar="FILE",
        help="Against the plan of another spec file.",
        show_default=False,
    ),
]
_ValuesOption = Annotated[
    list[Path] | None,
    typer.Option("--values", help="Your own values for the chart.", show_default=False),
]
_ExitCodeOption = Annotated[
    bool, typer.Option("--exit-code", help="Exit with 3 when something differs.")
]


@spec_options
def command(
    specs: list[ServiceSpec],
    against: _AgainstOption = None,
    against_file: _AgainstFileOption = None,
    values: _ValuesOption = None,
    exit_code: _ExitCodeOption = False,
    output: OutputOption = Output.text,
) -> None:
    """Show what a spec would change and what that does to the running service; nothing is changed.

    By default the spec is compared with what runs: the release that deployctl up deployed, or
    the Compose project that docker compose up started from rendered files. On Kubernetes that
    is what the cluster holds (by a dry run of its API server): what somebody else changed since
    the release was deployed is told as drift, which deployctl up would overwrite. With --against
    DIR it is compared with a rendered folder of any target, with --against-file with the plan
    of another spec file.

    Each change is one field, and one of: refused (cannot be applied as it is), restarts
    (nothing is served while the engine starts), rolls (pods are replaced while others
    serve), in_place (the engine is not touched), nothing (does not affect what runs).

    deployctl diff -f service.yaml

    deployctl diff -f service.yaml --against k8s/chat --exit-code

    deployctl diff -f service.yaml --against-file main.yaml --output json

    Exit code 0; with --exit-code 3 when anything differs.
    """
    from deployctl.operations.deploy.differences import diff

    if against is not None and against_file is not None:
        raise InputError(
            "a spec is compared with one thing at a time",
            where="--against-file",
            hint="leave --against or --against-file out",
        )
    services = list(diff(specs, folder=against, file=against_file, values=values or []))
    if output is Output.json:
        answered = [_document(sides) for sides in services]
        answer_json({"version": DOCUMENT_VERSION, "services": answered})
    else:
        colour = out.color_system is not None and out.is_terminal
        for sides in services:
            out.print(_text(sides, colour=colour), end="", soft_wrap=True)
    if exit_code and any(sides.differences for sides in services):
        raise typer.Exit(DIFFERS)


def _document(sides: "ServiceDiff") -> dict[str, Any]:
    from deployctl.checking.difference import worst

    gravest = worst(sides.differences)
    return {
        "service": sides.service,
        "target": sides.target,
        "against": sides.against,
        "effect": gravest.value if gravest else None,
        "startup_budget_s": sides.startup_budget_s,
        "changes": [
            {
                "file": change.file,
                "where": change.where,
                "old": change.old,
                "new": change.new,
                "effect": change.effect.value,
                "why": change.why,
                "drift": change.drift,
            }
            for change in sides.differences
        ],
        "plan": [{"what": what, "old": old, "new": new} for what, old, new in sides.plan],
    }


def _text(sides: "ServiceDiff", *, colour: bool) -> Text:
    """Writes the changes of one service, and what they come to."""
    text = Text()

    def put(words: str, style: str = "") -> None:
        text.append(words, style=style if colour else "")

    put(f"{sides.service}", "bold")
    put(f": {sides.target}, against {sides.against}\n")
    said = ""
    for change in sides.differences:
        put(f"  {change.effect.value.replace('_', ' '):9}", _STYLE[change.effect.value])
        put(f" {_place(change)}: {_shown(change.old)} -> {_shown(change.new)}\n")
        if change.why != said:
            put(f"            {change.why}\n", "dim")
        said = change.why
    for what, old, new in sides.plan:
        put(f"  plan      {what}: {old} -> {new}\n", "dim")
    put(_summary(sides) + "\n")
    return text


def _place(change: "Difference") -> str:
    return f"{change.file}  {change.where}" if change.where else change.file


def _shown(value: Any) -> str:
    if value is None:
        return "(not there)"
    words = str(value)
    if words == "":
        return "(set)"
    plain = printable(" ".join(words.split()))
    return plain if len(plain) <= _WIDEST else plain[: _WIDEST - 1] + "…"


def _summary(sides: "ServiceDiff") -> str:
    from deployctl.checking.difference import worst

    gravest = worst(sides.differences)
    budget = duration(sides.startup_budget_s)
    if gravest is None:
        return "nothing differs"
    return {
        "refused": "some of this cannot be applied as it is",
        "restarts": "the engine restarts: no answers until it has loaded, within "
        f"{budget} at the slow end",
        "rolls": f"pods are replaced while others serve; each loads within {budget} at the "
        "slow end",
        "in_place": "nothing restarts",
        "nothing": "nothing that affects what runs",
    }[gravest.value]
