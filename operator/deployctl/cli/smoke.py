"""`deployctl smoke`: asks a running service a question and checks the answer."""

from typing import TYPE_CHECKING

from rich.text import Text

from deployctl import units
from deployctl.cli.console import Output, answer_json, out
from deployctl.cli.options import (
    KeyFileOption,
    ModelOption,
    OutputOption,
    ServiceArgument,
    TargetOption,
    TokenFileOption,
    UrlOption,
    request_options,
)
from deployctl.operations.measure.request import SmokeRequest

if TYPE_CHECKING:
    from deployctl.operations.measure.smoke import SmokeResult  # brings httpx


@request_options
def command(
    *,
    service: ServiceArgument = None,
    url: UrlOption = None,
    model: ModelOption = None,
    api_key_file: KeyFileOption = None,
    operator_token_file: TokenFileOption = None,
    target: TargetOption = None,
    request: SmokeRequest,
    output: OutputOption = Output.text,
) -> None:
    """Ask a running service a question and check the answer.

    Checks /health, the models it lists, that its API key is let in, and that
    every route of its release refuses whoever has none, or a wrong one; and
    asks a question at temperature 0. Where the chat template knows tools, it
    asks as an agent does, with tools and leaving it to the model: the call must
    come back as one, and be the same streamed. Where there is a parser for
    reasoning, that must come back apart from the text. A model that makes no
    call, or does not reason, decides nothing, unless --tools yes says that it
    does. Shows the question and the answer. Exits with 4 if anything is wrong,
    and says what.

    Of an address nobody knows what it promises: a server that takes no tools
    fails with --tools yes alone, and if no key is given, what is open to anyone
    is shown, and is no failure.

        [bold]deployctl smoke[/bold]

        [bold]deployctl smoke my-model --question "2 + 2 =" --expect 4[/bold]

        [bold]deployctl smoke --url http://127.0.0.1:8000 --api-key-file key[/bold]

    Behind a gateway with a CA of its own:

        [bold]deployctl smoke --url https://gw --ca-file ca.pem --header 'X-Team: a'[/bold]
    """
    from deployctl.operations.measure.endpoint import resolve
    from deployctl.operations.measure.smoke import smoke

    result = smoke(resolve(service, url, model, api_key_file, target, operator_token_file), request)
    if output is Output.json:
        answer_json(result.document())
    else:
        _show(result)
    result.enforce()


def _show(result: "SmokeResult") -> None:
    endpoint, answer = result.endpoint, result.answer
    name = endpoint.service or result.model or "service"
    out.print(Text.assemble((name, "bold"), f"  {endpoint.own}"))
    for check in result.checks:
        mark = ("pass", "green") if check.ok else ("fail", "bold red")
        details = " · ".join(part for part in (check.detail, units.duration(check.seconds)) if part)
        out.print(Text.assemble("  ", mark, f"  {check.title}  ", (details, "dim")))
    if answer is not None:
        out.print()
        out.print(Text.assemble(("Q ", "bold cyan"), result.question))
        out.print(Text.assemble(("A ", "bold cyan"), answer.text or "(nothing)"))
