"""Numbers of a spec, and durations. To Python `true` is 1, and so it is to pydantic: a request
would wait for a second, or an engine have port 1.
"""

from typing import Annotated, Any, get_args

from pydantic import BaseModel, BeforeValidator, ValidationInfo, field_validator

from deployctl.units import seconds


def _checked(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError("should be a number")
    return value


Number = Annotated[float, BeforeValidator(_checked)]  # of a list or a mapping


def _of_a_field(cls: type[BaseModel], value: object, info: ValidationInfo) -> object:
    kinds = cls.model_fields[str(info.field_name)].annotation
    return _checked(value) if {int, float} & {kinds, *get_args(kinds)} else value


# For the body of a model: none of its fields that is a number takes a switch for one.
NO_SWITCHES: Any = field_validator("*", mode="before")(_of_a_field)


def _seconds(value: object) -> object:
    if not isinstance(value, str):
        return _checked(value)
    given = seconds(value)
    if not given.is_integer():
        raise ValueError(f"{value[:40]!r} is not in whole seconds")
    return int(given)


Seconds = Annotated[int, BeforeValidator(_seconds)]  # 300, or as text 5m
