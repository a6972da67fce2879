"""EngineBench with the real vLLM: what it starts, measures and survives, and what it leaves."""

import itertools
import json
import os
import signal
import threading
import time
from functools import partial
from pathlib import Path

import pytest
from tests.e2e.engine_cache import knowing

from deployctl.events import silent
from deployctl.load import run as loads
from deployctl.load import slo as slos
from deployctl.operations.fetch import bring
from deployctl.operations.prepare import prepare
from deployctl.spec import ServiceSpec
from deployctl.spec.settings import Settings
from deployctl.targets.process import procfs
from deployctl.tuning.enginebench import EngineBench, Environment
from deployctl.tuning.plans import Plans
from deployctl.tuning.trial import Configuration, Failure, Load, Observation, Started
from deployctl_loadtest.result import Setup
from process_shell import carrying

WINDOW_S = 4.0
FIRST_ANSWER_S = 120.0
SETUP = Setup(
    service=None, url="", model="", api="chat", users=1, duration_s=WINDOW_S, warmup_s=1.0,
    input_tokens=64, output_tokens=8, ignore_eos=True, seed=0, request_timeout_s=60.0,
)  # fmt: skip
SMALL = Configuration.of({"max_num_seqs": 4, "max_num_batched_tokens": 512})
# vLLM: "max_num_batched_tokens (4) must be greater than or equal to max_num_seqs (64)"
CONTRARY = Configuration.of({"max_num_seqs": 64, "max_num_batched_tokens": 4})


class Assassin:
    """A load test during which a signal goes to whoever `victim` names."""

    def __init__(self, victim):
        self._victim = victim
        self.armed = False

    def __call__(self, setup, endpoint, folder, *, slo):
        thread = threading.Thread(target=self._wait_and_kill, args=(folder,))
        if self.armed:
            thread.start()
        try:
            return loads.run(setup, endpoint, folder, slo=slo)
        finally:
            if self.armed:
                thread.join()

    def _wait_and_kill(self, folder):
        """Once a first answer is there, and not by the clock."""
        end = time.monotonic() + FIRST_ANSWER_S
        while not any(path.stat().st_size for path in folder.glob("samples-*.jsonl")):
            if time.monotonic() > end:
                return  # the test then misses its failure
            time.sleep(0.05)
        self._victim()


class Anyway(Plans):
    """Takes no refusal: what the planner knows of, the engine has to say here."""

    def candidate(self, configuration, *, port):
        spec, plan = super().candidate(configuration, port=port)
        return spec, plan.model_copy(update={"verdict": "fits"})


def engine_in(state):
    """The API server that runs."""
    found = [json.loads(file.read_text())["pid"] for file in state.rglob("engine.json")]
    (engine,) = [who for pid in found if (who := procfs.identify(pid))]
    return engine


def settings_of(engine):
    """Its arguments, in pairs of neighbours."""
    words = Path(f"/proc/{engine.pid}/cmdline").read_text().split("\0")
    return {f"{one} {other}" for one, other in itertools.pairwise(words)}


def core_of(engine):
    """The process that has the model: the API server's child of that name."""
    for who in procfs.descendants(engine):
        if Path(f"/proc/{who.pid}/comm").read_text().startswith("VLLM::EngineCor"):
            return who.pid
    raise AssertionError("no engine core runs")


@pytest.mark.vllm
def test_configurations_come_and_go_and_an_engine_that_dies_is_a_fact(
    tmp_path, tiny_checkpoint, checkpoint_cache, free_port
):
    cache = knowing(tmp_path / "cache", checkpoint_cache, "real-tune")
    settings = Settings(state_dir=tmp_path / "state", cache_dir=cache)
    state = settings.state_dir
    prepared = prepare(
        ServiceSpec(
            model=str(tiny_checkpoint), name="real", gpu="cpu", target="process",
            enforce_eager=True,
        )
    )  # fmt: skip
    plans = Anyway(prepared.spec, prepared.facts, prepared.profile, 72.0)
    load = Assassin(lambda: os.kill(core_of(engine_in(state)), signal.SIGKILL))

    def bench():
        return EngineBench(
            plans, setup=SETUP, slo=slos.parse("ttft_p95=30s"), folder=tmp_path / "study",
            settings=settings, port=free_port, environment=Environment(measure=load),
            bring=partial(bring, tell=silent),
        )  # fmt: skip

    with bench() as first:
        started = first.start(SMALL)
        assert isinstance(started, Started), started
        assert started.seconds > 1
        seen = first.measure(Load("users", 6), WINDOW_S, seed=1)
        assert isinstance(seen, Observation), seen
        assert seen.ok > 0
        # One in some hundred answers of a random model has eight tokens and no text.
        assert seen.failed <= 0.02 * seen.ok
        assert seen.preemptions == 0
        assert seen.output_tokens_per_s > 0
        assert {"--max-num-seqs 4", "--max-num-batched-tokens 512"} <= settings_of(engine_in(state))
        assert (tmp_path / "study" / seen.folder / "summary.json").exists()

        load.armed = True
        failure = first.measure(Load("users", 2), WINDOW_S, seed=2)
        load.armed = False
        assert isinstance(failure, Failure), failure
        assert failure.kind == "died_under_load"
        assert carrying(state) == []

        failure = first.start(CONTRARY)
        assert isinstance(failure, Failure), failure
        assert failure.kind == "start_refused"
        assert "max_num_batched_tokens (4)" in failure.reason  # the engine's own words
        assert carrying(state) == []

    killed = bench()  # never left: what it starts is left running
    assert isinstance(killed.start(Configuration()), Started)
    seen = killed.measure(Load("users", 6), WINDOW_S, seed=3)
    assert isinstance(seen, Observation), seen
    assert not {"--max-num-seqs 4", "--max-num-seqs 64"} & settings_of(engine_in(state))
    left = [procfs.identify(pid) for pid in carrying(state)]
    assert left
    with bench() as next_one:
        failure = next_one.start(CONTRARY)  # ends what runs first
        assert failure.kind == "start_refused"
        assert not [who for who in left if procfs.alive(who)]
    caches = [path.name for path in (settings.cache_dir / "engine").iterdir()]
    assert caches == ["real-tune"]  # one for all that were started
