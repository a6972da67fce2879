"""python -m benchmarks.memfit [--cases FILE] [--output json] [--open] [--sealed]

Plans every case of the file and compares with what vLLM logged, beside the rules of other
tools. Who says that either outcome may come has decided nothing: `outcome` is of what was decided,
`either` how often it was not (a bound is tested), `strict` counts that as wrong unless starts with
equal flags had both. The same band holds for every rule. Each miss is listed with its reason.
Cases added later (`benchmarks.memfit.add`) are told apart by round. The sealed ones of the newest
are neither planned nor counted in any figure, unless `--open` asks for their figures (`--sealed`
for the single cases too), so that nobody sees them by the way; earlier ones are open now.
"""

import argparse
import contextlib
import json
import statistics
import sys
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import Any

from benchmarks.memfit.cases import HERE, PARTS, ROUND, Case, alike, read
from benchmarks.memfit.rivals import RIVALS, Answer

from deployctl.errors import DeployctlError

# Misses beyond these are listed: a share of what was observed.
WEIGHTS_MISS, CACHE_MISS = 0.01, 0.06
# The part that is out of sight.
SEALED = f"round_{ROUND}_sealed"


def main() -> int:
    """Reads the command line; returns 0, or 2 for a case file that cannot be read."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.memfit")
    parser.add_argument("--cases", type=Path, default=HERE / "cases.jsonl.gz")
    parser.add_argument("--output", choices=("text", "json"), default="text")
    parser.add_argument("--open", action="store_true", help="count the sealed cases too")
    parser.add_argument("--sealed", action="store_true", help="list them too; implies --open")
    given = parser.parse_args()
    opened = given.open or given.sealed
    try:
        found = read(given.cases)
    except (OSError, DeployctlError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    cases = [case for case in found if opened or not case.hidden]
    parts = [name for name in PARTS if opened or name != SEALED]
    answers = {name: _answers(rule, cases) for name, rule in RIVALS.items()}
    ours, twins = answers["deployctl"], either(cases)
    results = {
        "cases": len(cases),
        "left_out": len(found) - len(cases),
        "all": {n: measure(cases, a, twins) for n, a in answers.items()},
        "native": _of(cases, ours, twins, lambda case: case.native),
        "deployctl": {
            name: _of(cases, ours, twins, lambda case, part=name: case.part == part)
            for name in parts
        },
        "misses": list(misses(cases, ours, twins, sealed=given.sealed)),
    }
    if given.output == "json":
        print(json.dumps(results, indent=2))
    else:
        _print(results)
    return 0


def _answers(rule: Callable[[Case], Answer], cases: list[Case]) -> list[Answer | None]:
    found: list[Answer | None] = []
    for case in cases:
        try:
            found.append(rule(case))
        except DeployctlError:
            found.append(None)  # a refusal to read the checkpoint; counted as a miss
    return found


def _of(
    cases: list[Case],
    answers: list[Answer | None],
    twins: Collection[str],
    chosen_by: Callable[[Case], bool],
) -> dict[str, Any]:
    chosen = [(c, a) for c, a in zip(cases, answers, strict=True) if chosen_by(c)]
    return measure([c for c, _ in chosen], [a for _, a in chosen], twins)


def either(cases: Iterable[Case]) -> frozenset[str]:
    """The ids of cases that served and failed with equal flags."""
    seen: dict[str, list[Case]] = {}
    for case in cases:
        # A checkpoint that cannot be read has no flags in force, and no twin.
        with contextlib.suppress(DeployctlError):
            seen.setdefault(alike(case), []).append(case)
    mixed = (group for group in seen.values() if len({case.served for case in group}) > 1)
    return frozenset(case.id for group in mixed for case in group)


def right(case: Case, answer: Answer | None, twins: Collection[str]) -> bool:
    """Whether the outcome was foretold; for a refused configuration, with the right code.

    Who says that either may come is right where both did, with equal flags, and wrong elsewhere.
    """
    if answer is None:
        return False
    if answer.edge:
        return case.id in twins
    if case.observed["outcome"] == "failed_config":
        code = case.raw.get("expected_code")
        return not answer.served and (not answer.codes or code in answer.codes)
    return answer.served == case.served


def measure(
    cases: list[Case], answers: list[Answer | None], twins: Collection[str]
) -> dict[str, Any]:
    """Outcome accuracy, and the errors of weights (all), cache and tokens (of a known vLLM).

    `twins`: the ids of cases that served and failed with equal flags (`either`).
    """
    pairs = list(zip(cases, answers, strict=True))
    modern = [(c, a) for c, a in pairs if c.modern]
    decided = [(c, a) for c, a in modern if a is None or not a.edge]
    known = [(c, a) for c, a in modern if c.version is not None]
    return {
        "cases": len(pairs),
        "modern": len(modern),
        "outcome": _share(right(c, a, twins) for c, a in decided),
        "strict": _share(right(c, a, twins) for c, a in modern),
        "edge": _share(a is not None and a.edge for _, a in modern),
        "weights": spread(errors(pairs, "weights_gib_per_gpu", lambda a: a.weights)),
        "kv_cache": spread(errors(known, "kv_cache_gib_per_gpu", lambda a: a.kv_cache)),
        "tokens": spread(errors(known, "kv_cache_tokens", lambda a: a.tokens)),
    }


def _share(values: Iterable[bool]) -> float | None:
    counted = list(values)
    return sum(counted) / len(counted) if counted else None


def errors(
    pairs: Iterable[tuple[Case, Answer | None]],
    name: str,
    value: Callable[[Answer], float | None],
) -> list[float]:
    """Relative errors where both a log and an answer exist; a cache below zero has none."""
    found = []
    for case, answer in pairs:
        seen = case.observed.get(name)
        told = value(answer) if answer is not None else None
        if isinstance(seen, int | float) and seen > 0 and told is not None:
            found.append(abs(told / seen - 1))
    return found


def spread(values: list[float]) -> dict[str, float] | None:
    """Median, mean and 90th percentile."""
    if not values:
        return None
    ordered = sorted(values)
    rank = 0.9 * (len(ordered) - 1)
    low = int(rank)
    high = min(low + 1, len(ordered) - 1)
    return {
        "n": len(values),
        "median": statistics.median(ordered),
        "mean": statistics.fmean(ordered),
        "p90": ordered[low] + (ordered[high] - ordered[low]) * (rank - low),
    }


def misses(
    cases: list[Case], answers: list[Answer | None], twins: Collection[str], *, sealed: bool
) -> Iterable[dict[str, str]]:
    """Every case that misses, with what is known of the reason; sealed ones where asked."""
    reasons = json.loads((HERE / "reasons.json").read_text(encoding="utf-8"))
    for case, answer in zip(cases, answers, strict=True):
        if case.hidden and not sealed:
            continue
        wrong = []
        if not right(case, answer, twins):
            told = "unreadable" if answer is None else "served" if answer.served else "refused"
            told = "either" if answer and answer.edge else told
            codes = f" ({', '.join(answer.codes)})" if answer and answer.codes else ""
            wrong.append(f"outcome: {case.observed['outcome']}, told {told}{codes}")
        for label, name, pick, limit in (
            ("weights", "weights_gib_per_gpu", lambda a: a.weights, WEIGHTS_MISS),
            ("KV GiB", "kv_cache_gib_per_gpu", lambda a: a.kv_cache, CACHE_MISS),
            ("tokens", "kv_cache_tokens", lambda a: a.tokens, CACHE_MISS),
        ):
            seen = case.observed.get(name)
            told_value = pick(answer) if answer is not None else None
            if isinstance(seen, int | float) and seen > 0 and told_value is not None:
                error = told_value / seen - 1
                if abs(error) > limit:
                    wrong.append(f"{label}: {seen:g}, told {told_value:g} ({error:+.1%})")
        if wrong:
            yield {
                "id": case.id,
                "wrong": "; ".join(wrong),
                "reason": reasons.get(case.id) or _default_reason(case),
            }


def _default_reason(case: Case) -> str:
    if not case.modern:
        return "vLLM before 0.8, or of unknown version: another engine's accounting"
    if case.raw.get("round") == ROUND:
        return "not looked into yet: of the newest round"
    return "not explained"


def _print(results: dict[str, Any]) -> None:
    columns = ("outcome", "either", "strict", "weights", "KV GiB", "tokens")
    modern = results["all"]["deployctl"]["modern"]
    print(
        f"{results['cases']} start-ups, {modern} of 0.8 or newer: their outcome. Errors: median /"
    )
    print("mean / 90th percentile, in percent; of cache and tokens where the version is known.")
    if results["left_out"]:
        print(f"{results['left_out']} sealed ones of the newest round are left out (--open).")
    print(f"{'':26}" + "".join(f"{c:>9}" for c in columns[:3]), end="")
    print("".join(f"{c:>21}" for c in columns[3:]))
    for name, figures in results["all"].items():
        print(_row(name, figures))
    native = results["native"]
    print(_row(f"  not under WSL2 ({native['cases']})", native))
    for part, figures in results["deployctl"].items():
        print(_row(f"  {part.replace('_', ' ')} ({figures['cases']})", figures))
    print(f"\n{len(results['misses'])} cases miss (outcome, weights > 1%, cache > 6%):")
    for miss in results["misses"]:
        print(f"- {miss['id']}: {miss['wrong']}\n    {miss['reason']}")


def _row(name: str, figures: dict[str, Any]) -> str:
    cells = "".join(
        f"{'–' if figures[k] is None else format(figures[k], '.1%'):>9}"
        for k in ("outcome", "edge", "strict")
    )
    return f"{name:26}{cells}" + "".join(
        f"{_triple(figures[k]):>21}" for k in ("weights", "kv_cache", "tokens")
    )


def _triple(values: dict[str, float] | None) -> str:
    if values is None:
        return "–"
    return " / ".join(f"{values[k] * 100:.2f}"[:4] for k in ("median", "mean", "p90"))


if __name__ == "__main__":
    sys.exit(main())
