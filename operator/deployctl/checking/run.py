"""One check: texts in, findings out. Pure: whoever calls it has read the files."""

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from deployctl.checking import rules as _rules
from deployctl.checking.documents import Document, documents
from deployctl.checking.finding import CHECKS, ORDER, RULES, Finding, Severity
from deployctl.checking.rules import syntax
from deployctl.checking.scene import Options, Scene
from deployctl.checking.walk import dig, mapping, text
from deployctl.checking.yamltext import parse

__all__ = ["IGNORE_ANNOTATION", "Report", "check_texts"]

# Codes that one object may break on purpose, with a word on why: `image-not-pinned seccomp`.
IGNORE_ANNOTATION = "deployctl.io/check-ignore"
# What KServe, KubeRay and the like add to a pod whose template leaves it out.
_ADDED = frozenset(f"{probe}-probe-missing" for probe in ("startup", "readiness", "liveness")) | {
    "pre-stop-missing",
    "network-policy-missing",
    "service-account-token",
}
_HELM_ONLY = re.compile(r"(^|/)(Chart\.yaml|values[^/]*\.yaml|Chart\.lock)$")

assert _rules.__all__  # importing them has filled CHECKS


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

    `named` are the files that the user named himself: one that holds nothing to check is worth
    a word there, and is skipped in a folder. `ignore` are codes to leave out.
    """
    found: list[Finding] = []
    known: list[Document] = []
    skipped: list[str] = []
    given = set(named)
    for file, content in texts.items():
        parsed, troubles = parse(content)
        found += [syntax.finding(file, trouble) for trouble in troubles]
        here = list(documents(file, parsed))
        strange = [d for d in here if d.family == "unknown"]
        if here and len(strange) == len(here) and (file not in given or _HELM_ONLY.search(file)):
            skipped.append(file)
        else:
            found += [_unknown(d) for d in strange if d.data or file in given]
        known += [d for d in here if d.family != "unknown"]
    scene = Scene(known, options or Options())
    for one in CHECKS:
        found += one(scene)
    left_out = set(ignore)
    found = [f for f in found if not (f.code in _ADDED and _operated(f, scene))]
    kept = [f for f in found if f.code not in left_out and not _excused(f, known)]
    order = {file: number for number, file in enumerate(texts)}
    unique = sorted(
        dict.fromkeys(kept),
        key=lambda f: (order.get(f.file, 0), ORDER[f.severity], f.line, f.code, f.where),
    )
    return Report(
        findings=unique,
        ignored=len(found) - len(kept),
        files=len(texts),
        documents=len(known),
        engines=len(scene.engines),
        skipped=tuple(skipped),
    )


def _unknown(document: Document) -> Finding:
    return syntax.UNKNOWN.at(
        document.place(),
        "this is no Kubernetes object, Compose file or service file",
        "check manifests, compose.yaml or service.yaml; render a chart first",
    )


def _operated(finding: Finding, scene: Scene) -> bool:
    """Whether the finding is of a pod that an operator completes."""
    titles = {(p.document.file, p.document.title) for p in scene.pods if p.operated}
    return (finding.file, finding.where.split(": ", 1)[0]) in titles


def _excused(finding: Finding, known: list[Document]) -> bool:
    """Whether the object itself says that this code is meant."""
    if finding.code not in RULES:
        return False
    title = finding.where.split(": ", 1)[0]
    for document in known:
        if document.file == finding.file and document.title == title:
            words = text(mapping(document.metadata.get("annotations")).get(IGNORE_ANNOTATION))
            words += " " + text(dig(document.data, "x-deployctl", "check-ignore"))
            if finding.code in re.split(r"[\s,]+", words):
                return True
    return False
