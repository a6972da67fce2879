"""`deployctl up`: what is refused before any service starts."""

import sys

import pytest

from deployctl.cli.app import main


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--with-monitoring"], "receivers/hook/url_file"),
        ([], "hint: add --with-monitoring"),
    ],
    ids=["a secret that is not there", "nothing that tells them"],
)
def test_receivers_that_would_be_told_of_nothing(monkeypatch, capsys, tmp_path, words, said):
    file = tmp_path / "receivers.yaml"
    file.write_text("receivers: [{name: hook, kind: webhook, url_file: gone}]\n")
    started = []
    monkeypatch.setattr("deployctl.cli.up._up_in_turn", lambda *given: started.append(given))
    monkeypatch.delenv("DEPLOYCTL_RECEIVERS", raising=False)
    words = ["up", "--model", "a/b", "--gpu", "l4", *words, "--receivers", str(file)]
    monkeypatch.setattr(sys, "argv", ["deployctl", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    done = capsys.readouterr()
    assert ended.value.code == 2, done.err
    assert said in done.err
    assert not started


@pytest.mark.parametrize(
    ("words", "takes_over"),
    [
        (["--beside", "yes"], "yes"),
        (["--beside", "yes", "--verify", "--slo", "ttft_p95=1s"], "auto"),
        (["--beside", "no", "--verify", "--slo", "ttft_p95=1s"], "no"),
    ],
)
def test_where_a_canary_is_wanted_no_takeover_is_a_must(monkeypatch, words, takes_over):
    """A canary may be on another card, or of Docker, where no engine takes over."""
    started = []
    monkeypatch.setattr("deployctl.cli.up._up_in_turn", lambda *given: started.append(given))
    words = ["up", "--model", "a/b", "--gpu", "l4", "--gateway", *words]
    monkeypatch.setattr(sys, "argv", ["deployctl", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    assert not ended.value.code
    [[[deployment], *_]] = started
    assert deployment.beside == takes_over
