"""CUDA versions against drivers and releases."""

import pytest

from deployctl.hardware.nvidia import image_cuda, numbers, oldest_branch, toolkit_driver


@pytest.mark.parametrize(
    ("release", "cuda", "branch"),
    [
        ("0.32.0", "13.0", 580),
        ("0.20.0", "13.0", 580),
        ("v0.19.1", "12.9", 525),
        ("0.8.5", "12.4", 525),
    ],
)
def test_what_a_release_needs(release, cuda, branch):
    assert image_cuda(release) == cuda
    assert oldest_branch(cuda) == branch
    assert numbers(toolkit_driver(cuda))[0] >= branch


def test_a_cuda_not_yet_known_needs_at_least_the_newest_driver():
    assert oldest_branch("14.1") == 580
    assert toolkit_driver("13.4") == "580.0"


def test_versions_compare_as_numbers():
    assert numbers("580.126.09") > numbers("580.65.06") > numbers("580")
    assert numbers("0.32.0rc1") == (0, 32, 0)
    assert numbers("unknown") == (0,)
