"""Which NVIDIA driver a CUDA version needs, and which CUDA a vLLM release is built with. Pure.

Sources. Drivers: NVIDIA's CUDA Compatibility guide, table of minor version compatibility (what
runs at all), and the CUDA Toolkit release notes, table of toolkit drivers (what the toolkit was
released with). vLLM: the CUDA_VERSION that docker/Dockerfile of the release sets; 13 came with
torch 2.11 in 0.20 (vllm-project/vllm#40669), and 0.32's wheel asks for CUDA 13 builds still.
"""

import re

# First vLLM release -> CUDA of its image, newest first.
_IMAGE_CUDA = (
    ((0, 20), "13.0"),
    ((0, 11), "12.9"),
    ((0, 9), "12.8"),
    ((0, 0), "12.4"),
)
# CUDA major version -> oldest driver branch on which it runs.
_BRANCH = {13: 580, 12: 525, 11: 450}
# CUDA version -> driver that the toolkit was released with (Linux).
_TOOLKIT_DRIVER = {
    "13.0": "580.65.06",
    "12.9": "575.51.03",
    "12.8": "570.26",
    "12.4": "550.54.14",
}


def image_cuda(vllm_version: str) -> str:
    """Returns the CUDA version of the image of a vLLM release, e.g. `13.0` for `0.32.0`."""
    release = numbers(vllm_version)[:2]
    return next(cuda for first, cuda in _IMAGE_CUDA if release >= first)


def oldest_branch(cuda: str) -> int:
    """Returns the oldest driver branch on which a CUDA version runs, e.g. 580 for `13.0`."""
    major = numbers(cuda)[0]
    return _BRANCH.get(major, max(_BRANCH.values()))


def toolkit_driver(cuda: str) -> str:
    """Returns the driver a CUDA version was released with: from there on nothing is limited."""
    return _TOOLKIT_DRIVER.get(cuda, f"{oldest_branch(cuda)}.0")


def numbers(version: str) -> tuple[int, ...]:
    """Reads the numbers of a version, for comparing: `580.126.09` is (580, 126, 9)."""
    match = re.match(r"\d+(\.\d+)*", version.strip().lstrip("v"))
    return tuple(int(part) for part in match[0].split(".")) if match else (0,)
