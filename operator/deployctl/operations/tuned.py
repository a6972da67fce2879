"""`--tuned`: a recommendation laid over the spec, for every verb that plans."""

import os
import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deployctl.cli.console import story
from deployctl.errors import InputError

if TYPE_CHECKING:
    from deployctl.hardware import GpuProfile
    from deployctl.operations.prepare import Prepared
    from deployctl.spec import ServiceSpec
    from deployctl.tuning.recommendation import Hardware, Recommendation

TunedOption = Annotated[
    Path | None,
    typer.Option(
        "--tuned",
        envvar="DEPLOYCTL_TUNED",
        show_envvar=False,
        help="Settings that deployctl tune recommends: its recommendation.yaml. They win over the "
        "spec file; flags and variables win over them. [dim]\\[DEPLOYCTL_TUNED][/dim]",
        metavar="FILE",
        rich_help_panel="Tuning",
        show_default=False,
    ),
]
TunedAnywayOption = Annotated[
    bool,
    typer.Option(
        "--tuned-anyway",
        help="Use them though they were measured with another model, engine version or hardware.",
        rich_help_panel="Tuning",
    ),
]


@dataclass(frozen=True)
class Tuned:
    """A recommendation that was read, and how it is to be used."""

    path: Path
    recommendation: "Recommendation"
    anyway: bool
    pinned: frozenset[str]  # settings that a flag or the environment gives


def read(
    path: Path | None, anyway: bool, specs: "list[ServiceSpec]", given: Collection[str]
) -> Tuned | None:
    """Reads the recommendation; None where none was named.

    Raises:
        InputError: it cannot be read, or there are several services.
    """
    if path is None:
        return None
    from deployctl.tuning import recommendation

    found = recommendation.load(path)
    if len(specs) != 1:
        raise InputError(
            f"a recommendation is for one service, and {len(specs)} are given",
            where="--tuned",
            hint="give the service a file of its own",
        )
    return Tuned(path, found, anyway, frozenset(given))


def prepare(spec: "ServiceSpec", tuned: Tuned | None) -> "Prepared":
    """As `pipeline.prepare`, with the recommendation laid over the spec. Tells what it changes.

    Raises:
        InputError: it was measured on something else, or does not go with the spec.
        Otherwise as `pipeline.prepare`.
    """
    from deployctl.operations import prepare as pipeline

    if tuned is None:
        return pipeline.prepare(spec)
    from deployctl.tuning import overlay

    found = tuned.recommendation
    laid = overlay.overlay(found, spec, pinned=tuned.pinned, where=str(tuned.path))
    prepared = pipeline.prepare(laid.spec)
    here = this_hardware(prepared.profile, prepared.spec.gpus)
    apart = overlay.mismatches(found, prepared.plan, prepared.facts, here)
    if apart and found.settings and not tuned.anyway:
        raise InputError(
            "; ".join(apart),
            where=str(tuned.path),
            hint="run deployctl tune here, or use it all the same with --tuned-anyway",
        )
    _tell(found, laid, tuned.path)
    if found.settings:
        for reason in [*apart, *_else_changed(found, laid, prepared)]:
            story(f"warning: {reason}", style="yellow", prefix=8)
    return prepared


def document(tuned: Tuned | None, prepared: "Prepared") -> dict[str, Any] | None:
    """What JSON answers say of it; None without one."""
    if tuned is None:
        return None
    found = tuned.recommendation
    return {
        "file": str(tuned.path),
        "verdict": found.verdict,
        "settings": found.settings,
        "kept": sorted(tuned.pinned & found.settings.keys()),
        "study": found.measured.study,
        "engine_args": list(prepared.plan.engine.args),
    }


def this_hardware(profile: "GpuProfile", gpus: int) -> "Hardware":
    """The hardware that a plan is for, in a recommendation's words."""
    from deployctl.tuning import overlay

    return overlay.hardware(profile, gpus, processor() if profile.kind == "cpu" else None)


def processor() -> str | None:
    """This host's CPU and how many threads of it we may use: `AMD EPYC 9R14, 16 threads`."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
        threads = len(os.sched_getaffinity(0))
    except (OSError, AttributeError):
        return None
    named = re.search(r"^(?:model name|Model|CPU part)\s*:\s*(.+)$", text, re.MULTILINE)
    return f"{named[1].strip() if named else 'CPU'}, {threads} threads"


def _tell(found: "Recommendation", laid: Any, path: Path) -> None:
    if not found.settings:
        word = found.verdict.replace("_", " ")
        story(f"{path}: {word}: {found.why}; it changes nothing")
        return
    for change in laid.changes:
        was = "" if change.spec is None else f", in place of the spec's {change.spec}"
        story(f"  tuned: {change.name} {change.recommended}{was}")
    if not laid.changes and not laid.kept:
        story(f"{path}: the spec has these settings already")
    for change in laid.kept:
        story(
            f"warning: {change.name} is {change.spec}, as given by flag or variable; "
            f"{change.recommended} is what was measured",
            style="yellow",
            prefix=8,
        )


def _else_changed(found: "Recommendation", laid: Any, prepared: "Prepared") -> list[str]:
    from deployctl.tuning import overlay

    told = {change.name for change in laid.kept}
    return [
        line
        for line in overlay.other_flags(found, prepared.plan)
        if overlay.plain(line.split(" ", 1)[0]) not in told
    ]
