"""`deployctl profiles`: the hardware that deployctl knows, with its figures and their sources; and
one more, from what the driver says of this machine's card."""

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deployctl.cli.console import Output, answer_json, out, story
from deployctl.cli.options import OutputOption
from deployctl.cli.profiles.text import print_all, print_one
from deployctl.errors import InputError, ProfileError

if TYPE_CHECKING:
    from deployctl.hardware import GpuProfile
    from deployctl.hardware.nvidia import Card

PROFILES_VERSION = 1
HELP = """List the hardware profiles, show one with the source of every figure, or add one of this
machine's own card.

A profile is what [bold]--gpu[/bold] names.

[bold]Examples[/bold]

  deployctl profiles

  deployctl profiles l4

  deployctl profiles add --memory-bus-bits 384
"""


_SourceOption = Annotated[
    str | None,
    typer.Option(
        "--from",
        metavar="FILE",
        help="What nvidia-smi wrote on the machine that has the card, - for standard input: "
        "-q -x, or --query-gpu=… --format=csv. [default: ask nvidia-smi here]",
        show_default=False,
    ),
]
_BusOption = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        min=8,
        max=65536,
        help="Width of the memory's bus, from the data sheet: with the memory's clock, which "
        "the driver tells, it gives the bandwidth.",
    ),
]


def show(
    name: Annotated[
        str | None,
        typer.Argument(help="A profile's name, alias or file; all when left out.", metavar="NAME"),
    ] = None,
    output: OutputOption = Output.text,
) -> None:
    """List the profiles, or one with the source of every figure: deployctl profiles NAME.

    A MIG slice of a card is named after it:

        [bold]deployctl plan --model … --gpu a100-80gb:3g.40gb[/bold]

    For a card that is not listed, [bold]deployctl profiles add[/bold] makes a profile; or copy
    the nearest file, correct it, and name it by path: [bold]--gpu ./my-card.yaml[/bold].
    """
    from deployctl.hardware import all_profiles, load_profile, own_profiles

    if name is not None:
        profile = load_profile(name, where="profiles NAME")
        if output is Output.json:
            answer_json({"version": PROFILES_VERSION, "profile": profile.model_dump(mode="json")})
        else:
            print_one(profile)
        return
    profiles = (*all_profiles(), *own_profiles())
    if output is Output.json:
        dumped = [p.model_dump(mode="json") for p in profiles]
        answer_json({"version": PROFILES_VERSION, "profiles": dumped})
    else:
        print_all(profiles)


def add(
    *,
    source: _SourceOption = None,
    card: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Which card, where there are several kinds."),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Name of the profile. [default: from the card's]"),
    ] = None,
    memory_bus_bits: _BusOption = None,
    fields: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="FIELD=VALUE", help="A field of the profile; repeat."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Write over a profile that is there.")] = (
        False
    ),
    output: OutputOption = Output.text,
) -> None:
    """Make a profile of a card that none describes, from what its driver says.

    nvidia-smi tells the name, the memory, the compute capability, the memory's clock and the PCIe
    link. It does not tell how wide the memory's bus is, so the width or the bandwidth is to be
    given. What was taken from where is in the file, which [bold]--gpu NAME[/bold] finds from then
    on and [bold]--gpu auto[/bold] too; correct it by hand where the data sheet knows better.

    Where a profile describes the card already, it is named and nothing is written, unless
    --name gives the copy another name.

    [bold]Examples[/bold]

      deployctl profiles add --memory-bus-bits 384

      nvidia-smi -q -x | deployctl profiles add --from - --set memory_bandwidth_gb_s=768

      deployctl profiles add --from cards.xml --memory-bus-bits 384 --set compute_capability=8.6
    """
    from deployctl.doctor import detect
    from deployctl.hardware.found import one_kind

    given = _given(fields or ())
    if name is not None:
        given["name"] = name
    found, peers = detect.ask_for_profile() if source is None else (_recorded(source), None)
    cards = one_kind(found, card, where=source or "nvidia-smi")
    known = detect.match(cards[0].name or "")
    if known is not None and name is None and not force:
        _known(known, cards, output)
        return
    profile = _made(cards, given, known=known, bus_bits=memory_bus_bits, peers=peers)
    _write(profile, force=force, output=output)


PARTS = {"show": show, "add": add}
DEFAULT = "show"


def _recorded(source: str) -> tuple["Card", ...]:
    from deployctl.given import read_bytes
    from deployctl.hardware.report import LARGEST, read_report

    if source == "-":
        text = sys.stdin.read(LARGEST + 1)
    else:
        try:
            text = read_bytes(Path(source), LARGEST).decode("utf-8", "replace")
        except InputError as error:
            raise ProfileError(error.message, where=f"--from {source}", hint=error.hint) from error
    return read_report(text, f"--from {source}")


def _given(fields: Iterable[str]) -> dict[str, Any]:
    from deployctl.boundedyaml import value_of
    from deployctl.hardware import GpuProfile

    given: dict[str, Any] = {}
    for item in fields:
        field, equals, value = item.partition("=")
        if not equals or field not in GpuProfile.model_fields or field == "sources":
            known = ", ".join(f for f in GpuProfile.model_fields if f != "sources")
            raise ProfileError(
                f"{item!r} sets no field of a profile",
                where="--set",
                hint=f"FIELD=VALUE, of {known}",
            )
        given[field] = value_of(value)
        if field in ("compute_capability", "name", "title"):
            given[field] = value
    return given


def _made(
    cards: tuple["Card", ...],
    given: dict[str, Any],
    *,
    known: "GpuProfile | None",
    bus_bits: int | None,
    peers: bool | None,
) -> "GpuProfile":
    """The profile: of a known card a copy with this machine's memory, else a new one."""
    from deployctl.hardware.found import new_profile

    if known is not None:
        # What the profile knows counts as given, but for the memory where the driver tells it.
        own = {"sources", "startups", "aliases"}
        if all(card.usable_mib is not None for card in cards):
            own.add("memory_gib")
        kept = known.model_dump(exclude=own, exclude_defaults=True)
        profile = new_profile(cards, {**kept, **given}, peers=peers)
        told = {f: text for f, text in known.sources.items() if f.partition(".")[0] in kept}
        changed = {field: "given" for field in given if field in told}
        return profile.model_copy(update={"sources": {**profile.sources, **told, **changed}})
    return new_profile(cards, given, bus_bits=bus_bits, peers=peers)


def _known(profile: "GpuProfile", cards: tuple["Card", ...], output: Output) -> None:
    from deployctl.hardware.found import slices_found

    slices = slices_found(cards, profile)
    if output is Output.json:
        _answer(profile, None, slices)
        return
    out.print(f"{cards[0].name} is known: --gpu {profile.name}", highlight=False)
    if slices:
        out.print(f"It is cut into slices (MIG): --gpu {' or '.join(slices)}", highlight=False)
    elif any(card.mig for card in cards):
        out.print(
            f"MIG is on: name the slice that a service is to have, --gpu {profile.name}:SLICE",
            highlight=False,
        )


def _write(profile: "GpuProfile", *, force: bool, output: Output) -> None:
    import yaml

    from deployctl import files
    from deployctl.hardware.profiles import own_folder, shipped

    file = own_folder() / f"{profile.name}.yaml"
    shadowed = (shipped() / file.name).exists()
    if shadowed or (file.exists() and not force):
        raise ProfileError(
            f"there is a profile {profile.name} already",
            where=str(shipped() / file.name if shadowed else file),
            hint="give another name with --name" + ("" if shadowed else ", or use --force"),
        )
    document = profile.model_dump(mode="json", exclude_defaults=True)
    text = yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=1000)
    comment = "# Written by deployctl profiles add; yours to correct.\n"
    files.write_text(file, comment + text, what="the profile")
    if output is Output.json:
        _answer(profile, file)
        return
    print_one(profile)
    story(f"written; plan with --gpu {profile.name}")


def _answer(profile: "GpuProfile", file: Path | None, slices: Iterable[str] = ()) -> None:
    """`file`: what was written; null where the card is known."""
    answer_json(
        {
            "version": PROFILES_VERSION,
            "file": file and str(file),
            "slices": list(slices),
            "profile": profile.model_dump(mode="json"),
        }
    )
