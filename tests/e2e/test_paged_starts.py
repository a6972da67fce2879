"""A slow start is paged, and over by itself: as test_paged.py, with a fake engine under the real
supervisor and the real door, which loads for as long as the test says.
"""

import contextlib

import pytest

from deployctl.targets.history import Release
from paging_parts import Pager
from process_shell import until

pytestmark = [pytest.mark.prometheus, pytest.mark.night]

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
    pager = Pager(tmp_path, release, folder / "operator_token")
    with contextlib.closing(pager):
        until(lambda: pager.prometheus.now("deployctl_engine_restarts_total"))
        yield pager


def test_a_slow_start(shell, pager, loaded):
    """Longer than its budget, which is divided, too."""
    with contextlib.ExitStack() as starting:

        def start():
            loaded.unlink()
            starting.enter_context(shell.start(*shell.up_words("--max-num-seqs", "9", hold=loaded)))

        pager.pages("VllmScrapeFailing", start, loaded.touch, patience_s=PATIENCE_S)
    assert shell.status(0)["revision"] == 2
