"""`deployctl boot`: services of the target process serve again after a restart of the machine."""

from typing import Annotated

import typer

from deployctl.cli.console import say, story
from deployctl.cli.rolloutprogress import RolloutProgress
from deployctl.errors import TargetError

_INSTALL = """\
to have it done at each restart:
  sudo loginctl enable-linger $USER    # before anybody logs in, too
  mkdir -p ~/.config/systemd/user
  deployctl boot > ~/.config/systemd/user/deployctl.service
  systemctl --user daemon-reload && systemctl --user enable deployctl"""


def command(
    start: Annotated[
        bool, typer.Option("--start", help="Start what should serve and does not, now.")
    ] = False,
) -> None:
    """Print a systemd unit that starts services again after a restart of the machine.

    For the target process; Docker and Kubernetes do it by themselves. A service that was taken
    down stays down. The unit calls deployctl boot --start, which anybody may call by hand.

    [bold]Examples[/bold]

      deployctl boot > ~/.config/systemd/user/deployctl.service

      deployctl boot --start
    """
    from deployctl.operations import boot

    if not start:
        for line in boot.unit().splitlines():
            say(line)
        story(_INSTALL)
        return
    with RolloutProgress() as progress:
        became = boot.start(progress)
    for each in became:
        if each.revision is not None:
            say(f"{each.service} serves: revision {each.revision}")
        else:
            story(f"{each.service} does not serve: {each.message}")
    if not became:
        story("nothing to start: whatever should serve runs")
    failed = [each for each in became if each.revision is None]
    if failed:
        raise TargetError(
            f"{', '.join(each.service for each in failed)} did not come up",
            hint=failed[0].hint or f"deployctl logs {failed[0].service} shows why",
        )
