"""In which cluster a verb works, and as whom: the same options for every verb that has a target.

What they say is left in the environment, where the settings read it: only the target knows it.
"""

import inspect
import os
from collections.abc import Callable
from functools import wraps
from typing import Annotated, Any

import typer

from deployctl.cli.options import spec_option, with_parameters
from deployctl.errors import InputError
from deployctl.spec.load import ENV_PREFIX

_AS, _GROUPS = f"{ENV_PREFIX}IMPERSONATE", f"{ENV_PREFIX}IMPERSONATE_GROUPS"
_PANEL = "Hardware"  # beside --context and --namespace, which a spec has there
_AsOption = Annotated[
    str | None,
    typer.Option(
        "--as",
        help=f"User to act as in the cluster. [dim]\\[{_AS}][/dim]",
        metavar="USER",
        rich_help_panel=_PANEL,
        show_default=False,
    ),
]
_AsGroupOption = Annotated[
    list[str],
    typer.Option(
        "--as-group",
        help=f"Group to act in there, with --as; repeat for more. [dim]\\[{_GROUPS}][/dim]",
        metavar="GROUP",
        rich_help_panel=_PANEL,
        show_default=False,
    ),
]
_KEYWORD = inspect.Parameter.KEYWORD_ONLY
_IDENTITY = (
    inspect.Parameter("impersonate", _KEYWORD, default=None, annotation=_AsOption),
    inspect.Parameter("impersonate_groups", _KEYWORD, default=[], annotation=_AsGroupOption),
)


def cluster_options(verb: Callable[..., None]) -> Callable[..., None]:
    """Gives a verb that has a target the options that say in which cluster, unless it has those of
    a spec, and as whom.
    """
    wanted = inspect.signature(verb).parameters
    place = {name: spec_option(name) for name in ("context", "namespace")}
    if "context" in wanted:
        place = {}

    @wraps(verb)
    def wrapper(**values: Any) -> None:
        for name in place:
            if (given := values.pop(name)) is not None:
                os.environ[f"{ENV_PREFIX}{name.upper()}"] = given
        _act_as(values.pop("impersonate"), values.pop("impersonate_groups"))
        verb(**values)

    return with_parameters(wrapper, [*wanted.values(), *place.values(), *_IDENTITY])


def _act_as(user: str | None, groups: list[str]) -> None:
    """Leaves for the settings whom to act as; a user that is named here has no groups but these.

    Raises:
        InputError: groups without a user.
    """
    if groups and not (user or os.environ.get(_AS)):
        raise InputError(
            "a group to act in, and no user to act as", where="--as-group", hint="add --as USER"
        )
    if user:
        os.environ[_AS] = user
        os.environ.pop(_GROUPS, None)
    if groups:
        os.environ[_GROUPS] = ",".join(groups)
