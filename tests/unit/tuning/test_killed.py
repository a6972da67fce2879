"""kill -9 at every moment of a tune, then --resume: nothing is lost, nothing is done twice."""

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    path = os.pathsep.join(filter(None, [str(TESTS), os.environ.get("PYTHONPATH")]))
    done = subprocess.run(
        [sys.executable, TESTS / "killed_tune.py", tmp_path_factory.mktemp("killed")],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_there_were_moments_of_every_kind(told):
    # 12 calls with two moments each; 13 lines, the header among them, with two for each part
    # that is written and two around the disk's word.
    assert len(told["killed"]) > 12 * 2 + 13 * 4
    assert any(one["before"] is None for one in told["killed"])
    assert any(one["before"] and one["before"]["engine"] for one in told["killed"])


def test_the_end_is_the_same_whenever_it_was_killed(told):
    whole = told["undisturbed"]
    for one in told["killed"]:
        assert one["after"]["answer"] == whole["answer"], one["moment"]
        assert one["after"]["done"] == whole["done"], one["moment"]
        assert not one["after"]["engine"], one["moment"]


def test_what_was_written_stays(told):
    for one in told["killed"]:
        before = one["before"]["done"] if one["before"] else []
        assert one["after"]["done"][: len(before)] == before, one["moment"]


def test_nothing_that_was_written_is_done_again(told):
    whole = Counter(told["undisturbed"]["calls"])
    for one in told["killed"]:
        more = Counter(one["after"]["calls"]) - whole
        # A call whose result was not yet on the disk, and an engine started once more.
        assert sum(more.values()) <= 1 + one["after"]["restarts"], one["moment"]
        assert one["after"]["restarts"] <= 1, one["moment"]
        extra = one["after"]["server_s"] - told["undisturbed"]["server_s"]
        assert extra == 3.0 * one["after"]["restarts"], one["moment"]
