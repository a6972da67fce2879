"""`deployctl`: finds the verb, imports only its module, and turns errors into exit codes."""

import difflib
import errno
import importlib
import inspect
import io
import os
import select
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple, NoReturn

import typer
from typer.core import TyperGroup
from typer.exceptions import TyperException

from deployctl import __version__
from deployctl.errors import DeployctlError, InputError, InterruptedByUserError, TargetError


class Verb(NamedTuple):
    """A command. Its module has a function `command` that typer can read, or, of a verb that has
    verbs of its own, `PARTS`: such functions by name. `DEFAULT` is the one that is meant where
    none is named."""

    module: str
    summary: str
    panel: str


PREPARE, RUN, MEASURE, HOST = "Before", "Running", "Measuring", "This machine"

VERBS: dict[str, Verb] = {
    "inspect": Verb("inspect", "Show what a checkpoint is and which engine serves it.", PREPARE),
    "plan": Verb("plan.verb", "Show what will run, whether it fits, and why.", PREPARE),
    "fetch": Verb("fetch", "Download a model to where its engine will look for it.", PREPARE),
    "render": Verb("render", "Write the files that a target would run.", PREPARE),
    "check": Verb(
        "check.verb", "Check manifests, Compose files, dashboards and rules offline.", PREPARE
    ),
    "diff": Verb("diff", "Show what a spec would change, and what restarts.", PREPARE),
    "review": Verb(
        "review", "Review a change of spec files: one page for a pull request.", PREPARE
    ),
    "comment": Verb("comment", "Keep a report up to date as one comment on GitHub.", PREPARE),
    "up": Verb("up", "Start or update a service; return when it answers.", RUN),
    "status": Verb("status", "Show what runs and whether it answers.", RUN),
    "logs": Verb("logs", "Show the engine's log.", RUN),
    "history": Verb("history", "List a service's revisions.", RUN),
    "rollback": Verb("rollback", "Go back to an earlier revision.", RUN),
    "down": Verb("down", "Stop a service and leave nothing running.", RUN),
    "clean": Verb("clean", "Free disks of what no kept revision needs.", RUN),
    "boot": Verb("boot", "Start services again after a restart of the machine.", RUN),
    "keys": Verb("keys", "Add, list and revoke the keys of a service's clients.", RUN),
    "alert": Verb("alert", "Send a test alert: is anybody told?", RUN),
    "smoke": Verb("smoke", "Ask a running service a question and check the answer.", MEASURE),
    "metrics": Verb("metrics", "Show the engine's key metrics.", MEASURE),
    "top": Verb("top.verb", "Show services live on one screen: load, latency, keys.", MEASURE),
    "loadtest": Verb("loadtest", "Measure latency and throughput with Locust.", MEASURE),
    "tune": Verb("tune.verb", "Find the engine settings that serve best, by measuring.", MEASURE),
    "gate": Verb(
        "gate", "Judge a load test by its SLO and the last good runs, on GitHub.", MEASURE
    ),
    "propose": Verb("propose", "Open a pull request on GitHub with what tune found.", MEASURE),
    "compare": Verb("compare", "Compare two load tests; fail on a regression.", MEASURE),
    "doctor": Verb("doctor.verb", "Check this machine or a cluster; say how to fix it.", HOST),
    "profiles": Verb("profiles.verb", "List the hardware profiles; add this machine's card.", HOST),
    "demo-model": Verb("demo_model", "Build a small AWQ or GPTQ checkpoint, offline.", HOST),
}

ANNOTATIONS = "DEPLOYCTL_ANNOTATIONS"  # github: errors are annotations too
OUTPUTS = "DEPLOYCTL_OUTPUTS"  # a file that verdict, url, revision and answer are added to
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
_EPILOG = (
    "Exit codes: 0 done · 1 bug · 2 bad input · 3 refused by the plan · 4 the target failed · "
    "5 SLO missed · 130 interrupted"
)


def build(only: str = "", *, every: bool = False) -> typer.Typer:
    """Builds the command line with the options of the verb `only`, or of every verb."""
    app = typer.Typer(
        name="deployctl",
        help="From a model id and a GPU name to a running, load-tested vLLM service.",
        epilog=_EPILOG,
        add_completion=False,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode="rich",
        context_settings={"help_option_names": ["-h", "--help"]},
    )

    @app.callback()
    def root(
        version: bool = typer.Option(
            False, "--version", help="Print the version.", is_eager=True, callback=_version
        ),
    ) -> None:
        del version

    for name, verb in VERBS.items():
        if every or name == only:
            module = importlib.import_module(f"deployctl.cli.{verb.module}")
            if hasattr(module, "PARTS"):
                _add_group(app, name, verb, module)
                continue
            app.command(
                name,
                help=_unwrapped(module.command.__doc__),
                short_help=verb.summary,
                rich_help_panel=verb.panel,
            )(_with_cluster(module.command))
        else:
            app.command(name, short_help=verb.summary, rich_help_panel=verb.panel)(_stub)
    return app


def _add_group(app: typer.Typer, name: str, verb: Verb, module: ModuleType) -> None:
    """Adds a verb that has verbs of its own."""
    default = getattr(module, "DEFAULT", None)
    group = typer.Typer(
        cls=_with_default(default) if default else TyperGroup,
        no_args_is_help=default is None,
        rich_markup_mode="rich",
    )
    for part, command in module.PARTS.items():
        group.command(part, help=_unwrapped(command.__doc__))(_with_cluster(command))
    app.add_typer(
        group,
        name=name,
        help=_unwrapped(module.HELP),
        short_help=verb.summary,
        rich_help_panel=verb.panel,
    )


def _with_default(part: str) -> type[TyperGroup]:
    """A group that takes words which name no part of it for those of `part`."""

    class Group(TyperGroup):
        def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
            named = bool(args) and (args[0] in self.commands or args[0] in ("-h", "--help"))
            return super().parse_args(ctx, args if named else [part, *args])

    return Group


def _with_cluster(command: Callable[..., None]) -> Callable[..., None]:
    """A verb that has a target says too in which cluster, and as whom."""
    if "target" not in inspect.signature(command).parameters:
        return command
    from deployctl.cli.clusteroptions import cluster_options  # those verbs import its options

    return cluster_options(command)


def _unwrapped(text: str | None) -> str:
    """Joins the lines of each paragraph: where they break is the terminal's business."""
    paragraphs = inspect.cleandoc(text or "").split("\n\n")
    return "\n\n".join(
        paragraph if paragraph.startswith(" ") else " ".join(paragraph.split("\n"))
        for paragraph in paragraphs
    )


def _stub() -> None:
    """Stands for a verb that this invocation does not use."""


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"deployctl {__version__}")
        raise typer.Exit


def main() -> NoReturn:
    """Runs the command line and exits."""
    verb = next((word for word in sys.argv[1:] if not word.startswith("-")), "")
    answers, told = _open_streams(), None
    pipe = os.dup(1)  # Rich puts /dev/null in the place of one that breaks
    for stream in (
        sys.stdout,
        sys.stderr,
    ):  # to one that lacks a character, it is written as \uNNNN
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        if not answers:
            raise InputError(
                "standard output is closed: nobody would have the answer",
                hint="send it to a file; to /dev/null if nobody wants it",
            )
        code = build(only=verb)(standalone_mode=False) or 0
        if code == InterruptedByUserError.exit_code:  # typer swallows KeyboardInterrupt itself
            report(InterruptedByUserError("interrupted"))
    except TyperException as error:
        code = _usage(error, verb)
    except DeployctlError as error:
        report(error)
        code, told = error.exit_code, error
    except (KeyboardInterrupt, typer.Abort):
        report(InterruptedByUserError("interrupted"))
        code = InterruptedByUserError.exit_code
    except SystemExit as ended:  # typer's, of a broken pipe, whichever it was
        code = 0 if _unread(pipe) else _bug(ended.__context__ or ended)
    except Exception as error:
        code = _bug(error)
    os.close(pipe)
    code = _flush(code)
    if place := os.environ.get(OUTPUTS):
        _hand_on(Path(place), code, told)
    # A Ctrl-C that met the exec() of a string (a dataclass in an import does one) leaves CPython
    # with the intent to die by SIGINT instead of ending with our code. Another exec() clears it.
    exec("")  # noqa: S102
    sys.exit(code)


def _hand_on(place: Path, code: int, error: DeployctlError | None) -> None:
    """Adds to a file what the next step of a pipeline may ask for."""
    from deployctl.cli import console
    from deployctl.reports.outputs import outputs

    answer = console.answers[0] if console.answers else None
    try:
        with place.open("a", encoding="utf-8") as file:
            file.write(outputs(code, answer, error))
    except OSError as failed:
        console.story(f"warning: cannot write {OUTPUTS}: {failed.strerror}", style="yellow")


def _open_streams() -> bool:
    """Opens those that the caller closed, lest a file that is opened later takes their place.
    Whether standard output was open."""
    answers = sys.stdout is not None
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            os.dup2(os.open(os.devnull, os.O_RDWR), number)
            os.set_inheritable(number, True)
            setattr(sys, name, os.fdopen(number, "w" if number else "r", encoding="utf-8"))
    return answers


def _unread(pipe: int) -> bool:
    """Whether the reader of standard output has left: whoever follows an answer ends well."""
    watch = select.poll()
    watch.register(pipe, 0)  # that nobody reads, or that it is shut, is told unasked
    return bool(watch.poll(0))


def _flush(code: int) -> int:
    """Writes what is left to write, so that Python finds nothing to complain of at its end."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError as error:
            said = isinstance(error, BrokenPipeError) or code == TargetError.exit_code
            if stream is sys.stdout and not said:
                code = _unexpected(error)
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    return code


def _bug(error: BaseException) -> int:
    if os.environ.get("DEPLOYCTL_DEBUG"):
        raise error
    return _unexpected(error)


def _unexpected(error: BaseException) -> int:
    """Reports what nobody has translated: our bug, unless the place that is written to is full."""
    if isinstance(error, OSError) and error.errno in _FULL:
        place = error.filename or "standard output"
        told: DeployctlError = TargetError(
            f"cannot write: {error.strerror}",
            where=str(place),
            hint="make room, or write elsewhere",
        )
    else:
        told = DeployctlError(
            f"a bug in deployctl: {type(error).__name__}: {error}",
            hint="run again with DEPLOYCTL_DEBUG=1 to see where, and report it",
        )
    report(told)
    return told.exit_code


def _usage(error: TyperException, verb: str) -> int:
    """Reports a command line that could not be read, in the shape of every other error."""
    command = f"deployctl {verb}" if verb in VERBS else "deployctl"
    message = error.format_message().replace("Value error, ", "")  # pydantic's, of a choice
    message = message.split(" Did you mean")[0].rstrip(".")
    if not message:  # no arguments at all: typer has printed the help
        return InputError.exit_code
    if verb and verb not in VERBS:
        near = difflib.get_close_matches(verb, VERBS, n=1)
        hint = f"did you mean deployctl {near[0]}?" if near else "deployctl --help lists the verbs"
    else:
        hint = _engine_flag(error) or f"{command} --help says what it takes"
    report(InputError(message[0].lower() + message[1:], where=command, hint=hint))
    return InputError.exit_code


def _engine_flag(error: TyperException) -> str:
    """How to give what is no option of ours, but a flag of vLLM's; empty for anything else."""
    option = str(getattr(error, "option_name", "")).lstrip("-")
    context = getattr(error, "ctx", None)
    takes = {name for given in context.command.params for name in given.opts} if context else ()
    if not option or "--engine-arg" not in takes:
        return ""
    from deployctl.engines.vllm import flags

    found = flags.flag(option.replace("_", "-"), flags.versions()[-1])
    value = "" if found is None or found.kind == "bool" else "=VALUE"
    return f"vLLM's own flags are given as --engine-arg {option}{value}" if found else ""


def report(error: DeployctlError) -> None:
    """Prints an error: what is wrong, where, and a hint."""
    from deployctl.cli.console import story

    story(f"error: {error.message}", style="bold red", prefix=6)
    if error.where:
        story(f"   at: {error.where}")
    for line in getattr(error, "log_tail", ()):
        story(f"     | {line}", style="dim")
    if hint := error.hint or _hint(error):
        story(f" hint: {hint}", style="cyan", prefix=6)
    if os.environ.get(ANNOTATIONS) == "github":
        _annotate(error)


def _annotate(error: DeployctlError) -> None:
    """Has the pipeline show an error at its line of the spec."""
    from deployctl.cli.console import annotate
    from deployctl.reports.annotation import of_error
    from deployctl.spec.place import locate

    annotate(of_error(error, locate(error.where, error.files), Path.cwd()))


def _hint(error: DeployctlError) -> str:
    """What helps against an error that has no hint of its own."""
    if isinstance(error, InputError):
        return "--help of the verb says what it takes"
    if isinstance(error, TargetError):
        return "deployctl doctor looks for what is wrong on this machine"
    return ""
