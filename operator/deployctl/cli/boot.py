"""`deployctl boot`: services of the target process serve again after a restart of the machine."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from deployctl.cli.console import say, story
from deployctl.cli.rolloutprogress import RolloutProgress
from deployctl.errors import InputError, TargetError

if TYPE_CHECKING:
    from deployctl.operations.boot import Became

_INSTALL = """\
to have it done at each restart:
  sudo loginctl enable-linger $USER    # before anybody logs in, too
  mkdir -p ~/.config/systemd/user
  deployctl boot > ~/.config/systemd/user/{file}
  systemctl --user daemon-reload && systemctl --user enable --now {name}"""


def command(
    start: Annotated[
        bool, typer.Option("--start", help="Start what should serve and does not, now.")
    ] = False,
    stop: Annotated[
        bool,
        typer.Option(
            "--stop",
            help="Stop what serves, once its requests have ended or had a minute; --start "
            "brings it back.",
        ),
    ] = False,
    tries: Annotated[
        int,
        typer.Option(min=1, max=10, help="With --start: how often one that fails is tried."),
    ] = 1,
) -> None:
    """Print a systemd unit by which services end with the machine and start with it again.

    For the target process; Docker and Kubernetes do it by themselves. A service that was taken
    down stays down. The unit calls deployctl boot --start and --stop, as anybody may by hand.
    Each state folder has a unit of its own, whose name is told.

    [bold]Examples[/bold]

      deployctl boot > ~/.config/systemd/user/deployctl.service

      deployctl boot --start
    """
    from deployctl.operations import boot

    if start and stop:
        raise InputError("it starts or it stops", where="--stop", hint="leave one of them out")
    if tries != 1 and not start:
        raise InputError("--tries goes with --start", where="--tries", hint="add --start")
    if not start and not stop:
        unit = boot.unit()
        for line in unit.text.splitlines():
            say(line)
        story(_INSTALL.format(file=unit.name, name=unit.name.removesuffix(".service")))
        return
    with RolloutProgress() as progress:
        became = boot.stop(progress) if stop else boot.start(progress, tries=tries)
    _tell(became, stop=stop)


def _tell(became: "Sequence[Became]", *, stop: bool) -> None:
    for each in became:
        if each.revision is not None:
            does = "is stopped" if stop else "serves"
            say(f"{each.service} {does}: revision {each.revision}")
        else:
            does = "is not stopped" if stop else "does not serve"
            story(f"{each.service} {does}: {each.message}")
    if not became:
        story("nothing to stop" if stop else "nothing to start: whatever should serve runs")
    failed = [each for each in became if each.revision is None]
    if failed:
        names, what = ", ".join(each.service for each in failed), "was not stopped"
        raise TargetError(
            f"{names} {what if stop else 'did not come up'}",
            hint=failed[0].hint or f"deployctl logs {failed[0].service} shows why",
        )
