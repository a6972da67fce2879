"""One check: texts in, findings out. Pure: whoever calls it has read the files."""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from deployctl.boundedyaml import parse
from deployctl.checking.documents import Document, documents
from deployctl.checking.finding import CHECKS, ORDER, Finding, Severity
from deployctl.checking.manifests import Manifests, Options
from deployctl.checking.rules import files  # and with it every rule
from deployctl.checking.values import dig, mapping, text

# Codes that one object may break on purpose, with a comment on why: `image-not-pinned seccomp`.
IGNORE_ANNOTATION = "deployctl.io/check-ignore"
# What KServe, KubeRay and the like add to a pod whose template leaves it out.
_ADDED = frozenset(f"{probe}-probe-missing" for probe in ("startup", "readiness", "liveness")) | {
    "pre-stop-missing",
    "network-policy-missing",
    "service-account-token",
}
_HELM_ONLY = re.compile(r"(^|/)(Chart\.yaml|values[^/]*\.yaml|Chart\.lock)$")


class Report(NamedTuple):
    """What a check found."""

    findings: list[Finding]  # worst first within a file, files in the order given
    ignored: int  # findings that an annotation or --ignore took out
    files: int
    documents: int
    engines: int
    skipped: tuple[str, ...]  # files of a folder that hold nothing to check

    def count(self, severity: Severity) -> int:
        """How many findings of a severity there are."""
        return sum(f.severity is severity for f in self.findings)


def check_texts(
    texts: Mapping[str, str],
    options: Options | None = None,
    *,
    ignore: Iterable[str] = (),
    named: Iterable[str] = (),
) -> Report:
    """Checks texts by file name, all of them as one set.

    `named` are the files that the user named one by one: one that holds nothing to check is
    reported, where in a folder it is skipped. `ignore` are codes to leave out.
    """
    findings: list[Finding] = []
    known: list[Document] = []
    skipped: list[str] = []
    given = set(named)
    for file, content in texts.items():
        parsed, troubles = parse(content)
        findings += [files.unreadable(file, trouble) for trouble in troubles]
        here = list(documents(file, parsed))
        strange = [d for d in here if d.family == "unknown"]
        if here and len(strange) == len(here) and (file not in given or _HELM_ONLY.search(file)):
            skipped.append(file)
        else:
            findings += [files.unrecognised(d) for d in strange if d.data or file in given]
        known += [d for d in here if d.family != "unknown"]
    manifests = Manifests(known, options or Options())
    for rules in CHECKS:
        findings += rules(manifests)
    operated = {(p.document.file, p.document.title) for p in manifests.pods if p.operated}
    findings = [f for f in findings if f.code not in _ADDED or f.object not in operated]
    meant = _meant(known)
    left_out = set(ignore)
    kept = [f for f in findings if f.code not in left_out | meant[f.object]]
    order = {file: number for number, file in enumerate(texts)}
    unique = sorted(
        dict.fromkeys(kept),
        key=lambda f: (order.get(f.file, 0), ORDER.index(f.severity), f.line, f.code, f.where),
    )
    return Report(
        findings=unique,
        ignored=len(findings) - len(kept),
        files=len(texts),
        documents=len(known),
        engines=len(manifests.engines),
        skipped=tuple(skipped),
    )


def _meant(known: list[Document]) -> defaultdict[tuple[str, str], set[str]]:
    """The codes that each object, by file and title, says are meant."""
    codes: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
    for document in known:
        words = text(mapping(document.metadata.get("annotations")).get(IGNORE_ANNOTATION))
        words += " " + text(dig(document.data, "x-deployctl", "check-ignore"))
        codes[document.file, document.title].update(re.split(r"[\s,]+", words))
    return codes
