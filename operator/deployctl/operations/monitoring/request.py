"""What may be asked of monitoring, and of a test alert."""

import os
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from deployctl.errors import InputError, did_you_mean
from deployctl.spec.load import ENV_PREFIX
from deployctl.spec.option import option
from deployctl.spec.receivers import Severity

DEFAULT_ALERT = "DeployctlTest"
_FIRST_PORT = 1024  # that a part may listen on: none of them has a capability


class AlertRequest(BaseModel):
    """How a test alert is labelled, and where it is sent."""

    model_config = ConfigDict(frozen=True)

    receiver: str | None = option(
        None,
        "To this receiver alone, at once, whatever severity it wants.",
        metavar="NAME",
        show_default=False,
    )
    severity: Severity | None = option(
        None,
        "critical or warning. [default: that of the alert; critical]",
        metavar="SEVERITY",
        show_default=False,
    )
    service: str | None = option(
        None, "The service that it says it is of.", metavar="SERVICE", show_default=False
    )
    alertmanager: str | None = option(
        None,
        "http://HOST:PORT. [default: the one of up --with-monitoring; port 9093 of this machine]",
        metavar="URL",
        show_default=False,
    )
    wait: float = option(
        45.0,
        "Seconds in which somebody is to have been told; 0: do not wait for it.",
        metavar="SECONDS",
        ge=0,
        le=3600,
    )


class MonitoringRequest(BaseModel):
    """What is wanted of monitoring beside services."""

    model_config = ConfigDict(frozen=True)

    with_monitoring: bool = option(
        False,
        "Prometheus, Alertmanager, Grafana and exporters beside it, on loopback (target docker).",
        "Monitoring",
    )
    monitoring_port: list[str] | None = option(
        None,
        "Port of a part, NAME=PORT: grafana (3000), prometheus (9090), alertmanager (9093), "
        "node-exporter (9100), blackbox-exporter (9115), dcgm-exporter (9400). Repeatable.",
        "Monitoring",
        metavar="NAME=PORT",
        show_default=False,
    )
    monitoring_image: list[str] | None = option(
        None,
        "Image of a part, NAME=IMAGE, instead of the pinned one: from a mirror, say. Repeatable.",
        "Monitoring",
        metavar="NAME=IMAGE",
        show_default=False,
    )

    def ports(self) -> dict[str, int]:
        """Ports by part.

        Raises:
            InputError: there is no such part, or that is no port.
        """
        found: dict[str, int] = {}
        for part, value in _pairs(self.monitoring_port, "--monitoring-port", "grafana=3001"):
            if not value.isdecimal() or not 1 <= int(value) <= 65535:
                raise InputError(
                    f"{value!r} is no port",
                    where="--monitoring-port",
                    hint=f"{_FIRST_PORT} to 65535",
                )
            if int(value) < _FIRST_PORT:
                raise InputError(
                    f"{part} cannot listen on port {value}: it runs without the right to ports "
                    f"below {_FIRST_PORT}",
                    where=f"--monitoring-port {part}={value}",
                    hint=f"choose {_FIRST_PORT} to 65535; what is before it, a proxy say, may have "
                    f"{value}",
                )
            found[part] = int(value)
        return found

    def images(self) -> dict[str, str]:
        """Images by part.

        Raises:
            InputError: there is no such part.
        """
        example = "grafana=mirror.example/grafana/grafana:13.2.3"
        return dict(_pairs(self.monitoring_image, "--monitoring-image", example))

    def check(self, receivers: Path | None = None) -> None:
        """Refuses what makes no sense.

        Raises:
            InputError: a part, a port or an image is wrong; or it is said how, or who is told, and
                monitoring is not asked for.
        """
        given = {"--monitoring-port": self.ports(), "--monitoring-image": self.images()}
        for flag, value in given.items():
            if value and not self.with_monitoring:
                raise InputError(
                    f"{flag} goes with --with-monitoring", where=flag, hint="add --with-monitoring"
                )
        if not self.with_monitoring:
            refuse_receivers(receivers, "--with-monitoring")


def refuse_receivers(file: Path | None, flag: str) -> None:
    """Refuses receivers where nothing tells them, for want of `flag`. Those of the variable are
    for whichever command wants any.

    Raises:
        InputError: they were given by their flag.
    """
    if file is not None and str(file) != os.environ.get(f"{ENV_PREFIX}RECEIVERS"):
        raise InputError(f"--receivers goes with {flag}", where="--receivers", hint=f"add {flag}")


def _pairs(given: list[str] | None, flag: str, example: str) -> list[tuple[str, str]]:
    if not given:
        return []
    from deployctl.render.monitoring.stack import parts  # with all that is rendered

    found = []
    for item in given:
        part, equals, value = item.partition("=")
        if not equals or not value or value.startswith("-") or not value.isprintable():
            raise InputError(f"{item!r} is not NAME=…", where=flag, hint=f"for example {example}")
        if part not in parts():
            hint = did_you_mean(part, parts()) or f"there are {', '.join(parts())}"
            raise InputError(f"monitoring has no part {part!r}", where=flag, hint=hint)
        found.append((part, value))
    return found
