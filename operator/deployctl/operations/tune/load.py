"""The load tests of a study: measured as `deployctl loadtest` does, and silently."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from deployctl import host
from deployctl.endpoint import Endpoint
from deployctl.load import run as loads
from deployctl.load.client import enough_workers
from deployctl.operations.measure.endpoint import base_url

if TYPE_CHECKING:
    from deployctl.endpoint import Endpoint as Found
    from deployctl.load.slo import Slo
    from deployctl_loadtest.result import LoadResult, Setup
    from deployctl_loadtest.sample import Sample


class QuietLoad:
    """Runs the load tests of one study. What it learns of the client holds for all that follow."""

    def __init__(self) -> None:
        self._workers = 1
        self._cores = host.cores()

    def __call__(
        self, setup: "Setup", endpoint: "Found", slo: "Slo | None", folder: Path
    ) -> "tuple[LoadResult, Sequence[Sample]]":
        """One load test into `folder`.

        Raises:
            TargetError: Locust could not be started, or ended with nothing to report.
            StateError: the result could not be written.
        """
        run = loads.run(
            dataclasses.replace(setup, workers=self._enough(setup)),
            Endpoint(base_url(endpoint.url), endpoint.model, endpoint.api_key, setup.service),
            folder,
            slo=slo,
        )
        if run.result.client.workers_needed is not None:  # the next one has them
            self._workers = min(run.result.client.workers_needed, self._cores)
        return run.result, run.samples

    def _enough(self, setup: "Setup") -> int:
        rate = setup.rate or 0.0
        guess = enough_workers(setup.users, rate, setup.output_tokens, self._cores)
        wanted = max(guess, self._workers)
        return min(wanted, setup.users) if setup.mode == "closed" else wanted
