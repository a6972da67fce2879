"""Faults of a real engine and of its machine, one at a time: the right alert reaches a webhook by a
real Prometheus and a real Alertmanager, nothing but its relatives (tests/data/alert-relatives.yaml)
does, and all is quiet again by itself. Rules are ours, their windows divided by 60, but for those
of a crash loop. Two more are in test_scraped.py, at every change, and one in test_paged_starts.py.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time

import pytest
from tests.e2e.engine_cache import knowing
from tests.e2e.guarded import Guarded, stopped, total

import ports
from deployctl.targets.history import Release
from paging_parts import Pager
from process_shell import PATIENCE_S, until
from prometheus_parts import NodeExporter

pytestmark = [pytest.mark.vllm, pytest.mark.prometheus, pytest.mark.night]

BACK_OFFS_S = 36.0  # of three restarts, which are not divided
# Room for 16 requests at a time, in a cache for half of that.
SMALL = ("--max-model-len", "1024", "--max-num-seqs", "16", "--engine-arg",
         "num-gpu-blocks-override=64")  # fmt: skip


@pytest.fixture(scope="module")
def engine(tiny_checkpoint, checkpoint_cache, tmp_path_factory):
    folder = tmp_path_factory.mktemp("paged")
    cache = knowing(folder / "cache", checkpoint_cache, Guarded.name)
    engine = Guarded(folder, tiny_checkpoint, ports.free(), cache, *SMALL)
    yield engine
    engine.down()


@pytest.fixture(scope="module")
def release(engine):
    return Release.model_validate_json((engine.folder / "releases" / "000001.json").read_bytes())


@pytest.fixture(scope="module")
def disk(tmp_path_factory):
    """A disk of 64 MiB, and nothing on it; a mere folder where no loop device can be mounted."""
    folder = tmp_path_factory.mktemp("disk")
    image, mounted = folder / "image", folder / "mounted"
    mounted.mkdir()
    with image.open("wb") as file:
        file.truncate(64 * 2**20)
    subprocess.run(["mkfs.ext4", "-q", "-m", "0", image], check=True)
    subprocess.run(["mount", "-o", "loop", image, mounted], check=False)
    yield mounted
    if mounted.is_mount():
        subprocess.run(["umount", mounted], check=True)


@pytest.fixture(scope="module")
def pager(engine, release, disk, tmp_path_factory):
    folder = tmp_path_factory.mktemp("pager")
    with contextlib.ExitStack() as kept:
        # Of the disks the test's own alone: the machine's may be as full as they are.
        only = f"--collector.filesystem.mount-points-include=^{disk}$"
        exporter = NodeExporter(folder, folder, only)
        kept.callback(exporter.end)
        pager = Pager(folder, release, engine.folder / "operator_token", exporter)
        kept.callback(pager.close)
        yield pager


@pytest.fixture
def crashing(engine, release, tmp_path):
    """The pager of an engine that was begun anew: the watchdog has counted no start of it. The hour
    of its rules holds the back-offs and the start after them, as long as one takes here."""
    engine.down()
    began = time.monotonic()
    engine.up()
    hour_s = max(240.0, 2 * (BACK_OFFS_S + time.monotonic() - began))
    faster = max(1, int(3600 / hour_s))
    with contextlib.closing(
        Pager(tmp_path, release, engine.folder / "operator_token", faster=faster)
    ) as pager:
        pager.hour_s = hour_s
        until(lambda: pager.prometheus.now("deployctl_engine_restarts_total"))
        yield pager


@contextlib.contextmanager
def load(engine, tmp_path, *words):
    """Our load test, for as long as it is needed."""
    command = ["loadtest", engine.name, "--duration", "300s", "--warmup", "0s", *words]
    command += ["--out", tmp_path / "load", "--output", "json"]
    with subprocess.Popen(
        [sys.executable, "-m", "deployctl", *map(str, command)],
        env=engine.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    ) as running:  # fmt: skip
        try:
            yield
        finally:
            running.send_signal(signal.SIGINT)
            running.wait(60)


def under(engine, tmp_path, *words):
    """What begins a load, and what ends it."""
    under = contextlib.ExitStack()
    return lambda: under.enter_context(load(engine, tmp_path, *words)), under.close


def pid(engine):
    """The engine's, which is another one after each start."""
    (file,) = engine.run.glob("engine.json")
    return json.loads(file.read_text())["pid"]


def kill(engine):
    """As the kernel does that has no memory left; what died."""
    dead = pid(engine)
    os.kill(dead, signal.SIGKILL)
    return dead


def test_a_hang_under_load(pager, engine, tmp_path):
    with contextlib.ExitStack() as hanging, load(engine, tmp_path, "--users", 3):
        until(lambda: engine.running() > 0)
        pager.pages(
            "VllmEngineHung",
            lambda: hanging.enter_context(stopped(engine.core())),
            hanging.close,
        )


def test_a_death(pager, engine):
    pager.pages("VllmScrapeFailing", lambda: kill(engine))


def test_an_overload(pager, engine, tmp_path):
    # Twice as many as are computed at a time; more would keep the API server from being scraped.
    words = ("--users", 32, "--input-tokens", 50, "--output-tokens", 200)
    pager.pages("VllmQueueGrowing", *under(engine, tmp_path, *words))


def test_a_full_kv_cache(pager, engine, tmp_path):
    words = ("--users", 14, "--input-tokens", 100, "--output-tokens", 900)
    pager.pages("VllmKvCacheFull", *under(engine, tmp_path, *words))


def test_a_full_disk(pager, disk):
    if not disk.is_mount():
        pytest.skip("no loop device can be mounted here")

    def fill():
        with contextlib.suppress(OSError), (disk / "cache").open("wb") as file:
            while file.write(bytes(2**20)):
                pass

    pager.pages("HostDiskFilling", fill, (disk / "cache").unlink)


def test_a_crash_loop(crashing, engine):
    """It dies three times, twice while it loads, and then serves, as one that comes and goes."""

    def crash():
        dead = None
        for _ in range(3):
            until(lambda dead=dead: pid(engine) != dead)
            dead = kill(engine)

    crashing.pages("VllmRestarting", crash, patience_s=PATIENCE_S + 2 * crashing.hour_s)
    assert total(engine.figures(), "deployctl_engine_restarts_total") == 3
