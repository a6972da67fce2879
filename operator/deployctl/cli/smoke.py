"""`deployctl smoke`: asks a running service a question and checks the answer."""

from typing import Annotated

import typer
from rich.text import Text

from deployctl import units
from deployctl.cli.console import Output, answer_json, out
from deployctl.cli.options import OutputOption
from deployctl.endpoint import Endpoint
from deployctl.errors import InputError, TargetError
from deployctl.operations.measure.endpoint import (
    CaFileOption,
    HeaderOption,
    KeyFileOption,
    ModelOption,
    ServiceArgument,
    TargetOption,
    UrlOption,
    resolve,
)
from deployctl.operations.measure.smoke import Answer, Check

QUESTION, EXPECT = "What is the capital of France?", "Paris"


def command(
    service: ServiceArgument = None,
    url: UrlOption = None,
    model: ModelOption = None,
    api_key_file: KeyFileOption = None,
    target: TargetOption = None,
    header: HeaderOption = None,
    ca_file: CaFileOption = None,
    question: Annotated[str, typer.Option(help="What to ask.", metavar="TEXT")] = QUESTION,
    expect: Annotated[
        str | None,
        typer.Option(
            help=f"Text the answer must hold. \\[default: {EXPECT}; none with --question]",
            metavar="TEXT",
            show_default=False,
        ),
    ] = None,
    timeout: Annotated[
        str, typer.Option(help="How long to wait for each answer.", metavar="TIME")
    ] = "2m",
    output: OutputOption = Output.text,
) -> None:
    """Ask a running service a question and check the answer.

    Looks at /health, at the models it lists, at whether it turns away a
    request without its API key (where it has one), and asks a question at
    temperature 0. Shows the question and the answer. Exits with 4 if
    anything is wrong, and says what.

        [bold]deployctl smoke[/bold]

        [bold]deployctl smoke my-model --question "2 + 2 =" --expect 4[/bold]

        [bold]deployctl smoke --url http://127.0.0.1:8000[/bold]

    Behind a gateway with a CA of its own:

        [bold]deployctl smoke --url https://gw --ca-file ca.pem --header 'X-Team: a'[/bold]
    """
    from deployctl.operations.measure import headers as loadwire

    try:
        patience = units.seconds(timeout)
    except ValueError as error:
        raise InputError(str(error), where="--timeout") from error
    if not question.strip():
        raise InputError("the question is empty", where="--question")
    if expect is None and question == QUESTION:
        expect = EXPECT
    endpoint = resolve(service, url, model, api_key_file, target)
    endpoint = loadwire.with_flags(endpoint, header, ca_file)
    checks, asked, answer = _look(endpoint, question, expect, max(patience, 0.1))
    failed = [check for check in checks if not check.ok]
    if output is Output.json:
        answer_json(_document(endpoint, asked, checks, question, expect, answer))
    else:
        _show(endpoint, asked, checks, question, answer)
    if failed:
        first = failed[0]
        raise TargetError(f"{first.title}: no: {first.detail}", where=endpoint.url, hint=first.hint)


def _look(
    endpoint: Endpoint, question: str, expect: str | None, patience: float
) -> tuple[list[Check], str | None, Answer | None]:
    import httpx

    from deployctl.operations.measure import smoke as smokechecks

    key = endpoint.api_key
    with httpx.Client(
        base_url=endpoint.url,
        headers=endpoint.sent(),
        timeout=patience,
        trust_env=False,
        verify=endpoint.trust(),
    ) as client:
        checks = [smokechecks.health(client)]
        if not checks[0].ok and not checks[0].detail.startswith("HTTP"):
            return checks, endpoint.model, None  # nobody is there: the rest says nothing new
        listed, model = smokechecks.models(client, endpoint)
        checks.append(listed)
        if key:
            checks.append(smokechecks.refuses(client, None))
            checks.append(smokechecks.refuses(client, f"{key[::-1]}x"))
        answer = None
        if model is not None:
            check, answer = smokechecks.completion(client, model, question, expect)
            checks.append(check)
        return checks, model or endpoint.model, answer


def _document(
    endpoint: Endpoint,
    model: str | None,
    checks: list[Check],
    question: str,
    expect: str | None,
    answer: Answer | None,
) -> dict[str, object]:
    """The documented answer. Version 1."""
    return {
        "version": 1,
        "ok": all(check.ok for check in checks),
        "service": endpoint.service,
        "url": endpoint.url,
        "model": model,
        "checks": [{**check._asdict(), "seconds": round(check.seconds, 4)} for check in checks],
        "question": question,
        "expect": expect,
        "answer": answer.text if answer else None,
        "prompt_tokens": answer.prompt_tokens if answer else None,
        "output_tokens": answer.output_tokens if answer else None,
        "seconds": round(answer.seconds, 4) if answer else None,
    }


def _show(
    endpoint: Endpoint, model: str | None, checks: list[Check], question: str, answer: Answer | None
) -> None:
    name = endpoint.service or model or "service"
    out.print(Text.assemble((name, "bold"), f"  {endpoint.url}"))
    for check in checks:
        mark = ("pass", "green") if check.ok else ("fail", "bold red")
        details = " · ".join(part for part in (check.detail, units.duration(check.seconds)) if part)
        out.print(Text.assemble("  ", mark, f"  {check.title}  ", (details, "dim")))
    if answer is not None:
        out.print()
        out.print(Text.assemble(("Q ", "bold cyan"), question))
        out.print(Text.assemble(("A ", "bold cyan"), answer.text or "(nothing)"))
