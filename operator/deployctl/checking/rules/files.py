"""Files that cannot be read as what they are, and deployctl's own service files."""

from collections.abc import Iterator

from deployctl.boundedyaml import Trouble
from deployctl.checking.documents import Document, Place
from deployctl.checking.finding import Finding, check, rule
from deployctl.checking.manifests import Manifests

YAML = rule("yaml")
DUPLICATE = rule("yaml-duplicate-key")
SIZE = rule("too-large")
TEMPLATE = rule("template")
UNKNOWN = rule("unrecognised")
SPEC = rule("service-file")
_FIXES = {
    "syntax": (YAML, "correct the YAML there; a linter such as yamllint says more"),
    "duplicate": (DUPLICATE, "keep one of the two"),
    "size": (SIZE, "split the file, or check the manifests only"),
    "template": (TEMPLATE, "check what helm template writes, with deployctl check -"),
}


def unreadable(file: str, trouble: Trouble) -> Finding:
    """The finding of a document that could not be read."""
    broken, fix = _FIXES[trouble.kind]
    place = Place(Document(file, "unknown", {}, trouble.line))
    return broken.at(place, trouble.message, fix)


def unrecognised(document: Document) -> Finding:
    """The finding of a document in no language that is known here."""
    return UNKNOWN.at(
        document.place(),
        "this is not a Kubernetes object, Compose file, service file, dashboard or rule file",
        "check manifests, compose.yaml, service.yaml, dashboards or rules; render a chart first",
    )


@check
def services(manifests: Manifests) -> Iterator[Finding]:
    """Every service file against the settings there are."""
    documents = [document for document in manifests.documents if document.family == "service"]
    if documents:
        from deployctl.spec.load import problems  # the settings are slow to import

        for document in documents:
            for path, message, hint in problems(document.data):
                yield SPEC.at(document.place(*path), message, hint)
