"""A pull request with what a study found, on a fake of GitHub's API."""

import pytest

from deployctl.errors import InputError
from deployctl.operations.github.propose import Proposal, page, propose
from deployctl.tuning.recommendation import Hardware, Measured, Recommendation
from deployctl.tuning.trial import Answer, Configuration, Load, Standing

MEASURED = Measured(
    objective="goodput", slo="ttft_p95=500ms", model="org/model", engine_version="0.32.0",
    target="docker", hardware=Hardware(gpu="l4", gpus=1, memory_gib=22.0), workload="chat", seed=7,
    study="study-1", date="2026-11-24T09:00:00+00:00",
)  # fmt: skip
BRANCH = "deployctl/tuned-chat"


def found(verdict="winner", seqs=64):
    baseline = Standing(Configuration(), 2.0, 1.9, 2.1, True, Load("rate", 2))
    winner = Standing(
        Configuration.of({"max_num_seqs": seqs}), 3.0, 2.8, 3.2, True, Load("rate", 3)
    )
    why = "each of three pairs was better"
    answer = Answer(verdict, why, baseline, winner, (1.5, 1.3, 1.7), notes=("see #12",))
    return Recommendation.from_answer(answer, MEASURED)


def put(recommendation=None, **more):
    known = {"repository": "org/app", "service": "chat", "path": "recommendation.yaml", **more}
    return propose(recommendation or found(), Proposal(**known))


def test_it_is_opened_once_then_left_alone_then_brought_up_to_date(github):
    assert (put().done, put().done) == ("opened", "unchanged")
    [pull] = github.pulls
    assert (pull["base"], pull["head"]["label"]) == ("main", f"org:{BRANCH}")
    assert github.branches[BRANCH] == {"recommendation.yaml": found().to_yaml()}
    assert github.branches["main"] == {}
    assert put(found(seqs=32)).done == "updated"
    assert github.branches[BRANCH] == {"recommendation.yaml": found(seqs=32).to_yaml()}
    assert len(github.pulls) == 1
    assert "`max_num_seqs`: `32`" in pull["body"]


def test_its_text_is_the_evidence(github):
    body = page(found(), Proposal("org/app", "chat", "r.yaml", link="https://ci.example/1"))
    assert body == page(found(), Proposal("org/app", "chat", "r.yaml", link="https://ci.example/1"))
    assert "**1.500** (95% interval 1.300 to 1.700; above 1 is better)" in body
    assert "| proposed | `max_num_seqs=64` | 3 | 2.8 to 3.2 | `rate=3` | met |" in body
    assert "hardware: `1 × l4`" in body
    assert "see `#12`" in body
    assert "(https://ci.example/1)" in body


@pytest.mark.parametrize("verdict", ["no_clear_winner", "baseline_best", "interrupted"])
def test_nothing_is_proposed_that_was_not_shown(github, verdict):
    assert put(found(verdict)).done == "nothing"
    assert github.asked == []


def test_nothing_is_proposed_that_is_there_already(github):
    github.branches["main"] = {"recommendation.yaml": found().to_yaml()}
    assert put().done == "nothing"
    assert github.pulls == []


def test_what_a_closed_proposal_left_is_not_built_on(github):
    github.branches[BRANCH] = {"old": "x"}
    assert put().done == "opened"
    assert list(github.branches[BRANCH]) == ["recommendation.yaml"]


def test_an_older_recommendation_is_replaced(github):
    github.branches["main"] = {"recommendation.yaml": "old"}
    assert put().done == "opened"
    assert github.branches[BRANCH] == {"recommendation.yaml": found().to_yaml()}


@pytest.mark.parametrize(
    "more",
    [
        {"service": "a/b"},
        {"path": ""},
        {"path": "../x"},
        {"path": "/etc/x"},
        {"path": ".github/workflows/x.yml"},
        {"repository": "org"},
    ],
)
def test_what_is_no_place_is_asked_of_nobody(github, more):
    with pytest.raises(InputError):
        put(**more)
    assert github.asked == []
