"""From a spec to a plan: the one place where hub, model, hardware and planning meet.

What plans, renders or runs calls `prepare`.
"""

import os
from pathlib import Path
from typing import NamedTuple

from deployctl import hub, model
from deployctl.errors import PlanRefusedError, SpecError
from deployctl.hardware import GpuProfile, load_profile
from deployctl.model import ModelFacts
from deployctl.planning import ServingPlan, make_plan
from deployctl.spec import ServiceSpec

MAX_TOKEN_BYTES = 4096  # a Hub token is about 40 characters; a larger file is the wrong file


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
    if file is None:
        token, where, hint = os.environ.get("HF_TOKEN", ""), "HF_TOKEN", "unset it or correct it"
    else:
        where, hint = f"hf_token_file: {file}", "write the token alone into the file"
        try:
            with file.expanduser().open("rb") as stream:
                raw = stream.read(MAX_TOKEN_BYTES + 1)
        except OSError as error:
            raise SpecError(
                f"cannot read the Hub token: {error.strerror}", where=where, hint="check the path"
            ) from error
        token = raw.decode("utf-8", "replace")
        if not token.strip():
            raise SpecError("the file with the Hub token is empty", where=where, hint=hint)
    token = token.strip()
    if len(token) > MAX_TOKEN_BYTES or not (token.isascii() and token.isprintable()):
        raise SpecError("this is no Hub token", where=where, hint=hint)
    if any(c.isspace() for c in token):
        raise SpecError("the Hub token is more than one word", where=where, hint=hint)
    return token or None
