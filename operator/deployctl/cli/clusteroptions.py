"""In which cluster or on which host a verb works, and as whom: the same options for every verb that
has a target.

What they say is left in the environment, where the settings read it: only the target knows it.
"""

import inspect
import os
import re
from collections.abc import Callable
from functools import wraps
from typing import Annotated, Any

import typer

from deployctl.cli.console import said_place
from deployctl.cli.options import spec_option, with_parameters
from deployctl.errors import DockerError, InputError
from deployctl.spec.fleet import CARDS_VARIABLE
from deployctl.spec.load import ENV_PREFIX
from deployctl.spec.service import NAMESPACE_PATTERN, NAMESPACE_RULE

_AS, _GROUPS = f"{ENV_PREFIX}IMPERSONATE", f"{ENV_PREFIX}IMPERSONATE_GROUPS"
_NAMESPACE = f"{ENV_PREFIX}NAMESPACE"
_PANEL = "Where it runs"  # beside --context and --namespace, which a spec has there
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
_HOST = f"{ENV_PREFIX}HOST"
HostOption = Annotated[
    str | None,
    typer.Option(
        "--host",
        help="Another host's Docker engine, over the system's own ssh: ssh://USER@HOST. "
        f"[dim]\\[{_HOST}][/dim]",
        metavar="URL",
        envvar=_HOST,
        show_envvar=False,
        rich_help_panel=_PANEL,
        show_default=False,
    ),
]
_KEYWORD = inspect.Parameter.KEYWORD_ONLY
_PLACE = (
    inspect.Parameter("host", _KEYWORD, default=None, annotation=HostOption),
    inspect.Parameter("impersonate", _KEYWORD, default=None, annotation=_AsOption),
    inspect.Parameter("impersonate_groups", _KEYWORD, default=[], annotation=_AsGroupOption),
)


def cluster_options(verb: Callable[..., None]) -> Callable[..., None]:
    """Gives a verb that has a target the options that say in which cluster, unless it has those of
    a spec, and as whom. Where one of them is given, `target` is kubernetes, if nothing else is.
    """
    wanted = inspect.signature(verb).parameters
    place = {name: spec_option(name) for name in ("context", "namespace")}
    if "context" in wanted:
        place = {}

    @wraps(verb)
    def wrapper(**values: Any) -> None:
        said_place.clear()
        if (host := values.pop("host")) is not None:
            _refuse_others(values.get("target"))
            on_host(host)
            values["target"] = "docker"
            said_place.extend(["--host", host])
        named = {name: given for name in place if (given := values.pop(name)) is not None}
        said_place.extend(word for name in named for word in (f"--{name}", str(named[name])))
        os.environ.update({f"{ENV_PREFIX}{name.upper()}": named[name] for name in named})
        if place:
            _check_namespace("--namespace" if "namespace" in named else _NAMESPACE)
        user = values.pop("impersonate")
        _act_as(user, values.pop("impersonate_groups"))
        if "target" in values and values["target"] is None and (named or user):
            values["target"] = "kubernetes"
        verb(**values)

    return with_parameters(wrapper, [*wanted.values(), *place.values(), *_PLACE])


def _check_namespace(where: str) -> None:
    """Refuses what cannot be a namespace's name.

    Raises:
        InputError: the variable's value, or the option's, is none.
    """
    name = os.environ.get(_NAMESPACE)
    if name is not None and not re.fullmatch(NAMESPACE_PATTERN, name):
        raise InputError(f"{name!r} is no namespace", where=where, hint=NAMESPACE_RULE)


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


def on_host(url: str) -> None:
    """Leaves for the target docker where its engine is. What is known of that host's services is in
    a folder of its own: two hosts may have one of the same name.

    Raises:
        InputError: the address is none.
    """
    from deployctl.spec.settings import Settings
    from deployctl.targets.docker.line import SshHost
    from deployctl.targets.store import host_folder

    try:
        name = str(SshHost.of(url))
    except DockerError as error:  # a password may be in it
        raise InputError(error.message, where="--host", hint=error.hint) from error
    folder = host_folder(Settings().state_dir, name)
    os.environ.update({"DOCKER_HOST": url, f"{ENV_PREFIX}STATE_DIR": str(folder)})
    for name in ("DOCKER_CONTEXT", CARDS_VARIABLE):  # which hides cards of this machine
        os.environ.pop(name, None)


def _refuse_others(target: str | None) -> None:
    """Refuses another target on another host.

    Raises:
        InputError: one is named.
    """
    if target not in (None, "docker"):
        raise InputError(
            f"target {target} knows no other host",
            where="--host",
            hint="leave --target out, or --host",
        )
