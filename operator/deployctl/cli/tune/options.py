"""The options of `deployctl tune` besides those of a spec."""

from pathlib import Path
from typing import Annotated, Literal

import typer

_PANEL, _LOAD_PANEL = "Tuning", "Load"

ObjectiveOption = Annotated[
    Literal["goodput", "throughput", "latency", "cost"] | None,
    typer.Option(
        help="What is sought: goodput (requests/s that meet the SLO), throughput (tokens/s), "
        "latency (E2E p95 at --load) or cost (dollars a token within the SLO). "
        "\\[default: goodput with --slo, else throughput]",
        rich_help_panel=_PANEL,
        show_default=False,
    ),
]
BudgetOption = Annotated[
    str | None,
    typer.Option(
        help="Server time: starts and loads together. \\[default: 30m]",
        metavar="TIME",
        rich_help_panel=_PANEL,
        show_default=False,
    ),
]
MaxTrialsOption = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Engine starts at most.",
        metavar="N",
        rich_help_panel=_PANEL,
        show_default=False,
    ),
]
SpaceOption = Annotated[
    Path | None,
    typer.Option(
        help="What is tried: a YAML file, one setting a line, max_num_seqs: [32, 64, 128]. "
        "\\[default: max_num_seqs, max_num_batched_tokens, tensor_parallel_size]",
        metavar="FILE",
        rich_help_panel=_PANEL,
        show_default=False,
    ),
]
LoadOption = Annotated[
    str | None,
    typer.Option(
        help="Where to begin: users=8 (closed loop) or rate=2 (requests/s); for latency, the "
        "load that it is measured at.",
        metavar="LOAD",
        rich_help_panel=_LOAD_PANEL,
        show_default=False,
    ),
]
WorkloadOption = Annotated[
    str | None,
    typer.Option(
        help="What is asked, as for deployctl loadtest: a name or a file. \\[default: fixed]",
        metavar="NAME",
        rich_help_panel=_LOAD_PANEL,
        show_default=False,
    ),
]
InputTokensOption = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="How long prompts are.",
        metavar="N",
        rich_help_panel=_LOAD_PANEL,
        show_default=False,
    ),
]
OutputTokensOption = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="How long answers are.",
        metavar="N",
        rich_help_panel=_LOAD_PANEL,
        show_default=False,
    ),
]
ApiOption = Annotated[
    Literal["chat", "completions"] | None,
    typer.Option(
        help="chat or completions. \\[default: chat]",
        rich_help_panel=_LOAD_PANEL,
        show_default=False,
    ),
]
SeedOption = Annotated[
    int | None,
    typer.Option(
        min=0,
        help="Fixes the search and its prompts. \\[default: a new one]",
        metavar="N",
        rich_help_panel=_PANEL,
        show_default=False,
    ),
]
StudyOption = Annotated[
    Path | None,
    typer.Option(
        help="The study's folder. \\[default: studies/NAME-TIME; with --resume, the newest]",
        metavar="DIR",
        rich_help_panel=_PANEL,
        show_default=False,
    ),
]
ResumeOption = Annotated[
    bool,
    typer.Option("--resume", help="Go on with a study; repeats nothing.", rich_help_panel=_PANEL),
]
AllowOtherSetupOption = Annotated[
    bool,
    typer.Option(
        "--allow-other-setup",
        help="Go on though hardware, driver, engine version or flags are other ones now. The "
        "study keeps its own flags.",
        rich_help_panel=_PANEL,
    ),
]
DryRunOption = Annotated[
    bool,
    typer.Option(
        "--dry-run",
        help="Say which trials, in which order and why; start nothing.",
        rich_help_panel=_PANEL,
    ),
]
