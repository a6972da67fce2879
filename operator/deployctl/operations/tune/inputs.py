"""What a study is about, from a request to a header; and whether this host has room for it."""

import os
from dataclasses import replace
from datetime import datetime
from typing import NamedTuple

from deployctl.doctor import machine
from deployctl.doctor.detect import ask_gpus
from deployctl.doctor.shell import run, there
from deployctl.endpoint import Endpoint
from deployctl.errors import InputError, PlanRefusedError, TargetError
from deployctl.events import Event, Tell
from deployctl.load import slo as slos
from deployctl.load.slo import Slo
from deployctl.operations.bundle import chart_options
from deployctl.operations.deploy.services import open_store
from deployctl.operations.measure import setup as loadsetup
from deployctl.operations.measure.endpoint import Served
from deployctl.operations.measure.request import LoadRequest
from deployctl.operations.prepare import Prepared, prepare, this_hardware
from deployctl.operations.tune import request as asked
from deployctl.operations.tune.request import TuneRequest
from deployctl.planning.plan import ServingPlan
from deployctl.planning.settings import fold
from deployctl.spec import ServiceSpec
from deployctl.spec.service import HOSTS
from deployctl.targets import open_driver, open_view
from deployctl.targets.store import ServiceRef
from deployctl.tuning import space
from deployctl.tuning.plans import Plans, bench_name
from deployctl.tuning.recommendation import Fingerprint
from deployctl.tuning.study import Header, Traffic
from deployctl.tuning.trial import Configuration, Goal, Parameter, Problem
from deployctl_loadtest.result import Setup

# Of a request whose length a file of prompts decides: a conversation's, for what is expected.
_INPUT_TOKENS, _OUTPUT_TOKENS = 256, 128
_WARMUP_S = 2.0  # the engine is warm from its first load on; this fills its queue


class StudyInputs(NamedTuple):
    """All that a study needs, besides a folder."""

    header: Header
    plans: Plans
    problem: Problem
    setup: Setup  # the traffic; load, window and seed are filled in
    slo: Slo | None
    notes: tuple[str, ...]  # what to know before it begins

    @property
    def baseline(self) -> ServingPlan:
        """What runs without any change."""
        return self.plans.plan(Configuration())


def new(spec: ServiceSpec, request: TuneRequest, now: datetime) -> StudyInputs:
    """What a new study needs.

    Raises:
        InputError: a value of the request makes no sense, or two do not go together.
        PlanRefusedError: the service cannot run as it is.
        Otherwise as `prepare`.
    """
    slo = slos.parse(request.slo) if request.slo is not None else None
    goal = asked.goal(request.objective, has_slo=slo is not None)
    budget_s = asked.budget(request.budget)
    prepared = prepare(spec)
    settled = _settled(spec, prepared)
    traffic = Traffic(
        asked.absolute(request.workload or "fixed"),
        request.input_tokens,
        request.output_tokens,
        request.api or "chat",
        _WARMUP_S,
    )
    plans, setup = _plans(settled, prepared, traffic)
    baseline = _baseline(plans)
    parameters = _parameters(request, plans, baseline)
    price = _price(goal, prepared)
    output_tokens = float(setup.output_tokens or _OUTPUT_TOKENS)
    decode = plans.prior(Configuration()).decode_tokens_s
    expected = decode / output_tokens if decode else None
    header = Header(
        created=now.isoformat(timespec="seconds"),
        service=settled.service,
        spec=settled,
        goal=goal,
        slo=slo.text if slo is not None else None,
        traffic=traffic,
        parameters=parameters,
        budget_s=budget_s,
        max_trials=request.max_trials,
        seed=asked.seed(request.seed),
        first=asked.first(request.load, goal, prepared.profile.kind, expected),
        output_tokens=output_tokens,
        usd_per_hour=price * settled.gpus if price else None,
        gpus=settled.gpus,
        fingerprint=fingerprint(plans, baseline),
        chosen=_chosen(prepared.plan),
        values=dict(chart_options([prepared.target], files=request.values or []).overrides),
    )
    return _inputs(header, plans, setup, slo)


def again(header: Header) -> StudyInputs:
    """What a study that began before needs: planned anew, from what it was about.

    Raises:
        As `new`.
    """
    slo = slos.parse(header.slo) if header.slo is not None else None
    prepared = prepare(header.spec)
    plans, setup = _plans(_kept(header.spec, prepared), prepared, header.traffic)
    return _inputs(header, plans, setup, slo)


def _settled(spec: ServiceSpec, prepared: Prepared) -> ServiceSpec:
    """The spec as a study keeps it: the same wherever it is read again."""
    folded, _ = fold(prepared.spec)
    split = prepared.plan.world_size
    # The card is asked for again when the study goes on; one engine is tuned on these targets.
    gpus = spec.gpus if "gpus" in spec.model_fields_set else split
    if prepared.profile.kind == "cpu":
        gpus = 1
    one = folded.model_copy(update={"gpu": spec.gpu, "gpus": gpus, "replicas": 1})
    return _kept(one, prepared)


def _kept(spec: ServiceSpec, prepared: Prepared) -> ServiceSpec:
    """With the context that the plan chose: each configuration would leave room for another."""
    plan = prepared.plan
    if not plan.context_chosen:
        return spec
    cache = {"kv_cache_dtype": plan.engine.defaults["kv_cache_dtype"]} if plan.fp8_chosen else {}
    return spec.model_copy(update={"max_model_len": plan.max_model_len, **cache})


def _chosen(plan: ServingPlan) -> tuple[str, ...]:
    """The settings that the plan chose and that another plan may choose otherwise."""
    if not plan.context_chosen or plan.max_model_len >= plan.model_context:
        return ()
    return ("max_model_len", "kv_cache_dtype") if plan.fp8_chosen else ("max_model_len",)


def _plans(spec: ServiceSpec, prepared: Prepared, traffic: Traffic) -> tuple[Plans, Setup]:
    model = prepared.plan.served_model_name
    setup = loadsetup.build(
        LoadRequest(
            users=1,
            duration="10s",
            warmup=f"{traffic.warmup_s}s",
            workload=traffic.workload,
            input_tokens=traffic.input_tokens,
            output_tokens=traffic.output_tokens,
            api=traffic.api,
            seed=0,
        ),
        Endpoint("http://127.0.0.1", model, None, bench_name(spec.service)),
        Served(model, "vllm"),
    )
    base = spec.model_copy(update={"gpu": prepared.spec.gpu})
    tokens = (setup.input_tokens or _INPUT_TOKENS) + (setup.output_tokens or _OUTPUT_TOKENS)
    cores = machine.of(prepared.target).cores or 1
    return Plans(base, prepared.facts, prepared.profile, float(tokens), cores), setup


def _baseline(plans: Plans) -> ServingPlan:
    plan = plans.plan(Configuration())
    if plan.verdict != "fits":
        raise PlanRefusedError(
            "the service cannot run as it is: "
            + ("; ".join(reason.message for reason in plan.reasons) or plan.verdict),
            where=plan.name,
            hint=plan.reasons[0].fix if plan.reasons else None,
        )
    return plan


def _parameters(request: TuneRequest, plans: Plans, baseline: ServingPlan) -> tuple[Parameter, ...]:
    version = baseline.engine.version
    parameters = space.parameters(
        plans.base,
        baseline,
        plans.profile,
        cores=plans.cores,
        asked=None if request.space is None else space.read(request.space, version),
    )
    if not parameters:
        raise InputError(
            "there is nothing to try: every setting of the space has only the value that the "
            "service has already",
            where="--space",
            hint="give settings more values",
        )
    return parameters


def _price(goal: Goal, prepared: Prepared) -> float | None:
    """US dollars an hour of a GPU."""
    price = prepared.profile.price_per_hour_usd
    if goal == "cost" and not price:
        raise InputError(
            f"the profile {prepared.profile.name} has no price",
            where="--objective cost",
            hint="give --gpu the path of a profile file that says price_per_hour_usd",
        )
    return price


def _inputs(header: Header, plans: Plans, setup: Setup, slo: Slo | None) -> StudyInputs:
    problem = replace(header.problem(), refused=plans.refused, prior=plans.prior)
    notes = []
    sizes = [p for p in header.parameters if p.name == "tensor_parallel_size"]
    if header.gpus > 1:
        tuned = "tensor_parallel_size is tried up to that" if sizes else "it uses"
        notes.append(
            f"{header.gpus} GPUs and one engine: {tuned}, and a GPU that it leaves idle counts "
            "as spent. A smaller size may be better run several times, a service a GPU."
        )
    if "max_model_len" in header.chosen:
        notes.append(
            f"No context was asked for: all configurations have the {header.spec.max_model_len:,} "
            "tokens that the plan chose. Settings that take more memory than now may not fit "
            "beside it; --max-model-len asks for less."
        )
    return StudyInputs(header, plans, problem, setup, slo, tuple(notes))


def fingerprint(plans: Plans, baseline: ServingPlan) -> Fingerprint:
    """What this machine is, as far as it decides what is measured."""
    on, driver = machine.of(plans.target), None
    if plans.profile.kind == "cuda":
        on_it = there(run, os.environ) if plans.target == "docker" else run
        cards = ask_gpus(on_it, thorough=False).cards
        driver = next((card.driver for card in cards if card.driver), None)
    return Fingerprint(
        hardware=this_hardware(plans.profile, plans.base.gpus, plans.target),
        cores=on.cores or 0,
        memory_gib=round(on.memory.total_gib if on.memory else 0.0, 1),
        driver=driver,
        target=plans.target,
        engine_version=baseline.engine.version,
        image=None if plans.target == "process" else baseline.engine.image,
    )


def check_not_running(spec: ServiceSpec, tell: Tell) -> None:
    """Makes sure that the service is not running where there is room for one engine, not for two.

    Warns of other services on this machine: they take from what is measured.

    Raises:
        TargetError: it runs.
    """
    settings, store = open_store(spec)
    service, target = spec.service, spec.target
    if target == "kubernetes":  # what else is there has cards of its own
        refs = [ServiceRef(target, service)]
    else:
        refs = [ref for kind in HOSTS for ref in store.services(kind)] + store.others()
    for ref in refs:
        if ref.service == bench_name(service):
            continue  # what a tune left behind is ended at the first start
        try:
            live = [r for r in store.releases(ref) if r.status in ("pending", "deployed")]
            driver = open_driver(ref.target, settings) if live else None
            runs = driver is not None and any(
                driver.state(release).condition == "running" for release in live
            )
        except TargetError as error:
            tell(Event("warning", f"whether {ref.service} runs is not known: {error.message}"))
            continue
        if not runs:
            continue
        if ref.service != service:
            text = f"{ref.service} is also running here and will distort the measurements"
            tell(Event("warning", text))
            continue
        view = open_view(ref.target, settings)
        room = view.room(live[-1].plan, live[-1].bundle) if view is not None else None
        if room is None or not room.free:
            raise _runs(ref, room.why if room else None)
        tell(Event("note", f"{service} goes on serving: {room.why}"))


def _runs(ref: ServiceRef, why: str | None) -> TargetError:
    name = ref.service
    because = f": {why}" if why else ""
    return TargetError(
        f"{name} is running, and the engine under trial needs its resources{because}",
        where=f"target {ref.target}",
        hint=f"deployctl down {name}, tune, and deployctl up again (--tuned); or tune "
        "on another machine of the same kind",
    )
