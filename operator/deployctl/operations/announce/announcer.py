"""Announcer: tells what happened wherever the settings say. What goes wrong there is a warning."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from deployctl.errors import DeployctlError
from deployctl.events import Event, Tell
from deployctl.operations.announce import happening as happenings
from deployctl.operations.announce.happening import Happening
from deployctl.spec.settings import Settings
from deployctl.targets.history import Release
from deployctl.targets.store import ServiceRef, Store
from deployctl_loadtest.result import LoadResult

if TYPE_CHECKING:
    import httpx


class Announcer:
    """Knows whom to tell."""

    def __init__(
        self, settings: Settings, tell: Tell, transport: "httpx.BaseTransport | None" = None
    ) -> None:
        self._settings, self._tell, self._transport = settings, tell, transport

    @contextmanager
    def change(self, store: Store, ref: ServiceRef) -> Iterator[None]:
        """Tells of the revision that is made or ended meanwhile, however that goes."""
        if self._settings.grafana_url is None and self._settings.textfile_dir is None:
            yield
            return
        before = _newest(store, ref)
        try:
            yield
        finally:
            self._safely("whoever watches", lambda: self._changed(store, ref, before))

    def happened(self, happening: Happening) -> None:
        """Tells Grafana, where there is one."""
        url, token_file = self._settings.grafana_url, self._settings.grafana_token_file
        if url is None:
            return
        from deployctl.operations.announce import grafana

        self._safely(
            "Grafana", lambda: grafana.annotate(url, token_file, happening, self._transport)
        )

    def loaded(self, result: LoadResult, folder: Path) -> None:
        """Tells Grafana of a load test."""
        if self._settings.grafana_url is not None:
            self.happened(happenings.of_load(result, str(folder)))

    def measured(self, result: LoadResult, folder: Path) -> None:
        """Hands on the figures of a load test that stands for itself: none of a series, whose loads
        are chosen to be too much. One that was interrupted is nobody's figure."""
        from deployctl.load import exposition
        from deployctl.operations.announce import pushgateway, textfile

        if result.interrupted:
            return
        name, run = happenings.measured(result), folder.resolve().name
        if (textfiles := self._settings.textfile_dir) is not None:
            file = textfile.path(textfiles, "loadtest", name)
            text = exposition.text(result, run)
            self._safely("node-exporter", lambda: textfile.write(file, text))
        if (url := self._settings.pushgateway_url) is not None:
            commit = self._settings.commit
            if commit is None:
                what = "the Pushgateway gets these figures without a commit, and shows no trend"
                self._tell(Event("warning", f"{what}; set DEPLOYCTL_COMMIT"))
            group = {"service": name, **({"commit": commit} if commit else {})}
            registry = exposition.registry(result, run)
            self._safely(
                "the Pushgateway", lambda: pushgateway.push(url, registry, group, self._transport)
            )

    def _changed(self, store: Store, ref: ServiceRef, before: Release | None) -> None:
        from deployctl.operations.announce import textfile

        releases = store.releases(ref)
        newest = releases[-1] if releases else None
        folder = self._settings.textfile_dir
        if folder is not None:
            file = textfile.path(folder, "release", ref.target, ref.service)
            text = textfile.Releases(ref.target, releases).text() if releases else None
            self._safely("node-exporter", lambda: textfile.write(file, text))
        if newest is None or newest.status not in ("deployed", "failed"):
            return
        if before is None or (newest.revision, newest.status) != (before.revision, before.status):
            self.happened(happenings.of_release(newest, time.time()))

    def _safely(self, whom: str, do: Callable[[], None]) -> None:
        try:
            do()
        except DeployctlError as error:
            where = f" ({error.where})" if error.where else ""
            self._tell(Event("warning", f"{whom} was not told: {error.message}{where}"))


def _newest(store: Store, ref: ServiceRef) -> Release | None:
    try:
        return next(reversed(store.releases(ref)), None)
    except DeployctlError:
        return None  # the work that goes on says so
