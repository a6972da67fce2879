"""Which HTTP routes a vLLM release has (deploy/engines/vllm-routes.json), and who may ask which
of them (deploy/door/routes.yaml).
"""

from collections.abc import Iterable
from functools import cache
from typing import NamedTuple

from deployctl import assets
from deployctl.engines.vllm.versions import document, in_force


class Access(NamedTuple):
    """Routes as "METHOD /path", by who may ask them. All else is let in by nobody."""

    user: tuple[str, ...]  # with a key
    operator: tuple[str, ...]  # with the operator's token
    probe: tuple[str, ...]  # anyone


def served(version: str) -> tuple[str, ...]:
    """Every route of a release, as "METHOD /path"; of one that is not known, of the one before."""
    periods = document("routes")["routes"].items()
    return tuple(route for route, when in periods if in_force(when, version))


def every() -> tuple[str, ...]:
    """Every route that any release has."""
    return tuple(document("routes")["routes"])


@cache
def clients() -> frozenset[str]:
    """The routes that are for clients, whatever the task."""
    tasks = assets.table("deploy", "door", "routes.yaml")["user"].values()
    return frozenset(route for task in tasks for route in task)


@cache
def probes() -> frozenset[str]:
    """The routes that anyone may ask whether an engine is well."""
    return frozenset(assets.table("deploy", "door", "routes.yaml")["probe"])


def access(version: str, tasks: Iterable[str]) -> Access:
    """Who may ask what of an engine that does `tasks`."""
    table = assets.table("deploy", "door", "routes.yaml")
    has = set(served(version))
    user = [route for task in ("every", *tasks) for route in table["user"].get(task, ())]
    groups = (dict.fromkeys(user), table["operator"], table["probe"])
    return Access(*(tuple(route for route in group if route in has) for group in groups))
