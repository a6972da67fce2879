"""The one comment on a pull request, against a fake of GitHub's API."""

import pytest

from deployctl.errors import InputError, TargetError
from deployctl.operations.github.comment import PullRequest, comment, read_report
from deployctl.reports.gatepage import GateReport, MeasuredOn
from deployctl.reports.review import Review, ReviewFinding, markdown
from fake_github import TOKEN

REVIEW = Review(files=("service.yaml",))
BODY = markdown(REVIEW)
WORSE = ReviewFinding(level="error", code="x", message="y", file="service.yaml")
OTHER = Review(files=("service.yaml",), findings=(WORSE,))
AUTHOR = "github-actions[bot]"
SHA = "a" * 40


def put(report=REVIEW, **pull):
    return comment(PullRequest("org/app", **(pull or {"number": 7})), report, AUTHOR)


def test_it_is_written_once_then_left_alone_then_updated(github):
    assert put().done == "written"
    asked = len(github.asked)
    assert put().done == "unchanged"
    assert [method for method, _ in github.asked[asked:]] == ["GET"]
    again = put(OTHER)
    assert (again.done, again.number) == ("updated", 7)
    assert [c["body"] for c in github.comments] == [markdown(OTHER)]


def test_github_s_line_ends_are_no_change(github):
    github.add(BODY.replace("\n", "\r\n").rstrip())
    assert put().done == "unchanged"


def test_it_is_found_behind_a_hundred_others(github):
    for number in range(150):
        github.add(f"comment {number}", login="somebody")
    github.add(BODY)
    assert put(OTHER).done == "updated"
    assert len(github.comments) == 151


def test_nobody_elses_comment_is_changed_though_it_begins_so(github):
    stranger = github.add(BODY, login="stranger")
    other = github.add("<!-- deployctl review: other.yaml -->\n")
    assert put(OTHER).done == "written"
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
        comment(PullRequest(repository, **pull), REVIEW, AUTHOR)
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


@pytest.mark.parametrize(
    "text",
    ["", "[]", '{"files": 3}', '{"services": [{}]}', "{" * 9000, '{"kind": "gate"}', "1e999"],
)
def test_what_is_no_review_is_refused(text):
    with pytest.raises(InputError, match="no report") as refused:
        read_report(text, "review.json")
    assert refused.value.where.startswith("review.json")


def test_a_review_is_read_as_it_was_written():
    assert read_report(REVIEW.model_dump_json(), "review.json") == REVIEW


def test_a_number_that_no_page_can_hold_is_refused():
    text = REVIEW.model_dump_json().replace('"version":1', '"version":1e999')
    with pytest.raises(InputError, match="no report"):
        read_report(text, "review.json")


def gate(**more):
    identity = MeasuredOn(service="chat", runner="gpu", engine="vllm 0.32.0", card="l4")
    return GateReport(
        identity=identity, artifact="a", slo="ttft_p95=1s", no_baseline="none", **more
    )


def test_a_gate_has_a_comment_of_its_own(github):
    put()
    report = gate()
    assert read_report(report.model_dump_json(), "gate.json") == report
    assert (put(report).done, put(report).done) == ("written", "unchanged")
    assert put(gate(reasons=("it is slow",))).done == "updated"
    assert len(github.comments) == 2


def test_a_fork_s_run_can_tell_of_no_gate(github):
    with pytest.raises(InputError, match="a fork's run has no gate"):
        put(gate(), head="fork:y", commit=SHA)
    assert github.asked == []


@pytest.mark.parametrize(("status", "hint"), [(429, "later"), (404, "token may not see it")])
def test_why_it_was_refused_is_told_with_what_helps(github, status, hint):
    github.refuses = status
    with pytest.raises(TargetError) as refused:
        put()
    assert hint in refused.value.hint


def test_a_runner_behind_a_proxy_reaches_github(github, monkeypatch):
    monkeypatch.setenv("GITHUB_API_URL", "http://api.github.example")
    monkeypatch.setenv("HTTP_PROXY", github.url)
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    assert put().done == "written"
