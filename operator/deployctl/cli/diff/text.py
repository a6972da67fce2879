"""A difference as text: gravest first, one field a line."""

from typing import Any

from rich.text import Text

from deployctl.checking.difference import Difference, worst
from deployctl.checking.effects import Effect
from deployctl.operations.deploy.differences import ServiceDiff
from deployctl.units import duration

_STYLE = {
    Effect.refused: "bold red",
    Effect.restarts: "red",
    Effect.rolls: "yellow",
    Effect.in_place: "green",
    Effect.nothing: "dim",
}
_WIDEST = 100  # characters of a value that are shown


def diff_text(sides: ServiceDiff, *, colour: bool) -> Text:
    """Writes the changes of one service, and what they come to."""
    text = Text()

    def put(words: str, style: str = "") -> None:
        text.append(words, style=style if colour else "")

    put(f"{sides.service}", "bold")
    put(f": {sides.target}, against {sides.against}\n")
    said = ""
    for change in sides.differences:
        put(f"  {change.effect.value.replace('_', ' '):9}", _STYLE[change.effect])
        put(f" {_place(change)}: {_shown(change.old)} -> {_shown(change.new)}\n")
        if change.why != said:
            put(f"            {change.why}\n", "dim")
        said = change.why
    for what, old, new in sides.plan:
        put(f"  plan      {what}: {old} -> {new}\n", "dim")
    put(_summary(sides) + "\n")
    return text


def _place(change: Difference) -> str:
    return f"{change.file}  {change.where}" if change.where else change.file


def _shown(value: Any) -> str:
    if value is None:
        return "(not there)"
    words = str(value)
    if words == "":
        return "(set)"
    plain = "".join(c if c.isprintable() else " " for c in words)
    return plain if len(plain) <= _WIDEST else plain[: _WIDEST - 1] + "…"


def _summary(sides: ServiceDiff) -> str:
    gravest = worst(sides.differences)
    budget = duration(sides.startup_budget_s)
    if gravest is None:
        return "nothing differs"
    return {
        Effect.refused: "some of this cannot be applied as it is",
        Effect.restarts: "the engine restarts: no answers until it has loaded, within "
        f"{budget} at the slow end",
        Effect.rolls: f"pods are replaced while others serve; each loads within {budget} at the "
        "slow end",
        Effect.in_place: "nothing restarts",
        Effect.nothing: "nothing that matters to what runs",
    }[gravest]
