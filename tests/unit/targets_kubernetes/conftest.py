"""An API server in memory: documents by path, with the conflicts of a real one."""

import copy
import re
from collections import Counter
from datetime import UTC, datetime

import pytest

from deployctl.targets.kubernetes.cluster import Cluster, ConflictError, InvalidError


class MemoryCluster(Cluster):
    """Holds what it is given. `meanwhile` runs once, before the next write: somebody else's."""

    context, namespace = "lab", "llm"

    def __init__(self):
        self.documents = {}
        self.meanwhile = None
        self.refuses, self.owners = {}, {}  # of an apply, by path
        self.asked = []  # lists: how, and of what
        self.listed = Counter()  # objects that lists gave, by their plural
        self.at = None  # its time, where a test sets it
        self._version = 0

    def now(self):
        return self.at or datetime.now(UTC)

    def get(self, path, **query):
        return copy.deepcopy(self.documents.get(path))

    def items(self, path, **query):
        self.asked.append(("items", path))
        return self._listed(path, **query)

    def _listed(self, path, **query):
        found = [d for p, d in sorted(self.documents.items()) if p.rpartition("/")[0] == path]
        chosen = [copy.deepcopy(d) for d in found if _matches(d, **query)]
        self.listed[path.rpartition("/")[2]] += len(chosen)
        return chosen

    def metadata(self, path, **query):
        self.asked.append(("metadata", path))
        return [{"metadata": d["metadata"]} for d in self._listed(path, **query)]

    def create(self, path, document):
        document = copy.deepcopy(document)
        if "generateName" in document["metadata"]:
            number = len(self.documents)
            document["metadata"]["name"] = f"{document['metadata'].pop('generateName')}{number}"
        return self._write(f"{path}/{document['metadata']['name']}", document, new=True)

    def replace(self, path, document):
        return self._write(path, document)

    def patch(self, path, document):
        if path not in self.documents:
            return None
        return self._write(path, _merged(self.documents[path], document))

    def apply(self, path, document, *, manager, force=True, dry_run=False):
        """As far as a test needs it: a document is laid over what is there, and nothing removed."""
        assert dry_run
        if path in self.refuses:
            raise InvalidError(self.refuses[path])
        if path in self.owners and not force:
            error = ConflictError("Apply failed with 1 conflict")
            error.managers = (self.owners[path],)
            raise error
        return _merged(self.documents.get(path, {}), copy.deepcopy(document))

    def delete(self, path, *, version="", **query):
        known = self.documents.get(path, {}).get("metadata", {}).get("resourceVersion")
        if known and version not in ("", known):
            raise ConflictError("the object has been modified")
        return self.documents.pop(path, None) is not None

    def _write(self, path, document, *, new=False):
        if self.meanwhile is not None:
            other, self.meanwhile = self.meanwhile, None
            other()
        known = self.documents.get(path, {}).get("metadata", {}).get("resourceVersion")
        if (new and known) or document["metadata"].get("resourceVersion", known) != known:
            raise ConflictError("the object has been modified")
        self._version += 1
        document = copy.deepcopy(document)
        document["metadata"]["resourceVersion"] = str(self._version)
        self.documents[path] = document
        return copy.deepcopy(document)


def _matches(document, labelSelector="", fieldSelector=""):  # noqa: N803  the API's names
    labels = document["metadata"].get("labels", {})
    for term in re.findall(r"[^,(]+(?:\([^)]*\))?", labelSelector):
        key, several, values = term.partition(" in ")
        if several:
            if labels.get(key) not in values.strip("()").split(","):
                return False
            continue
        key, equals, value = term.partition("=")
        if key.endswith("!"):
            if labels.get(key[:-1]) == value:
                return False
        elif term.startswith("!"):
            if term[1:] in labels:
                return False
        elif key not in labels or (equals and labels[key] != value):
            return False
    field, _, value = fieldSelector.partition("=")
    for part in filter(None, field.split(".")):
        document = document.get(part) or {}
    return not field or document == value


def _merged(old, new):
    if not isinstance(new, dict):
        return new
    old = old if isinstance(old, dict) else {}
    merged = {**old, **{k: _merged(old.get(k, {}), v) for k, v in new.items()}}
    return {k: v for k, v in merged.items() if v is not None}


@pytest.fixture
def cluster():
    return MemoryCluster()
