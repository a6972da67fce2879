"""`deployctl boot`, as a user runs it."""

import sys

import pytest

from deployctl.cli.app import main


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--start", "--stop"), "leave one of them out"),
        (("--tries", "3"), "--tries goes with --start"),
        (("--stop", "--tries", "3"), "--tries goes with --start"),
    ],
)
def test_what_does_not_go_together(monkeypatch, capsys, words, said):
    monkeypatch.setattr(sys, "argv", ["deployctl", "boot", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    done = capsys.readouterr()
    assert (ended.value.code, done.out) == (2, "")
    assert said in done.err
