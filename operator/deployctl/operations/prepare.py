"""From a spec to a plan: the one place where hub, model, hardware and planning meet.

What plans, renders or runs calls `prepare`. A recommendation (`--tuned`) is laid over the spec.
"""

import os
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from deployctl import hub, model
from deployctl.errors import InputError, PlanRefusedError, SpecError, of_service
from deployctl.events import Event, Tell, silent
from deployctl.given import one_word, read_word
from deployctl.hardware import GpuProfile, all_profiles, load_profile, own_profiles
from deployctl.model import ModelFacts
from deployctl.planning.make import make_plan
from deployctl.planning.plan import Accelerator, ServingPlan
from deployctl.render import gateway
from deployctl.render.bundle import refuse_named_cards
from deployctl.render.clashes import Hosted, clashes
from deployctl.spec import ServiceSpec, TargetKind
from deployctl.spec.service import ANY_CARD, HOSTS, MOST_KINDS

if TYPE_CHECKING:  # tuning is imported only where there is a recommendation
    from deployctl.tuning.overlay import Overlaid
    from deployctl.tuning.recommendation import Hardware, Recommendation


class Prepared(NamedTuple):
    """A spec, and all that follows from it."""

    spec: ServiceSpec  # gpu and target settled; a folder's path made absolute
    facts: ModelFacts
    profile: GpuProfile
    plan: ServingPlan

    @property
    def target(self) -> TargetKind:
        """Where it runs."""
        return target_of(self.spec, self.profile.kind)


@dataclass(frozen=True)
class Tuned:
    """A recommendation that was read, and how it is to be used."""

    path: Path
    recommendation: "Recommendation"
    anyway: bool = False  # though it was measured on something else
    pinned: frozenset[str] = frozenset()  # settings that a flag or the environment gives

    def document(self, prepared: Prepared) -> dict[str, Any]:
        """What JSON answers say of it."""
        recommended = self.recommendation
        return {
            "file": str(self.path),
            "verdict": recommended.verdict,
            "settings": recommended.settings,
            "kept": sorted(self.pinned & recommended.settings.keys()),
            "study": recommended.measured.study,
            "engine_args": list(prepared.plan.engine.args),
        }


def read_recommendation(
    path: Path | None, anyway: bool, specs: Sequence[ServiceSpec], given: Collection[str]
) -> Tuned | None:
    """Reads the recommendation; None where none was named.

    Raises:
        InputError: it cannot be read, or there are several services.
    """
    if path is None:
        return None
    from deployctl.tuning import recommendation

    loaded = recommendation.load(path)
    if len(specs) != 1:
        raise InputError(
            f"a recommendation is for one service, and {len(specs)} are given",
            where="--tuned",
            hint="give the service a file of its own",
        )
    return Tuned(path, loaded, anyway, frozenset(given))


def prepare(
    spec: ServiceSpec,
    tuned: Tuned | None = None,
    tell: Tell = silent,
    *,
    among: Sequence[GpuProfile] = (),
) -> Prepared:
    """Reads the checkpoint and the hardware profile, and plans. Refusal is in `plan.verdict`.

    A recommendation is laid over the spec first; what it changes is told. `among`: the kinds of
    cards that `--gpu any` means, where it is known which there are.

    Raises:
        InputError: the spec, the checkpoint's documents or the profile are wrong, or what is wanted
            of the gateway cannot be; or the recommendation was measured on something else, or does
            not go with the spec.
        PlanRefusedError: of what fits, the target has no such thing.
        TargetError: the Hub, or the machine asked for its GPU, did not answer.
    """
    with of_service(spec.service):
        return _prepare(spec, among) if tuned is None else _overlaid(spec, tuned, tell, among)


def _overlaid(spec: ServiceSpec, tuned: Tuned, tell: Tell, among: Sequence[GpuProfile]) -> Prepared:
    from deployctl.tuning import overlay

    recommended = tuned.recommendation
    laid = overlay.overlay(recommended, spec, pinned=tuned.pinned, where=str(tuned.path))
    prepared = _prepare(laid.spec, among)
    here = this_hardware(prepared.profile, prepared.spec.gpus, prepared.target)
    apart = overlay.mismatches(recommended, prepared.plan, prepared.facts, here)
    if apart and recommended.settings and not tuned.anyway:
        raise InputError(
            "; ".join(apart),
            where=str(tuned.path),
            hint="run deployctl tune here, or use it all the same with --tuned-anyway",
        )
    _tell(recommended, laid, tuned.path, tell)
    if recommended.settings:
        for reason in [*apart, *_else_changed(recommended, laid, prepared)]:
            tell(Event("warning", reason))
    return prepared


def _prepare(spec: ServiceSpec, among: Sequence[GpuProfile]) -> Prepared:
    claimed = _claimed(spec, among) if spec.claims_cards or spec.cards else ()
    profile = claimed[0] if claimed else resolve_profile(spec)
    source, facts = checkpoint(spec)
    settled = spec.model_copy(
        update={
            "model": source,
            "gpu": profile.name if spec.gpu == "auto" else spec.gpu,
            "target": target_of(spec, profile.kind),
        }
    )
    if not claimed:
        plan = make_plan(settled, facts, profile)
    else:
        from deployctl.planning.cards import plan_cards

        plan, profile = plan_cards(settled, facts, claimed, others=spec.gpu == ANY_CARD)
    prepared = Prepared(settled, facts, profile, plan)
    if plan.verdict == "fits":
        refuse_unrendered(plan, settled, prepared.target)
    return prepared


def refuse_unrendered(plan: ServingPlan, spec: ServiceSpec, target: TargetKind) -> None:
    """Refuses what rendering would, for whoever only plans.

    Raises:
        InputError: what is wanted of the gateway cannot be.
        PlanRefusedError: the target has none; or named cards are not as many as the plan uses.
    """
    refuse_named_cards(plan, target)
    gateway.check(plan, spec, target)


def refuse_clashes(services: Iterable[Prepared]) -> None:
    """Refuses services that cannot be on one host beside each other.

    Raises:
        InputError: an engine or the gateway has the port that another is to have, or serves it
            otherwise.
    """
    hosted = [Hosted(each.plan, each.spec, each.target) for each in services]
    for error in clashes(hosted, apart=apart(hosted)):
        raise error


def apart(services: Sequence[Hosted]) -> bool:
    """Whether those in Docker are on another host than processes: on the one that the engine's
    address names."""
    if not {each.target for each in services}.issuperset(HOSTS):
        return False
    from deployctl.targets.docker.address import docker_host, is_local  # most verbs ask for none

    return not is_local(docker_host(os.environ))


def checkpoint(spec: ServiceSpec) -> tuple[str, ModelFacts]:
    """Where the checkpoint is, a folder by its absolute path, and what it says of itself.

    Raises:
        InputError: its documents are missing or wrong.
        TargetError: the Hub did not answer.
    """
    token = hub_token(spec.hf_token_file)
    documents = hub.fetch(spec.model, revision=spec.revision, token=token, offline=spec.offline)
    return documents.source, model.facts_from(documents)


def target_of(spec: ServiceSpec, kind: Accelerator) -> TargetKind:
    """Where a service runs: as its spec says, else as a process on a CPU, in Docker on a GPU, on
    Kubernetes where it claims its cards.
    """
    if spec.target or spec.claims_cards:
        return spec.target or "kubernetes"
    return "process" if kind == "cpu" else "docker"


def _claimed(spec: ServiceSpec, among: Sequence[GpuProfile]) -> tuple[GpuProfile, ...]:
    """The kinds of cards that a claim may be given; none where cards are not claimed.

    Raises:
        SpecError: what the spec says of cards does not go together.
    """
    where, said = "--cards", spec.cards or "claim"
    if spec.target in HOSTS:
        message = f"a {said} is how pods of Kubernetes get cards, and the target is {spec.target}"
        raise SpecError(message, where=where, hint="use --target kubernetes, or name one --gpu")
    if not spec.claims_cards:
        return ()
    several = spec.gpu == ANY_CARD or len(spec.kinds) > 1
    if several and spec.cards == "device-plugin":
        raise SpecError(
            "a device plugin does not choose among several kinds of cards",
            where=where,
            hint="leave it out: several kinds are asked for by a claim (DRA)",
        )
    if several and spec.gpu_memory_gib is not None:
        message = "the memory of a card is said for one kind, and there are several"
        raise SpecError(message, where="--gpu-memory-gib", hint="name one --gpu, or leave it out")
    if len(spec.kinds) > MOST_KINDS:
        message = f"a claim has {MOST_KINDS} alternatives at most, and {len(spec.kinds)} are named"
        raise SpecError(message, where="--gpu", hint="name fewer, or use --gpu any")
    if spec.gpu == ANY_CARD:
        return tuple(among) or tuple(
            p for p in (*all_profiles(), *own_profiles()) if p.kind == "cuda"
        )
    if not several:
        profiles = [resolve_profile(spec)]
    else:
        profiles = [load_profile(name) for name in spec.kinds]
    if any(profile.kind == "cpu" for profile in profiles):
        raise SpecError("a CPU is no card to claim", where="--gpu", hint="name GPUs")
    return tuple({profile.name: profile for profile in profiles}.values())


def refuse_unfit(plan: ServingPlan) -> None:
    """Refuses a plan that does not fit or cannot run.

    Raises:
        PlanRefusedError: says why, with the first fix.
    """
    if plan.verdict != "fits":
        raise PlanRefusedError(
            "; ".join(reason.message for reason in plan.reasons) or "the plan refuses",
            where=plan.name,
            hint=plan.reasons[0].fix if plan.reasons else "see deployctl plan",
        )


def resolve_profile(spec: ServiceSpec) -> GpuProfile:
    """Loads the profile that `spec.gpu` names, or the one of the card found for `auto`.

    The CPU's profile gets the memory of the machine that it is on.

    Raises:
        ProfileError: no such profile, or a broken file.
        SpecError: `auto` on a cluster, whose cards are not this machine's.
        DockerError: the other host that a Docker engine is on does not answer.
    """
    if spec.gpu == "auto":
        if spec.target == "kubernetes":
            raise SpecError(
                "which card the pods are to have is not said",
                where="--gpu",
                hint="deployctl doctor --target kubernetes lists the cluster's; --gpu any claims "
                "the cheapest that is free (DRA)",
            )
        from deployctl.doctor import detect_profile  # most verbs do not ask the machine
        from deployctl.doctor.shell import run, there

        return detect_profile(run if spec.target == "process" else there(run, os.environ))
    profile = load_profile(spec.gpu)
    if profile.kind == "cpu":
        from deployctl.doctor import machine, with_memory

        return with_memory(profile, machine.memory_gib(spec.target))
    return profile


def hub_token(file: Path | None) -> str | None:
    """The Hub token: from `file` where one is named, otherwise from `HF_TOKEN`.

    Raises:
        SpecError: the file cannot be read or holds no token. The token itself is never shown.
    """
    if file is not None:
        where, hint = f"hf_token_file: {file}", "write the token alone into the file"
        return read_word(file, what="Hub token", where=where, hint=hint)
    token = os.environ.get("HF_TOKEN", "")
    if not token.strip():
        return None
    return one_word(token, what="Hub token", where="HF_TOKEN", hint="unset it or correct it")


def this_hardware(profile: GpuProfile, gpus: int, target: TargetKind) -> "Hardware":
    """The hardware that a plan is for, in a recommendation's words."""
    from deployctl.tuning import overlay

    return overlay.hardware(profile, gpus, processor(target) if profile.kind == "cpu" else None)


def processor(target: TargetKind = "process") -> str | None:
    """The CPU that a target's engines have, and its threads: `AMD EPYC 9R14, 16 threads`."""
    from deployctl.doctor import machine

    return machine.of(target).named


def _tell(recommended: "Recommendation", laid: "Overlaid", path: Path, tell: Tell) -> None:
    if not recommended.settings:
        word = recommended.verdict.replace("_", " ")
        tell(Event("heading", f"{path}: {word}: {recommended.why}; it changes nothing"))
        return
    for change in laid.changes:
        was = "" if change.spec is None else f", in place of the spec's {change.spec}"
        tell(Event("note", f"tuned: {change.name} {change.recommended}{was}"))
    if not laid.changes and not laid.kept:
        tell(Event("heading", f"{path}: the spec has these settings already"))
    for change in laid.kept:
        said = f"{change.name} is {change.spec}, as given by flag or variable"
        tell(Event("warning", f"{said}; {change.recommended} is what was measured"))


def _else_changed(recommended: "Recommendation", laid: "Overlaid", prepared: Prepared) -> list[str]:
    from deployctl.tuning import overlay

    kept = {change.name for change in laid.kept}
    return [
        line
        for line in overlay.other_flags(recommended, prepared.plan)
        if overlay.plain(line.split(" ", 1)[0]) not in kept
    ]
