"""The race of searches: what is counted, and its command."""

import json

import pytest
from benchmarks.data import read_text
from benchmarks.tuning.__main__ import main
from benchmarks.tuning.race import judge, quality, summary
from benchmarks.tuning.rivals import BASELINE, Told, auto_tune, random_search

from surface_parts import document, flat, named, peak, truth

BEST = named(max_num_seqs=64, max_num_batched_tokens=8192)
WORSE = named(max_num_seqs=256, max_num_batched_tokens=512)
PEAK = truth(peak)


def told(*names, winner=None, verdict="winner"):
    return Told(list(names), winner, verdict, total_s=600.0, starts=5)


def test_time_counts_from_when_on_the_choice_stays_good():
    run = judge(PEAK, told((10, BASELINE), (20, BEST), (30, WORSE), (40, BEST), winner=BEST))
    assert run.within_s == 40
    assert judge(PEAK, told((10, BEST), (20, WORSE), winner=WORSE)).within_s is None


def test_a_winner_is_right_short_or_wrong():
    assert not judge(PEAK, told(winner=BEST)).wrong
    short = judge(PEAK, told(winner=named(max_num_seqs=64)))
    assert (short.wrong, short.short) == (False, True)
    assert judge(PEAK, told(winner=WORSE)).wrong
    assert judge(truth(flat), told(winner=BEST)).wrong
    assert not judge(PEAK, told(verdict="no_clear_winner")).wrong
    assert quality(PEAK, BEST) == 1


def test_a_run_that_never_gets_there_is_the_longest():
    runs = [judge(PEAK, told((60 * n, BEST), winner=BEST)) for n in (1, 2, 3)]
    assert summary(runs)["minutes_to_5%"] == 2
    never = judge(PEAK, told())
    assert summary([*runs, never, never, never, never])["minutes_to_5%"] is None
    assert summary([*runs, never])["reached"] == 0.75


@pytest.mark.parametrize("search", [auto_tune, random_search])
def test_rivals_find_what_is_better_than_the_baseline(search):
    assert quality(PEAK, search(PEAK, 0).winner) > quality(PEAK, BASELINE)


def test_the_command_races_on_any_folder(tmp_path, capsys):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.json").write_text(json.dumps(document(peak)))
    given = ["--surfaces", str(tmp_path / "in"), "--seeds", "2", "--out", str(tmp_path / "out")]
    assert main([*given, "--only", "deployctl,random"]) == 0
    rows = json.loads((tmp_path / "out" / "race.json").read_text())["rows"]
    assert [(row["search"], row["runs"]) for row in rows] == [("deployctl", 2), ("random", 1)]
    assert "| test | deployctl |" in capsys.readouterr().out


def test_a_folder_without_surfaces_is_said(tmp_path, capsys):
    assert main(["--surfaces", str(tmp_path)]) == 2
    assert "no surface file" in capsys.readouterr().err


def test_the_synthetic_surfaces_are_what_the_model_makes(tmp_path):
    from benchmarks.tuning.make import HERE, write
    from benchmarks.tuning.recipes import RECIPES

    for recipe in RECIPES:
        made = write(recipe, tmp_path)
        assert read_text(made) == read_text(HERE / "surfaces" / made.name), recipe.name
