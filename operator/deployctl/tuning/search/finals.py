"""Finals: what is near the best and the baseline, side by side, from fresh starts. Pure.

Each round has every contender and the baseline once, in random order, so that drift and luck fall
on all alike. Contenders are halved after each round; the last one goes on until its difference
is more than noise, or is seen to be none. Nothing measured before counts: what was chosen for its
luck has to show itself again.
"""

import math
import random
from collections.abc import Generator

from deployctl.tuning.search.again import again
from deployctl.tuning.search.compare import Readings, wins
from deployctl.tuning.search.ledger import BASELINE, Ledger
from deployctl.tuning.search.looks import LONG, SHORT
from deployctl.tuning.search.screens import NEAR
from deployctl.tuning.trial import Configuration, Result, Step

_WORTH_IT = math.log(1.01)  # above the baseline, at least, for a contender
_CONTENDERS = 3
_ROUNDS = 8
_LOOKS = 3  # windows a start takes, about
_FUTILE = math.log(1.02)


class Finals:
    """The last part of a search; `left` are the contenders, best first."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.left: tuple[Configuration, ...] = ()

    def steps(self) -> Generator[Step, Result, None]:
        """Rounds until it is decided; the baseline alone where nothing contends."""
        ledger = self.ledger
        self.left = self._contenders()
        stands = bool(ledger.of(BASELINE)) and ledger.failure(BASELINE) is None
        if not self.left:
            if stands and Readings(ledger).estimate(BASELINE) is not None:
                why = "the baseline once more: has anything drifted?"
                yield from again(ledger, BASELINE, "drift", SHORT, why)
            return
        for number in range(1, _ROUNDS + 1):
            ledger.begin_round(number)
            field = [*self.left, BASELINE] if stands else list(self.left)
            random.Random(f"{ledger.problem.seed} {number}").shuffle(field)  # noqa: S311
            for configuration in field:
                why = f"round {number} of the finals, in random order"
                yield from again(ledger, configuration, "final", LONG, why)
            self._halve()
            if not self.left or self._decided(number, stands):
                return

    def _contenders(self) -> tuple[Configuration, ...]:
        """What may be better than the baseline and is not clearly behind the best."""
        values = Readings(self.ledger).feasible()
        base = values.pop(BASELINE, None)
        if not values:
            return ()
        least = max(e.value for e in values.values()) - NEAR
        if base is not None:
            least = max(least, base.value + _WORTH_IT)
        near = [c for c in values if values[c].value >= least]
        return tuple(sorted(near, key=lambda c: -values[c].value)[: self._affordable()])

    def _affordable(self) -> int:
        """Contenders for a first round with all and a second one with half of them."""
        ledger = self.ledger
        seen = [o.spent_s for r in ledger.runs for o in r.seen]
        each = ledger.startup_s(BASELINE) + _LOOKS * sum(seen) / max(1, len(seen))
        starts = ledger.left_s() / each
        most = ledger.problem.max_trials
        if most is not None:
            starts = min(starts, most - ledger.starts)
        return next((n for n in range(_CONTENDERS, 1, -1) if n + 1 + n // 2 + 1 <= starts), 1)

    def _halve(self) -> None:
        """Failures go first, then those with the lower means."""
        values = Readings(self.ledger).feasible()
        alive = sorted((c for c in self.left if c in values), key=lambda c: -values[c].value)
        self.left = tuple(alive[: max(1, len(self.left) // 2)])

    def _decided(self, rounds: int, stands: bool) -> bool:
        if not stands or Readings(self.ledger).estimate(BASELINE) is None:
            return rounds >= 2
        pair = Readings(self.ledger).pair(self.left[0])
        if pair is None:
            return rounds >= 2
        return pair.rounds >= 2 and (wins(pair) or pair.value < _FUTILE)
