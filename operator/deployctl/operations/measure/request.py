"""What may be asked of a measured server: a load, a single question; and what it is held to."""

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from deployctl.spec.option import option

When = Literal["auto", "yes", "no"]
QUESTION, EXPECT = "What is the capital of France?", "Paris"
_HEADER: list[str] | None = option(
    None,
    "Sent with each request: 'Name: value', or 'Name: @FILE' for a secret. Repeatable.",
    metavar="HEADER",
    show_default=False,
)
_CA_FILE: Path | None = option(
    None, "Certificate of the CA to trust for https.", metavar="FILE", show_default=False
)


class SmokeRequest(BaseModel):
    """What is asked of a server to see whether it answers, and answers well."""

    model_config = ConfigDict(frozen=True)

    header: list[str] | None = _HEADER
    ca_file: Path | None = _CA_FILE
    question: str = option(QUESTION, "The question to ask.", metavar="TEXT")
    expect: str | None = option(
        None,
        f"Text that the answer must contain. [default: {EXPECT}; none with --question]",
        metavar="TEXT",
        show_default=False,
    )
    tools: When = option(
        "auto",
        "Make tool calls: yes (none that comes back is a failure), no, or auto: where the plan has "
        "a parser or lacks one, and of an address.",
        metavar="WHEN",
    )
    timeout: str = option("2m", "How long to wait for each answer.", metavar="TIME")


class LoadRequest(BaseModel):
    """The load, and what is asked; None where a default depends on the rest."""

    model_config = ConfigDict(frozen=True)

    users: int | None = option(
        None,
        "Closed loop: concurrent users; each asks again when it has its answer. [default: 4]",
        metavar="N",
        ge=1,
    )
    rate: float | None = option(
        None,
        "Open loop: requests a second, sent when due, whatever the server does.",
        metavar="R",
    )
    arrivals: str | None = option(
        None,
        "How arrivals are spread: constant, poisson, or gamma:CV. [default: poisson]",
        metavar="KIND",
    )
    sweep: str | None = option(
        None, "Measure several loads in turn: users=1,2,4 or rate=0.5,1,2.", metavar="LOADS"
    )
    find_max: Literal["goodput"] | None = option(
        None,
        "goodput: search for the highest load at which --slo holds, by doubling, then "
        "bisection. From --rate (1) up, or from --users up.",
        metavar="WHAT",
    )
    trace: Path | None = option(
        None,
        "Replay real traffic: a file in Mooncake's (JSON lines) or BurstGPT's (CSV) format.",
        metavar="FILE",
    )
    trace_speed: float | None = option(None, "Replay it this many times as fast.", metavar="X")
    requests: int | None = option(
        None, "End after N requests; no warm-up is then left out.", metavar="N", ge=1
    )
    duration: str | None = option(
        None, "How long to measure: 30s, 5m. [default: 30s]", metavar="TIME"
    )
    warmup: str | None = option(
        None,
        "Time before that, left out of the figures. [default: 5s]",
        metavar="TIME",
    )
    ramp: str = option(
        "0s", "Time in which users or rate grow, before the warm-up.", metavar="TIME"
    )
    workload: str | None = option(
        None,
        "Workload: chat, fixed, lognormal, multi-turn, shared-prefix, uniform, or a file. "
        "[default: fixed]",
        metavar="NAME",
    )
    input_tokens: int | None = option(
        None, "Tokens of a prompt. [default: the workload's]", metavar="N", ge=1
    )
    prompt_tokens: int | None = option(None, "Its other name.", hidden=True, ge=1)
    output_tokens: int | None = option(
        None, "Tokens of an answer. [default: the workload's]", metavar="N", ge=1
    )
    ignore_eos: When = option(
        "auto",
        "Make answers exactly that long: yes, no, or auto: where the server is vLLM.",
        metavar="WHEN",
    )
    api: Literal["chat", "completions"] = option("chat", "chat or completions.", metavar="API")
    seed: int | None = option(
        None,
        "Fixes prompts and arrivals. [default: new ones every run, so that the prefix cache "
        "is not what is measured]",
        metavar="N",
        ge=0,
    )
    workers: str = option(
        "1",
        "Load processes: a number, or auto: as many as the load takes, up to one a core of this "
        "machine.",
        metavar="N",
    )
    on: Literal["kubernetes"] | None = option(
        None,
        "kubernetes: the load processes are pods beside the service. [default: this machine's]",
        metavar="WHERE",
        show_default=False,
    )
    worker_image: str | None = option(
        None,
        "Image of those pods, from docker/loadtest.Dockerfile. "
        "[default: deployctl/loadtest of this release]",
        metavar="IMAGE",
        show_default=False,
    )
    header: list[str] | None = _HEADER
    extra_body: str | None = option(
        None, "Additional fields of each request: a JSON object, or @FILE.", metavar="JSON"
    )
    ca_file: Path | None = _CA_FILE
    timeout: str = option("10m", "Time-out of a request.", metavar="TIME")


class GateRequest(BaseModel):
    """What a result is held to."""

    model_config = ConfigDict(frozen=True)

    slo: str | None = option(
        None,
        "SLO, for example ttft_p95=500ms,itl_p99=50ms,error_rate=0.1%.",
        metavar="SLO",
        show_default=False,
    )
    fail_on_breach: bool = option(False, "Exit with 5 if the SLO is not held.")
    junit: Path | None = option(
        None, "Also write the verdicts to this JUnit file.", metavar="FILE", show_default=False
    )
