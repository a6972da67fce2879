"""A line on a terminal that tells what is being done, drawn anew with the time it has taken."""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from deployctl.cli.console import err

if TYPE_CHECKING:
    from rich.live import Live
    from rich.spinner import Spinner

_A_SECOND = 8


class LiveLine:
    """One at a time, and none where stderr is no terminal."""

    def __init__(self) -> None:
        self._live: Live | None = None

    @property
    def shown(self) -> bool:
        """Whether it is there."""
        return self._live is not None

    def show(self, text: Callable[[float], Any]) -> None:
        """Shows it in place of another. `text`: what it says after so many seconds."""
        self.end()
        if err.is_terminal:
            from rich.live import Live

            self._live = Live(
                _Drawn(text), console=err, transient=True, refresh_per_second=_A_SECOND
            )
            self._live.start()

    def end(self) -> None:
        """Takes it away."""
        if self._live is not None:
            self._live.stop()
            self._live = None


class _Drawn:
    def __init__(self, text: Callable[[float], Any]) -> None:
        from rich.spinner import Spinner

        self._text, self._since = text, time.monotonic()
        self._spinner: Spinner = Spinner("dots", style="cyan")

    def __rich__(self) -> "Spinner":
        self._spinner.update(text=self._text(time.monotonic() - self._since))
        return self._spinner
