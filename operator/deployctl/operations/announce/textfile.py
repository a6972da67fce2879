"""Files for node-exporter's textfile collector: whole or not at all, and readable by its user.

Names are in deploy/engines/metrics-beside.yaml.
"""

import re
from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily

from deployctl import files
from deployctl.errors import StateError
from deployctl.targets import history
from deployctl.targets.history import Release
from deployctl_loadtest.foreign import printable

_READABLE = 0o644
_STATUSES = ("deployed", "failed", "removed")
_UNFIT = re.compile(r"[^A-Za-z0-9._-]+")


class Releases:
    """The series of one service's releases, oldest first, of which there is one at least: which one
    serves, and what became of the newest."""

    def __init__(self, target: str, releases: Sequence[Release]) -> None:
        self._target, self._releases = target, releases

    def collect(self) -> Iterable[GaugeMetricFamily]:
        """Asked by the registry."""
        newest, serving = self._releases[-1], history.deployed(self._releases)
        values = [printable(newest.service), self._target]

        def gauge(name: str, said: str, *more: str) -> GaugeMetricFamily:
            labels = ["service", "target", *more]
            return GaugeMetricFamily(f"deployctl_release_{name}", said, labels=labels)

        revision = gauge("revision", "The revision that serves; 0 where none does.")
        revision.add_metric(values, serving.revision if serving else 0)
        made = gauge("created_timestamp_seconds", "When the newest revision was made, since 1970.")
        made.add_metric(values, datetime.fromisoformat(newest.created).timestamp())
        became = gauge("status", "1 for what became of the newest revision.", "status")
        for status in _STATUSES:
            became.add_metric([*values, status], newest.status == status)
        return revision, made, became

    def text(self) -> str:
        """The file's content."""
        registry = CollectorRegistry()
        registry.register(self)
        return generate_latest(registry).decode()


def path(folder: Path, *words: str) -> Path:
    """The file of what these words name."""
    return folder / f"deployctl_{'_'.join(_UNFIT.sub('-', word) for word in words)}.prom"


def write(file: Path, text: str | None) -> None:
    """Writes the file; without a text, there is none.

    Raises:
        StateError: its folder is not there or cannot be written, or the disk is full.
    """
    if not file.parent.is_dir():
        raise StateError("there is no such folder", where=str(file.parent))
    try:
        if text is None:
            file.unlink(missing_ok=True)
        else:
            files.replace_text(file, text, mode=_READABLE)
    except OSError as error:
        raise StateError(f"cannot be written: {error.strerror}", where=str(file)) from error
