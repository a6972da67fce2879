"""A service is brought up, rolled back or taken down: a typed request, one call, an answer.

The command line, a controller and a program of one's own call the same functions.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from deployctl.errors import (
    DeployctlError,
    InterruptedByUserError,
    SloMissedError,
    TargetError,
    of_service,
)
from deployctl.events import Event, Tell, silent
from deployctl.operations import kinds, upload
from deployctl.operations.announce.announcer import Announcer
from deployctl.operations.bundle import NO_VALUES, ChartOptions, render, render_alone
from deployctl.operations.deploy import placement
from deployctl.operations.deploy.deployed import Deployed, NotKept
from deployctl.operations.deploy.incluster import tell_drift
from deployctl.operations.deploy.oncards import refuse_no_room
from deployctl.operations.deploy.request import VerificationRequest, When
from deployctl.operations.deploy.services import open_store
from deployctl.operations.deploy.verification import settle
from deployctl.operations.deploy.verified import Aside, Verified, VerifiedRollout
from deployctl.operations.fetch import bring, bring_back
from deployctl.operations.monitoring.stack import keep_in_step, refuse_elsewhere
from deployctl.operations.prepare import Prepared, Tuned, prepare, refuse_unfit
from deployctl.planning.plan import ServingPlan
from deployctl.render import Bundle, chat
from deployctl.spec import ServiceSpec, TargetKind
from deployctl.targets import Driver, View, history, keyfile, keys, open_driver, open_view
from deployctl.targets.history import Outcome, Release
from deployctl.targets.readiness import Tools
from deployctl.targets.rollout import REAL, Rollout
from deployctl.targets.store import ServiceRef, Store


@dataclass(frozen=True)
class Deployment:
    """What is wanted of one service: said by flags, by a custom resource, or by hand."""

    spec: ServiceSpec
    tuned: Tuned | None = None  # a recommendation, laid over the spec
    chart: ChartOptions = NO_VALUES  # values of the user's own, on Kubernetes
    verification: VerificationRequest | None = None  # to keep the new release only if it holds
    take_over: bool = False  # another service of that name, where the target has one
    monitored: bool = False  # monitoring is to be brought up beside it: only target docker has it
    beside: When = "auto"  # behind a gateway, it comes up next to the old one, and takes over

    def check(self) -> None:
        """Refuses a verification that makes no sense, before anything is done.

        Raises:
            InputError: there is no SLO, or what is asked for does not go together.
        """
        if self.verification is not None:
            settle(self.verification, self.tuned, self.spec)


def up(deployment: Deployment, tell: Tell = silent, *, tools: Tools = REAL) -> Deployed:
    """Plans, renders and brings a service up; returns when it answers a real completion. Monitoring
    that was brought up from here watches it then.

    The same deployment twice changes nothing the second time. `tools` are the clock and the like.

    Raises:
        InputError: the spec, the checkpoint, the recommendation or the verification is wrong.
        PlanRefusedError: it does not fit, or cannot run.
        SloMissedError: its verification failed; what served before serves. `error.result` is a
            `NotKept`, as after any failure while a release was verified.
        EngineError: it did not come up; what ran before runs again.
        InterruptedByUserError: Ctrl-C; what ran before is starting again.
        TargetError: port taken, records unwritable, another deployctl at work, and so on.
    """
    with of_service(deployment.spec.service), _in_step(tell):
        return _up(deployment, tell, tools)


@contextmanager
def _in_step(tell: Tell) -> Iterator[None]:
    """Has monitoring watch the services as a change left them. What was restored after one that
    failed may be at another address than before."""
    try:
        yield
    except (TargetError, SloMissedError, InterruptedByUserError):
        keep_in_step(tell)
        raise
    keep_in_step(tell)


def _up(deployment: Deployment, tell: Tell, tools: Tools) -> Deployed:
    spec, tuned = deployment.spec, deployment.tuned
    asked = deployment.verification
    verification = settle(asked, tuned, spec) if asked is not None else None
    settings, store = open_store(spec)
    spec = kinds.settled(spec, settings, tell)
    prepared = prepare(spec, tuned, tell, among=kinds.in_cluster(spec, settings, tell))
    plan, target = prepared.plan, prepared.target
    if deployment.monitored:
        refuse_elsewhere(target)
    view = open_view(target, settings)
    key_path = store.folder(ServiceRef(target, spec.service)) / keys.API_KEY
    prepared = prepared._replace(spec=keys.with_key_file(prepared.spec, key_path, os.environ))
    refuse_unfit(plan)
    keyfile.refuse_limited(key_path.with_name(keys.KEYS), plan)
    _warns(plan, tell)
    if view is not None:
        view.reach()  # a folder's digest takes long
    prepared = upload.for_an_engine(prepared, tell)
    plan = prepared.plan
    chart = upload.for_a_folder(prepared, deployment.chart, tell)
    bundle = render(target, prepared, chart)
    driver = open_driver(target, settings)
    _begins(prepared, tell)
    rollout = _rollout(
        driver,
        store,
        spec.service,
        tell,
        deployment.take_over,
        tools=tools,
        beside=deployment.beside,
    )
    drifted = view is not None and _tell_drift(view, store, driver, spec.service, tell)
    told = tuned.document(prepared) if tuned is not None else None
    watched = Announcer(settings, tell).change(store, ServiceRef(target, spec.service))
    if verification is None:
        with watched:
            outcome = rollout.up(prepared.spec, plan, bundle, again=drifted)
        return replace(_deployed(driver, store, outcome, rollout), tuned=told)
    verified_rollout = VerifiedRollout(
        verification,
        prepared,
        bundle,
        driver=driver,
        store=store,
        rollout=rollout,
        tell=tell,
        cluster=_beside(view, prepared, bundle, chart) if view is not None else None,
    )
    try:
        with watched:
            outcome, verified = verified_rollout.run(again=drifted)
    except DeployctlError as error:
        if isinstance(error.result, Verified):
            serving = _still_serves(driver, store, spec.service, tell)
            error.result = NotKept(spec.service, target, serving, told, error.result)
        raise
    return replace(_deployed(driver, store, outcome, rollout), tuned=told, verification=verified)


def _warns(plan: ServingPlan, tell: Tell) -> None:
    for warning in plan.warnings:
        tell(Event("warning", f"{warning.message}; {warning.fix}"))


def _begins(prepared: Prepared, tell: Tell) -> None:
    spec, plan = prepared.spec, prepared.plan
    tell(Event("heading", f"{spec.service}: {plan.model} on {plan.gpu}, target {prepared.target}"))
    if plan.context_chosen:
        tell(Event("note", f"{plan.context_words}; {plan.requests_words}"))


def _beside(view: View, prepared: Prepared, bundle: Bundle, chart: ChartOptions) -> Aside:
    """How a release is tried beside the one that serves, on a cluster."""
    return Aside(
        lambda: view.room(prepared.plan, bundle),
        lambda _, plan, spec: render_alone(prepared, chart, plan, spec),
    )


def _tell_drift(view: View, store: Store, driver: Driver, service: str, tell: Tell) -> bool:
    """Whether anybody but us changed what is deployed; says what will be overwritten."""
    current = history.deployed(store.releases(ServiceRef(driver.target, service)))
    if current is None or driver.state(current).condition == "absent":
        return False  # what is there was put there by an up that did not end
    return tell_drift(view, current.bundle, tell)


def rollback(
    service: str,
    revision: int | None = None,
    *,
    target: TargetKind | None = None,
    beside: When = "auto",
    take_over: bool = False,
    tell: Tell = silent,
) -> Deployed:
    """Runs an earlier revision once more: the one named, or the last that ran otherwise; `beside`
    as of a `Deployment`. With `take_over`, of another service of that name, where the target has
    one.

    Raises:
        NotFoundError: no such service, or nothing to go back to.
        InputError: it is to come up beside the one that serves, and is behind no gateway.
        PlanRefusedError: it has no room on its cards, beside the other services.
        Otherwise as `up`.
    """
    settings, store = open_store()
    ref = store.find(service, target)
    driver = open_driver(ref.target, settings)
    rollout = _rollout(driver, store, service, tell, take_over, bring_back, beside=beside)
    if beside == "yes":
        placement.refuse_no_gateway(history.to_go_back_to(store.releases(ref), revision))
    refuse_no_room(store, ref, revision)
    with _in_step(tell):
        with Announcer(settings, tell).change(store, ref):
            outcome = rollout.rollback(revision)
        return _deployed(driver, store, outcome, rollout)


def down(
    service: str,
    *,
    target: TargetKind | None = None,
    spec: ServiceSpec | None = None,
    volumes: bool = False,
    take_over: bool = False,
    tell: Tell = silent,
) -> list[Release]:
    """Stops a service; its history stays. Returns the releases that it stopped. `spec`: the one of
    the service, where that says which cluster it is in.

    With `volumes`, caches, logs, keys and the operator's token go too. With `take_over`, another
    service of that name is stopped, where the target has one.

    Raises:
        NotFoundError: no such service.
        TargetError: something of it still runs, or the records cannot be written.
    """
    settings, store = open_store(spec)
    ref = store.find(service, target)
    driver = open_driver(ref.target, settings)
    with _in_step(tell):
        with Announcer(settings, tell).change(store, ref):
            stopped = _rollout(driver, store, service, tell, take_over).down(volumes=volumes)
        view = open_view(ref.target, settings)
        kept = view.kept(service) if view is not None and not volumes else []
        if kept:
            how = f"deployctl down {service} --volumes removes what no other service uses"
            tell(Event("note", f"kept {', '.join(kept)}; {how}"))
        return stopped


def _rollout(
    driver: Driver,
    store: Store,
    service: str,
    tell: Tell,
    take_over: bool,
    how: Callable[[Driver, Release, Tell], object] = bring,
    tools: Tools = REAL,
    beside: When = "auto",
) -> Rollout:
    rollout = Rollout(
        driver,
        store,
        service,
        tell,
        environment=os.environ,
        bring=lambda _, release: how(driver, release, tell),
        tools=tools._replace(beside=placement.beside(beside, driver.target)),
    )
    if take_over:
        rollout.take_over()
    return rollout


def _deployed(
    driver: Driver, store: Store, outcome: Outcome, rollout: Rollout | None = None
) -> Deployed:
    release = outcome.release
    folder = store.folder(ServiceRef(driver.target, release.service))
    endpoint = driver.endpoint(release)
    return Deployed(
        release,
        driver.target,
        outcome.changed,
        outcome.seconds,
        outcome.fetch_seconds,
        endpoint=endpoint._replace(service=release.service),
        api_key_file=folder / keys.API_KEY if release.spec.needs_api_key else None,
        operator_token_file=folder / keys.OPERATOR_TOKEN if endpoint.operator_token else None,
        log=driver.log_path(release),
        gaps_s=tuple(rollout.gaps_s) if rollout else (),
        held=rollout.front.held() if rollout else None,
        ca_file=driver.gateway.ca_file(release.service) if driver.gateway else None,
        chat_url=chat.address(release.spec, endpoint.gateway),
    )


def _still_serves(driver: Driver, store: Store, service: str, tell: Tell) -> Deployed | None:
    """After a failure: what runs now, looked at rather than believed."""
    try:
        current = history.deployed(store.releases(ServiceRef(driver.target, service)))
        if current is not None and driver.state(current).condition == "running":
            return _deployed(driver, store, Outcome(current, changed=False, seconds=0.0))
    except DeployctlError as error:
        tell(Event("heading", f"what serves now is unknown: {error.message}"))
    return None
