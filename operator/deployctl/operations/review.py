"""Plans, renders, checks and diffs spec files in one go, for those who review a change of them.

What is wrong with one service hides nothing of the others: an error becomes a finding at its line.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from deployctl.boundedyaml import Parsed, parse
from deployctl.checking import Finding, Report, Severity, check_texts, formats
from deployctl.checking.difference import worst
from deployctl.checking.effects import Effect
from deployctl.errors import DeployctlError, InputError, NotFoundError, TargetError
from deployctl.events import Event, Tell, silent
from deployctl.given import read_text
from deployctl.operations import bundle as bundles
from deployctl.operations.deploy.differences import ServiceDiff, diff
from deployctl.operations.fleet import load_placed
from deployctl.operations.prepare import Prepared, apart, prepare
from deployctl.render.bundle import BundleKind
from deployctl.render.clashes import Hosted, clashes
from deployctl.reports.annotation import relative
from deployctl.reports.review import (
    Level,
    Review,
    ReviewedChange,
    ReviewedService,
    ReviewFinding,
    reasons,
)
from deployctl.spec import ServiceSpec
from deployctl.spec.load import FLEET, MAX_BYTES, MAX_VALUES, problems
from deployctl.spec.place import SpecPlace, locate, nearest

_SHOWN = 2000  # characters of a value that a review keeps
_SUBJECT = {"does_not_fit": "gpu", "cannot_run": "model"}  # the key that a refused plan is shown at


class Against(NamedTuple):
    """What services are held against: another spec file, what runs, or nothing."""

    file: Path | None = None
    running: bool = False


class Reviewed(NamedTuple):
    """The review, and the errors that are in it as findings."""

    review: Review
    errors: tuple[DeployctlError, ...]


class _Reviewer:
    """One review in the making."""

    def __init__(self, files: Sequence[Path], against: Against, root: Path, tell: Tell) -> None:
        self.files, self.against, self.root, self.tell = files, against, root, tell
        self.findings: list[ReviewFinding] = []
        self.errors: list[DeployctlError] = []
        self.hosted: list[Hosted] = []
        self.others: Sequence[ServiceSpec] = ()  # of the file that they are held against

    def finding(
        self, level: Level, code: str, message: str, fix: str, place: SpecPlace, **more: str
    ) -> None:
        """Adds one."""
        at = {"file": relative(place.file, self.root), "line": place.line, "column": place.column}
        known: dict[str, Any] = {"level": level, "code": code, "message": message, "fix": fix}
        self.findings.append(ReviewFinding(**known, **at, **more))

    def failed(self, error: DeployctlError, index: int | None, service: str = "") -> None:
        """Adds an error, at its line where that is in a file of ours."""
        self.errors.append(error)
        place = locate(error.where, self.files, index) or SpecPlace(self.files[0])
        code = "bad-input" if isinstance(error, InputError) else "failed"
        more = {"where": error.where or "", "service": service}
        self.finding("error", code, error.message, error.hint or "", place, **more)

    def specs(self) -> list[ServiceSpec]:
        """The services of all files; none where one of the files is wrong."""
        for file in self.files:
            try:
                documents, troubles = parse(read_text(file, MAX_BYTES), most=MAX_VALUES, tags=False)
            except InputError:
                continue  # load_placed tells it
            for trouble in troubles:
                place = SpecPlace(file, trouble.line, trouble.column)
                self.finding("error", "yaml", trouble.message, "check the YAML there", place)
            for document in documents:
                self._document(file, document)
        try:
            specs = load_placed(self.files)
        except DeployctlError as error:
            if self.findings:  # it is the first of them
                self.errors.append(error)
            else:
                self.failed(error, None)
            return []
        return specs

    def held_against(self, specs: Sequence[ServiceSpec]) -> None:
        """Reads the other file; tells where it is wrong, and what is in it and in these no more."""
        if (file := self.against.file) is None:
            return
        other, place = relative(file, self.root), SpecPlace(self.files[0])
        try:
            self.others = load_placed([file])
        except DeployctlError as error:
            message = f"{other} cannot be compared with: {error.message}"
            fix = "none is needed here, if this change mends it"
            self.finding("note", "not-compared", message, fix, place, where=error.where or "")
            return
        named = {spec.service for spec in specs}
        for gone in [each.service for each in self.others if specs and each.service not in named]:
            message = f"{gone} is in {other} and no more in this change, which stops nothing"
            self.finding("note", "removed", message, f"deployctl down {gone} ends it", place)

    def _document(self, file: Path, document: Parsed) -> None:
        if not isinstance(document.data, dict) or FLEET in document.data:
            return
        for path, message, hint in problems(document.data):
            place = nearest(file, document, path)
            where = "/".join(str(part) for part in path)
            self.finding("error", "service-file", message, hint, place, where=where)

    def service(self, index: int, spec: ServiceSpec) -> ReviewedService | None:
        """One service: None where it cannot be planned."""
        name = spec.service
        self.tell(Event("heading", f"reviewing {name}"))
        try:
            prepared = prepare(spec, None, self.tell)
        except DeployctlError as error:
            self.failed(error, index, name)
            return None
        plan = prepared.plan
        self.hosted.append(Hosted(plan, prepared.spec, prepared.target))
        for level, reason in reasons(plan):
            key = _SUBJECT.get(plan.verdict, "gpu") if level == "error" else "model"
            place = locate(key, self.files, index) or SpecPlace(self.files[0])
            self.finding(level, reason.code, reason.message, reason.fix, place, service=name)
        place = locate(None, self.files, index) or SpecPlace(self.files[0])
        known = {
            "name": name,
            "file": relative(place.file, self.root),
            "target": prepared.target,
            "plan": plan,
        }
        if plan.verdict != "fits":
            return ReviewedService(**known)
        notes = [*self._checked(prepared, place), *self._differs(spec, index, known)]
        return ReviewedService(**known, note=" ".join(notes))

    def beside(self, specs: Sequence[ServiceSpec]) -> None:
        """Looks for services that cannot be on one host beside each other."""
        indices = {spec.service: index for index, spec in enumerate(specs)}
        for error in clashes(self.hosted, apart=apart(self.hosted)):
            name = error.service or ""
            self.failed(error, indices.get(name), name)

    def _checked(self, prepared: Prepared, place: SpecPlace) -> Iterator[str]:
        """Looks for what is wrong with what is rendered; yields why it could not."""
        on_cluster = prepared.target == "kubernetes"
        kind: BundleKind = "manifests" if on_cluster else prepared.target
        name = prepared.plan.name
        try:
            files = bundles.render(kind, prepared, bundles.chart_options([kind])).files
        except TargetError as error:  # no helm
            yield f"What is rendered was not checked: {error.message}."
            return
        report = check_texts({file: text for file, text in files.items() if _is_data(file)})
        for found in report.findings:
            if found.severity is Severity.note:
                continue
            level: Level = "error" if found.severity is Severity.error else "warning"
            where = f"{found.file}: {found.where}"
            self.finding(
                level, found.code, found.message, found.fix, place, where=where, service=name
            )

    def _differs(self, spec: ServiceSpec, index: int, known: dict[str, Any]) -> Iterator[str]:
        """Holds a service against what is asked for; yields why it could not."""
        file = self.against.file
        if file is None and not self.against.running:
            return
        try:
            # `diff` takes another name for the same service, where a file has but one.
            if file and spec.service not in {each.service for each in self.others}:
                if self.others:
                    yield f"It is new: {relative(file, self.root)} has no service {spec.service}."
                return
            [sides] = diff([spec], file=file)
        except NotFoundError as error:
            yield f"It is new: {error.message}."
            return
        except DeployctlError as error:
            if (
                file
            ):  # this side could be planned and rendered; a change may be what mends the other
                where = relative(file, self.root)
                yield f"{where} cannot be compared with: {error.message}."
            else:
                self.failed(error, index, spec.service)
            return
        known |= _changes(sides, self.root)


def review(
    files: Sequence[Path], against: Against = Against(), *, root: Path, tell: Tell = silent
) -> Reviewed:
    """Reviews every service of the files. `root`: of the repository, which files are named from.

    Raises nothing of what is wrong with files, models or targets: that is in the review.
    """
    reviewer = _Reviewer(files, against, root, tell)
    specs = reviewer.specs()
    reviewer.held_against(specs)
    services = [reviewer.service(i, spec) for i, spec in enumerate(specs)]
    reviewer.beside(specs)
    done = Review(
        files=tuple(relative(file, root) for file in files),
        services=tuple(service for service in services if service is not None),
        findings=tuple(reviewer.findings),
    )
    return Reviewed(done, tuple(reviewer.errors))


def sarif(made: Review) -> dict[str, Any]:
    """The findings of a review, for a code host."""
    findings = [
        Finding(
            code=found.code,
            severity=Severity(found.level),
            file=found.file,
            line=found.line,
            where=": ".join(filter(None, (found.service, found.where))) or found.file,
            message=found.message,
            fix=found.fix,
        )
        for found in made.findings
    ]
    return formats.sarif(Report(findings, 0, len(made.files), len(made.services), 0, ()))


def _changes(sides: ServiceDiff, root: Path) -> dict[str, Any]:
    """What a review keeps of a diff."""
    gravest: Effect | None = worst(sides.differences)
    changes = tuple(
        ReviewedChange(
            effect=change.effect.value,
            where=f"{change.file} {change.where}".strip(),
            old=_kept(change.old),
            new=_kept(change.new),
            drift=change.drift,
        )
        for change in sides.differences
    )
    against = sides.against.replace(f"{root}/", "")
    return {"against": against, "effect": gravest and gravest.value, "changes": changes}


def _kept(value: Any) -> str | None:
    return None if value is None else str(value)[:_SHOWN]


def _is_data(file: str) -> bool:
    return file.endswith((".yaml", ".yml", ".json")) and not file.startswith(("chart/", "door/"))
