"""A search and a bench of known behaviour, for the tests of studies and their runner."""

import zlib
from dataclasses import replace

from deployctl.spec import ServiceSpec
from deployctl.tuning.recommendation import Fingerprint, Hardware
from deployctl.tuning.study import Header, Traffic
from deployctl.tuning.trial import (
    Answer,
    Configuration,
    Failure,
    Load,
    Measure,
    Observation,
    Parameter,
    Standing,
    Start,
    Started,
)

SEQS = (None, 8, 16, 32)
LOADS = (Load("rate", 1.0), Load("rate", 2.5))


def configuration(seqs):
    return Configuration.of({} if seqs is None else {"max_num_seqs": seqs})


def observation(load, good=1.0, **more):
    given = {
        "load": load,
        "seconds": 10.0,
        "spent_s": 12.5,
        "held": "yes",
        "requests_per_s": good,
        "output_tokens_per_s": 64 * good,
        "goodput_per_s": good,
        "goodput_low": 0.9 * good,
        "goodput_high": 1.1 * good,
        "ok": 10,
        "failed": 0,
        "incomplete": 0,
    }
    return Observation(**{**given, **more})


def header(**more):
    hardware = Hardware(gpu="cpu", processor="A CPU, 2 threads")
    fingerprint = Fingerprint(hardware, 2, 16.0, None, "process", "0.32.0")
    given = {
        "created": "2026-11-24T10:00:00+00:00",
        "service": "tiny",
        "spec": ServiceSpec(model="/models/tiny", gpu="cpu", target="process", replicas=1),
        "goal": "goodput",
        "slo": "ttft_p95=500ms",
        "traffic": Traffic(),
        "parameters": (Parameter("max_num_seqs", (8, 16, 32), 128),),
        "budget_s": 600.0,
        "max_trials": None,
        "seed": 7,
        "first": Load("rate", 1.0),
        "output_tokens": 64.0,
        "usd_per_hour": None,
        "gpus": 1,
        "fingerprint": fingerprint,
    }
    return Header(**{**given, **more})


class GridSearch:
    """Each of SEQS in turn, at each of LOADS; what fails is left at once. Fixed by its facts."""

    def __init__(self, order=SEQS):
        self._left = [configuration(seqs) for seqs in order]
        self._running = None
        self._loads = []
        self.good = {}
        self.failures = []
        self.told = []

    def ask(self):
        if self._loads:
            best = max(self.good.values(), default=0.0)
            why = f"the best so far is {best:g}"  # depends on what was told
            return Measure(self._loads[0], 10.0 + best, "screen", why)
        if self._left:
            return Start(self._left[0], "screen", "next in the grid")
        return None

    def tell(self, step, result):
        assert step == self.ask()
        self.told.append((step, result))
        if isinstance(step, Start):
            self._running = self._left.pop(0)
            self._loads = list(LOADS) if isinstance(result, Started) else []
        else:
            self._loads.pop(0)
        if isinstance(result, Failure):
            self._loads = []
            self.failures.append((self._running, result))
        if isinstance(result, Observation):
            before = self.good.get(self._running, 0.0)
            self.good[self._running] = max(before, result.goodput_per_s)

    def answer(self):
        standings = [
            Standing(c, good, 0.9 * good, 1.1 * good, True, LOADS[-1])
            for c, good in sorted(self.good.items(), key=lambda item: -item[1])
        ]
        base = next((s for s in standings if not s.configuration.values), None)
        best = standings[0] if standings else None
        if best is None:
            return Answer("nothing_feasible", "nothing ran", None, None, None)
        if best is base:
            return Answer("baseline_best", "nothing is better", base, None, None)
        ratio = best.objective / base.objective if base else None
        return Answer(
            "winner",
            "it served more",
            base,
            best,
            (ratio, 0.9 * ratio, 1.1 * ratio) if ratio else None,
            tuple(standings),
            tuple(self.failures),
        )

    def remaining(self):
        steps = len(self._loads) + 3 * len(self._left)
        return steps, 12.0 * steps


class FakeBench:
    """Goodput grows with max_num_seqs. `faults`: what to return or raise, by call number."""

    def __init__(self, faults=None):
        self.faults = faults or {}
        self.calls = []
        self.running = None
        self.seeds = []

    def _call(self, what):
        self.calls.append(what)
        fault = self.faults.get(len(self.calls))
        if isinstance(fault, BaseException):
            raise fault
        return fault

    def start(self, wanted):
        self.running = None
        fault = self._call(f"start {wanted}")
        if fault is not None:
            return fault
        self.running = wanted
        return Started(3.0)

    def measure(self, load, seconds, seed):
        assert self.running is not None, "nothing runs"
        self.seeds.append(seed)
        fault = self._call(f"measure {load}")
        if isinstance(fault, Failure):
            self.running = None
        if fault is not None:
            return fault
        good = load.value * (1 + self.running.settings.get("max_num_seqs", 4) / 100)
        return replace(observation(load, good), folder=f"measurements/{self.running}-{load}")

    def stop(self):
        self.calls.append("stop")
        self.running = None


class KneeBench(FakeBench):
    """Holds the SLO up to a rate, which max_num_seqs decides: 32 is best. A little noise."""

    LIMITS = {None: 4.0, 8: 2.0, 16: 4.0, 32: 6.0, 64: 4.2}  # noqa: RUF012

    def __init__(self, faults=None, *, limit=1.0, startup_s=20.0):
        super().__init__(faults)
        self.limit = limit
        self.startup_s = startup_s

    def start(self, wanted):
        found = super().start(wanted)
        return replace(found, seconds=self.startup_s) if isinstance(found, Started) else found

    def measure(self, load, seconds, seed):
        found = super().measure(load, seconds, seed)
        if not isinstance(found, Observation):
            return found
        settings = self.running.settings
        limit = self.limit * self.LIMITS[settings.get("max_num_seqs")]
        draw = zlib.crc32(f"{self.running} {load} {seconds}".encode())
        limit *= 1 + (draw % 1000 - 500) / 100_000  # half a percent
        held = load.value <= limit
        good = load.value if held else 0.4 * limit
        return observation(
            load,
            good,
            seconds=seconds,
            spent_s=seconds + 3,
            held="yes" if held else "no",
            requests_per_s=min(load.value, limit),
            ok=int(seconds * load.value),
        )
