"""The one comment on a pull request, against a fake of GitHub's API."""

import pytest

from deployctl.errors import InputError, TargetError
from deployctl.operations.comment import PullRequest, comment, read_review
from deployctl.reports.review import Review, markdown
from fake_github import TOKEN, FakeGitHub

REVIEW = Review(files=("service.yaml",))
HEADER, BODY = REVIEW.header, markdown(REVIEW)
AUTHOR = "github-actions[bot]"
SHA = "a" * 40


@pytest.fixture
def github(monkeypatch):
    with FakeGitHub() as fake:
        monkeypatch.setenv("GITHUB_API_URL", fake.url)
        monkeypatch.setenv("GITHUB_TOKEN", TOKEN)
        yield fake


def put(body=BODY, **pull):
    return comment(PullRequest("org/app", **(pull or {"number": 7})), HEADER, body, AUTHOR)


def test_it_is_written_once_then_left_alone_then_updated(github):
    assert put().done == "written"
    asked = len(github.asked)
    assert put().done == "unchanged"
    assert [method for method, _ in github.asked[asked:]] == ["GET"]
    again = put(BODY + "more\n")
    assert (again.done, again.number) == ("updated", 7)
    assert [c["body"] for c in github.comments] == [BODY + "more\n"]


def test_github_s_line_ends_are_no_change(github):
    github.add(BODY.replace("\n", "\r\n").rstrip())
    assert put().done == "unchanged"


def test_it_is_found_behind_a_hundred_others(github):
    for number in range(150):
        github.add(f"comment {number}", login="somebody")
    github.add(BODY)
    assert put(BODY + "x").done == "updated"
    assert len(github.comments) == 151


def test_nobody_elses_comment_is_changed_though_it_begins_so(github):
    stranger = github.add(BODY, login="stranger")
    other = github.add("<!-- deployctl review: other.yaml -->\n")
    assert put(BODY + "x").done == "written"
    assert (stranger["body"], other["body"]) == (BODY, "<!-- deployctl review: other.yaml -->\n")


def test_a_fork_s_pull_request_is_found_by_its_head(github):
    github.pulls = [
        {"number": 8, "head": {"label": "fork:patch", "sha": "b" * 40}},
        {"number": 9, "head": {"label": "fork:patch", "sha": SHA}},
    ]
    assert put(head="fork:patch", commit=SHA).number == 9
    assert github.comments[0]["issue"] == 9


def test_a_head_that_moved_on_gets_no_comment(github):
    github.pulls = [{"number": 8, "head": {"label": "fork:patch", "sha": "b" * 40}}]
    with pytest.raises(TargetError, match="no open pull request has its head at aaaaaaaaaaaa"):
        put(head="fork:patch", commit=SHA)
    assert github.comments == []


@pytest.mark.parametrize(
    ("repository", "pull", "where"),
    [
        ("org", {"number": 7}, "--repository"),
        ("org/../x", {"number": 7}, "--repository"),
        ("org/app", {}, "--head"),
        ("org/app", {"head": "fork/x:y", "commit": SHA}, "--head"),
        ("org/app", {"head": "fork:y", "commit": "main"}, "--commit"),
    ],
)
def test_what_is_no_pull_request_is_asked_of_nobody(github, repository, pull, where):
    with pytest.raises(InputError) as refused:
        comment(PullRequest(repository, **pull), HEADER, BODY, AUTHOR)
    assert (refused.value.where, github.asked) == (where, [])


def test_a_token_without_the_right_is_told_with_the_way(github):
    github.refuses = 403
    with pytest.raises(TargetError) as refused:
        put()
    assert refused.value.message == (
        "GitHub refuses: HTTP 403: Resource not accessible by integration"
    )
    assert "pull-requests: write" in refused.value.hint
    assert TOKEN not in f"{refused.value.message}{refused.value.where}{refused.value.hint}"


def test_without_a_token_nothing_is_asked(github, monkeypatch):
    monkeypatch.delenv("GITHUB_TOKEN")
    with pytest.raises(InputError) as refused:
        put()
    assert (refused.value.where, github.asked) == ("GITHUB_TOKEN", [])


def test_a_server_that_is_not_there(github, monkeypatch):
    monkeypatch.setenv("GITHUB_API_URL", "http://127.0.0.1:9")
    with pytest.raises(TargetError, match="GitHub does not answer"):
        put()


@pytest.mark.parametrize("text", ["", "[]", '{"files": 3}', '{"services": [{}]}', "{" * 9000])
def test_what_is_no_review_is_refused(text):
    with pytest.raises(InputError, match="no review") as refused:
        read_review(text, "review.json")
    assert refused.value.where.startswith("review.json")


def test_a_review_is_read_as_it_was_written():
    assert read_review(REVIEW.model_dump_json(), "review.json") == REVIEW
