"""The examples are the reference: each loads, and the annotated one names every key."""

import re

import pytest

from deployctl import assets
from deployctl.spec import ServiceSpec, load_specs

EXAMPLES = sorted(assets.path("deploy", "examples").glob("*.yaml"))


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_loads(example):
    assert load_specs([example], {})


def test_the_annotated_example_names_every_key():
    text = assets.path("deploy", "examples", "service.yaml").read_text()
    named = set(re.findall(r"^(?:# )?([a-z_]+):", text, flags=re.MULTILINE))
    assert named >= set(ServiceSpec.model_fields)
