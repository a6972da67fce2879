"""The process group's priority is raised where that can be, and given back."""

import pytest
from benchmarks.fidelity.runner import first_in_line


def test_the_group_gets_its_own_priority_back(tmp_path):
    file = tmp_path / "autogroup"
    file.write_text("/autogroup-12 nice 3\n")
    with first_in_line(file):
        assert file.read_text() == "-20"
    assert file.read_text() == "3"


@pytest.mark.parametrize("there", [True, False])
def test_without_a_group_nothing_is_done(tmp_path, there):
    file = tmp_path / "autogroup"
    if there:
        file.touch()
    with first_in_line(file):
        pass
    assert file.exists() == there
    assert not there or file.read_text() == ""
