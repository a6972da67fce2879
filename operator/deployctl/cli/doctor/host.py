"""What this machine is asked, and what is said of it."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

from deployctl import assets
from deployctl.errors import DeployctlError, SpecError
from deployctl.spec.service import TARGETS, TargetKind
from deployctl.units import size

if TYPE_CHECKING:
    from deployctl.doctor.facts import Check, HostFacts, Question


def examine_host(
    target: TargetKind | None, gpu: str, gpus: int, model: str | None, port: int
) -> tuple["Question", "HostFacts", list["Check"]]:
    """Asks this machine.

    Raises:
        InputError: there is no such profile.
    """
    from deployctl.doctor.examine import examine, gather

    question, extra = _question(target, gpu, gpus, model, port)
    facts = gather(question)
    return question, facts, [*examine(facts, question), *extra]


def summary(question: "Question", facts: "HostFacts") -> tuple[str, str]:
    """What was asked, and a remark."""
    what = f"target {question.target}"
    if question.profile is not None:
        what += f", {question.profile.name}"
    missing = facts.gpus is not None and facts.gpus.failure == "missing"
    if missing and question.profile is None:
        return what, "no GPU here: deployctl doctor --gpu cpu looks at serving without one"
    return what, ""


def target_named(target: str | None) -> TargetKind | None:
    """The target of that name.

    Raises:
        SpecError: there is none.
    """
    known = next((each for each in TARGETS if each == target), None)
    if known is None and target is not None:
        hint = " or ".join(TARGETS)
        raise SpecError(f"there is no target {target!r}", where="--target", hint=hint)
    return known


def _question(
    target: TargetKind | None, gpu: str, gpus: int, model: str | None, port: int
) -> tuple["Question", list["Check"]]:
    from deployctl.doctor.facts import Question
    from deployctl.engines.vllm import DEFAULT_VERSION
    from deployctl.hardware import load_profile
    from deployctl.spec.settings import Settings

    profile = None if gpu == "auto" else load_profile(gpu)
    cpu = profile is not None and profile.kind == "cpu"
    settings = Settings()
    places = (
        ("models", _models_folder()),
        ("caches", settings.cache_dir),
        ("state", settings.state_dir),
    )
    wanted, extra = _model_bytes(model)
    question = Question(
        target=target or ("process" if cpu else "docker"),
        profile=profile,
        gpus=gpus,
        port=port,
        holder=_holder(port),
        vllm_version=DEFAULT_VERSION,
        model=model,
        model_bytes=wanted,
        places=places,
        setup=_setup(),
    )
    return question, extra


def _holder(port: int) -> str | None:
    """The service on this machine whose records say that it serves on `port`."""
    from deployctl.operations.deploy.services import open_store

    _, store = open_store()
    for ref in store.services():
        for release in store.releases(ref, skip=store.damaged(ref)):
            if release.status in ("pending", "deployed") and release.spec.port == port:
                return ref.service
    return None


def _setup() -> str:
    """The host script, as it can be typed from here."""
    try:
        script = assets.path("deploy", "ubuntu", "setup.sh")
    except FileNotFoundError:
        return "deploy/ubuntu/setup.sh"
    inside = script.is_relative_to(Path.cwd())
    return str(script.relative_to(Path.cwd()) if inside else script)


def _models_folder() -> Path:
    home = os.environ.get("HF_HOME")
    return Path(home) if home else Path.home() / ".cache" / "huggingface"


def _model_bytes(model: str | None) -> tuple[int | None, list["Check"]]:
    """The bytes to be fetched (none for a folder), and a check that says so or why not."""
    if model is None:
        return None, []
    from deployctl import hub
    from deployctl.doctor.facts import Topic
    from deployctl.model import facts_from
    from deployctl.operations.prepare import hub_token

    it = Topic("model", "Model")
    try:
        facts = facts_from(hub.fetch(model, token=hub_token(None)))
    except DeployctlError as error:
        return None, [it.fail(f"{model}: {error.message}", error.hint or "check --model")]
    detail = f"{model}: {size(facts.weight_bytes)}" if facts.weight_bytes else model
    if facts.local:
        return None, [it.good(f"{detail}, here already")]
    return facts.weight_bytes, [it.good(detail)]
