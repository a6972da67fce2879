"""Makes options from the fields of pydantic models, so that one place says what can be asked.

A request is a frozen pydantic model below the command line, one field an option:

    class LoadRequest(BaseModel):
        model_config = ConfigDict(frozen=True)

        users: int | None = option(None, "Users at once. [default: 4]", metavar="N", ge=1)
        api: Literal["chat", "completions"] = option("chat", "Which interface.", metavar="API")
        prompts: int | None = option(None, "Another name.", hidden=True)

A verb takes it whole. `request_options` puts the fields' options where that parameter stands,
and makes the request of what was given:

    @request_options
    def command(*, url: UrlOption = None, load: LoadRequest, output: OutputOption = …) -> None:

(After the `*` it may stand between parameters that have defaults: the order is that of `--help`.)
What is left of a field: its description is the help (brackets are text, no markup), its default
the default, `ge` the least value, a Literal the choices, `list[str]` an option to repeat, a bool
a flag without a value; `deployctl.spec.option` tells flag, metavar, heading and what to show. A
request whose field names are taken by the spec's (both in one verb) gives them flags of their
own (`flag="--verify-users"`). A validator's ValueError is told as bad input at that flag.

`spec_options` does the same for ServiceSpec, whose flags lie over environment and files: there
an option that was not given is None, and the spec itself checks the values.
"""

import inspect
import os
import types
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, Union, get_args, get_origin

import typer
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from deployctl.cli.console import OutputOption as OutputOption
from deployctl.cli.fleet import with_fleet
from deployctl.errors import DeployctlError, InputError, SpecError
from deployctl.spec import ServiceSpec, TargetKind, load_specs
from deployctl.spec.load import ENV_PREFIX, complaint, from_environment
from deployctl.spec.option import extras, flag_of
from deployctl.spec.place import Said, mark

FilesOption = Annotated[
    list[Path], typer.Option("--file", "-f", help="Spec file; each YAML document is one service.")
]

TunedOption = Annotated[
    Path | None,
    typer.Option(
        "--tuned",
        envvar="DEPLOYCTL_TUNED",
        show_envvar=False,
        help="Settings that deployctl tune recommends: its recommendation.yaml. They win over the "
        "spec file; flags and variables win over them. [dim]\\[DEPLOYCTL_TUNED][/dim]",
        metavar="FILE",
        rich_help_panel="Tuning",
        show_default=False,
    ),
]
TunedAnywayOption = Annotated[
    bool,
    typer.Option(
        "--tuned-anyway",
        help="Use them though they were measured with another model, engine version or hardware.",
        rich_help_panel="Tuning",
    ),
]

ServiceArgument = Annotated[
    str | None,
    typer.Argument(help="Name of a service. May be left out when one is running.", metavar="NAME"),
]
UrlOption = Annotated[
    str | None,
    typer.Option(
        "--url", help="Any OpenAI-compatible server instead: http://HOST:PORT.", metavar="URL"
    ),
]
ModelOption = Annotated[
    str | None,
    typer.Option(
        "--model", help="Model to ask --url for. \\[default: the one it serves]", metavar="NAME"
    ),
]
KeyFileOption = Annotated[
    Path | None,
    typer.Option(
        "--api-key-file",
        help="File with the API key for --url. DEPLOYCTL_API_KEY works too.",
        metavar="FILE",
    ),
]
TokenFileOption = Annotated[
    Path | None,
    typer.Option(
        "--operator-token-file",
        help="File with the operator's token for --url: a door wants it for metrics and "
        "tokenizer. DEPLOYCTL_OPERATOR_TOKEN works too.",
        metavar="FILE",
    ),
]
ValuesOption = Annotated[
    list[Path] | None,
    typer.Option(
        "--values",
        help="Values of your own for the chart, over the plan's; repeat for more. "
        "See docs/reference/values.md.",
        show_default=False,
    ),
]
ReceiversOption = Annotated[
    Path | None,
    typer.Option(
        "--receivers",
        envvar=f"{ENV_PREFIX}RECEIVERS",
        show_envvar=False,
        help="Who is told of alerts: a YAML file of receivers (webhook, Slack, PagerDuty, mail), "
        f"their secrets in files. [dim]\\[{ENV_PREFIX}RECEIVERS][/dim]",
        metavar="FILE",
        show_default=False,
    ),
]
TargetOption = Annotated[
    TargetKind | None,
    typer.Option(
        "--target",
        help="process, docker or kubernetes. \\[default: the one that has it; kubernetes with "
        f"--context or --namespace] [dim]\\[{ENV_PREFIX}TARGET][/dim]",
        metavar="TARGET",
        envvar=f"{ENV_PREFIX}TARGET",
        show_envvar=False,
    ),
]
TakeOverOption = Annotated[
    bool,
    typer.Option(
        "--take-over",
        help="Where the Docker engine has another service of that name: make that one this one.",
    ),
]


def request_options(verb: Callable[..., None]) -> Callable[..., None]:
    """Gives `verb(request, …)` an option for every field of each pydantic model it takes."""
    wanted = inspect.signature(verb).parameters
    requests = {
        name: parameter.annotation
        for name, parameter in wanted.items()
        if isinstance(parameter.annotation, type) and issubclass(parameter.annotation, BaseModel)
    }
    options = {name: options_of(model) for name, model in requests.items()}

    @wraps(verb)
    def wrapper(**values: Any) -> None:
        for name, model in requests.items():
            given = {field: values.pop(option.name) for field, option in options[name].items()}
            values[name] = _request(model, given)
        verb(**values)

    parameters: list[inspect.Parameter] = []
    for name, parameter in wanted.items():
        parameters += options[name].values() if name in options else [parameter]
    return with_parameters(wrapper, parameters)


def spec_options(verb: Callable[..., None], *, optional: bool = False) -> Callable[..., None]:
    """Gives `verb(specs, …)` one option for every ServiceSpec field, and `-f FILE`.

    Its parameter `specs: list[ServiceSpec]` is filled from flags, environment and files; it is
    empty if nothing is given and that is `optional`; those of a fleet have their cards, unless the
    verb has `fleet`, the host's cards. `given: frozenset[str]`, if it has one, names the settings
    that flags or the environment give. A parameter of its own with a field's name is that option.
    """
    wanted = inspect.signature(verb).parameters
    own = [p for p in wanted.values() if p.name not in ("specs", "given", "fleet")]
    names = [name for name in ServiceSpec.model_fields if name not in {p.name for p in own}]
    options = {name: spec_option(name) for name in names}

    @wraps(verb)
    def wrapper(**values: Any) -> None:
        paths = values.pop("files")
        flags = {name: values.pop(name) for name in options}
        given = {
            name: _pairs(name, value) if isinstance(value, list) else value
            for name, value in flags.items()
            if value not in (None, [])
        }
        nothing = not (paths or given or f"{ENV_PREFIX}MODEL" in os.environ)
        if "given" in wanted:
            named = {*given, *given.get("engine_args", {})}
            values["given"] = frozenset(named | from_environment())
        specs: list[ServiceSpec] = []
        try:
            specs += [] if optional and nothing else load_specs(paths, given)
            verb(**with_fleet(specs, paths, kept="fleet" in wanted), **values)
        except DeployctlError as error:
            said = {*given, *(p.name for p in own if values.get(p.name) is not None)}
            mark(error, Said(said, paths, [spec.service for spec in specs]))
            raise

    files = inspect.Parameter(
        "files", inspect.Parameter.KEYWORD_ONLY, default=[], annotation=FilesOption
    )
    return with_parameters(wrapper, [files, *options.values(), *own])


def spec_option_of(*names: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Gives a verb's parameters of these names the options of the ServiceSpec fields."""

    def decorate(verb: Callable[..., None]) -> Callable[..., None]:
        @wraps(verb)
        def wrapper(**values: Any) -> None:
            verb(**values)

        own = inspect.signature(verb).parameters.values()
        return with_parameters(
            wrapper, [spec_option(p.name) if p.name in names else p for p in own]
        )

    return decorate


def options_of(model: type[BaseModel]) -> dict[str, inspect.Parameter]:
    """The options of a request's fields, by the field's name, as parameters of a verb."""
    return {name: _option(model, name) for name in model.model_fields}


def _option(model: type[BaseModel], name: str) -> inspect.Parameter:
    field, extra = model.model_fields[name], extras(model, name)
    flag = flag_of(model, name)
    option = typer.Option(
        flag,
        help=_help(field),
        metavar=extra.get("metavar"),
        min=next((rule.ge for rule in field.metadata if hasattr(rule, "ge")), None),
        rich_help_panel=extra.get("group"),
        show_default=extra.get("show_default", True),
        hidden=extra.get("hidden", False),
    )
    return inspect.Parameter(
        flag[2:].replace("-", "_"),
        inspect.Parameter.KEYWORD_ONLY,
        default=field.get_default(),
        annotation=Annotated[field.annotation, option],
    )


def spec_option(name: str) -> inspect.Parameter:
    """An option that lies over the variable and the file's key of the same name.

    Not given it is None; a bool can be taken back (`--no-…`); choices are text, which the spec
    checks when all is put together.
    """
    field = ServiceSpec.model_fields[name]
    kind, metavar = _option_type(field.annotation)
    flag = flag_of(ServiceSpec, name)
    option = typer.Option(
        f"{flag}/--no-{flag[2:]}" if kind is bool else flag,
        help=f"{_help(field)} [dim]\\[{ENV_PREFIX}{name.upper()}][/dim]",
        rich_help_panel=extras(ServiceSpec, name).get("group", "Options"),
        metavar=extras(ServiceSpec, name).get("metavar", metavar),
        show_default=False,
    )
    many = get_origin(field.annotation) is dict
    return inspect.Parameter(
        name,
        inspect.Parameter.KEYWORD_ONLY,
        default=[] if many else None,
        annotation=Annotated[list[str] if many else kind | None, option],
    )


def _help(field: FieldInfo) -> str:
    return (field.description or "").replace("[", r"\[")  # "[default: …]" is no markup


def _request(model: type[BaseModel], given: dict[str, Any]) -> BaseModel:
    """The request; only what differs from the defaults counts as set.

    Raises:
        InputError: a value does not fit.
    """
    fields = model.model_fields
    said = {name: v for name, v in given.items() if v != fields[name].get_default()}
    try:
        return model(**said)
    except ValidationError as error:
        first = error.errors()[0]
        where = flag_of(model, str(first["loc"][0])) if first["loc"] else None
        raise InputError(complaint(first), where=where) from error


def with_parameters(
    wrapper: Callable[..., None], parameters: list[inspect.Parameter]
) -> Callable[..., None]:
    """The function, with the signature that typer makes the options from."""
    parameters = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in parameters]
    wrapper.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    wrapper.__annotations__ = {p.name: p.annotation for p in parameters}
    return wrapper


def _option_type(annotation: Any) -> tuple[Any, str | None]:
    """The Python type that typer parses: literals and unions become text, checked by the spec."""
    if get_origin(annotation) in (Union, types.UnionType):
        annotation = next(a for a in get_args(annotation) if a is not type(None))
    if annotation in (int, float):
        return annotation, "N"
    if annotation is bool:
        return bool, None
    if annotation is Path:
        return Path, "FILE"
    choices = get_args(annotation)
    if choices and all(isinstance(c, str) for c in choices):
        return str, "|".join(choices)
    return str, "TEXT"


_PAIRS = {
    "engine_args": "write for example --engine-arg max_num_seqs=64, or a switch's name alone",
    "env": "write for example --env VLLM_LOGGING_LEVEL=DEBUG",
    "request_limits": "write for example --request-limit tokens=4096",
    "watchdog": "write for example --watchdog stall=120",
}


def _pairs(name: str, items: list[str]) -> dict[str, Any]:
    from deployctl.boundedyaml import value_of  # YAML takes long to import

    pairs: dict[str, Any] = {}
    for item in items:
        key, equals, value = item.partition("=")
        if name == "engine_args" and not equals and key and " " not in key:
            pairs[key] = True  # a switch, as vLLM takes it: its name alone
            continue
        if not equals or not key or " " in key:
            raise SpecError(
                f"{item!r} is not name=value",
                where=flag_of(ServiceSpec, name),
                hint=_PAIRS[name],
            )
        pairs[key] = value_of(value) if name == "engine_args" else value
    return pairs
