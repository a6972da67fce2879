"""A service held against what its cluster holds: what `up` would change, and what of that is drift,
set by somebody else since the release was deployed.
"""

from dataclasses import replace

from deployctl.checking.difference import Difference, compare
from deployctl.checking.effects import Effect
from deployctl.errors import TargetError
from deployctl.events import Event, Tell
from deployctl.render import Bundle
from deployctl.targets import View
from deployctl_loadtest.foreign import printable

_FILE = "cluster.yaml"
_TOLD = 8  # fields of a drift, each by itself


def changes(view: View, bundle: Bundle, former: Bundle) -> list[Difference]:
    """Every field that installing `bundle` would change, where `former` is deployed.

    Raises:
        TargetError: the cluster cannot be asked.
    """
    found, others = _held(view, bundle, former)
    drifted = found if former.digest == bundle.digest else _held(view, former, former)[0]
    places = {each.where for each in drifted}
    return [_as_drift(each, others) if each.where in places else each for each in found]


def drift(view: View, deployed: Bundle) -> list[Difference]:
    """Every field that is not as a deployed bundle made it.

    Raises:
        TargetError: the cluster cannot be asked.
    """
    return changes(view, deployed, deployed)


def tell_drift(view: View, deployed: Bundle, tell: Tell) -> bool:
    """Warns of what an `up` overwrites; whether there is anything."""
    try:
        found = drift(view, deployed)
    except TargetError as error:
        tell(Event("note", f"whether anybody changed it in the cluster is not known: {error}"))
        return False
    for each in found[:_TOLD]:
        values = f"{shown(each.old)} -> {shown(each.new)}"
        tell(Event("warning", f"overwriting {each.where}: {values} ({each.why})"))
    if len(found) > _TOLD:
        tell(Event("warning", f"and {len(found) - _TOLD} fields more"))
    return bool(found)


def shown(value: object) -> str:
    """A value in a line."""
    if value is None:
        return "(not there)"
    text = printable(" ".join(str(value).split()))
    return text if len(text) <= 60 else f"{text[:59]}…"


def _held(view: View, bundle: Bundle, former: Bundle) -> tuple[list[Difference], dict[str, str]]:
    held = view.held(bundle, former)
    refused = [
        Difference("cluster", title, "present", "present", Effect.refused, why)
        for title, why in held.refused.items()
    ]
    found = compare({_FILE: held.now}, {_FILE: held.then}, "kubernetes")
    return [*refused, *(replace(each, file="cluster") for each in found)], held.others


def _as_drift(found: Difference, others: dict[str, str]) -> Difference:
    who = others.get(found.where.partition(":")[0])
    by = f" by {who}" if who else ""
    why = f"; {found.why}" if found.effect is Effect.refused else ""
    what = "removed from" if found.old is None and ":" not in found.where else "changed in"
    return replace(found, drift=True, why=f"drift: {what} the cluster{by}{why}")
