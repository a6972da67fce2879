"""Course: the order of a search, from the first baseline to the last finalist. Pure.

1. The baseline's limit, from the analytic guess up: everything is held against it.
2. `screens`: one setting at a time, how the model is split first, from the best that is known.
3. `finals`: what is near the best and the baseline, side by side, until it is decided.
"""

from collections.abc import Generator
from typing import Literal

from deployctl.tuning.search.climb import Aim, climb
from deployctl.tuning.search.finals import Finals, looks
from deployctl.tuning.search.lattice import Lattice
from deployctl.tuning.search.ledger import BASELINE, Ledger, SpentError
from deployctl.tuning.search.looks import SHORT, set_aside, start, window
from deployctl.tuning.search.screens import Screens
from deployctl.tuning.trial import Result, Step

# Enough to look for what is much better; the finals measure the baseline again.
_PRECISION = 0.08
_RESERVE = 0.4  # of the budget, at most, is kept for the finals
_TWO_ROUNDS = 4  # starts
_LOOKS = {"baseline": 6.0, "screens": 2.0}  # windows that a start takes, about


class Course:
    """A search under way."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.lattice = Lattice(ledger.problem)
        self.screens = Screens(ledger, self.lattice)
        self.finals = Finals(ledger)
        self.stage: Literal["baseline", "screens", "finals"] = "baseline"

    def steps(self) -> Generator[Step, Result, None]:
        """Everything, to the end of the budget at most."""
        ledger = self.ledger
        try:
            yield from self._baseline()
            self.stage = "screens"
            self._keep_reserve()
            try:
                yield from self.screens.steps()
            except SpentError:
                ledger.notes.append("the budget ended the screens: not every neighbour was tried")
            ledger.reserve_s, ledger.reserve_starts = 0.0, 0
            self.stage = "finals"
            yield from self.finals.steps()
        except SpentError:
            ledger.notes.append("the budget ended before the search did")

    def _baseline(self) -> Generator[Step, Result, None]:
        problem, ledger = self.ledger.problem, self.ledger
        refused = problem.refused(BASELINE)
        if refused is not None:
            ledger.refused[BASELINE] = refused
            return
        why = "everything is held against it"
        if not (yield from start(ledger, BASELINE, "baseline", why)):
            return
        first, why = problem.first.value, "where a search begins"
        expected = self._expected()
        if expected is not None and expected > 2 * first:
            first, why = expected, "half of what the plan expects to be the limit"
        yield from climb(ledger, "baseline", Aim(first, 2.0, _PRECISION), why)
        set_aside(ledger, BASELINE)

    def _expected(self) -> float | None:
        """Half of the rate that the roofline allows: an analytic start."""
        problem = self.ledger.problem
        tokens = problem.prior(BASELINE).decode_tokens_s
        if problem.first.kind != "rate" or problem.goal == "latency" or not tokens:
            return None
        return tokens / problem.output_tokens / 2

    def _keep_reserve(self) -> None:
        """What two rounds of the finals take, of budget and of starts."""
        ledger = self.ledger
        each = ledger.startup_s(BASELINE) + looks(ledger) * self.look_s()
        ledger.reserve_s = min(_TWO_ROUNDS * each, _RESERVE * ledger.problem.budget_s)
        most = ledger.problem.max_trials
        ledger.reserve_starts = min(_TWO_ROUNDS, int(most * _RESERVE)) if most is not None else 0

    def look_s(self) -> float:
        """About what a window takes, in server seconds."""
        seen = [o for r in self.ledger.runs for o in r.seen]
        if seen:
            return sum(o.spent_s for o in seen) / len(seen)
        return window(self.ledger, self.ledger.problem.first, SHORT) + self.ledger.overhead_s()

    def outlook(self) -> tuple[float, float]:
        """About how many starts and windows are left, the budget aside."""
        finals = float(_TWO_ROUNDS)
        if self.stage == "finals":
            finals = max(0.0, finals - sum(run.round > 0 for run in self.ledger.runs))
            return finals, 1 + looks(self.ledger) * finals
        untried = [p for p in self.lattice.parameters if p.name not in self.screens.swept]
        screens = 1.0 + sum(min(2, len(p.values) - 1) for p in untried)
        first = _LOOKS["baseline"] if self.stage == "baseline" else 1.0
        return screens + finals, first + _LOOKS["screens"] * screens + looks(self.ledger) * finals
