"""A good set of manifests, and ways to spoil it."""

import copy
from pathlib import Path

import pytest
import yaml

from deployctl.checking import Options, check_texts

MANIFESTS = Path(__file__).resolve().parents[2] / "data" / "manifests"


class Spoilt:
    """A set of objects by kind, each a mapping to change."""

    def __init__(self, documents):
        self.documents = copy.deepcopy(documents)

    def __getitem__(self, kind):
        return next(d for d in self.documents if d.get("kind") == kind)

    def drop(self, kind):
        self.documents.remove(self[kind])

    def add(self, text):
        self.documents += list(yaml.safe_load_all(text))

    @property
    def workload(self):
        return self["Deployment"]["spec"]

    @property
    def pod(self):
        return self.workload["template"]["spec"]

    @property
    def engine(self):
        return self.pod["containers"][0]

    @property
    def args(self):
        return self.engine["args"]

    def flag(self, name, value=None):
        """Sets a flag of the engine; None takes it away."""
        kept = [a for a in self.args if a.split("=")[0] != f"--{name}"]
        self.engine["args"] = kept + ([] if value is None else [f"--{name}={value}"])

    def variable(self, name, value=None):
        kept = [e for e in self.engine["env"] if e["name"] != name]
        self.engine["env"] = kept + ([] if value is None else [{"name": name, "value": value}])

    def query(self, text):
        self["ScaledObject"]["spec"]["triggers"][0]["metadata"]["query"] = text

    @property
    def text(self):
        return yaml.safe_dump_all(self.documents, sort_keys=False)


@pytest.fixture(scope="session")
def good_documents():
    return list(yaml.safe_load_all((MANIFESTS / "good" / "chat.yaml").read_text()))


@pytest.fixture
def spoilt(good_documents):
    """The good set, to be changed."""
    return Spoilt(good_documents)


@pytest.fixture
def found():
    """`found(text)`: the findings of one text."""

    def check(text, *, file="m.yaml", **more):
        options = Options(**{k: more.pop(k) for k in ("kubernetes", "engine_version") if k in more})
        return check_texts({file: text}, options, **more).findings

    return check


@pytest.fixture
def codes(found):
    """`codes(text)`: the codes of one text's findings."""
    return lambda text, **more: {finding.code for finding in found(text, **more)}
