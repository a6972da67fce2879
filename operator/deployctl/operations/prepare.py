"""From a spec to a plan: the one place where hub, model, hardware and planning meet.

What plans, renders or runs calls `prepare`.
"""

import os
from pathlib import Path
from typing import NamedTuple

from deployctl import hub, model
from deployctl.errors import PlanRefusedError
from deployctl.files import one_word, read_word
from deployctl.hardware import GpuProfile, load_profile
from deployctl.model import ModelFacts
from deployctl.planning import ServingPlan, make_plan
from deployctl.spec import ServiceSpec


class Prepared(NamedTuple):
    """A spec, and all that follows from it."""

    spec: ServiceSpec  # gpu and target settled; a folder's path made absolute
    facts: ModelFacts
    profile: GpuProfile
    plan: ServingPlan


def prepare(spec: ServiceSpec) -> Prepared:
    """Reads the checkpoint and the hardware profile, and plans. Refusal is in `plan.verdict`.

    Raises:
        InputError: the spec, the checkpoint's documents or the profile are wrong.
        TargetError: the Hub, or the machine asked for its GPU, did not answer.
    """
    profile = resolve_profile(spec)
    documents = hub.fetch(spec.model, revision=spec.revision, token=hub_token(spec.hf_token_file))
    facts = model.facts_from(documents)
    settled = spec.model_copy(
        update={
            "model": documents.source,
            "gpu": profile.name if spec.gpu == "auto" else spec.gpu,
            "target": spec.target or ("process" if profile.kind == "cpu" else "docker"),
        }
    )
    return Prepared(settled, facts, profile, make_plan(settled, facts, profile))


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

    The CPU's profile gets this machine's memory.

    Raises:
        ProfileError: no such profile, or a broken file.
    """
    if spec.gpu == "auto":
        from deployctl.doctor import detect_profile  # most verbs do not ask the machine

        return detect_profile()
    profile = load_profile(spec.gpu)
    if profile.kind == "cpu":
        from deployctl.doctor import for_this_host

        return for_this_host(profile)
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
