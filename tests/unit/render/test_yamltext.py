"""The Compose writer: whatever text goes in, the same text comes out."""

import yaml
from hypothesis import given
from hypothesis import strategies as st

from deployctl.render.yamltext import variable, write_compose

TEXT = st.text(st.characters(codec="utf-8", exclude_categories=("Cs",)))


@given(TEXT)
def test_any_text_is_read_back_as_text(text):
    document = yaml.safe_load(write_compose({"value": text, "list": [text]}, "a comment"))
    doubled = text.replace("$", "$$")
    assert document == {"value": doubled, "list": [doubled]}


@given(TEXT)
def test_any_key_is_read_back_as_text(key):
    assert yaml.safe_load(write_compose({key: 1}, "")) == {key: 1}


@given(TEXT)
def test_only_a_variable_keeps_its_dollar(text):
    document = yaml.safe_load(write_compose({"value": text, "own": variable("NAME")}, ""))
    assert document["own"] == "${NAME:-}"
    assert document["value"].count("$") == 2 * text.count("$")


def test_a_comment_stays_one_whatever_it_says():
    text = write_compose({"a": 1}, "one\ntwo: 2\n\nthree")
    assert text == "# one\n# two: 2\n#\n# three\na: 1\n"
    assert yaml.safe_load(text) == {"a": 1}
