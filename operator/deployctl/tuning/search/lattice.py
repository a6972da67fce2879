"""Lattice: the configurations of a space, their neighbours, and what cannot do. Pure."""

from collections.abc import Iterable, Mapping

from deployctl.tuning.search.ledger import BASELINE, Ledger
from deployctl.tuning.trial import Configuration, Failure, Parameter, Problem, Value

TENSOR = "tensor_parallel_size"
TOKENS, SEQUENCES = "max_num_batched_tokens", "max_num_seqs"
UTILIZATION = "gpu_memory_utilization"
# Fewer tokens a step want fewer sequences, and more sequences more tokens.
_ALONG = {TOKENS: (SEQUENCES, -1), SEQUENCES: (TOKENS, 1)}
# What is worth trying first, of what is known; batch settings depend on how the model is split.
_ORDER = (TENSOR, TOKENS, SEQUENCES, "max_num_active_seqs", UTILIZATION)
# The best value of one depends on the others: when one has changed, the others are tried again.
COUPLED = frozenset(_ORDER)
# More of it takes more memory of the same card; of the second, less.
_HUNGRY = (TOKENS, SEQUENCES, "max_num_active_seqs", "max_model_len")


def same(left: Value | None, right: Value | None) -> bool:
    """Equal, and both a switch or neither: True is no 1 here."""
    return isinstance(left, bool) == isinstance(right, bool) and left == right


def ordered(parameter: Parameter) -> bool:
    """Whether its values have an order."""
    return all(isinstance(v, int | float) and not isinstance(v, bool) for v in parameter.values)


class Lattice:
    """The space of a problem."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        rank = {name: i for i, name in enumerate(_ORDER)}
        self.parameters = tuple(
            sorted(problem.parameters, key=lambda p: (rank.get(p.name, len(rank)), p.name))
        )
        self.by_name = {p.name: p for p in self.parameters}

    def value(self, configuration: Configuration, name: str) -> Value | None:
        """In force: its own, or the baseline's."""
        return configuration.settings.get(name, self.by_name[name].current)

    def with_values(
        self, configuration: Configuration, changes: Mapping[str, Value]
    ) -> Configuration:
        """The same with other values; those of the baseline are not named."""
        settings = {**configuration.settings, **changes}
        return Configuration.of(
            {
                name: value
                for name, value in settings.items()
                if not same(value, self.by_name[name].current)
            }
        )

    def position(self, configuration: Configuration, name: str) -> int | None:
        """Index of its value; None where the value is none of those to try."""
        value = self.value(configuration, name)
        for i, candidate in enumerate(self.by_name[name].values):
            if same(candidate, value):
                return i
        return None

    def moved(self, configuration: Configuration, steps: Mapping[str, int]) -> Configuration | None:
        """So many values up or down; None where there is no such value."""
        changes: dict[str, Value] = {}
        for name, step in steps.items():
            values, at = self.by_name[name].values, self.position(configuration, name)
            if at is None or not 0 <= at + step < len(values):
                return None
            changes[name] = values[at + step]
        return self.with_values(configuration, changes)

    def allowed(self, configuration: Configuration, name: str) -> Configuration:
        """The same; where the planner refuses it for one batch setting, the other goes along as
        far as it must, since a step has to hold a token of every sequence."""
        refused = self.problem.refused
        other, direction = _ALONG.get(name, (name, 0))
        if not direction or other not in self.by_name or refused(configuration) is None:
            return configuration
        step = direction
        while (found := self.moved(configuration, {other: step})) is not None:
            if refused(found) is None:
                return found
            step += direction
        return configuration

    def blocked(self, configuration: Configuration, ledger: Ledger) -> str | None:
        """Why it is not started: a failure tells that it will fail as well."""
        for failed, failure in ledger.failures():
            if failed == configuration:
                return f"failed before: {failure.reason}"
            if self._follows(failed, failure, configuration):
                return f"{failed} failed ({failure.kind}), and this asks for no less"
        return None

    def _follows(self, failed: Configuration, failure: Failure, other: Configuration) -> bool:
        if failure.kind == "out_of_memory":
            return self._as_hungry(failed, other, (*_HUNGRY, UTILIZATION))
        if failure.kind == "preemption_storm":
            return self._as_hungry(failed, other, (SEQUENCES, "max_num_active_seqs"))
        if failure.kind == "start_refused" and len(failed.values) == 1 and failed != BASELINE:
            # One setting away from the baseline, and no number: that value is to blame.
            name, value = failed.values[0]
            if not ordered(self.by_name[name]):
                return same(self.value(other, name), value)
        return False

    def _as_hungry(self, failed: Configuration, other: Configuration, names: Iterable[str]) -> bool:
        """Whether `other` differs only in asking for more of these, or for fewer GPUs a model."""
        for name in self.by_name:
            mine, theirs = self.value(other, name), self.value(failed, name)
            if same(mine, theirs):
                continue
            if not isinstance(mine, int | float) or not isinstance(theirs, int | float):
                return False
            if not (name in names and mine > theirs) and not (name == TENSOR and mine < theirs):
                return False
        return True
