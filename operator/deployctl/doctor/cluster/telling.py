"""What the checks of a cluster share in how they say it."""

from collections.abc import Sequence

from deployctl.doctor.cluster.facts import ClusterFacts, Document
from deployctl.doctor.cluster.needs import Needs
from deployctl.doctor.facts import Check, Topic
from deployctl.render import yamltext

LOOKS = "see Permissions: looks"
_NAMED = 4  # names in a line


def unknown(it: Topic, facts: ClusterFacts, field: str, fix: str = LOOKS) -> Check:
    """A field of the facts could not be told, and why."""
    return it.warn(f"unknown: {facts.untold.get(field, 'the API server did not say')}", fix)


def refused(it: Topic, needs: Needs, text: str, fix: str, yaml: str = "") -> Check:
    """What is asked for is not given: a plan fails by that; of a usual service it is a warning."""
    if needs.planned:
        return it.fail(text, fix, yaml)
    return it.warn(f"a usual service: {text}", fix, yaml)


def some(names: Sequence[str]) -> str:
    """The first names, each once, and how many there are more."""
    each = list(dict.fromkeys(names))
    more = f" and {len(each) - _NAMED} more" if len(each) > _NAMED else ""
    return ", ".join(each[:_NAMED]) + more


def values(document: Document) -> str:
    """Values for the chart, as a file of --values has them."""
    return yamltext.write(document, "values of the chart")
