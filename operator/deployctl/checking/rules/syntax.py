"""Files that cannot be read as what they are. The findings are made where files are read."""

from deployctl.checking.documents import Document, Place
from deployctl.checking.finding import Finding, Severity, rule
from deployctl.checking.yamltext import Trouble

GROUP = "Reading"
YAML = rule(
    "yaml", Severity.error, "A document that is not YAML is applied by nobody.", group=GROUP
)
DUPLICATE = rule(
    "yaml-duplicate-key",
    Severity.error,
    "Of a key written twice one value wins in silence, or the server refuses both.",
    group=GROUP,
)
SIZE = rule(
    "too-large",
    Severity.error,
    "A file too large or too deeply nested to be a manifest is not checked.",
    group=GROUP,
)
TEMPLATE = rule(
    "template",
    Severity.error,
    "A template says nothing until it is rendered, so nothing in it was checked.",
    group=GROUP,
)
UNKNOWN = rule(
    "unrecognised",
    Severity.warning,
    "A document that is no manifest, Compose file or service file was not checked.",
    group=GROUP,
)
_FIXES = {
    "syntax": (YAML, "mend the YAML there; a linter such as yamllint says more"),
    "duplicate": (DUPLICATE, "keep one of the two"),
    "size": (SIZE, "split the file, or check the manifests only"),
    "template": (TEMPLATE, "check what helm template writes, with deployctl check -"),
}


def finding(file: str, trouble: Trouble) -> Finding:
    """The finding of a document that could not be read."""
    found, fix = _FIXES[trouble.kind]
    place = Place(Document(file, "unknown", {}, trouble.line))
    return found.at(place, trouble.message, fix)
