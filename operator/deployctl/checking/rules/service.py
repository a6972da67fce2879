"""deployctl's own service files."""

from collections.abc import Iterator

from deployctl.checking.finding import Finding, Severity, check, rule
from deployctl.checking.scene import Scene

SPEC = rule(
    "service-file",
    Severity.error,
    "deployctl refuses the service before it looks at the model.",
    group="Service files",
)


@check
def specs(scene: Scene) -> Iterator[Finding]:
    """Every service against the settings there are."""
    services = [document for document in scene.documents if document.family == "service"]
    if services:
        from deployctl.spec.load import problems  # the settings are slow to import

        for document in services:
            for path, message, hint in problems(document.data):
                yield SPEC.at(document.place(*path), message, hint)
