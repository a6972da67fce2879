"""From a service and a configuration to the spec of the engine that is tried. Pure."""

from typing import Any

from deployctl.errors import SpecError
from deployctl.spec import ServiceSpec
from deployctl.tuning.trial import Configuration

SUFFIX = "-tune"
_LONGEST = 40  # characters of a service's name


def bench_name(service: str) -> str:
    """The name that engines under trial run under: the service itself is left alone."""
    return service[: _LONGEST - len(SUFFIX)].rstrip("-") + SUFFIX


def candidate(spec: ServiceSpec, configuration: Configuration, *, port: int) -> ServiceSpec:
    """The spec with a configuration's settings, under the bench's name and port.

    Settings that the spec knows go there, others to the engine's arguments, in place of what
    the service says of the same setting.

    Raises:
        SpecError: the spec does not take a setting's value.
    """
    from pydantic import ValidationError

    known = {name: v for name, v in configuration.values if name in ServiceSpec.model_fields}
    others = {name: v for name, v in configuration.values if name not in known}
    named = {_plain(name) for name in configuration.settings}
    kept = {name: v for name, v in spec.engine_args.items() if _plain(name) not in named}
    given: dict[str, Any] = {
        # What the service leaves unset stays so: the planner reads that as a choice of its own.
        **spec.model_dump(exclude_unset=True),
        **known,
        "engine_args": {**kept, **others},
        "name": bench_name(spec.service),
        "port": port,
        # A process is asked over loopback. A Docker engine may be on another host.
        "expose": spec.expose and spec.target == "docker",
    }
    try:
        return ServiceSpec.model_validate(given)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise SpecError(str(first["msg"]), where=where) from error


def _plain(name: str) -> str:
    """`--no-enable-prefix-caching` and `enable_prefix_caching` are one setting."""
    return name.strip("-").replace("-", "_").removeprefix("no_")
