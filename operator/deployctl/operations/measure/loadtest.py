"""A load test from request to outcome: one run, several loads, or a search for the limit."""

from pathlib import Path
from typing import Any, NamedTuple

from deployctl.endpoint import Endpoint
from deployctl.errors import InterruptedByUserError, StateError, TargetError
from deployctl.events import Tell, silent
from deployctl.load.run import UnwrittenError
from deployctl.load.slo import Slo
from deployctl.operations.announce.announcer import Announcer
from deployctl.operations.measure import gate, reports, runs
from deployctl.operations.measure.endpoint import choose, models, with_wire
from deployctl.operations.measure.request import GateRequest, LoadRequest
from deployctl.operations.measure.setup import build
from deployctl.spec.settings import Settings
from deployctl_loadtest.result import LoadResult, Setup
from deployctl_loadtest.series import Series


class LoadOutcome(NamedTuple):
    """What a load test came to: the result of one run, or those of a series."""

    result: LoadResult | Series
    folder: Path
    gated: bool = False

    def document(self) -> dict[str, Any]:
        """The JSON answer."""
        return {**self.result.to_dict(), "folder": str(self.folder)}

    def enforce(self, tell: Tell = silent) -> None:
        """Raises what the result means for whoever asked for a service that holds its SLO.

        Raises:
            InterruptedByUserError: Ctrl-C.
            SloMissedError: the gate was asked for, and is not passed.
            TargetError: no request succeeded.
        """
        if self.result.interrupted:
            raise InterruptedByUserError("interrupted")
        if isinstance(self.result, Series):
            if self.gated:
                gate.enforce_series(self.result, tell)
            return
        gate.enforce(self.result, tell)
        if not self.result.requests.ok:
            setup = self.result.setup
            kinds = ", ".join(f.outcome for f in self.result.requests.failures)
            raise TargetError(
                f"no request succeeded{f' ({kinds})' if kinds else ''}",
                where=setup.url,
                hint="deployctl smoke says what is wrong"
                if kinds
                else f"none ended within {setup.duration_s:g} s: measure longer, or lower the load",
            )


class UnreportedError(StateError):
    """The disk was full, or went away; `outcome` is what was measured all the same."""

    def __init__(self, error: StateError, outcome: LoadOutcome) -> None:
        super().__init__(error.message, where=error.where, hint=error.hint)
        self.outcome = outcome


def load_test(
    request: LoadRequest,
    endpoint: Endpoint,
    held_to: GateRequest | None = None,
    *,
    folder: Path | None = None,
    tell: Tell = silent,
) -> LoadOutcome:
    """Measures what is asked for, and writes its folder, reports included.

    `folder` is by default one of its own below `results/`. What the outcome means, `enforce` says.

    Raises:
        InputError: what is asked for makes no sense, or the folder cannot be made.
        TargetError: the server does not answer, or Locust ended with nothing to report.
        UnreportedError: results or reports could not be written.
    """
    held_to = held_to or GateRequest()
    slo = gate.slo_of(held_to)
    announcer = Announcer(Settings(), tell)
    endpoint = with_wire(endpoint, request.header, request.ca_file)
    # Pods get no operator's token: whether they are let in without it is asked before they start.
    asks = endpoint.as_client() if request.on is not None else endpoint
    setup = build(request, endpoint, choose(endpoint, models(asks)))
    gated = held_to.fail_on_breach
    if request.sweep is None and request.find_max is None:
        outcome = _single(request, setup, endpoint, folder, slo, gated, tell)
    else:
        outcome = LoadOutcome(*_several(request, setup, endpoint, folder, slo, tell), gated)
    try:
        reports.write_reports(outcome.folder, outcome.result, held_to.junit, tell)
    except StateError as error:
        raise UnreportedError(error, outcome) from error
    if isinstance(outcome.result, LoadResult):
        announcer.measured(outcome.result, outcome.folder)
    return outcome


def _single(
    request: LoadRequest,
    setup: Setup,
    endpoint: Endpoint,
    folder: Path | None,
    slo: Slo | None,
    gated: bool,
    tell: Tell,
) -> LoadOutcome:
    run = runs.measure_with_enough_workers if request.workers == "auto" else runs.measure
    try:
        measured = run(setup, endpoint, folder, slo=slo, gated=gated, tell=tell)
    except UnwrittenError as error:
        result, where = error.measurement.result, error.measurement.folder
        raise UnreportedError(error, LoadOutcome(result, where, gated)) from error
    return LoadOutcome(measured.result, measured.folder, gated)


def _several(
    request: LoadRequest,
    setup: Setup,
    endpoint: Endpoint,
    folder: Path | None,
    slo: Slo | None,
    tell: Tell,
) -> tuple[Series, Path]:
    if request.sweep is not None:
        return runs.sweep(setup, endpoint, folder, runs.parse(request.sweep), slo, tell)
    by_users = request.users is not None
    return runs.find_max(setup, endpoint, folder, slo, by_users=by_users, tell=tell)
