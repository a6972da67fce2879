"""From a service and a configuration to the spec of the engine that is tried. Pure."""

from deployctl.spec import ServiceSpec
from deployctl.tuning.planned import configured
from deployctl.tuning.trial import Configuration

SUFFIX = "-tune"
_LONGEST = 40  # characters of a service's name


def bench_name(service: str) -> str:
    """The name that engines under trial run under: the service itself is left alone."""
    return service[: _LONGEST - len(SUFFIX)].rstrip("-") + SUFFIX


def candidate(spec: ServiceSpec, configuration: Configuration, *, port: int) -> ServiceSpec:
    """The spec with a configuration's settings, under the bench's name and port."""
    return configured(spec, configuration).model_copy(
        update={
            "name": bench_name(spec.service),
            "port": port,
            # A process is asked over loopback. A Docker engine may be on another host.
            "expose": spec.expose and spec.target == "docker",
        }
    )
