"""The options of `deployctl loadtest` that say what load: one dataclass, one field an option."""

import dataclasses
import inspect
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, Literal, get_type_hints

import typer

from deployctl.operations.measure.endpoint import CaFileOption, HeaderOption


def _option(flag: str, help: str, metavar: str, **more: Any) -> Any:
    return typer.Option(flag, help=help, metavar=metavar, **more)


@dataclasses.dataclass(frozen=True)
class LoadFlags:
    """What was given on the command line; None where nothing was."""

    users: Annotated[
        int | None,
        _option(
            "--users",
            "Closed loop: users at once; each asks again when it has its answer. \\[default: 4]",
            "N",
            min=1,
        ),
    ] = None
    rate: Annotated[
        float | None,
        _option(
            "--rate",
            "Open loop: requests a second, sent when they are due whatever the server does.",
            "R",
        ),
    ] = None
    arrivals: Annotated[
        str | None,
        _option(
            "--arrivals",
            "How they are spread: constant, poisson, or gamma:CV. \\[default: poisson]",
            "KIND",
        ),
    ] = None
    sweep: Annotated[
        str | None,
        _option("--sweep", "Measure several loads in turn: users=1,2,4 or rate=0.5,1,2.", "LOADS"),
    ] = None
    find_max: Annotated[
        Literal["goodput"] | None,
        _option(
            "--find-max",
            "goodput: search for the highest load at which --slo holds, by doubling, then "
            "bisection. From --rate (1) up, or from --users up.",
            "WHAT",
        ),
    ] = None
    trace: Annotated[
        Path | None,
        _option(
            "--trace",
            "Replay real traffic: a file in Mooncake's (JSON lines) or BurstGPT's (CSV) format.",
            "FILE",
        ),
    ] = None
    trace_speed: Annotated[
        float | None, _option("--trace-speed", "Replay it so many times as fast.", "X")
    ] = None
    requests: Annotated[
        int | None,
        _option("--requests", "End after N requests; then no warm-up is cut.", "N", min=1),
    ] = None
    duration: Annotated[
        str | None,
        _option("--duration", "How long to measure: 30s, 5m. \\[default: 30s]", "TIME"),
    ] = None
    warmup: Annotated[
        str | None,
        _option(
            "--warmup",
            "How long to run before that; left out of the figures. \\[default: 5s]",
            "TIME",
        ),
    ] = None
    ramp: Annotated[
        str,
        _option("--ramp", "Let users or rate grow for so long, before the warm-up.", "TIME"),
    ] = "0s"
    workload: Annotated[
        str | None,
        _option(
            "--workload",
            "What is asked: chat, fixed, lognormal, multi-turn, shared-prefix, uniform, or a file. "
            "\\[default: fixed]",
            "NAME",
        ),
    ] = None
    input_tokens: Annotated[
        int | None,
        _option("--input-tokens", "How long prompts are. \\[default: the workload's]", "N", min=1),
    ] = None
    prompt_tokens: Annotated[int | None, typer.Option(hidden=True, min=1)] = None  # its other name
    output_tokens: Annotated[
        int | None,
        _option("--output-tokens", "How long answers are. \\[default: the workload's]", "N", min=1),
    ] = None
    ignore_eos: Annotated[
        Literal["auto", "yes", "no"],
        _option(
            "--ignore-eos",
            "Make answers exactly that long: yes, no, or auto: where the server is vLLM.",
            "WHEN",
        ),
    ] = "auto"
    api: Annotated[
        Literal["chat", "completions"], _option("--api", "chat or completions.", "API")
    ] = "chat"
    seed: Annotated[
        int | None,
        _option(
            "--seed",
            "Fixes prompts and arrivals. \\[default: new ones every run, so that the prefix cache "
            "is not what is measured]",
            "N",
            min=0,
        ),
    ] = None
    workers: Annotated[
        str,
        _option(
            "--workers",
            "Load processes: a number, or auto: as many as the load takes, up to one a core.",
            "N",
        ),
    ] = "1"
    header: HeaderOption = None
    extra_body: Annotated[
        str | None,
        _option(
            "--extra-body",
            "More fields of each request: a JSON object, or @FILE.",
            "JSON",
        ),
    ] = None
    ca_file: CaFileOption = None
    timeout: Annotated[str, _option("--timeout", "When a request is given up.", "TIME")] = "10m"


def load_options(verb: Callable[..., None]) -> Callable[..., None]:
    """Gives `verb(flags, …)` an option for every field of LoadFlags, and keeps its own."""
    own = [p for p in inspect.signature(verb).parameters.values() if p.name != "flags"]
    hints = get_type_hints(LoadFlags, include_extras=True)
    fields = [
        inspect.Parameter(
            field.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=field.default,
            annotation=hints[field.name],
        )
        for field in dataclasses.fields(LoadFlags)
    ]

    @wraps(verb)
    def wrapper(**values: Any) -> None:
        flags = LoadFlags(**{field.name: values.pop(field.name) for field in fields})
        verb(flags=flags, **values)

    last = [p for p in own if p.name in ("folder", "output")]
    first = [p for p in own if p not in last]
    parameters = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in (*first, *fields, *last)]
    wrapper.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    wrapper.__annotations__ = {p.name: p.annotation for p in parameters}
    return wrapper
