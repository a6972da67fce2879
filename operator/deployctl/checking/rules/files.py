"""Files that cannot be read as what they are, and deployctl's own service files."""

from collections.abc import Iterator

from deployctl.checking.documents import Document, Place
from deployctl.checking.finding import Finding, RuleGroup, check
from deployctl.checking.manifests import Manifests
from deployctl.checking.yamltext import Trouble

READING, SERVICES = RuleGroup("Reading"), RuleGroup("Service files")
YAML = READING.error("yaml", "A document that is not YAML cannot be applied.")
DUPLICATE = READING.error(
    "yaml-duplicate-key",
    "Of a key written twice one value wins silently, or the server refuses both.",
)
SIZE = READING.error(
    "too-large", "A file too large or too deeply nested to be a manifest is not checked."
)
TEMPLATE = READING.error(
    "template", "A template says nothing until it is rendered, so nothing in it was checked."
)
UNKNOWN = READING.warning(
    "unrecognised",
    "A document that is no manifest, Compose file or service file was not checked.",
)
SPEC = SERVICES.error("service-file", "deployctl refuses the service before it looks at the model.")
_FIXES = {
    "syntax": (YAML, "correct the YAML there; a linter such as yamllint says more"),
    "duplicate": (DUPLICATE, "keep one of the two"),
    "size": (SIZE, "split the file, or check the manifests only"),
    "template": (TEMPLATE, "check what helm template writes, with deployctl check -"),
}


def unreadable(file: str, trouble: Trouble) -> Finding:
    """The finding of a document that could not be read."""
    rule, fix = _FIXES[trouble.kind]
    place = Place(Document(file, "unknown", {}, trouble.line))
    return rule.at(place, trouble.message, fix)


def unrecognised(document: Document) -> Finding:
    """The finding of a document in no language that is known here."""
    return UNKNOWN.at(
        document.place(),
        "this is no Kubernetes object, Compose file or service file",
        "check manifests, compose.yaml or service.yaml; render a chart first",
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
