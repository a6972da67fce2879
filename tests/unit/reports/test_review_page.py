"""The page of a review: the same bytes, in GitHub's limits, and nothing foreign but as code."""

import re

import pytest
from markdown_it import MarkdownIt

from deployctl.reports.hostpage import cut
from deployctl.reports.review import (
    Review,
    ReviewedChange,
    ReviewedService,
    ReviewFinding,
    markdown,
)
from known import planned

EVIL = (
    "<img src=x onerror=y> **b** [l](https://evil.example) @someone #12 GH-12 www.evil.example"
    " | `code` ``more` \\ -->\n# head\n- item <details> :smile: $x$ https://evil.example"
)


def service(**more):
    plan, _, _ = planned("awq", "l4")
    known = {"name": "chat", "file": "service.yaml", "target": "docker", "plan": plan}
    return ReviewedService(**{**known, **more})


def evil():
    """A review in which everything that others write is meant to do harm."""
    plan = service().plan
    engine = plan.engine.model_copy(update={"args": (EVIL,), "version": EVIL})
    changed = {"engine": engine, "gpu": EVIL, "notes": (EVIL,), "name": EVIL}
    change = ReviewedChange(effect=EVIL, where=EVIL, old=EVIL, new=EVIL)
    known = {"level": "error", "code": EVIL, "message": EVIL, "fix": EVIL, "file": EVIL}
    return Review(
        files=(EVIL,),
        services=(
            service(
                name=EVIL,
                plan=plan.model_copy(update=changed),
                against=EVIL,
                effect=EVIL,
                changes=(change,),
                note=EVIL,
            ),
        ),
        findings=(
            ReviewFinding(**known),
            ReviewFinding(**known, service=EVIL, where=EVIL),
        ),
    )


def tokens(page):
    for token in MarkdownIt("commonmark").enable("table").parse(page):
        yield token
        yield from token.children or ()


def test_the_same_review_gives_the_same_bytes_and_begins_with_its_header():
    review = Review(files=("a/service.yaml", "b.yaml"), services=(service(),))
    page = markdown(review)
    assert page == markdown(Review.model_validate_json(review.model_dump_json()))
    assert page.startswith("<!-- deployctl review: a/service.yaml b.yaml -->\n### ✅ ")


def test_what_others_wrote_is_code_or_plain_words():
    page = markdown(evil())
    html = {t.content for t in tokens(page) if t.type in ("html_block", "html_inline")}
    ours = re.compile(
        r"<!-- deployctl review: [\w./ -]*? -->\n?|</?details>\n?|"
        r"<details><summary>[^<>&@#\[\]*`]*</summary>\n?"
    )
    assert [each for each in html if not ours.fullmatch(each)] == []
    assert not [t for t in tokens(page) if t.type in ("link_open", "image", "strong_open")]
    plain = " ".join(t.content for t in tokens(page) if t.type == "text")
    for word in ("evil", "@", "#12", "GH-12", "onerror", "smile", "$x", "**", "<"):
        assert word not in plain


@pytest.mark.parametrize(
    ("files", "others"),
    [
        (("ü.yaml",), ("ö.yaml",)),
        (("a.yaml", "b.yaml"), ("a.yaml b.yaml",)),
        (("x" * 250 + "1",), ("x" * 250 + "2",)),
        (("a--b.yaml",), ("a_b.yaml",)),
    ],
)
def test_no_two_reviews_of_other_files_share_a_header(files, others):
    assert Review(files=files).header != Review(files=others).header


def test_a_header_ends_where_it_should():
    assert markdown(evil()).splitlines()[0].count("-->") == 1


def test_a_cell_of_the_table_holds_no_bar():
    rows = [line for line in markdown(evil()).splitlines() if line.startswith("| ")]
    table = [row for row in rows if row.count("|") > 4]
    assert {row.count("|") for row in table} == {10}


@pytest.mark.parametrize("text", ["`", "``", "a`b", " ` ", "`a`", "``` `` `", "\\`", "x\\"])
def test_ticks_end_no_code_span(text):
    change = ReviewedChange(effect="restarts", where=text, new="y")
    page = markdown(Review(files=("s",), services=(service(changes=(change,), against="base"),)))
    code = [t.content.strip() for t in tokens(page) if t.type == "code_inline"]
    assert text.strip() in code


def test_a_long_page_is_cut_at_a_part_and_leads_on():
    many = tuple(
        ReviewedChange(effect="restarts", where=f"w{i}é" * 50, old="é" * 900, new="y" * 900)
        for i in range(200)
    )
    services = tuple(
        service(name=f"s{i}", changes=many, against="base", effect="restarts") for i in range(150)
    )
    review = Review(files=("s",), services=services)
    page = markdown(review, link="https://ci.example/run/1")
    assert 30_000 < len(page.encode()) <= 65_536
    assert re.search(
        r"_Cut here, for its length: [\d,]+ lines left out; "
        r"\[the run's report\]\(https://ci.example/run/1\) has all._\n$",
        page,
    )
    assert page.count("<details>") == page.count("</details>")
    assert "and 50 more services" in page
    assert "- and 160 more" in page
    assert len(markdown(review, most=1024 * 1024).encode()) > 65_536


def test_no_page_is_over_its_limit():
    review = Review(files=("s",), services=(service(),))
    for most in range(300, 3000, 97):
        assert len(markdown(review, most=most).encode()) <= most


def test_what_is_cut_ends_with_a_whole_line_outside_of_what_is_folded():
    page = "# Head\n\na\nb\n\n#### next\n\n<details><summary>x</summary>\n\nc\n</details>\nd\n"
    for most in range(len(page)):
        made = cut(page, most, "r")
        assert len(made) <= most
        kept, _, said = made.partition("\n_Cut here, for its length: ")
        assert page.startswith(kept)
        assert kept == "" or page[len(kept) - 1] == "\n"
        assert kept.count("<details>") == kept.count("</details>")
        assert not kept.rstrip().endswith(("next", "Head"))
        if said:
            number, word = said.split(" ")[:2]
            assert int(number) == page.count("\n") - kept.count("\n")
            assert word == ("line" if number == "1" else "lines")
            assert said.endswith("left out; r has all._\n")
    assert cut(page, len(page), "r") == page


def test_what_restarts_is_said_first():
    changed = service(against="revision 4, which is deployed", effect="restarts")
    page = markdown(Review(files=("s",), services=(changed,)))
    assert "**The engine restarts**: no answers until it has loaded" in page
    assert "| restarts |" in page


def test_a_fix_that_is_a_sentence_has_one_full_stop():
    known = {"level": "error", "code": "x", "message": "wrong", "fix": "Port on this host."}
    page = markdown(Review(files=("a.yaml",), findings=(ReviewFinding(**known, file="a.yaml"),)))
    assert "Fix: Port on this host.\n" in page
