"""Annotations, as a pipeline's log has them."""

from pathlib import Path

from deployctl.errors import SpecError
from deployctl.reports.annotation import annotation, of_error
from deployctl.spec.place import SpecPlace

ROOT = Path("/repo")


def test_an_error_at_its_line():
    error = SpecError("it is wrong", where="a,b: c.yaml:3", hint="do, this: now")
    place = SpecPlace(Path("a,b: c.yaml"), 3, 5)
    assert of_error(error, place, ROOT) == (
        "::error title=deployctl,file=a%2Cb%3A c.yaml,line=3,col=5"
        "::it is wrong%0Aat: a,b: c.yaml:3%0Ahint: do, this: now"
    )


def test_one_without_a_place():
    error = SpecError("100% wrong")
    assert of_error(error, None, ROOT) == "::error title=deployctl::100%25 wrong"


def test_what_is_foreign_begins_no_command_of_its_own():
    text = annotation("note", "t\n::x::", "a\n::add-mask::b\x1b[31m", None, ROOT)
    assert text == "::notice title=t%0A%3A%3Ax%3A%3A::a%0A::add-mask::b"


def test_a_file_is_named_from_the_root_of_the_checkout():
    at = annotation("warning", "t", "m", SpecPlace(Path("/repo/x/s.yaml")), ROOT)
    assert at == "::warning title=t,file=x/s.yaml,line=1,col=1::m"
    assert "file=/else/s.yaml" in annotation(
        "note", "t", "m", SpecPlace(Path("/else/s.yaml")), ROOT
    )
