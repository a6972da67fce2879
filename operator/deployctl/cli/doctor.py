"""`deployctl doctor`: is this machine fit to serve, and if not, what to do about it."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deployctl import assets
from deployctl.cli.console import Output, answer_json, out
from deployctl.cli.options import OutputOption
from deployctl.errors import DeployctlError, SpecError, TargetError
from deployctl.spec.service import HOSTS
from deployctl.units import size

if TYPE_CHECKING:
    from deployctl.doctor.facts import Check, HostFacts, Question

_COLOURS = {"pass": "green", "warn": "yellow", "fail": "bold red"}


def command(
    target: Annotated[
        str | None,
        typer.Option(
            "--target",
            metavar="|".join(HOSTS),
            help="Where services will run. \\[default: docker for a GPU, process for cpu]",
            show_default=False,
        ),
    ] = None,
    gpu: Annotated[
        str,
        typer.Option(
            "--gpu",
            metavar="TEXT",
            help="Profile that the cards should match, a profile file, cpu, or auto.",
        ),
    ] = "auto",
    gpus: Annotated[int, typer.Option("--gpus", min=1, metavar="N", help="GPUs to use.")] = 1,
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            metavar="TEXT",
            help="Also check that this checkpoint fits.",
            show_default=False,
        ),
    ] = None,
    port: Annotated[
        int, typer.Option("--port", min=1, max=65535, metavar="N", help="Port to serve on.")
    ] = 8000,
    output: OutputOption = Output.text,
) -> None:
    """Check this machine: one line a check, and the fix for whatever is wrong.

    Nothing is changed, and nothing takes long. Exits with 0 if a service can
    run (warnings may remain), with 4 when a check failed.

    What serving without a GPU needs:

        [bold]deployctl doctor --gpu cpu[/bold]

    Docker, the NVIDIA driver, and the cards against their profile:

        [bold]deployctl doctor --gpu l4 --gpus 2[/bold]
    """
    from deployctl.doctor.examine import document, examine, gather, verdict

    question, extra = _question(target, gpu, gpus, model, port)
    facts = gather(question)
    checks = [*examine(facts, question), *extra]
    if output is Output.json:
        name = question.profile.name if question.profile else None
        answer_json(document(checks, target=question.target, gpu=name))
    else:
        _print(checks, question, facts)
    if verdict(checks) == "fail":
        raise typer.Exit(TargetError.exit_code)


def _question(
    target: str | None, gpu: str, gpus: int, model: str | None, port: int
) -> tuple["Question", list["Check"]]:
    from deployctl.doctor.facts import Question
    from deployctl.engines.vllm import DEFAULT_VERSION
    from deployctl.hardware import load_profile
    from deployctl.spec.settings import Settings

    named = next((known for known in HOSTS if known == target), None)
    if named is None and target is not None:
        raise SpecError(f"there is no target {target!r}", where="--target", hint=" or ".join(HOSTS))
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
        target=named or ("process" if cpu else "docker"),
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


def _print(checks: list["Check"], question: "Question", facts: "HostFacts") -> None:
    from rich.table import Table
    from rich.text import Text

    if not out.is_terminal:  # one line a check, however long, for grep
        width = max(len(check.title) for check in checks)
        for check in checks:
            fix = f"  (fix: {check.fix})" if check.fix else ""
            line = f"{check.status}  {check.title:{width}}  {check.detail}{fix}"
            out.print(line, markup=False, soft_wrap=True)
        out.print(_summary(checks, question, facts))
        return
    table: Any = Table.grid(padding=(0, 2), expand=False)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for check in checks:
        words = Text(check.detail)
        if check.fix:
            words.append(f"\nfix: {check.fix}", style="cyan")
        table.add_row(Text(check.status, style=_COLOURS[check.status]), check.title, words)
    out.print(table, soft_wrap=False)
    out.print(_summary(checks, question, facts))


def _summary(checks: list["Check"], question: "Question", facts: "HostFacts") -> str:
    count = {s: sum(c.status == s for c in checks) for s in ("pass", "warn", "fail")}
    what = f"target {question.target}"
    if question.profile is not None:
        what += f", {question.profile.name}"
    line = f"\n{count['pass']} passed, {count['warn']} warned, {count['fail']} failed ({what})"
    missing = facts.gpus is not None and facts.gpus.failure == "missing"
    if missing and question.profile is None:
        line += "\nno GPU here: deployctl doctor --gpu cpu looks at serving without one"
    return line
