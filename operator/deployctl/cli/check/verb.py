"""`deployctl check`: what is wrong with manifests, known offline."""

import json
import re
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from deployctl.checking import RULES, Options, Report, Severity, check_texts, formats
from deployctl.cli.check.files import read
from deployctl.cli.check.text import report_text
from deployctl.cli.console import Output, OutputOption, answer_json, out, story
from deployctl.errors import InputError, NotFoundError, PlanRefusedError, did_you_mean
from deployctl.files import write_text

DOCUMENT_VERSION = 1
_VERSION = re.compile(r"v?\d{1,4}(\.\d{1,4}){1,2}([.a-z0-9+-]{0,20})?")

PathsArgument = Annotated[
    list[str],
    typer.Argument(
        metavar="PATH…", help="Files, folders, or - for standard input.", show_default=False
    ),
]
IgnoreOption = Annotated[
    list[str], typer.Option("--ignore", metavar="CODE", help="Ignore a code; repeat for more.")
]
StrictOption = Annotated[bool, typer.Option("--strict", help="Fail on warnings too.")]
KubernetesOption = Annotated[
    str, typer.Option(metavar="X.Y", help="Version of the cluster. [default: the newest known]")
]
EngineVersionOption = Annotated[
    str | None,
    typer.Option(
        metavar="X.Y.Z",
        help="vLLM release, where an image's tag names none, and for dashboards and rules without "
        "an engine beside them. [default for these: the newest known]",
    ),
]
SarifOption = Annotated[
    Path | None, typer.Option("--sarif", metavar="FILE", help="Also write SARIF to this file.")
]
JunitOption = Annotated[
    Path | None, typer.Option("--junit", metavar="FILE", help="Also write JUnit XML to this file.")
]


def command(
    paths: PathsArgument,
    ignore: IgnoreOption = [],  # noqa: B006  typer copies it
    strict: StrictOption = False,
    kubernetes: KubernetesOption = "",
    engine_version: EngineVersionOption = None,
    sarif: SarifOption = None,
    junit: JunitOption = None,
    output: OutputOption = Output.text,
) -> None:
    """Check manifests, Compose files, dashboards, rules and service files; nothing is contacted.

    Each finding has a stable code, the place, the problem, and a fix. Kubernetes
    objects are held against the schemas of a release, and everything against what is known of
    vLLM: flags and metric names by version, probes against start-up, access modes, GPUs,
    secrets. Queries of Grafana dashboards, Prometheus rules and autoscalers are read: names that a
    release has no more and what replaced them, labels, counters without rate, quantiles without
    le. All paths are one set: a Service is looked up among the Deployments given with it.
    A chart is filled in by helm, with the values.yaml next to its folder where there is one. The
    codes are listed in docs/reference/checks.md.

    deployctl check k8s/

    helm template my-release my-chart | deployctl check - --sarif findings.sarif

    deployctl check compose.yaml --ignore run-as-root

    deployctl check dashboard.json rules.yaml --engine-version 0.32.0

    Exit code 3 when there are errors (with --strict: or warnings), 2 when a path cannot be read.
    An object allows codes for itself with the annotation deployctl.io/check-ignore: "CODE CODE".
    """
    _refuse_unknown(ignore)
    _check_version("--kubernetes", kubernetes, "1.31")
    _check_version("--engine-version", engine_version, "0.32.0")
    texts, named = read(paths)
    options = Options(kubernetes=kubernetes, engine_version=engine_version)
    report = check_texts(texts, options, ignore=ignore, named=named)
    if not report.documents and not report.findings:
        raise NotFoundError(
            "there is nothing to check",
            where=", ".join(paths)[:200],
            hint="give manifests, a Compose file, dashboards, rules or a service file; for a chart "
            "without helm here, pipe what helm template writes into deployctl check -",
        )
    if sarif is not None:
        write_text(sarif, json.dumps(formats.sarif(report), indent=1) + "\n")
    if junit is not None:
        write_text(junit, formats.junit(report, texts, strict=strict))
    _show(report, output)
    _refuse(report, strict=strict)


def _show(report: Report, output: Output) -> None:
    if output is Output.json:
        answer_json(_document(report))
        return
    colour = out.color_system is not None and out.is_terminal
    out.print(report_text(report, colour=colour), end="", soft_wrap=True)
    if report.skipped:
        story(f"skipped, nothing to check in them: {', '.join(report.skipped[:5])}", style="dim")


def _refuse(report: Report, *, strict: bool) -> None:
    errors, warnings = report.count(Severity.error), report.count(Severity.warning)
    if errors or (strict and warnings):
        count = errors + (warnings if strict else 0)
        raise PlanRefusedError(
            f"{count} finding{'s' * (count > 1)} to fix before this is applied",
            hint="each finding names its fix; --ignore CODE skips one that is intended",
        )


def _refuse_unknown(codes: list[str]) -> None:
    for code in codes:
        if code not in RULES:
            raise InputError(
                f"there is no code {code!r}",
                where="--ignore",
                hint=did_you_mean(code, RULES) or "docs/reference/checks.md lists them",
            )


def _check_version(option: str, given: str | None, example: str) -> None:
    if given and not _VERSION.fullmatch(given):
        raise InputError(f"{given!r} is not a version", where=option, hint=f"write {example}")


def _document(report: Report) -> dict[str, object]:
    return {
        "version": DOCUMENT_VERSION,
        "files": report.files,
        "documents": report.documents,
        "engines": report.engines,
        "ignored": report.ignored,
        "counts": {severity.value: report.count(severity) for severity in Severity},
        "findings": [asdict(finding) for finding in report.findings],
    }
