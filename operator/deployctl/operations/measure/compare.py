"""Compares load tests before and after a change, from their result folders."""

import re

from deployctl.errors import InputError, SloMissedError
from deployctl.events import Tell, silent
from deployctl.load import compare, folder
from deployctl.operations.measure.reports import job_summary
from deployctl.reports import comparison as words
from deployctl_loadtest.comparison import Comparison


def compare_folders(
    before: str,
    after: str,
    *,
    threshold: str = "5%",
    other_tests: bool = False,
    tell: Tell = silent,
) -> Comparison:
    """Compares two sides, each a result folder, several (`a,b,c`), or one that holds them.

    `threshold` is how much worse is still good enough; `other_tests` compares tests that asked for
    different things, too. A GitHub job's summary gets the answer.

    Raises:
        NotFoundError: there is no such folder, or no result in it.
        InputError: a result or the threshold cannot be read, or the tests were different ones.
    """
    allowed = share(threshold)
    a = compare.Side("A", before, folder.runs(before))
    b = compare.Side("B", after, folder.runs(after))
    differences = compare.differences(a, b)
    if differences and not other_tests:
        raise InputError(
            f"the two load tests are not of the same load: {'; '.join(differences)}",
            where=f"{before} and {after}",
            hint="measure again with the same flags, or give --anyway",
        )
    comparison = compare.compare(a, b, allowed)
    job_summary(words.markdown(comparison), tell, whole="the verb's answer")
    return comparison


def enforce(comparison: Comparison) -> None:
    """Raises if it got worse by more than is allowed, or nothing is shown.

    Raises:
        SloMissedError: with the measures, or with the run that proves nothing.
    """
    if not comparison.passed:
        raise SloMissedError(
            words.conclusion(comparison),
            where=f"{comparison.a['folder']} and {comparison.b['folder']}",
            hint="repeat the invalid load test"
            if comparison.spoilt
            else "each run's report.html shows when",
        )


def share(text: str) -> float:
    """Reads a percentage: 0.05 of `5%`.

    Raises:
        InputError: it is none.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(%?)", text.strip())
    if match is None:
        raise InputError(
            f"{text!r} is not a percentage", where="--threshold", hint="write for example 5%"
        )
    if not match[2]:
        raise InputError(f"{text} has no unit", where="--threshold", hint=f"write {text.strip()}%")
    return float(match[1]) / 100
