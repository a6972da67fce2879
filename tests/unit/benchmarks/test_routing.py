"""What benchmarks.routing asks, and what it makes of the rounds."""

import json
import re

import numpy as np
import pytest
from benchmarks.routing.__main__ import Run, Service, held, row, served
from benchmarks.routing.work import KINDS

from deployctl.render import prefix


def ran(rate, first_ms):
    return Run(rate, np.full(8, first_ms), [0.5, 0.5])


def test_the_difference_is_of_each_round_by_itself():
    by = {
        "least-busy": [ran(0.5, 100.0), ran(0.6, 300.0)],
        "prefix": [ran(0.7, 60.0), ran(0.8, 260.0)],
    }
    cells = [cell.strip() for cell in row("talks", by).strip("|").split("|")]
    assert cells[:3] == ["talks", "2", "8"]
    assert cells[3:6] == ["55.0%", "75.0%", "+20.0 ± 0.0"]
    assert cells[6:9] == ["200.0", "160.0", "-40.0 ± 0.0"]


@pytest.mark.parametrize("kind", KINDS)
def test_both_policies_are_asked_the_same_and_no_cache_knows_it(kind):
    one, other = (KINDS[kind](3, tag, 4) for tag in ("l3", "p3"))
    assert [len(talk.said) for talk in one] == [len(talk.said) for talk in other]
    for here, there in zip(one, other, strict=True):
        texts = (talk.system + "".join(talk.said) for talk in (here, there))
        first, second = (re.sub("[lp]3 ", "", text) for text in texts)
        assert first == second
        assert here != there
    assert one == KINDS[kind](3, "l3", 4)


def test_a_turn_has_all_that_was_said_and_one_opening():
    asked = []

    def ask(messages):
        asked.append(json.dumps({"messages": messages}))
        return 1.0, "so"

    talk = KINDS["conversations"](0, "l0", 1)[0]
    assert held(talk, ask) == [1.0] * 4
    openings = {re.search(prefix.opening("messages"), each).groups() for each in asked}
    assert len(openings) == 1
    assert [each.count('"so"') for each in asked] == [0, 1, 2, 3]


def test_why_no_engine_came_up_is_said_and_not_that_there_is_none_to_end(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.setenv("DEPLOYCTL_STATE_DIR", str(tmp_path))

    def deployctl(_, verb, *words):
        raise SystemExit("no model there" if verb == "up" else "there is no service")

    monkeypatch.setattr(Service, "__call__", deployctl)
    with pytest.raises(SystemExit, match="no model there"), served(tmp_path, 2):
        pass
    assert capsys.readouterr().err == "there is no service\n"
