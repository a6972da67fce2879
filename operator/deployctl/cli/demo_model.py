"""`deployctl demo-model`: a small AWQ or GPTQ checkpoint, offline."""

from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deployctl.cli.console import Output, answer_json, err, out, story
from deployctl.cli.options import OutputOption
from deployctl.units import size as as_text

if TYPE_CHECKING:
    from deployctl.demo.checkpoint import Progress


class FormatOption(StrEnum):
    """How the weights are packed."""

    awq = "awq"
    gptq = "gptq"


class SizeOption(StrEnum):
    """Which model."""

    full = "full"
    tiny = "tiny"


def command(
    out_dir: Annotated[
        Path, typer.Option("--out", help="Folder to write; new, empty or an earlier build.")
    ],
    fmt: Annotated[
        FormatOption, typer.Option("--format", help="How the weights are quantized.")
    ] = FormatOption.awq,
    size: Annotated[
        SizeOption,
        typer.Option(help="full answers questions; tiny is random, for load tests of the engine."),
    ] = SizeOption.full,
    output: OutputOption = Output.text,
) -> None:
    """Build a small 4-bit checkpoint to try deployctl with, offline and without an account.

    The full size is SmolLM2-135M-Instruct, read from a Python package, quantized to 4 bits and
    saved with its tokenizer and chat template: about 120 MiB that vLLM serves on a CPU. A folder
    that already holds the same build is left as it is.

    Example: deployctl demo-model --format awq --out .demo/smollm2-135m-awq
    """
    from deployctl.demo import build

    with _progress() as progress:
        built = build(out_dir, fmt.value, size.value, progress)
    if output is Output.json:
        answer_json(
            {
                "version": 1,
                "folder": str(built.folder),
                "format": fmt.value,
                "size": size.value,
                "stored_bytes": built.stored_bytes,
                "reused": built.reused,
            }
        )
        return
    story("already built" if built.reused else "built", style="green")
    out.print(f"{built.folder}  ({as_text(built.stored_bytes)})", soft_wrap=True)


@contextmanager
def _progress() -> "Iterator[Progress]":
    """A bar on a terminal; elsewhere a line at the start of each step and every quarter."""
    if not err.is_terminal:
        told: set[tuple[str, int]] = set()

        def tell(what: str, done: int, total: int) -> None:
            quarter = done * 4 // total
            if (what, quarter) not in told and not (total == 1 and done):
                told.add((what, quarter))
                story(f"{what}: {done} of {total}" if total > 1 else what)

        yield tell
        return

    from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=err) as bars:
        tasks: dict[str, TaskID] = {}

        def draw(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(what, total=total)
            bars.update(tasks[what], completed=done)

        yield draw
