"""`deployctl up`: what is refused before any service starts."""

import sys

import pytest

from deployctl.cli.app import main


def test_a_receivers_secret_that_is_not_there(monkeypatch, capsys, tmp_path):
    file = tmp_path / "receivers.yaml"
    file.write_text("receivers: [{name: hook, kind: webhook, url_file: gone}]\n")
    started = []
    monkeypatch.setattr("deployctl.cli.up._up_in_turn", lambda *given: started.append(given))
    monkeypatch.delenv("DEPLOYCTL_RECEIVERS", raising=False)
    words = ["up", "--model", "a/b", "--gpu", "l4", "--with-monitoring", "--receivers", str(file)]
    monkeypatch.setattr(sys, "argv", ["deployctl", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    done = capsys.readouterr()
    assert ended.value.code == 2, done.err
    assert "receivers/hook/url_file" in done.err
    assert not started
