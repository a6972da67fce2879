"""PredictedBench: answers as the plan expects, so that a search can be shown and not run. Pure."""

from deployctl.tuning.problem import Prior, Problem
from deployctl.tuning.trial import Configuration, Failure, Load, Observation, Started

_START_S = 60.0
# Where the plan has no figure: a small model on a CPU.
_DECODE_TOKENS_S = 300.0
_EDGE_S = 6.0  # ramp, warm-up and end of a measurement
_KNEE = 0.8  # of what an engine can do, up to which an SLO is taken to hold
_SLOW_S = 1.0


class PredictedBench:
    """A bench on the prior. Its figures are the plan's, and the order of trials follows them."""

    def __init__(self, problem: Problem) -> None:
        self._problem = problem
        self._prior = Prior()

    def start(self, configuration: Configuration) -> Started | Failure:
        """Started as soon as the plan expects, or refused by it."""
        if (refused := self._problem.refused(configuration)) is not None:
            return refused
        self._prior = self._problem.prior(configuration)
        return Started(self._prior.startup_s or _START_S)

    def measure(self, load: Load, seconds: float, seed: int) -> Observation:
        """What the roofline allows at this load."""
        del seed
        tokens = self._problem.output_tokens
        most = (self._prior.decode_tokens_s or _DECODE_TOKENS_S) / tokens  # requests a second
        alone = _SLOW_S
        if load.kind == "users":
            rate = min(load.value / alone, most)
            share = load.value / alone / most
        else:
            rate, share = min(load.value, most), load.value / most
        held = share <= _KNEE or not self._problem.has_slo
        late = alone * max(1.0, share)
        good = rate if held else rate * _KNEE / share
        return Observation(
            load=load,
            seconds=seconds,
            spent_s=seconds + _EDGE_S,
            held="yes" if held else "no",
            requests_per_s=rate,
            output_tokens_per_s=rate * tokens,
            goodput_per_s=good,
            goodput_low=good * 0.95,
            goodput_high=good * 1.05,
            ok=max(1, int(rate * seconds)),
            failed=0,
            incomplete=0,
            ttft_p50_s=0.2 * late,
            ttft_p95_s=0.3 * late,
            itl_p50_s=late / tokens,
            itl_p95_s=late / tokens,
            tpot_p50_s=late / tokens,
            e2e_p50_s=late,
            e2e_p95_s=1.2 * late,
        )

    def stop(self) -> None:
        """Nothing runs."""
