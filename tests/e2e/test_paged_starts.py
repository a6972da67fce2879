"""A crash loop and a slow start are paged, and over by themselves: as test_paged.py, with a fake
engine under the real supervisor and the real door. A real one takes longer to load than the windows
are that its back-offs have to fit in.
"""

import contextlib
import os
import signal

import pytest

from deployctl.targets.history import Release
from paging_parts import Pager
from process_shell import until

pytestmark = [pytest.mark.prometheus, pytest.mark.night]

FASTER = 30  # back-offs of 36 s in all are not divided, and an hour is to hold them
PATIENCE_S = 600.0


@pytest.fixture
def loaded(tmp_path):
    """The engine loads until this file is there."""
    file = tmp_path / "loaded"
    file.touch()
    return file


@pytest.fixture
def pager(shell, loaded, tmp_path):
    assert shell.up(hold=loaded)[0] == 0
    folder = shell.state / "process" / "tiny"
    release = Release.model_validate_json((folder / "releases" / "000001.json").read_bytes())
    pager = Pager(tmp_path, release, folder / "operator_token", faster=FASTER)
    with contextlib.closing(pager):
        until(lambda: pager.prometheus.now("deployctl_engine_restarts_total"))
        yield pager


def engine(shell):
    """The pid of the one that runs, or loads."""
    return shell.status()["pid"]


def test_a_crash_loop(shell, pager, loaded):
    def crash():
        loaded.unlink()
        dead = None
        for _ in range(3):
            until(lambda dead=dead: engine(shell) not in (None, dead))
            dead = engine(shell)
            os.kill(dead, signal.SIGKILL)
        loaded.touch()

    pager.pages("VllmRestarting", crash, patience_s=PATIENCE_S)


def test_a_slow_start(shell, pager, loaded):
    """Longer than its budget, which is divided, too."""
    with contextlib.ExitStack() as starting:

        def start():
            loaded.unlink()
            starting.enter_context(shell.start(*shell.up_words("--max-num-seqs", "9", hold=loaded)))

        pager.pages("VllmScrapeFailing", start, loaded.touch, patience_s=PATIENCE_S)
    assert shell.status(0)["revision"] == 2
