"""The gate of a pipeline: a load test that holds its SLO, and is no worse than the last good runs.

The load test is made before, by `load_test`, with its SLO and as a gate. Here it is compared with
what green runs of the default branch measured on the same runner, engine and card.
"""

import tempfile
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from pydantic import TypeAdapter, ValidationError

from deployctl.errors import DeployctlError, InputError, NotFoundError, SloMissedError
from deployctl.events import Event, Tell, silent
from deployctl.files import write_text
from deployctl.load import compare, folder
from deployctl.load.folder import SavedRun
from deployctl.operations.github.api import GitHub
from deployctl.operations.github.baseline import Found, artifact_name, good_runs
from deployctl.operations.measure.compare import share
from deployctl.operations.measure.reports import job_summary, kept_in
from deployctl.operations.prepare import processor
from deployctl.reports.gatepage import GateReport, MeasuredOn, markdown
from deployctl.reports.hostpage import MOST_OF_A_SUMMARY
from deployctl.spec.settings import Settings
from deployctl.targets import history, open_store, place
from deployctl_loadtest.comparison import Comparison
from deployctl_loadtest.result import Objective

REPORT, PAGE = "gate.json", "gate.md"
_PARTS = 40  # of a run, in the line of bars


class Baseline(NamedTuple):
    """Where the last good runs are looked for, and what is allowed against them."""

    repository: str
    branch: str = "main"
    runs: int = 3
    threshold: str = "5%"


class MeasuredBy(NamedTuple):
    """What the job says of itself. `engine` and `card` are a service's own where they are None."""

    runner: str
    environment: str = ""
    engine: str | None = None
    card: str | None = None


def judge(result: Path, against: Baseline, by: MeasuredBy, tell: Tell = silent) -> GateReport:
    """Judges a load test's folder, and writes gate.json and gate.md into it.

    A GitHub job's summary gets the page.

    Raises:
        NotFoundError: there is no such folder.
        InputError: it was not measured as a gate, or it is not known on what.
        TargetError: GitHub does not answer.
    """
    allowed = share(against.threshold)
    saved = folder.read(result)
    gate, slo = saved.summary.get("gate"), saved.summary.get("slo")
    if not isinstance(gate, dict) or not isinstance(slo, dict):
        raise InputError(
            "it was not measured as a gate",
            where=str(result),
            hint="measure with deployctl loadtest --slo … --fail-on-breach",
        )
    identity = MeasuredOn(
        runner=by.runner, environment=by.environment, **_measured(saved, by.engine, by.card)
    )
    name = artifact_name(identity)
    known: dict[str, Any] = {
        "identity": identity,
        "artifact": name,
        "slo": str(slo.get("text", "")),
        "objectives": _objectives(slo, result),
        "reasons": _reasons(gate),
        "tokens_per_s": _over_time(saved),
    }
    with (
        tempfile.TemporaryDirectory(prefix="deployctl-gate-") as unpacked,
        GitHub(against.repository, "actions: read") as github,
    ):
        tell(Event("note", f"looking for good runs of {against.branch}: {identity}"))
        found = good_runs(github, name, against.branch, Path(unpacked))
        known |= _compared(saved, found, allowed, against)
    report = GateReport(**known)
    write_text(result / REPORT, report.model_dump_json(indent=1) + "\n")
    page = markdown(report, most=MOST_OF_A_SUMMARY)
    write_text(result / PAGE, page)
    job_summary(page, tell, whole=kept_in(result / PAGE))
    return report


def enforce(report: GateReport, *, first: bool = False) -> None:
    """Raises unless it is passed. `first`: a run without a baseline may be one, if its SLO holds.

    Raises:
        SloMissedError: the SLO is missed, a figure got worse, or there is nothing to compare with.
    """
    if report.verdict == "passed" or (first and report.verdict == "no_baseline"):
        return
    hints = {
        "slo_missed": "report.html shows when it went wrong",
        "regressed": "the page has each figure with its interval; gate.md beside the result is it",
        "no_baseline": "a green run of the default branch makes one; --first passes without",
    }
    raise SloMissedError(report.summary, where=report.artifact, hint=hints[report.verdict])


def _measured(saved: SavedRun, engine: str | None, card: str | None) -> dict[str, str]:
    """What was measured, on what, and where."""
    setup = saved.summary["setup"]
    service, at = setup.get("service"), _elsewhere(str(setup.get("url", "")))
    if service:
        try:
            known = _release(str(service))
        except DeployctlError:  # it is gone, or judged where it cannot be asked
            if not (engine and card):
                raise
        else:
            engine, card, at = engine or known[0], card or known[1], known[2]
    if not (engine and card):
        raise InputError(
            "it is not known what was measured",
            where="--engine, --card",
            hint="say both where an address was measured: --engine 'vllm 0.32.0' --card l4",
        )
    named = str(service or setup.get("model") or "")
    return {"service": named, "engine": engine, "card": card, "place": at}


def _elsewhere(url: str) -> str:
    """The host and port of an address; empty where it is this machine's."""
    parts = urlsplit(url)
    name = parts.hostname or ""
    here = name in ("", "localhost", "::1") or name.startswith("127.")
    return "" if here else parts.netloc.rpartition("@")[2]


def _release(service: str) -> tuple[str, str, str]:
    """Engine and card of a service that runs, and where.

    Raises:
        NotFoundError: nothing of it does.
    """
    settings = Settings()
    store = open_store(settings)
    ref = store.find(service)
    release = history.deployed(store.releases(ref))
    if release is None:
        raise NotFoundError(
            f"nothing of {service} runs any more",
            where=service,
            hint="judge before it is taken down, or give --engine and --card",
        )
    plan = release.plan
    card = plan.gpu if plan.accelerator == "cuda" else f"cpu ({processor() or 'unknown'})"
    cards = plan.world_size * plan.replicas
    engine = f"{plan.engine.name} {plan.engine.version}"
    return engine, card if cards == 1 else f"{cards} × {card}", place(ref.target, settings)


def _objectives(slo: dict[str, Any], where: Path) -> tuple[Objective, ...]:
    try:
        return TypeAdapter(tuple[Objective, ...]).validate_python(slo.get("objectives", ()))
    except ValidationError as error:
        raise InputError("its objectives cannot be read", where=str(where)) from error


def _reasons(gate: dict[str, Any]) -> tuple[str, ...]:
    if gate.get("passed") is True:
        return ()
    return tuple(map(str, gate.get("reasons") or ())) or ("its gate is not passed",)


def _compared(
    saved: SavedRun, found: Iterator[Found], allowed: float, against: Baseline
) -> dict[str, Any]:
    """The comparison with the newest of them that are of the same load; or why there is none."""
    now = compare.Side("B", "this run", [saved._replace(folder="this run")])
    others = 0

    def of_this_load() -> Iterator[Found]:
        nonlocal others
        for each in found:
            if compare.differences(compare.Side("A", "", [each.run]), now):
                others += 1
            else:
                yield each

    alike = [*islice(of_this_load(), against.runs)]
    if not alike and others:
        return {"no_baseline": f"the last good runs of {against.branch} were of another load"}
    if not alike:
        return {"no_baseline": f"no green run of {against.branch} measured this"}
    before = compare.Side("A", "the last good runs", [each.run for each in alike])
    answer: Comparison = compare.compare(before, now, allowed)
    return {"comparison": answer, "baseline": tuple(each.good for each in alike)}


def _over_time(saved: SavedRun) -> tuple[float, ...]:
    """Tokens a second of the answers that ended in each part of the window."""
    start, end = saved.summary["window_s"]
    width = (end - start) / _PARTS
    if width <= 0:
        return ()
    totals = [0.0] * _PARTS
    for sample in saved.samples:
        part = int((sample.started_at_s + sample.duration_s - start) // width)
        if 0 <= part < _PARTS:
            totals[part] += sample.output_tokens or 0
    return tuple(round(total / width, 1) for total in totals)
