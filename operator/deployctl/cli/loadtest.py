"""`deployctl loadtest`: measures latency and throughput with Locust."""

import importlib.metadata
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from deployctl import units
from deployctl.cli.console import Output, answer_json, out, story
from deployctl.cli.endpoint import (
    Endpoint,
    KeyFileOption,
    ModelOption,
    ServiceArgument,
    TargetOption,
    UrlOption,
    resolve,
)
from deployctl.cli.options import OutputOption
from deployctl.errors import InputError, InterruptedByUserError, TargetError

if TYPE_CHECKING:
    from deployctl.metrics import Snapshot
    from deployctl_loadtest.result import LoadResult, Server, Setup


def command(
    service: ServiceArgument = None,
    url: UrlOption = None,
    model: ModelOption = None,
    api_key_file: KeyFileOption = None,
    target: TargetOption = None,
    users: Annotated[
        int,
        typer.Option(
            help="Users at once; each asks again when it has its answer.", metavar="N", min=1
        ),
    ] = 4,
    duration: Annotated[
        str, typer.Option(help="How long to measure: 30s, 5m.", metavar="TIME")
    ] = "30s",
    warmup: Annotated[
        str,
        typer.Option(help="How long to run before that; left out of the figures.", metavar="TIME"),
    ] = "5s",
    input_tokens: Annotated[
        int,
        typer.Option(
            "--input-tokens",
            help="About how long prompts are.",
            metavar="N",
            min=1,
        ),
    ] = 128,
    prompt_tokens: Annotated[int | None, typer.Option(hidden=True, min=1)] = None,  # its other name
    output_tokens: Annotated[
        int, typer.Option("--output-tokens", help="How long answers are.", metavar="N", min=1)
    ] = 64,
    ignore_eos: Annotated[
        Literal["auto", "yes", "no"],
        typer.Option(
            "--ignore-eos",
            help="Make answers exactly that long: yes, no, or auto: where the server is vLLM.",
            metavar="WHEN",
        ),
    ] = "auto",
    api: Annotated[
        Literal["chat", "completions"],
        typer.Option("--api", help="chat or completions.", metavar="API"),
    ] = "chat",
    seed: Annotated[
        int | None,
        typer.Option(
            help="Fixes the prompts. \\[default: new ones every run, so that the prefix cache is "
            "not what is measured]",
            metavar="N",
            min=0,
            show_default=False,
        ),
    ] = None,
    timeout: Annotated[
        str, typer.Option(help="When a request is given up.", metavar="TIME")
    ] = "10m",
    folder: Annotated[
        Path | None,
        typer.Option(
            "--out",
            help="Result folder. \\[default: results/NAME-TIME]",
            metavar="DIR",
            show_default=False,
        ),
    ] = None,
    output: OutputOption = Output.text,
) -> None:
    """Measure latency and throughput of a running service with Locust.

    Simulated users each send a prompt, read the streamed answer to its end,
    and ask again. Every chunk is timed: TTFT (send to first text), ITL
    (between chunks of text), TPOT (per token), E2E (send to last text), and
    tokens a second. The result says when it should not be believed.

    A service that deployctl started, by name, or the only one running:

        [bold]deployctl loadtest --users 8 --duration 1m[/bold]

    Any OpenAI-compatible server:

        [bold]deployctl loadtest --url http://127.0.0.1:8000 --input-tokens 900[/bold]

    It writes a folder: report.html (for a browser, needs no network),
    summary.json, and requests.jsonl with one line a request. Ctrl-C ends the
    run, keeps what was measured, and exits with 130.
    """
    from deployctl.cli import served
    from deployctl_loadtest.result import Setup

    endpoint = resolve(service, url, model, api_key_file, target)
    chosen = served.choose(endpoint, served.models(endpoint))
    if seed is None:
        import secrets

        seed = secrets.randbits(48)
    setup = Setup(
        service=endpoint.service,
        url=endpoint.url,
        model=chosen.id,
        api=api,
        users=users,
        duration_s=_seconds(duration, "--duration", least=1),
        warmup_s=_seconds(warmup, "--warmup", least=0),
        input_tokens=prompt_tokens or input_tokens,
        output_tokens=output_tokens,
        ignore_eos=chosen.is_vllm if ignore_eos == "auto" else ignore_eos == "yes",
        seed=seed,
        request_timeout_s=_seconds(timeout, "--timeout", least=1),
    )
    result, where = _measure(setup, endpoint, folder)
    if output is Output.json:
        answer_json({**result.to_dict(), "folder": str(where)})
    else:
        from deployctl.reports import load_terminal

        for renderable in load_terminal.render(result):
            out.print(renderable)
        out.print(f"\nReport     {where / 'report.html'}")
    if result.interrupted:
        raise InterruptedByUserError("interrupted")
    if not result.requests.ok:
        kinds = ", ".join(f.outcome for f in result.requests.failures)
        raise TargetError(
            f"no request succeeded{f' ({kinds})' if kinds else ''}",
            where=setup.url,
            hint="deployctl smoke says what is wrong"
            if kinds
            else f"none ended within {setup.duration_s:g} s: measure longer, or ask for less",
        )


def _measure(
    setup: "Setup", endpoint: Endpoint, out_folder: Path | None
) -> "tuple[LoadResult, Path]":
    from deployctl.cli.loadprogress import LoadProgress
    from deployctl.load import folder, locust
    from deployctl.load.summary import summarize
    from deployctl.reports import load_html
    from deployctl_loadtest import writer

    now = datetime.now(UTC)
    name = endpoint.service or _file_name(setup.model)
    where = folder.create(out_folder or folder.default(name, now)).absolute()
    story(
        f"{setup.users} user{'s' if setup.users > 1 else ''} against {setup.model} at {setup.url}: "
        f"{setup.warmup_s:g} s warm-up, then {setup.duration_s:g} s measured"
    )
    before = _scrape(endpoint)
    with LoadProgress(setup) as progress:
        interrupted = locust.run(setup, where, endpoint.api_key, progress.tell)
    after = _scrape(endpoint) if before is not None else None
    samples, reports, lost = writer.read(where)
    result = summarize(
        setup,
        samples,
        reports,
        lost=lost,
        started=now.isoformat(timespec="seconds"),
        tools={name: importlib.metadata.version(name) for name in ("deployctl", "locust")},
        interrupted=interrupted,
        server=_server(before, after),
    )
    folder.write(where, result, samples)
    _write_report(where, load_html.render(result, samples))
    return result, _shown(where)


def _write_report(where: Path, html: str) -> None:
    from deployctl.errors import StateError

    try:
        (where / "report.html").write_text(html, encoding="utf-8")
    except OSError as error:
        raise StateError(
            f"the report could not be written: {error.strerror}", where=str(where)
        ) from error


def _scrape(endpoint: Endpoint) -> "Snapshot | None":
    """The server's own figures, if it has any: other engines are welcome."""
    from deployctl import metrics

    try:
        return metrics.scrape(endpoint.url, endpoint.api_key)
    except TargetError:
        return None


def _server(before: "Snapshot | None", after: "Snapshot | None") -> "Server | None":
    from deployctl.metrics import between
    from deployctl_loadtest.result import Server

    if before is None or after is None:
        return None
    delta = between(before, after)
    if delta.generation_tokens is None or delta.prompt_tokens is None:
        return None
    return Server(
        output_tokens=round(delta.generation_tokens),
        input_tokens=round(delta.prompt_tokens),
        client_output_tokens=0,  # filled in by `summarize`
        ttft_mean_s=delta.ttft.mean() if delta.ttft else None,
        itl_mean_s=delta.itl.mean() if delta.itl else None,
        queue_mean_s=delta.queue.mean() if delta.queue else None,
        preemptions=None if delta.preemptions is None else round(delta.preemptions),
        prefix_cache_hit_rate=delta.prefix_hit_rate,
    )


def _seconds(text: str, flag: str, *, least: float) -> float:
    try:
        value = units.seconds(text)
    except ValueError as error:
        raise InputError(str(error), where=flag) from error
    if value < least:
        raise InputError(f"{text} is less than {least:g} s", where=flag)
    return value


def _file_name(model: str) -> str:
    from deployctl.spec import service_name

    return service_name(model)


def _shown(where: Path) -> Path:
    """Relative to the working directory, if it is below it."""
    here = Path.cwd()
    return where.relative_to(here) if where.is_relative_to(here) else where
