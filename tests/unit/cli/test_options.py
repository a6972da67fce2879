"""Options that are made from a request's fields."""

from pathlib import Path
from typing import Annotated, Literal

import pytest
import typer
from pydantic import BaseModel, ConfigDict, field_validator
from typer.testing import CliRunner

from deployctl.cli.options import options_of, request_options
from deployctl.errors import InputError
from deployctl.spec.option import option


class Request(BaseModel):
    model_config = ConfigDict(frozen=True)

    users: int | None = option(None, "At once. [default: 4]", "Load", metavar="N", ge=1)
    rate: float | None = option(None, "Per second.", gt=0)
    api: Literal["chat", "completions"] = option("chat", "Which.", show_default=False)
    headers: list[str] | None = option(None, "Each.", flag="--header")
    old: int | None = option(None, "Another name.", hidden=True)
    out: Path | None = option(None, "Where to.")
    watch: bool = option(False, "Look on.", flag="--watch-metrics")

    @field_validator("out")
    @classmethod
    def _relative(cls, value):
        if value is not None and value.is_absolute():
            raise ValueError("must be relative")
        return value


def asked(*arguments):
    """What the verb is called with."""
    calls = []

    @request_options
    def verb(*, first: Annotated[int, typer.Option()] = 1, request: Request, last: int = 2):
        calls.append((first, request, last))

    app = typer.Typer()
    app.command()(verb)
    result = CliRunner().invoke(app, arguments)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return calls[0] if calls else result.output


def test_what_is_not_given_has_its_default():
    assert asked() == (1, Request(), 2)
    assert not asked()[1].model_fields_set


def test_every_field_is_an_option():
    _, request, last = asked(
        *("--users", "3", "--rate", "0.5", "--api", "completions", "--header", "a", "--header"),
        *("b", "--old", "1", "--out", "x", "--watch-metrics", "--last", "5"),
    )
    assert request == Request(
        users=3, rate=0.5, api="completions", headers=["a", "b"], old=1, out=Path("x"), watch=True
    )
    assert last == 5


@pytest.mark.parametrize("wrong", [("--users", "0"), ("--api", "soap"), ("--no-watch-metrics",)])
def test_typer_refuses_what_it_can(wrong):
    assert "Usage" in asked(*wrong)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [(("--rate", "0"), "input should be greater than 0"), (("--out", "/x"), "must be relative")],
)
def test_the_request_refuses_the_rest_at_its_flag(wrong, says):
    with pytest.raises(InputError) as caught:
        asked(*wrong)
    assert caught.value.where == wrong[0]
    assert caught.value.message.startswith(says)


def test_options_say_what_the_fields_say():
    options = options_of(Request)
    users, api, headers, old = (
        options[name].annotation.__metadata__[0] for name in ("users", "api", "headers", "old")
    )
    assert (users.help, users.metavar, users.min) == ("At once. \\[default: 4]", "N", 1)
    assert users.rich_help_panel == "Load"
    assert (api.show_default, old.hidden, headers.default) == (False, True, "--header")
    assert options["headers"].name == "header"
