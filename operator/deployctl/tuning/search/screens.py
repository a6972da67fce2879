"""Screens: one setting at a time, uphill from the best that is known. Pure.

A candidate is looked at where the best has its limit: one short window tells most of them from
it, and what does not hold there is left. What is unclear gets longer windows, and what holds is
followed to its own limit, all within the same start. The best is measured again now and then,
since it may have been lucky, and everything may have drifted.
"""

import math
from collections.abc import Generator
from typing import Literal

from deployctl.tuning.search import lattice as space
from deployctl.tuning.search.again import again, guess
from deployctl.tuning.search.climb import Aim, climb
from deployctl.tuning.search.compare import Readings
from deployctl.tuning.search.lattice import Lattice
from deployctl.tuning.search.ledger import BASELINE, Ledger
from deployctl.tuning.search.looks import SHORT, set_aside, start
from deployctl.tuning.trial import Configuration, Phase, Result, Step, Value

Outcome = Literal["better", "tie", "worse", "failed", "skipped"]
Steps = Generator[Step, Result, None]

BETTER = math.log(1.015)  # the best is replaced by what is better by so much
NEAR = math.log(1.06)  # below the best, and still in the race: two starts differ by as much
_SURELY = math.log(1.08)  # so much better that the other direction needs no look
_STALE = 6  # challenges after which the best is measured again
_STRIDE = 2
_MANY = 4  # values of a setting from which on it is looked at in strides
_DIAGONALS = ((1, 1), (-1, -1), (-1, 1), (1, -1))
_HOPELESS = 0.5  # of what the best serves at no less load
_UNKNOWN = -0.5  # for a step that there is not, or that held at no load
_SIGMAS = 1.0  # of a difference, for a new best
_PRECISION = 0.03


class Screens:
    """Looks for the best; `best` is the one so far."""

    def __init__(self, ledger: Ledger, lattice: Lattice) -> None:
        self.ledger, self.lattice = ledger, lattice
        self.best = BASELINE
        self.swept: set[str] = set()
        self._outcomes: dict[tuple[object, ...], Outcome] = {}
        self._hopeless: set[tuple[object, ...]] = set()
        self._since = 0

    def steps(self) -> Steps:
        """How the model is split, then both corners, then sweeps over the settings until nothing
        beside the best is better."""
        if space.TENSOR in self.lattice.by_name:
            yield from self._line(space.TENSOR, 1)
            self.swept.add(space.TENSOR)
        yield from self._corners()
        while True:
            before = self.best
            yield from self._sweep(_STRIDE)
            if self.best == before:
                yield from self._sweep(1)
            if self.best == before:
                yield from self._diagonals()
            if self.best == before:
                return

    def _sweep(self, stride: int) -> Steps:
        for name in self._order():
            yield from self._line(name, stride)
            self.swept.add(name)

    def _order(self) -> list[str]:
        """As the lattice has them. From a corner the sequences come first: it changed both batch
        settings, mostly one of them is why it is better, and fewer sequences alone cost most."""
        names = [parameter.name for parameter in self.lattice.parameters]
        if {space.TOKENS, space.SEQUENCES} <= self.best.settings.keys():
            names.remove(space.SEQUENCES)
            names.insert(names.index(space.TOKENS), space.SEQUENCES)
        return names

    def _corners(self) -> Steps:
        """Batches small for latency, or large for throughput. More sequences leave less of a step
        for prompts, so that either setting alone may look worse on the way to where both help."""
        names = [n for n in (space.TOKENS, space.SEQUENCES) if n in self.lattice.by_name]
        begin = self.best
        for direction in (-1, 1):
            corner = begin
            for name in names:
                for _ in range(_STRIDE):
                    corner = self.lattice.moved(corner, {name: direction}) or corner
            if len(names) == 2:  # one alone is its line
                yield from self._challenge(corner)

    def _line(self, name: str, stride: int) -> Steps:
        """One setting, in both directions from the best."""
        values = self.lattice.by_name[name].values
        ordered = space.ordered(self.lattice.by_name[name])
        if not ordered or self.lattice.position(self.best, name) is None:
            for value in values:
                if not space.same(value, self.lattice.value(self.best, name)):
                    yield from self._move(name, value)
            return
        if len(values) < _MANY:
            stride = 1
        for direction in self._directions(name, stride):
            begin = self.lattice.position(self.best, name)
            assert begin is not None
            worth = self._value(self.best)
            yield from self._walk(name, begin, direction, stride)
            now = self._value(self.best)
            if now is not None and (worth is None or now > worth + _SURELY):
                return

    def _walk(self, name: str, place: int, direction: int, stride: int) -> Steps:
        """From a value in one direction, while it gets better; in strides across plateaus too."""
        values = self.lattice.by_name[name].values
        while 0 <= place + direction < len(values):
            further = min(len(values) - 1, max(0, place + direction * stride))
            outcome = yield from self._move(name, values[further])
            if outcome not in ("better", "tie") and abs(further - place) > 1:
                further = place + direction  # it may be better on the way there
                outcome = yield from self._move(name, values[further])
            if outcome != "better" and (outcome != "tie" or stride == 1):
                return
            place = further

    def _value(self, configuration: Configuration) -> float | None:
        estimate = Readings(self.ledger).estimate(configuration)
        return estimate.value if estimate else None

    def _surely(self) -> bool:
        """Whether the best is beyond doubt better than the baseline."""
        best, base = self._value(self.best), self._value(BASELINE)
        return best is not None and (base is None or best > base + _SURELY)

    def _directions(self, name: str, stride: int) -> tuple[int, ...]:
        """On first, where the best has come from the baseline's value; else up, unless the plan
        expects more of less."""
        now, before = (self.lattice.position(c, name) for c in (self.best, BASELINE))
        if now is not None and before is not None and now != before:
            on = 1 if now > before else -1
            # What lies between them is for when nothing further on is better.
            further = 0 <= now + on < len(self.lattice.by_name[name].values)
            return (on,) if stride > 1 and further and self._surely() else (on, -on)
        up, down = (self.lattice.moved(self.best, {name: step}) for step in (1, -1))
        if up and down:
            a, b = (self.ledger.problem.prior(c).decode_tokens_s for c in (up, down))
            if a and b and b > a * 1.01:
                return -1, 1
        return 1, -1

    def _diagonals(self) -> Steps:
        """The corners next to the best, for where either setting alone is worse."""
        if {space.TOKENS, space.SEQUENCES} <= self.lattice.by_name.keys():
            for step, other in sorted(_DIAGONALS, key=self._alone, reverse=True):
                both = self.lattice.moved(self.best, {space.TOKENS: step, space.SEQUENCES: other})
                if both is not None and (yield from self._challenge(both)) == "better":
                    return

    def _alone(self, steps: tuple[int, int]) -> float:
        """What either step alone came to, added up: logarithm of what is to be had."""
        total = 0.0
        for name, step in zip((space.TOKENS, space.SEQUENCES), steps, strict=True):
            moved = self.lattice.moved(self.best, {name: step})
            worth, best = (self._value(c) if c else None for c in (moved, self.best))
            total += worth - best if worth is not None and best is not None else _UNKNOWN
        return total

    def _move(self, name: str, value: Value) -> Generator[Step, Result, Outcome]:
        """The best with one other value, unless that was seen where nothing else matters."""
        key: tuple[object, ...] = (name, value)
        if key in self._hopeless:
            return "worse"
        if name in space.COUPLED:
            others = [p.name for p in self.lattice.parameters if p.name != name]
            key += tuple(self.lattice.value(self.best, o) for o in others if o in space.COUPLED)
        if self._outcomes.get(key, "better") != "better":
            return self._outcomes[key]
        candidate, best = self.lattice.with_values(self.best, {name: value}), self.best
        candidate = self.lattice.allowed(candidate, name)
        outcome = yield from self._challenge(candidate)
        self._outcomes[key] = outcome
        if name == space.TENSOR and self._far_below(candidate, best):
            self._hopeless.add((name, value))
        return outcome

    def _far_below(self, candidate: Configuration, best: Configuration) -> bool:
        """Whether it served less than half a user, or of a rate, of what the best did at no less
        load: batch settings cannot mend that."""
        seen, known = (
            [o for run in self.ledger.of(c) for o in run.seen] for c in (candidate, best)
        )
        for o in seen:
            beside = [
                b.requests_per_s / b.load.value for b in known if b.load.value >= o.load.value
            ]
            if o.requests_per_s / o.load.value >= _HOPELESS * max(beside, default=0.0):
                return False
        return bool(seen)

    def _challenge(self, candidate: Configuration) -> Generator[Step, Result, Outcome]:
        """One start against the best."""
        ledger = self.ledger
        if ledger.of(candidate) or candidate in ledger.refused:
            return self._judge(candidate)
        refused = ledger.problem.refused(candidate)
        if refused is not None:
            ledger.refused[candidate] = refused
            return "skipped"
        blocked = self.lattice.blocked(candidate, ledger)
        if blocked is not None:
            ledger.skipped[candidate] = blocked
            return "failed"
        if self._since >= _STALE:
            yield from self._refresh()
        self._since += 1
        readings = Readings(ledger)
        best = readings.estimate(self.best)
        why = f"against {self.best}" if best else "nothing holds yet"
        if not (yield from start(ledger, candidate, "screen", why)):
            return "failed"
        yield from climb(ledger, "screen", self._aim(readings), why)
        set_aside(ledger, candidate)
        outcome = self._judge(candidate)
        if outcome == "better":
            self.best, self._since = candidate, 0
        return outcome

    def _aim(self, readings: Readings) -> Aim:
        """Where the best has its limit; what is certainly below is left."""
        best = readings.estimate(self.best)
        if best is None:  # nothing holds: begin where the least was asked
            tried = [o.load.value for r in self.ledger.runs for o in r.seen]
            return Aim(min(tried, default=self.ledger.problem.first.value), 2.0, 0.05)
        beat = best.value + readings.drift.at(self.ledger.elapsed)
        step = 1.08 if self.ledger.problem.has_slo else 2.0
        return Aim(guess(readings, self.best), step, _PRECISION, beat)

    def _judge(self, candidate: Configuration) -> Outcome:
        """What its starts came to, against the best."""
        if candidate in self.ledger.refused:
            return "skipped"
        if self.ledger.failure(candidate) is not None:
            return "failed"
        readings = Readings(self.ledger)
        mine, best = readings.estimate(candidate), readings.estimate(self.best)
        if mine is None:
            return "worse"
        if best is None:
            return "better"
        error = math.hypot(mine.error, best.error)
        if candidate != self.best and mine.value > best.value + max(BETTER, _SIGMAS * error):
            return "better"
        return "tie" if mine.value + error > best.value - BETTER else "worse"

    def _refresh(self) -> Steps:
        """The best once more: it may have been lucky, and everything may have drifted."""
        self._since = 0
        if len(self.ledger.of(self.best)) > 1 and self.best != BASELINE:
            return
        if Readings(self.ledger).estimate(self.best) is None:
            return
        phase: Phase = "drift" if self.best == BASELINE else "halving"
        why = "the best so far once more: was it luck, has anything drifted?"
        yield from again(self.ledger, self.best, phase, SHORT, why)
        readings = Readings(self.ledger)
        values = readings.feasible()
        top = max(values, key=lambda c: (values[c].value, c == self.best), default=self.best)
        if self.best not in values or values[top].value > values[self.best].value + BETTER:
            self.best = top
