"""Options made from ServiceSpec's fields, so that flag, variable and file key agree."""

import inspect
import os
import types
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, Union, get_args, get_origin

import typer

from deployctl.cli.output import OutputOption as OutputOption
from deployctl.errors import SpecError
from deployctl.spec import ServiceSpec, load_specs
from deployctl.spec.load import ENV_PREFIX, from_environment

# Options whose flag is not simply the field's name.
_FLAGS = {"engine_args": ("--engine-arg",)}


def spec_options(verb: Callable[..., None], *, optional: bool = False) -> Callable[..., None]:
    """Gives `verb(specs, …)` one option for every ServiceSpec field, and `-f FILE`.

    Its parameter `specs: list[ServiceSpec]` is filled from flags, environment and files; it is
    empty if nothing is given and that is `optional`. `given: frozenset[str]`, if it has one,
    names the settings that flags or the environment give. A parameter of its own with a field's
    name takes the place of that field's option.
    """
    wanted = inspect.signature(verb).parameters
    own = [p for p in wanted.values() if p.name not in ("specs", "given")]
    fields = [name for name in ServiceSpec.model_fields if name not in {p.name for p in own}]
    generated = [_parameter(name) for name in fields]
    files = inspect.Parameter(
        "files",
        inspect.Parameter.KEYWORD_ONLY,
        default=[],
        annotation=Annotated[
            list[Path],
            typer.Option("--file", "-f", help="Spec file; each YAML document is one service."),
        ],
    )
    own = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in own]

    @wraps(verb)
    def wrapper(**values: Any) -> None:
        paths = values.pop("files")
        flags = {name: values.pop(name) for name in fields}
        given = {
            name: _pairs(name, value) if name in ("engine_args", "env") else value
            for name, value in flags.items()
            if value not in (None, [])
        }
        nothing = not (paths or given or f"{ENV_PREFIX}MODEL" in os.environ)
        if "given" in wanted:
            named = {*given, *given.get("engine_args", {})}
            values["given"] = frozenset(named | from_environment())
        verb(specs=[] if optional and nothing else load_specs(paths, given), **values)

    parameters = [files, *generated, *own]
    wrapper.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    wrapper.__annotations__ = {p.name: p.annotation for p in parameters}
    return wrapper


def _parameter(name: str) -> inspect.Parameter:
    field = ServiceSpec.model_fields[name]
    extra = field.json_schema_extra
    panel = str(extra["group"]) if isinstance(extra, dict) else "Options"
    kind, metavar = _option_type(field.annotation)
    flags = _FLAGS.get(name, ("--" + name.replace("_", "-"),))
    if kind is bool:
        flags = (f"{flags[0]}/--no-{flags[0][2:]}",)
    described = (field.description or "").replace("[", r"\[")  # "[default: …]" is no markup
    help_text = f"{described} [dim]\\[{ENV_PREFIX}{name.upper()}][/dim]"
    option = typer.Option(
        *flags, help=help_text, rich_help_panel=panel, metavar=metavar, show_default=False
    )
    many = name in ("engine_args", "env")
    annotation = list[str] if many else kind | None
    return inspect.Parameter(
        name,
        inspect.Parameter.KEYWORD_ONLY,
        default=[] if many else None,
        annotation=Annotated[annotation, option],
    )


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


def _pairs(name: str, items: list[str]) -> dict[str, Any]:
    import yaml

    pairs: dict[str, Any] = {}
    for item in items:
        key, equals, value = item.partition("=")
        if not equals or not key:
            raise SpecError(
                f"{item!r} is not name=value",
                where=_FLAGS.get(name, (f"--{name}",))[0],
                hint="write for example --engine-arg max_num_seqs=64",
            )
        pairs[key] = value
        if name == "engine_args":
            try:
                pairs[key] = yaml.safe_load(value)
            except yaml.YAMLError:
                pairs[key] = value
    return pairs
