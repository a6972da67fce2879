"""What a load test's result is held to."""

from deployctl.errors import InputError, SloMissedError
from deployctl.events import Event, Tell, silent
from deployctl.load import gate
from deployctl.load import slo as slos
from deployctl.load.slo import Slo
from deployctl.operations.measure.request import GateRequest
from deployctl_loadtest.result import LoadResult
from deployctl_loadtest.series import Series


def slo_of(request: GateRequest) -> Slo | None:
    """The SLO, or None.

    Raises:
        InputError: it makes no sense, or a gate was asked for without one.
    """
    if request.slo is not None:
        return slos.parse(request.slo)
    if request.fail_on_breach:
        raise InputError(
            "--fail-on-breach needs an SLO",
            where="--fail-on-breach",
            hint="add for example --slo ttft_p95=500ms,error_rate=0.1%",
        )
    return None


def enforce(result: LoadResult, tell: Tell = silent) -> None:
    """Raises if the gate was asked for and is not passed.

    Raises:
        SloMissedError: with the first reason; the others are told.
    """
    if result.gate is None or result.gate.passed:
        return
    first, *more = result.gate.reasons
    for reason in more:
        tell(Event("heading", f"also: {reason}"))
    raise SloMissedError(
        f"the gate is not passed: {first}",
        where=f"--slo {result.slo.text}" if result.slo else None,
        hint="report.html shows when it went wrong; measure longer to narrow an interval",
    )


def enforce_series(series: Series, tell: Tell = silent) -> None:
    """Raises if a run of a sweep, or the answer of a search, does not pass the gate.

    Raises:
        SloMissedError: with the reasons of the first such run; the others are told.
    """
    if series.limit is not None:
        answer = gate.judge_search(series.limit)
        if not answer.passed:
            raise SloMissedError(
                f"the gate is not passed: {answer.reasons[0]}",
                where=f"--slo {series.limit.slo}",
                hint="measure longer (--duration), with more --workers, or begin at a lower load",
            )
        return
    failed = [
        f"{series.variable} {point.value:g}: {'; '.join(answer.reasons)}"
        for point in series.points
        if not (answer := gate.judge(point.result)).passed
    ]
    for text in failed[1:]:
        tell(Event("heading", f"also: {text}"))
    if failed or not series.points:
        raise SloMissedError(
            f"the gate is not passed: {failed[0] if failed else 'there is no run'}",
            hint="leave out the loads that the service need not carry",
        )
