"""How a field of a pydantic model says what option it is on the command line.

The model lives below the command line and knows nothing of it: it says what a value is called,
what it is for and what it may be. `deployctl.cli.options` makes the options from that.
"""

from typing import Any, TypeVar, cast

from pydantic import BaseModel, Field

Value = TypeVar("Value")


def option(
    default: Value,
    description: str,
    group: str | None = None,
    *,
    flag: str | None = None,
    metavar: str | None = None,
    hidden: bool = False,
    show_default: bool = True,
    **rules: Any,
) -> Value:
    """A pydantic field that is an option: `Field(default, description=…, **rules)`, and more.

    `group` is its heading in `--help`, `flag` its name if that is not the field's, `metavar`
    the word for its value; `hidden` leaves it out of the help, `show_default` its default in.
    """
    extra: dict[str, Any] = {"hidden": hidden, "show_default": show_default}
    texts = {"group": group, "flag": flag, "metavar": metavar}
    extra |= {key: text for key, text in texts.items() if text is not None}
    return cast(Value, Field(default, description=description, json_schema_extra=extra, **rules))


def extras(model: type[BaseModel], name: str) -> dict[str, Any]:
    """What `option` was told of a field besides pydantic's own."""
    extra = model.model_fields[name].json_schema_extra
    return dict(extra) if isinstance(extra, dict) else {}


def flag_of(model: type[BaseModel], name: str) -> str:
    """A field's flag: `--verify-users`."""
    return str(extras(model, name).get("flag") or "--" + name.replace("_", "-"))
