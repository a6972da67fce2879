"""`deployctl up`: from a spec to a service that answers, and that is kept if it holds."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deployctl.cli.console import Output, answer_json, print_rows, story, tell
from deployctl.cli.fleet import refuse_alone
from deployctl.cli.options import (
    OutputOption,
    ReceiversOption,
    TakeOverOption,
    TunedAnywayOption,
    TunedOption,
    ValuesOption,
    request_options,
    spec_options,
)
from deployctl.cli.rolloutprogress import (
    DOCUMENT_VERSION,
    FleetProgress,
    RolloutProgress,
    show_deployed,
    show_failure,
    show_fleet,
    tell_gaps,
)
from deployctl.errors import DeployctlError
from deployctl.events import Event
from deployctl.operations.deploy.request import VerificationRequest, request_for, takeover_for
from deployctl.operations.monitoring.request import MonitoringRequest
from deployctl.spec import ServiceSpec

if TYPE_CHECKING:
    from pathlib import Path

    from deployctl.operations.deploy.deployed import Deployed
    from deployctl.operations.deploy.deployment import Deployment
    from deployctl.operations.deploy.fleet import Fleet
    from deployctl.operations.monitoring.stack import HostMonitoring
    from deployctl.planning.fleet.make import PlannedFleet
    from deployctl.spec.fleet import CardsOfHost
    from deployctl.spec.receivers import Receivers

_VerifyOption = Annotated[
    bool,
    typer.Option(
        "--verify",
        help="Keep the new revision only if it meets --slo under load; otherwise the old one is "
        "restored, and the exit code is 5.",
        rich_help_panel="Verification",
    ),
]


@spec_options
@request_options
def command(
    specs: list[ServiceSpec],
    given: frozenset[str],
    fleet: "Sequence[CardsOfHost]",
    *,
    tuned: TunedOption = None,
    tuned_anyway: TunedAnywayOption = False,
    values: ValuesOption = None,
    verify: _VerifyOption = False,
    verification: VerificationRequest,
    take_over: TakeOverOption = False,
    monitoring: MonitoringRequest,
    receivers: ReceiversOption = None,
    output: OutputOption = Output.text,
) -> None:
    """Start or update a service; return when it answers a real completion.

    Plans first, and refuses what cannot work before anything is stopped or started. The same
    spec twice changes nothing the second time. When the new revision does not come up, or on
    Ctrl-C, it is stopped and the one that ran before runs again. With several documents in a
    file (-f), each is brought up in turn, and the first that fails ends the command; on
    Kubernetes all at once, and one that fails stops no other. Services of a file that says the
    host's cards (fleet) get their shares of them, and come up in the order that fits.

    Behind the gateway of a host (--gateway, --domain, several --replicas) requests wait while an
    engine is replaced, and none fails.

    With --verify the new revision is load-tested, and kept only if it meets --slo: otherwise
    the previous one is restored, or was never touched, and the exit code is 5. With
    --with-monitoring a Prometheus, an Alertmanager and a Grafana watch this host's services,
    later ones too, until deployctl down --monitoring.

    [bold]Examples[/bold]

      deployctl up --model Qwen/Qwen2.5-7B-Instruct-AWQ --gpu l4 --namespace llm

      deployctl up --model Qwen/Qwen2.5-7B-Instruct-AWQ --gpu l4 --gateway --with-chat

      deployctl up --model Qwen/Qwen2.5-7B-Instruct-AWQ --gpu l4 --expose --domain llm.example.com

      deployctl up --model Qwen/Qwen2.5-7B-Instruct-AWQ --gpu l4 --replicas 4 --host ssh://ops@gpu1

      deployctl up -f service.yaml --verify --slo ttft_p95=500ms --rate 4 --output json

      deployctl up -f service.yaml --with-monitoring --receivers receivers.yaml

      deployctl up -f fleet.yaml

    [bold]Then[/bold]: deployctl status, logs -f NAME, smoke NAME, rollback NAME, down NAME.
    """
    from deployctl.operations.deploy.fleet import check_all

    planned = _planned(specs, fleet, {"--tuned": tuned, "--take-over": take_over})
    specs = list(planned.specs) if planned else specs
    told = _told(monitoring, receivers, specs)
    of_all = {**_of_all(specs, given, tuned, tuned_anyway, values), "take_over": take_over}
    wanted = _deployments(specs, verification, verify, monitoring)
    deployments = [replace(each, **of_all) for each in wanted]
    check_all(deployments, planned)
    _bring_up(deployments, planned, output, partial(_watched, monitoring, told, specs[0].offline))


def _of_all(
    specs: list[ServiceSpec],
    given: frozenset[str],
    tuned: "Path | None",
    tuned_anyway: bool,
    values: "list[Path] | None",
) -> dict[str, Any]:
    """What is the same of every deployment: the recommendation, and the chart's values."""
    from deployctl.operations.bundle import chart_options
    from deployctl.operations.prepare import read_recommendation

    chart = chart_options([str(spec.target) for spec in specs], files=values or [])
    return {"tuned": read_recommendation(tuned, tuned_anyway, specs, given), "chart": chart}


def _planned(
    specs: list[ServiceSpec], fleet: "Sequence[CardsOfHost]", alone: dict[str, object]
) -> "PlannedFleet | None":
    """The plan of services that share a host's cards; None where they do not."""
    from deployctl.operations.fleet import planned_fleet

    if not fleet:
        return None
    refuse_alone(alone)
    return planned_fleet(specs, fleet)


def _bring_up(
    deployments: "list[Deployment]",
    planned: "PlannedFleet | None",
    output: Output,
    watched: "Callable[[], HostMonitoring | None]",
) -> None:
    """In the order that fits, all at once, or one after the other."""
    from deployctl.operations.deploy.fleet import together

    if planned is not None:
        _up_in_order(deployments, planned, output, watched)
    elif together(deployments):
        _up_together(deployments, output)
    else:
        _up_in_turn(deployments, output, watched)


def _told(
    monitoring: MonitoringRequest, file: "Path | None", specs: list[ServiceSpec]
) -> "Receivers | None":
    """Who is told of alerts; what is wrong with that is said before anything starts."""
    from deployctl.operations.monitoring.folder import receivers_of
    from deployctl.operations.monitoring.stack import refuse_early

    monitoring.check(file)
    if not monitoring.with_monitoring:
        return None
    told = None if file is None else receivers_of(file)
    refuse_early(told or (), [spec.target for spec in specs])
    return told


def _deployments(
    specs: list[ServiceSpec],
    verification: VerificationRequest,
    verify: bool,
    monitoring: MonitoringRequest,
) -> "list[Deployment]":
    from deployctl.operations.deploy.deployment import Deployment

    several = len(specs) > 1
    return [
        Deployment(
            spec,
            verification=request_for(spec, verification, verify, several),
            monitored=monitoring.with_monitoring,
            beside=takeover_for(verification, verify),
        )
        for spec in specs
    ]


def _watched(
    monitoring: MonitoringRequest, receivers: "Receivers | None", offline: bool
) -> "HostMonitoring | None":
    """What watches the services, where it is asked for."""
    from deployctl.operations.monitoring.stack import bring_up

    if not monitoring.with_monitoring:
        return None
    with RolloutProgress() as progress:
        return bring_up(monitoring, receivers, offline=offline, tell=progress)


def _up_in_turn(
    deployments: "list[Deployment]",
    output: Output,
    watched: "Callable[[], HostMonitoring | None]",
) -> None:
    """Brings them up one after the other, and what watches them; the first that fails ends it."""
    from deployctl.operations.deploy.deployed import NotKept

    answers: list[dict[str, Any]] = []
    more: dict[str, Any] = {}
    try:
        for deployment in deployments:
            deployed = _up(deployment)
            answers.append(deployed.document())
            if output is Output.text:
                show_deployed(deployed)
        if (monitoring := watched()) is not None:
            more = {"monitoring": monitoring.document()}
            _tell_monitoring(monitoring, output)
    except DeployctlError as error:
        # What was verified and not kept is an answer too.
        if isinstance(error.result, NotKept):
            answers.append(error.result.document())
        raise
    finally:
        if output is Output.json and answers:
            answer_json({"version": DOCUMENT_VERSION, "services": answers, **more})


def _tell_monitoring(monitoring: "HostMonitoring", output: Output) -> None:
    watched = ", ".join(monitoring.services) or "no service yet"
    story(f"monitoring watches {watched}")
    if output is Output.text:
        told = ", ".join(monitoring.receivers) or "nobody is told"
        password = f"{monitoring.user}, password in {monitoring.password_file}"
        print_rows(
            [
                ("grafana", f"{monitoring.grafana}  ({password})"),
                ("prometheus", monitoring.prometheus),
                ("alerts", f"{monitoring.alertmanager}  ({told})"),
                ("try", "deployctl alert test"),
                ("stop", "deployctl down --monitoring"),
            ]
        )
    if monitoring.unheard:
        of = " or ".join(monitoring.unheard)
        tell(
            Event(
                "warning",
                f"nobody will be told of {of} alerts: --receivers FILE says who "
                "(docs/guides/monitoring.md)",
            )
        )


def _up_together(deployments: "list[Deployment]", output: Output) -> None:
    """Brings several up at once.

    Raises:
        InterruptedByUserError: Ctrl-C.
        TargetError: some did not come up; its exit code is theirs, where they have one.
    """
    from deployctl.operations.deploy.fleet import up_together

    with FleetProgress([deployment.spec.service for deployment in deployments]) as progress:
        fleet = up_together(deployments, progress.of, progress.done)
    if output is Output.json:
        answer_json(_answer(fleet))
    elif fleet.deployed:
        show_fleet(fleet)
    fleet.enforce()


def _up_in_order(
    deployments: "list[Deployment]",
    planned: "PlannedFleet",
    output: Output,
    watched: "Callable[[], HostMonitoring | None]",
) -> None:
    """Brings a fleet up, and what watches it.

    Raises:
        InterruptedByUserError: Ctrl-C.
        TargetError: some did not come up; its exit code is theirs, where they have one.
    """
    from deployctl.operations.deploy.inorder import up_in_order

    fleet = up_in_order(deployments, planned, _up, show_failure)
    if output is Output.text and fleet.deployed:
        show_fleet(fleet)
    more: dict[str, Any] = {}
    try:
        if not fleet.interrupted and (monitoring := watched()) is not None:
            more = {"monitoring": monitoring.document()}
            _tell_monitoring(monitoring, output)
    finally:
        if output is Output.json:
            answer_json(_answer(fleet) | more)
    fleet.enforce()


def _answer(fleet: "Fleet") -> dict[str, Any]:
    services = [deployed.document() for deployed in fleet.deployed]
    failed = [each.document() for each in fleet.failed]
    return {"version": DOCUMENT_VERSION, "services": services, "failed": failed}


def _up(deployment: "Deployment") -> "Deployed":
    from deployctl.cli.loadprogress import LoadProgress
    from deployctl.operations.deploy.deployment import up
    from deployctl.operations.measure.reports import job_summary
    from deployctl.reports.hostpage import code, words

    name = deployment.spec.service
    try:
        with RolloutProgress(LoadProgress()) as progress:
            deployed = up(deployment, progress)
    except DeployctlError as error:
        if error.result is not None:
            job_summary(f"**{code(name)}: not kept.** {words(error.message)}", tell)
        raise
    revision = deployed.release.revision
    if deployed.verification is not None:
        job_summary(f"**{code(name)}: revision {revision} is kept.**", tell)
    tell_gaps(deployed)
    if deployed.changed:
        story(f"{name} serves: revision {revision}, in {deployed.took}")
    else:
        story(f"{name} serves already: revision {revision}, unchanged")
    return deployed
