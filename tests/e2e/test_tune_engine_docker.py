"""EngineBench on a real Docker engine: one start, one load, one death, and nothing left."""

import threading
import time
from functools import partial

import pytest
from tests.e2e.docker_parts import docker, inspect, left, sweep

from deployctl.events import silent
from deployctl.load import run as loads
from deployctl.load import slo as slos
from deployctl.operations.fetch import bring
from deployctl.operations.prepare import prepare
from deployctl.spec import ServiceSpec
from deployctl.spec.settings import Settings
from deployctl.tuning.enginebench import EngineBench, Environment
from deployctl.tuning.plans import Plans
from deployctl.tuning.trial import Configuration, Failure, Load, Observation, Started
from deployctl_loadtest.result import Setup

pytestmark = pytest.mark.docker

SERVICE, BENCH = "tune-real", "tune-real-tune"
FIRST_ANSWER_S = 120.0
SETUP = Setup(
    service=None, url="", model="", api="chat", users=1, duration_s=4.0, warmup_s=1.0,
    input_tokens=64, output_tokens=8, ignore_eos=True, seed=0, request_timeout_s=60.0,
)  # fmt: skip


def test_a_container_is_tried_killed_under_load_and_removed(
    tmp_path, tiny_checkpoint, cpu_image, port
):
    prepared = prepare(
        ServiceSpec(
            model=str(tiny_checkpoint), name=SERVICE, gpu="cpu", target="docker",
            image=cpu_image, enforce_eager=True,
        )
    )  # fmt: skip
    plans = Plans(prepared.spec, prepared.facts, prepared.profile, 72.0)
    armed = threading.Event()

    def load(setup, endpoint, folder, *, slo):
        """Once a first answer is there, and armed, the container is killed."""

        def kill():
            end = time.monotonic() + FIRST_ANSWER_S
            while not any(path.stat().st_size for path in folder.glob("samples-*.jsonl")):
                if time.monotonic() > end:
                    return
                time.sleep(0.05)
            docker("kill", "--signal", "KILL", left(BENCH)["containers"][0])

        thread = threading.Thread(target=kill)
        if armed.is_set():
            thread.start()
        try:
            return loads.run(setup, endpoint, folder, slo=slo)
        finally:
            if armed.is_set():
                thread.join()

    bench = EngineBench(
        plans, setup=SETUP, slo=slos.parse("ttft_p95=30s"), folder=tmp_path / "study",
        settings=Settings(state_dir=tmp_path / "state"), port=port,
        environment=Environment(measure=load), bring=partial(bring, tell=silent),
    )  # fmt: skip
    try:
        with bench:
            started = bench.start(Configuration.of({"max_num_seqs": 4}))
            assert isinstance(started, Started), started
            (container,) = [
                name for name in left(BENCH)["containers"] if inspect(name)["State"]["Running"]
            ]
            command = inspect(container)["Config"]["Cmd"]
            assert command[command.index("--max-num-seqs") + 1] == "4"
            seen = bench.measure(Load("users", 2), 4.0, seed=1)
            assert isinstance(seen, Observation), seen
            assert seen.ok > 0
            # One in some hundred answers of a random model has eight tokens and no text.
            assert seen.failed <= 0.02 * seen.ok
            armed.set()
            failure = bench.measure(Load("users", 2), 4.0, seed=2)
            assert isinstance(failure, Failure), failure
            assert failure.kind == "died_under_load"
            assert not left(BENCH)["containers"]
        # Its caches are the service's: the next start is warm, and so will be that of the service.
        assert not left(BENCH)["volumes"]
        assert len(left(SERVICE)["volumes"]) == 2
        assert not left(SERVICE)["containers"]
    finally:
        sweep(BENCH)
        sweep(SERVICE)
