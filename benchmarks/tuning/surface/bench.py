"""A Bench that replays a surface file: noise, drift, failures and start-up cost, no real time."""

import bisect
import math
import random

from benchmarks.tuning.surface.file import (
    LATENCIES,
    OBSERVED,
    Breaks,
    Noise,
    Surface,
)
from benchmarks.tuning.surface.truth import (
    SERVED,
    Curve,
    Figures,
    Truth,
    good_share,
    level,
    spread,
)

from deployctl.load.intervals import needed
from deployctl.load.limit import Held
from deployctl.tuning.trial import Configuration, Failure, Invalid, Load, Observation, Started

# Standard deviation of a log-normal's percentile on a logarithmic scale, in spreads ÷ √n:
# √(p (1 − p)) ÷ φ(z), from the asymptotic variance of an order statistic.
_BLUR = {"p50": 1.2533, "p90": 1.7094, "p95": 2.1130, "p99": 3.7333}
_FIGURES = ("preemptions", "kv_cache_usage_max", "waiting_max")
_STEADY = 0.3  # of a Poisson count's deviation
_TOKENS_BLUR = 0.3  # tokens a second vary less than requests do: many requests share a window


class SurfaceBench:
    """Replays a surface. Implements Bench; `clock_s` is the server time spent so far.

    `starts`, `measurements` and `refusals` (starts that the planner had refused) count calls.
    """

    def __init__(self, surface: Surface, seed: int, truth: Truth | None = None) -> None:
        self.truth = truth or Truth(surface)
        self.surface = surface
        self.clock_s = 0.0
        self.starts = self.measurements = self.refusals = 0
        self._random = random.Random(f"{surface.name} {seed}")
        self._running: Curve | None = None
        self._speed = 1.0
        self._warm: set[int] = set()  # points that have been started before

    def start(self, configuration: Configuration) -> Started | Failure:
        """A fresh start, with its own draw of the noise between starts."""
        self.stop()
        refused = self.truth.refused(configuration)
        if refused is not None:
            self.refusals += 1
            return refused
        curve = self.truth.curve(configuration)
        assert curve is not None
        self.starts += 1
        point = curve.point
        seconds = point.startup_s
        if id(point) not in self._warm and point.first_startup_s is not None:
            seconds = point.first_startup_s
        failure = point.failure
        if failure is not None and failure.at == "start" and self._happens(failure):
            return self._fail(failure, seconds)
        self._warm.add(id(point))
        self.clock_s += seconds
        self._running = curve
        self._speed = self._draw(self._noise(curve).between_starts)
        return Started(seconds)

    def measure(self, load: Load, seconds: float, seed: int) -> Observation | Failure | Invalid:
        """One window. `seed` only stirs the draws: they follow from the bench's own seed."""
        curve = self._running
        assert curve is not None, "nothing runs"
        assert load.kind == self.surface.problem.first.kind, f"the surface has no {load.kind}"
        self.measurements += 1
        spent = seconds + self.surface.overhead_s
        failure = curve.point.failure
        above = failure is not None and failure.at == "load" and load.value > failure.above
        if failure is not None and above and self._happens(failure):
            self._running = None
            return self._fail(failure, spent)
        noise = self._noise(curve)
        if noise.invalid and self._random.random() < noise.invalid:
            self.clock_s += spent
            return Invalid("the load generator was the bottleneck", spent)
        middle = self.clock_s + spent - seconds / 2
        speed = self._speed * self._drift(middle) * self._draw(noise.between_runs)
        self.clock_s += spent
        return self._observe(curve, load, seconds, spent, speed, noise.dependence)

    def stop(self) -> None:
        """Ends what runs."""
        self._running = None

    def _observe(
        self,
        curve: Curve,
        load: Load,
        seconds: float,
        spent: float,
        speed: float,
        dependence: float,
    ) -> Observation:
        open_loop = load.kind == "rate"
        figures = curve.at(load.value / speed if open_loop else load.value, seconds * speed)
        for name in LATENCIES:
            if figures.get(name) is not None:
                figures[name] = (figures[name] or 0.0) / speed
        expected = (figures["requests_per_s"] or 0.0) * speed * seconds
        # Arrivals in an open loop are random; what a busy server brings to an end is less so.
        steady = not open_loop or expected < SERVED * load.value * seconds
        blur = math.sqrt(expected) * (_STEADY if steady else 1.0)
        count = max(0.0, self._random.gauss(expected, blur))
        effective_size = max(1.0, count / dependence)
        truth = curve.share(figures)
        self._blur(figures, effective_size)
        slo = self.surface.problem.slo or {}
        held, why = self._held(figures, slo, effective_size)
        if open_loop and expected < SERVED * load.value * seconds:
            held, why = "no", "the queue grew: the rate is more than it can serve"
        if slo and figures.get("good_share") is None:
            share = good_share(figures, slo)
        else:
            blur = math.sqrt(max(truth * (1 - truth), 0.0) / effective_size)
            share = min(1.0, max(0.0, self._random.gauss(truth, blur)))
        low, high = _wilson(share, effective_size)
        rate = count / seconds
        tokens = (figures["output_tokens_per_s"] or 0.0) * speed
        tokens *= 1 + self._random.gauss(0, _TOKENS_BLUR) / math.sqrt(max(expected, 1.0))
        return Observation(
            load=load,
            seconds=seconds,
            spent_s=spent,
            held=held,
            requests_per_s=rate,
            output_tokens_per_s=max(0.0, tokens),
            goodput_per_s=rate * share,
            goodput_low=rate * low,
            goodput_high=rate * high,
            ok=round(count),
            failed=0,
            incomplete=0,
            **{name: figures.get(name) for name in OBSERVED},  # type: ignore[arg-type]
            **{n: _whole(figures.get(n), n) for n in _FIGURES},  # type: ignore[arg-type]
            why=why,
        )

    def _blur(self, figures: Figures, effective_size: float) -> None:
        for family in ("ttft", "itl", "tpot", "e2e"):
            width = spread(figures, family)
            shared = self._random.gauss(0, 1)
            for percentile, factor in _BLUR.items():
                name = f"{family}_{percentile}_s"
                value = figures.get(name)
                if value is not None:
                    z = 0.7 * shared + 0.714 * self._random.gauss(0, 1)
                    figures[name] = value * math.exp(z * width * factor / math.sqrt(effective_size))

    def _held(
        self, figures: Figures, slo: dict[str, float], effective_size: float
    ) -> tuple[Held, str]:
        unclear = ""
        for name, limit in slo.items():
            value = figures.get(name)
            if value is None:
                return "unclear", f"{name} was not measured"
            family, share = level(name)
            blur = _BLUR[name.split("_")[1]]
            half = 1.96 * spread(figures, family) * blur / math.sqrt(effective_size)
            low, high = value * math.exp(-half), value * math.exp(half)
            if low > limit:
                return "no", f"{name} {value:.3g} (at least {low:.3g}), limit {limit:g}"
            if high > limit or effective_size < needed(share):
                unclear = f"{name} {value:.3g} (up to {high:.3g}), limit {limit:g}"
        return ("unclear", unclear) if unclear else ("yes", "every objective met")

    def _noise(self, curve: Curve) -> Noise:
        return curve.point.noise or self.surface.noise

    def _draw(self, deviation: float) -> float:
        return math.exp(self._random.gauss(0, deviation)) if deviation else 1.0

    def _happens(self, failure: Breaks) -> bool:
        return failure.chance >= 1 or self._random.random() < failure.chance

    def _fail(self, failure: Breaks, otherwise: float) -> Failure:
        spent = otherwise if failure.spent_s is None else failure.spent_s
        self.clock_s += spent
        return Failure(failure.kind, failure.reason, spent)

    def _drift(self, clock: float) -> float:
        drift = self.surface.drift
        if not drift:
            return 1.0
        i = bisect.bisect_right([time for time, _ in drift], clock)
        if i == 0 or i == len(drift):
            return drift[max(0, i - 1)][1]
        (t0, s0), (t1, s1) = drift[i - 1], drift[i]
        return s0 + (s1 - s0) * (clock - t0) / (t1 - t0)


def _whole(value: float | None, name: str) -> float | int | None:
    return value if value is None or name == "kv_cache_usage_max" else round(value)


def _wilson(share: float, size: float) -> tuple[float, float]:
    """E. Wilson's interval of a share at 95%: JASA 22 (1927)."""
    z = 1.96
    middle = (share + z * z / (2 * size)) / (1 + z * z / size)
    half = z / (1 + z * z / size) * math.sqrt(share * (1 - share) / size + z * z / (4 * size**2))
    return max(0.0, middle - half), min(1.0, middle + half)
