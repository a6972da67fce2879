"""Finals: what is near the best and the baseline, side by side, from fresh starts. Pure.

Each round has every contender and the baseline once, in random order, so that drift and luck fall
on all alike. Contenders are halved after each round; the last one goes on until its difference
is more than noise, or is seen to be none. Nothing measured before counts: what was chosen for its
luck has to show itself again.
"""

import math
import random
from collections.abc import Generator, Sequence

from deployctl.tuning.search import measures
from deployctl.tuning.search.again import again, guess
from deployctl.tuning.search.compare import Readings, wins
from deployctl.tuning.search.ledger import BASELINE, Ledger
from deployctl.tuning.search.looks import LONG, SHORT, window
from deployctl.tuning.search.screens import NEAR
from deployctl.tuning.trial import Configuration, Load, Result, Step

_WORTH_IT = math.log(1.01)  # above the baseline, at least, for a contender
_CONTENDERS = 3
_ROUNDS = 8
_LOOKS, _LOOKS_OF_USERS = 3.0, 1.5  # windows a start takes, about
_ALONE = 2  # rounds, at least, with the baseline alone
_FUTILE = math.log(1.02)


def looks(ledger: Ledger) -> float:
    """Windows that a start of the finals takes, about."""
    return _LOOKS_OF_USERS if ledger.problem.first.kind == "users" else _LOOKS


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
        self._fit([*self.left, BASELINE] if stands else self.left)
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

    def _fit(self, field: Sequence[Configuration]) -> None:
        """Shorter windows, where two rounds with these are more than is left."""
        ledger = self.ledger
        readings, kind = Readings(ledger), ledger.problem.first.kind
        fixed = sum(ledger.startup_s(c) + looks(ledger) * ledger.overhead_s() for c in field)
        loads = [measures.at(Load(kind, 1.0), guess(readings, c)) for c in field]
        long = looks(ledger) * sum(
            window(ledger, load, LONG, c) for load, c in zip(loads, field, strict=True)
        )
        part = (ledger.left_s() / _ALONE - fixed) / long
        ledger.patience = max(1.0, min(ledger.patience, ledger.patience * part))

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
        """Contenders for a first round with all, and then rounds of the best with the baseline
        alone, which decide."""
        ledger = self.ledger
        seen = [o.spent_s for r in ledger.runs for o in r.seen]
        each = ledger.startup_s(BASELINE) + looks(ledger) * sum(seen) / max(1, len(seen))
        starts = ledger.left_s() / each
        most = ledger.problem.max_trials
        if most is not None:
            starts = min(starts, most - ledger.starts)
        return next((n for n in range(_CONTENDERS, 1, -1) if n + 1 + _ALONE * 2 <= starts), 1)

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
