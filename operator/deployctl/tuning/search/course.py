"""Course: the order of a search, from the first baseline to the last finalist. Pure.

1. The baseline's limit, from the analytic guess up: everything is held against it.
2. Screens: one setting at a time, how the model is split first, from the best that is known.
   A candidate is looked at where the best has its limit; one short window tells most of them
   from it, and what does not hold there is left. What is unclear gets a longer window, and what
   holds is followed to its own limit, all within the same start.
3. Finals: what is near the best, and the baseline, from fresh starts in random order, fewer of
   them each round, until the difference is more than noise or is seen to be none.
"""

import math
import random
from collections.abc import Generator
from typing import Literal

from deployctl.tuning.search import lattice as space
from deployctl.tuning.search import measures
from deployctl.tuning.search.climb import Aim, climb
from deployctl.tuning.search.compare import Readings
from deployctl.tuning.search.lattice import Lattice
from deployctl.tuning.search.ledger import BASELINE, Ledger, SpentError
from deployctl.tuning.search.looks import LONG, SHORT, set_aside, start, window
from deployctl.tuning.trial import Configuration, Load, Phase, Result, Step

Outcome = Literal["better", "tie", "worse", "failed", "skipped"]
Steps = Generator[Step, Result, None]

_AIM = 1.02  # a candidate is first looked at so far above the best one's limit
_BETTER = math.log(1.015)  # the best is replaced by what is better by so much
_NEAR = math.log(1.06)  # below the best, and still a finalist: two starts differ by as much
_WORTH_IT = math.log(1.01)  # above the baseline, at least, for a finalist
_CONTENDERS = 3
_ROUNDS = 6
_STALE = 6  # challenges after which the best is measured again: it may have been lucky, or
# everything may have drifted
_PLATEAU = 2  # ties in one direction, and no more
_RESERVE = 0.4  # of the budget, at most, is kept for the finals


class Course:
    """A search under way. `remaining` tells what is probably left of it."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.lattice = Lattice(ledger.problem)
        self.best = BASELINE
        self.finals: tuple[Configuration, ...] = ()
        self.stage: Literal["baseline", "screens", "finals", "over"] = "baseline"
        self._swept: set[str] = set()
        self._verdicts: dict[tuple[str, object, tuple[object, ...]], Outcome] = {}
        self._since = 0

    def steps(self) -> Steps:
        """Everything, to the end of the budget at most."""
        try:
            yield from self._baseline()
            self.stage = "screens"
            self._keep_reserve()
            try:
                yield from self._screens()
            except SpentError:
                self.ledger.notes.append(
                    "the budget ended the screens: not every neighbour was tried"
                )
            self.ledger.reserve_s = self.ledger.reserve_starts = 0
            self.stage = "finals"
            yield from self._finals()
        except SpentError:
            self.ledger.notes.append("the budget ended before the search did")
        self.stage = "over"

    # 1

    def _baseline(self) -> Steps:
        problem = self.ledger.problem
        refused = problem.refused(BASELINE)
        if refused is not None:
            self.ledger.skipped[BASELINE] = refused.reason
            return
        if not (
            yield from start(self.ledger, BASELINE, "baseline", "everything is held against it")
        ):
            return
        guess, why = problem.first.value, "where a search begins"
        expected = self._expected()
        if expected is not None and measures.seeks_limit(problem) and expected > 2 * guess:
            guess, why = expected, "half of what the plan expects to be the limit"
        aim = Aim(guess, 2.0, 1.06)
        yield from climb(self.ledger, "baseline", aim, why)
        set_aside(self.ledger, BASELINE)

    def _expected(self) -> float | None:
        """Half of the rate that the roofline allows: an analytic start."""
        problem = self.ledger.problem
        prior = problem.prior(BASELINE)
        if problem.first.kind != "rate" or not prior.decode_tokens_s:
            return None
        return prior.decode_tokens_s / problem.output_tokens / 2

    # 2

    def _screens(self) -> Steps:
        names = [p.name for p in self.lattice.parameters]
        first = True
        while True:
            before = self.best
            for name in names:
                yield from self._line(name)
                self._swept.add(name)
            if self.best == before:
                yield from self._diagonals()
                if self.best == before:
                    return
            if not first and self.best == before:
                return
            first = False

    def _line(self, name: str) -> Steps:
        """One setting: uphill from the best, across plateaus, until it gets worse."""
        parameter = self.lattice.by_name[name]
        at = self.lattice.position(self.best, name)
        if not space.ordered(parameter) or at is None:
            for value in parameter.values:
                if not space.same(value, self.lattice.value(self.best, name)):
                    yield from self._move(name, value)
            return
        for direction in self._directions(name):
            at = self.lattice.position(self.best, name)
            assert at is not None
            improved, ties, place = False, 0, at
            while 0 <= place + direction < len(parameter.values):
                place += direction
                outcome = yield from self._move(name, parameter.values[place])
                if outcome == "better":
                    improved, ties = True, 0
                elif outcome in ("tie", "skipped") and ties < _PLATEAU:
                    ties += outcome == "tie"
                else:
                    break
            if improved:
                return

    def _directions(self, name: str) -> tuple[int, ...]:
        """Up first, unless less of it leaves the plan expecting more."""
        up, down = (self.lattice.moved(self.best, {name: step}) for step in (1, -1))
        if up and down:
            a, b = (self.ledger.problem.prior(c).decode_tokens_s for c in (up, down))
            if a and b and b > a * 1.01:
                return -1, 1
        return 1, -1

    def _diagonals(self) -> Steps:
        """More sequences leave less of a step for prompts: both at once may be better."""
        if {space.TOKENS, space.SEQUENCES} <= self.lattice.by_name.keys():
            for step in (1, -1):
                both = self.lattice.moved(self.best, {space.TOKENS: step, space.SEQUENCES: step})
                if both is not None and (yield from self._challenge(both)) == "better":
                    return

    def _move(self, name: str, value: object) -> Generator[Step, Result, Outcome]:
        """The best with one other value, unless that was seen where nothing else matters."""
        assert isinstance(value, int | float | str)
        coupled: tuple[object, ...] = ()
        if name in space.COUPLED:
            coupled = tuple(
                self.lattice.value(self.best, p.name)
                for p in self.lattice.parameters
                if p.name in space.COUPLED and p.name != name
            )
        key = (name, value, coupled)
        if key in self._verdicts and self._verdicts[key] != "better":
            return self._verdicts[key]
        outcome = yield from self._challenge(self.lattice.with_values(self.best, {name: value}))
        self._verdicts[key] = outcome
        return outcome

    def _challenge(self, candidate: Configuration) -> Generator[Step, Result, Outcome]:
        """One start against the best."""
        ledger = self.ledger
        if candidate == self.best or ledger.of(candidate):
            return self._known(candidate)
        blocked = self.lattice.blocked(candidate, ledger)
        if blocked is not None:
            ledger.skipped[candidate] = blocked
            return "skipped" if blocked.startswith("refused") else "failed"
        if self._since >= _STALE:
            yield from self._refresh()
        self._since += 1
        readings = Readings(ledger)
        best = readings.estimate(self.best)
        why = f"against {self.best}" if best else "nothing holds yet"
        if not (yield from start(ledger, candidate, "screen", why)):
            return "failed"
        drift = readings.drift.at(ledger.elapsed)
        floor = best.value + drift - _NEAR if best else None
        yield from climb(ledger, "screen", self._aim(readings, floor), why)
        set_aside(ledger, candidate)
        outcome = self._known(candidate)
        if outcome == "better":
            self.best, self._since = candidate, 0
        return outcome

    def _aim(self, readings: Readings, floor: float | None) -> Aim:
        """Where the best has its limit, a little above."""
        found = [r for _, r in readings.of(self.best) if r.load is not None]
        if not found or floor is None or found[-1].load is None:
            tried = [o.load.value for r in self.ledger.runs for o in r.seen]
            return Aim(min(tried, default=self.ledger.problem.first.value), 2.0, 1.08)
        load = found[-1].load
        if not self.ledger.problem.has_slo:
            return Aim(load.value, 2.0, 1.08, floor)
        estimate = readings.estimate(self.best)
        value = load.value
        if load.kind == "rate" and estimate is not None:
            # The limit itself lies between the loads that were measured.
            last = found[-1].value
            assert last is not None
            value = self._limit_of(readings, load)
        return Aim(value * _AIM, 1.08, 1.08, floor)

    def _limit_of(self, readings: Readings, load: Load) -> float:
        """The best one's limit as a rate: its worth over what a request a second is worth."""
        estimate = readings.estimate(self.best)
        assert estimate is not None
        run, reading = readings.of(self.best)[-1]
        each = math.log(load.value)
        if reading.value is None:
            return load.value
        from deployctl.tuning.search.climb import tokens_each
        from deployctl.tuning.search.reading import potential, turning

        per = potential(
            self.ledger.problem, run, load, turning(self.ledger.runs), tokens_each(self.ledger)
        )
        drift = readings.drift.at(self.ledger.elapsed)
        return math.exp(estimate.value + drift - per + each)

    def _known(self, candidate: Configuration) -> Outcome:
        """What its starts came to, against the best."""
        if self.ledger.failure(candidate) is not None:
            return "failed"
        readings = Readings(self.ledger)
        mine, best = readings.estimate(candidate), readings.estimate(self.best)
        if mine is None:
            return "worse"
        if best is None:
            return "better"
        if candidate != self.best and mine.value > best.value + _BETTER:
            return "better"
        return "tie" if mine.value > best.value - _NEAR else "worse"

    def _refresh(self) -> Steps:
        """The best once more: it may have been lucky, and everything may have drifted."""
        self._since = 0
        if len(self.ledger.of(self.best)) > 1 and self.best != BASELINE:
            return
        phase: Phase = "drift" if self.best == BASELINE else "halving"
        yield from self._again(
            self.best, phase, SHORT, "the best so far once more: luck, or drift?"
        )
        readings = Readings(self.ledger)
        tried = {run.configuration for run, _ in readings.all}
        estimates = {
            c: e for c in tried if (e := readings.estimate(c)) and not self.ledger.failure(c)
        }
        if estimates:
            # After a lucky start the runner-up may be the better one.
            top = max(estimates, key=lambda c: (estimates[c].value, c == self.best, c.values == ()))
            if self.best not in estimates or (
                estimates[top].value > estimates[self.best].value + _BETTER
            ):
                self.best = top

    def _again(self, configuration: Configuration, phase: Phase, requests: int, why: str) -> Steps:
        """A fresh start, looked at around its own limit."""
        readings = Readings(self.ledger)
        found = [r for _, r in readings.of(configuration) if r.load is not None]
        guess = self.ledger.problem.first.value
        if found and found[-1].load is not None:
            guess = found[-1].load.value
        if not (yield from start(self.ledger, configuration, phase, why)):
            return
        step = 2.0 if not self.ledger.problem.has_slo else 1.06
        aim = Aim(guess, step, 1.065, requests=requests)
        yield from climb(self.ledger, phase, aim, why)
        set_aside(self.ledger, configuration)

    # 3

    def _finals(self) -> Steps:
        self.finals = self.contenders()
        base = Readings(self.ledger).estimate(BASELINE)
        if not self.finals:
            if base is not None and not self.ledger.failure(BASELINE):
                why = "the baseline once more: has anything drifted?"
                yield from self._again(BASELINE, "drift", SHORT, why)
            return
        for number in range(1, _ROUNDS + 1):
            self.ledger.begin_round(number)
            field = list(self.finals)
            if base is not None and self.ledger.failure(BASELINE) is None:
                field.append(BASELINE)
            elif number > 2:
                return
            random.Random(f"{self.ledger.problem.seed} {number}").shuffle(field)  # noqa: S311
            for configuration in field:
                why = f"round {number} of the finals, in random order"
                yield from self._again(configuration, "final", LONG, why)
            self._drop()
            if not self.finals or (base is not None and self._decided(number)):
                return

    def contenders(self) -> tuple[Configuration, ...]:
        """What may be better than the baseline and is not clearly behind the best; best first."""
        readings = Readings(self.ledger)
        base = readings.estimate(BASELINE)
        tried = list(dict.fromkeys(run.configuration for run, _ in readings.all))
        estimates = {
            c: e.value
            for c in tried
            if c != BASELINE and not self.ledger.failure(c) and (e := readings.estimate(c))
        }
        if not estimates:
            return ()
        top = max(estimates.values())
        least = top - _NEAR
        if base is not None:
            least = max(least, base.value + _WORTH_IT)
        near = [c for c in estimates if estimates[c] >= least]
        return tuple(sorted(near, key=lambda c: -estimates[c])[:_CONTENDERS])

    def _drop(self) -> None:
        """Halves the contenders: failures first, then those with the lower means."""
        readings = Readings(self.ledger)
        alive = [c for c in self.finals if not self.ledger.failure(c) and readings.estimate(c)]
        values = {c: e.value for c in alive if (e := readings.estimate(c))}
        alive.sort(key=lambda c: -values[c])
        self.finals = tuple(alive[: max(1, (len(self.finals) + 1) // 2)])

    def _decided(self, rounds: int) -> bool:
        if len(self.finals) > 1:
            return False
        pair = Readings(self.ledger).pair(self.finals[0])
        if pair is None:
            return rounds >= 2
        if pair.rounds >= 2 and pair.least > _WORTH_IT:
            return True
        return rounds >= 2 and pair.value < math.log(1.02)

    def _keep_reserve(self) -> None:
        """What two rounds of the finals take, of budget and of starts."""
        ledger = self.ledger
        each = ledger.startup_s(BASELINE) + 3 * (self.window_s() + ledger.overhead_s())
        ledger.reserve_s = min(4 * each, _RESERVE * ledger.problem.budget_s)
        most = ledger.problem.max_trials
        ledger.reserve_starts = min(4, int(most * _RESERVE)) if most is not None else 0

    def window_s(self) -> float:
        """About how long a window is."""
        seen = [o for r in self.ledger.runs for o in r.seen]
        if seen:
            return sum(o.seconds for o in seen) / len(seen)
        return window(self.ledger, self.ledger.problem.first, SHORT)

    def outlook(self) -> tuple[float, float]:
        """About how many starts and windows are left, the budget aside."""
        untried = sum(
            min(2, len(p.values) - 1) for p in self.lattice.parameters if p.name not in self._swept
        )
        finals = 4.0
        if self.stage == "finals":
            finals = max(0.0, 4.0 - sum(run.round > 0 for run in self.ledger.runs))
            return finals, 1 + 3 * finals
        screens = untried + (0 if self.stage == "over" else 1)
        looks = 6 if self.stage == "baseline" else 1
        return screens + finals, looks + 1.7 * screens + 3 * finals
