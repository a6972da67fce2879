"""`--tuned`: a recommendation laid over the spec, wherever a plan is made."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deployctl import host
from deployctl.errors import InputError
from deployctl.events import Event, Tell, silent
from deployctl.hardware import GpuProfile
from deployctl.operations import prepare as plain
from deployctl.operations.prepare import Prepared
from deployctl.spec import ServiceSpec

if TYPE_CHECKING:  # tuning is imported only where there is a recommendation
    from deployctl.tuning.overlay import Overlaid
    from deployctl.tuning.recommendation import Hardware, Recommendation


@dataclass(frozen=True)
class Tuned:
    """A recommendation that was read, and how it is to be used."""

    path: Path
    recommendation: "Recommendation"
    anyway: bool = False  # though it was measured on something else
    pinned: frozenset[str] = frozenset()  # settings that a flag or the environment gives


def read(
    path: Path | None, anyway: bool, specs: Sequence[ServiceSpec], given: Collection[str]
) -> Tuned | None:
    """Reads the recommendation; None where none was named.

    Raises:
        InputError: it cannot be read, or there are several services.
    """
    if path is None:
        return None
    from deployctl.tuning import recommendation

    loaded = recommendation.load(path)
    if len(specs) != 1:
        raise InputError(
            f"a recommendation is for one service, and {len(specs)} are given",
            where="--tuned",
            hint="give the service a file of its own",
        )
    return Tuned(path, loaded, anyway, frozenset(given))


def prepare(spec: ServiceSpec, tuned: Tuned | None, tell: Tell = silent) -> Prepared:
    """As `operations.prepare.prepare`, with the recommendation laid over the spec. Tells what it
    changes.

    Raises:
        InputError: it was measured on something else, or does not go with the spec.
        Otherwise as `operations.prepare.prepare`.
    """
    if tuned is None:
        return plain.prepare(spec)
    from deployctl.tuning import overlay

    recommended = tuned.recommendation
    laid = overlay.overlay(recommended, spec, pinned=tuned.pinned, where=str(tuned.path))
    prepared = plain.prepare(laid.spec)
    here = this_hardware(prepared.profile, prepared.spec.gpus)
    apart = overlay.mismatches(recommended, prepared.plan, prepared.facts, here)
    if apart and recommended.settings and not tuned.anyway:
        raise InputError(
            "; ".join(apart),
            where=str(tuned.path),
            hint="run deployctl tune here, or use it all the same with --tuned-anyway",
        )
    _tell(recommended, laid, tuned.path, tell)
    if recommended.settings:
        for reason in [*apart, *_else_changed(recommended, laid, prepared)]:
            tell(Event("warning", reason))
    return prepared


def document(tuned: Tuned, prepared: Prepared) -> dict[str, Any]:
    """What JSON answers say of it."""
    recommended = tuned.recommendation
    return {
        "file": str(tuned.path),
        "verdict": recommended.verdict,
        "settings": recommended.settings,
        "kept": sorted(tuned.pinned & recommended.settings.keys()),
        "study": recommended.measured.study,
        "engine_args": list(prepared.plan.engine.args),
    }


def this_hardware(profile: GpuProfile, gpus: int) -> "Hardware":
    """The hardware that a plan is for, in a recommendation's words."""
    from deployctl.tuning import overlay

    return overlay.hardware(profile, gpus, processor() if profile.kind == "cpu" else None)


def processor() -> str | None:
    """This host's CPU and how many threads of it we may use: `AMD EPYC 9R14, 16 threads`."""
    name = host.processor()
    return f"{name}, {host.cores()} threads" if name else None


def _tell(recommended: "Recommendation", laid: "Overlaid", path: Path, tell: Tell) -> None:
    if not recommended.settings:
        word = recommended.verdict.replace("_", " ")
        tell(Event("heading", f"{path}: {word}: {recommended.why}; it changes nothing"))
        return
    for change in laid.changes:
        was = "" if change.spec is None else f", in place of the spec's {change.spec}"
        tell(Event("note", f"tuned: {change.name} {change.recommended}{was}"))
    if not laid.changes and not laid.kept:
        tell(Event("heading", f"{path}: the spec has these settings already"))
    for change in laid.kept:
        said = f"{change.name} is {change.spec}, as given by flag or variable"
        tell(Event("warning", f"{said}; {change.recommended} is what was measured"))


def _else_changed(recommended: "Recommendation", laid: "Overlaid", prepared: Prepared) -> list[str]:
    from deployctl.tuning import overlay

    kept = {change.name for change in laid.kept}
    return [
        line
        for line in overlay.other_flags(recommended, prepared.plan)
        if overlay.plain(line.split(" ", 1)[0]) not in kept
    ]
